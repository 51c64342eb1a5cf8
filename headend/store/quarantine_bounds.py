"""The quarantine within its bounds: what goes, whose it is, and that it was counted.

An origin that floods is thinned out by itself: its first messages stay and its newest. Beyond the bounds of the whole
the middle of whoever has most goes first, so that one broken device pushes out nobody else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, Self

from headend.settings import Quarantine as QuarantineSettings
from headend.store import queries
from headend.store.pool import Connection, Row, Store, rows
from headend.store.quarantine import SPELL

_q = queries.load("quarantine_bounds")
_AT_ONCE: Final = 5_000
"""Messages deleted in one transaction, where they can be taken one after another."""
_ROOM: Final = 20
"""A twentieth of the whole is made free at once, so that it need not be done for each message."""

Why = Literal["origin", "full", "age"]


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may be open, and how long things are kept."""

    messages: int
    size: int
    """[bytes]"""
    origin_messages: int
    origin_size: int
    """[bytes]"""
    open_for: timedelta
    closed_for: timedelta

    @classmethod
    def of(cls, settings: QuarantineSettings) -> Self:
        """As the settings say."""
        return cls(
            settings.max_messages,
            settings.max_mib * 1024 * 1024,
            settings.origin_messages,
            settings.origin_mib * 1024 * 1024,
            timedelta(days=settings.keep_days),
            timedelta(days=settings.keep_closed_days),
        )


@dataclass(frozen=True, slots=True)
class Spell:
    """Giving up that goes on, of one reason."""

    reason: str
    messages: int
    since_at: datetime
    worst: tuple[str, ...]
    """The origins that gave most cause, with how many each."""


def enforce(store: Store, bounds: Bounds, now: datetime) -> Mapping[tuple[str, Why], int]:
    """Let go what is beyond the bounds; (reason, why) → messages given up. Raises StoreError: what was done stands."""
    given_up: Counter[tuple[str, Why]] = Counter()
    for why, gone in _steps(store, bounds, now):
        for row in gone:
            given_up[row["reason"], why] += row["messages"]
    return given_up


def _steps(store: Store, bounds: Bounds, now: datetime) -> Iterator[tuple[Why, list[Row]]]:
    """Each in a transaction of its own, together with the note of what it gave up."""
    before = {"before": now - bounds.closed_for, "limit": _AT_ONCE}
    while True:
        with store.transaction() as connection:
            forgotten = connection.execute(_q["forget_closed"], before).rowcount
        if forgotten < _AT_ONCE:
            break
    while True:
        with store.transaction() as connection:
            gone = rows(connection, _q["give_up_old"], {"before": now - bounds.open_for, "limit": _AT_ONCE})
            _note(connection, "age", gone, now)
        yield "age", gone
        if not gone:
            break
    with store.transaction() as connection:
        share = {"messages": bounds.origin_messages, "bytes": bounds.origin_size, "now": now, "spell": SPELL}
        gone = rows(connection, _q["thin_out"], share)
        _note(connection, "origin", gone, now)
    yield "origin", gone
    with store.transaction() as connection:
        standing = connection.execute(_q["standing"]).fetchone()
        assert standing is not None
        if standing[0] > bounds.messages or standing[1] > bounds.size:
            room = {
                "messages": bounds.messages - bounds.messages // _ROOM,
                "bytes": bounds.size - bounds.size // _ROOM,
            }
            gone = rows(connection, _q["make_room"], room)
            _note(connection, "full", gone, now)
            yield "full", gone
    with store.transaction() as connection:
        connection.execute(_q["fold"], {"before": now - bounds.closed_for})


def _note(connection: Connection, why: Why, gone: list[Row], now: datetime) -> None:
    if gone:
        columns = {key: [row[key] for row in gone] for key in ("source", "origin", "reason", "messages", "bytes")}
        connection.execute(_q["note"], columns | {"why": why, "now": now, "spell": SPELL})


def lately(connection: Connection, now: datetime) -> list[Spell]:
    """Giving up that goes on, by reason."""
    found = rows(connection, _q["lately"], {"now": now, "spell": SPELL})
    return [Spell(r["reason"], r["messages"], r["since_at"], tuple(r["worst"])) for r in found]
