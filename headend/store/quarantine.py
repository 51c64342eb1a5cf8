"""Messages that could not be understood: kept whole, with reason, source and origin, until somebody replays them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from headend.store import queries
from headend.store.pool import Connection, Row, row, rows

_q = queries.load("quarantine")


@dataclass(frozen=True, slots=True)
class Kept:
    """One message to keep."""

    received_at: datetime
    source: str
    """`mqtt` or `modbus`."""
    origin: str
    """Topic, or host:port and unit."""
    reason: str
    detail: str
    payload: bytes
    strangers: tuple[str, ...] = ()
    """The unknown devices that it names: MANUFACTURER/SERIAL, or a concentrator's code."""


def add(connection: Connection, messages: Sequence[Kept]) -> None:
    """Keep messages; the very same one again only raises its count."""
    if not messages:
        return
    connection.execute(
        _q["add"],
        {
            "received_at": [m.received_at for m in messages],
            "source": [m.source for m in messages],
            "origin": [_text(m.origin) for m in messages],
            "reason": [m.reason for m in messages],
            "detail": [_text(m.detail) for m in messages],
            "payload": [m.payload for m in messages],
            "strangers": ["\n".join(m.strangers) or None for m in messages],
        },
    )


def listed(
    connection: Connection,
    *,
    reason: str | None = None,
    origin: str | None = None,
    everything: bool = False,
    before: int | None = None,
    limit: int = 100,
) -> list[Row]:
    """Newest first, without payloads; `origin` is a prefix, `before` the last id of the page before."""
    return rows(
        connection,
        _q["list"],
        {"reason": reason, "origin": origin, "all": everything, "before": before, "limit": limit},
    )


def show(connection: Connection, quarantine_id: int) -> Row | None:
    """One message with its payload."""
    return row(connection, _q["show"], [quarantine_id])


def waiting(connection: Connection, *, reason: str | None, origin: str | None, limit: int | None) -> list[int]:
    """Ids of what is open, oldest first; all of them where `limit` is None."""
    found = rows(connection, _q["waiting"], {"reason": reason, "origin": origin, "limit": limit})
    return [r["quarantine_id"] for r in found]


def waiting_for(connection: Connection, stranger: str) -> list[int]:
    """Ids of what is open and names this device, oldest first."""
    return [r["quarantine_id"] for r in rows(connection, _q["waiting_for"], [stranger])]


def replayed(connection: Connection, quarantine_id: int, now: datetime) -> None:
    """Close it: it was understood now."""
    connection.execute(_q["replayed"], {"quarantine_id": quarantine_id, "now": now})


def counts(connection: Connection) -> list[Row]:
    """What is open, by reason."""
    return rows(connection, _q["counts"])


def _text(text: str) -> str:
    """What PostgreSQL's text can hold: no NUL, no lone surrogate."""
    return text.replace("\0", "\\0").encode("utf-8", "backslashreplace").decode()
