"""Messages that could not be understood: kept whole, with reason, source and origin, until somebody replays them.

The rule it keeps: what is not kept (`quarantine_bounds`) is counted, with its origin, its reason and why.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, Self

from psycopg import Cursor
from psycopg.rows import TupleRow

from headend.settings import Quarantine as QuarantineSettings
from headend.store import queries
from headend.store.pool import Connection, Row, row, rows
from headend.store.storable import storable

_q = queries.load("quarantine")

SPELL: Final = timedelta(hours=1)
"""Giving up goes on as long as it happens at least so often."""
LOOKED_THROUGH: Final = 20_000
"""Messages that a search by content looks into in one go."""
LOOKED_THROUGH_BYTES: Final = 64 * 1024 * 1024
"""... and their bytes."""
MOST_ORIGIN: Final = 1024
"""Bytes of an origin; what PostgreSQL can index is bounded, and an MQTT topic may have 65,535."""

State = Literal["open", "closed", "all"]


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
    replayed: bool = False
    """It did not come again: somebody replays it."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one origin may have open with one reason, and how much of one message is kept."""

    messages: int
    size: int
    """[bytes]"""
    payload: int
    """[bytes]"""

    @classmethod
    def of(cls, settings: QuarantineSettings) -> Self:
        """As the settings say."""
        return cls(settings.origin_messages, settings.origin_mib * 1024 * 1024, settings.payload_mib * 1024 * 1024)


DEFAULT_SHARE: Final = Share.of(QuarantineSettings())


class Added:
    """What an `add` could not keep: ask when the pipeline that it was sent in is over."""

    def __init__(self, cursor: Cursor[TupleRow] | None = None) -> None:
        self._cursor = cursor

    def given_up(self) -> Mapping[str, int]:
        """Reason → messages that are counted only, because their origin had filled its share."""
        return {} if self._cursor is None else dict(self._cursor.fetchall())


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """Which messages; everything that is said has to hold."""

    reason: str | None = None
    source: str | None = None
    origin: str | None = None
    """Its beginning; with a `*`, which stands for anything, the whole of it."""
    since: datetime | None = None
    """Came then or later, for the first time or again."""
    until: datetime | None = None
    """Came before."""
    device: str | None = None
    """An unknown one that it names: MANUFACTURER/SERIAL, or a concentrator's code."""
    detail: str | None = None
    """Part of the detail, in upper or lower case."""
    content: bytes | None = None
    """Part of the payload."""

    def parameters(self) -> dict[str, object]:
        """As the statements name them."""
        return {
            "reason": self.reason,
            "source": self.source,
            "origin": None if self.origin is None else _like(self.origin),
            "since": self.since,
            "until": self.until,
            "device": self.device,
            "detail": self.detail,
            "content": self.content,
        }


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a search."""

    rows: list[Row]
    before: int | None
    """Where the next page begins; None: there is none."""
    looked_back_to: datetime | None = None
    """A search by content ended its look here without being through; None: it was."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One open message that a replay may take."""

    quarantine_id: int
    received_at: datetime
    size: int
    """[bytes]"""


def add(connection: Connection, messages: Sequence[Kept], share: Share = DEFAULT_SHARE) -> Added:
    """Keep messages; the very same one again only raises its count. They came from the field, or all from a replay."""
    if not messages:
        return Added()
    return Added(
        connection.execute(
            _q["add"],
            {
                "received_at": [m.received_at for m in messages],
                "source": [m.source for m in messages],
                "origin": [_origin(m.origin) for m in messages],
                "reason": [m.reason for m in messages],
                "detail": [storable(m.detail) for m in messages],
                "payload": [m.payload[: share.payload] for m in messages],
                "strangers": ["\n".join(m.strangers) or None for m in messages],
                "whole_size": [len(m.payload) if len(m.payload) > share.payload else None for m in messages],
                "replayed": any(m.replayed for m in messages),
                "origin_messages": share.messages,
                "origin_bytes": share.size,
                "spell": SPELL,
            },
        )
    )


def search(connection: Connection, wanted: Search, *, state: State, limit: int, before: int | None = None) -> Found:
    """Newest first, without payloads."""
    parameters = wanted.parameters() | {"state": state, "before": before, "limit": limit + 1, "reach": None}
    ends = True
    if wanted.content is not None or wanted.detail is not None:
        looked = row(
            connection,
            _q["reach"],
            {"before": before, "messages": LOOKED_THROUGH, "bytes": LOOKED_THROUGH_BYTES},
        )
        assert looked is not None
        parameters["reach"], ends = looked["reach"], looked["is_end"]
    found = rows(connection, _q["search"], parameters)
    if len(found) > limit:
        return Found(found[:limit], found[limit - 1]["quarantine_id"])
    if ends:
        return Found(found, None)
    last = row(connection, _q["show"], [parameters["reach"]])
    return Found(found, _whole(parameters["reach"]), None if last is None else last["received_at"])


def show(connection: Connection, quarantine_id: int) -> Row | None:
    """One message with its payload, and where it came from."""
    return row(connection, _q["show"], [quarantine_id])


def count(connection: Connection, wanted: Search) -> int:
    """Open messages that a replay would take."""
    (found,) = connection.execute(_q["count"], wanted.parameters()).fetchone() or (0,)
    return int(found)


def newest(connection: Connection) -> int:
    """The newest number; 0: there is none yet."""
    (found,) = connection.execute(_q["newest"]).fetchone() or (0,)
    return int(found)


def following(
    connection: Connection, wanted: Search, *, until: int, after: Waiting | None = None, limit: int | None = None
) -> list[Waiting]:
    """The open messages after that one, up to a number, in the order in which they came."""
    place = {
        "newest": until,
        "after_at": None if after is None else after.received_at,
        "after_id": None if after is None else after.quarantine_id,
    }
    found = rows(connection, _q["following"], wanted.parameters() | place | {"limit": limit})
    return [Waiting(**r) for r in found]


def named(connection: Connection, numbers: Sequence[int]) -> list[Waiting]:
    """Those of these numbers that there are, open or not, in the order in which they came."""
    return [Waiting(**r) for r in rows(connection, _q["named"], [list(numbers)])]


def claim(connection: Connection, numbers: Sequence[int], *, closed: bool = False) -> list[Row]:
    """With payloads: those that nobody else replays just now. They are ours until the transaction ends.

    `closed`: those that were answered before, too.
    """
    ours = [number for (number,) in connection.execute(_q["claim"], [list(numbers)]).fetchall()]
    return rows(connection, _q["take"], {"ids": ours, "closed": closed})


def close(connection: Connection, answered: Mapping[int, str | None], now: datetime) -> dict[int, int | None]:
    """Close what was understood, and what is in here for another reason now (number → that reason).

    What was closed → the entry that it became. One whose new entry is not there stays open.
    """
    if not answered:
        return {}
    connection.execute(_q["hold"], [list(answered)])
    parameters = {"ids": list(answered), "reasons": list(answered.values()), "now": now}
    return dict(connection.execute(_q["close"], parameters).fetchall())


def replayed(connection: Connection, quarantine_id: int, now: datetime) -> None:
    """Close it: it was understood now."""
    close(connection, {quarantine_id: None}, now)


def counts(connection: Connection) -> list[Row]:
    """What is open, by reason."""
    return rows(connection, _q["counts"])


def given_up(connection: Connection, *, limit: int) -> list[Row]:
    """What was not kept, latest first."""
    return rows(connection, _q["given_up"], [limit])


def content_of(text: str) -> bytes:
    """What somebody looks for in payloads: text, or `0x` and hexadecimal digits."""
    if text.startswith("0x"):
        try:
            return bytes.fromhex(text[2:])
        except ValueError:
            pass
    return text.encode("utf-8", "surrogateescape")


def _like(origin: str) -> str:
    """A pattern of LIKE from a beginning, or from one with asterisks."""
    escaped = _origin(origin).replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%") if "*" in escaped else escaped + "%"


def _origin(origin: str) -> str:
    """One that can be indexed; of a longer one the beginning and its digest."""
    text = storable(origin)
    whole = text.encode()
    if len(whole) <= MOST_ORIGIN:
        return text
    return whole[:MOST_ORIGIN].decode("utf-8", "ignore") + "…" + hashlib.sha256(whole).hexdigest()[:16]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None
