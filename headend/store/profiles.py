"""Times without polled readings that a meter's own stored profile may fill, and how far that has come.

The rule it keeps: a gap moves on only after what was read back from before it is safe, so that whoever goes on after a
restart reads again rather than too little.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from headend.domain.topology import PollTarget
from headend.store.pool import Connection, Row, rows
from headend.store.queries import load

GapState = Literal["open", "closed", "given_up"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundGap:
    """Between two readings of a meter."""

    meter_id: int
    from_at: datetime
    """The last reading before it."""
    to_at: datetime
    """The first one after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenGap:
    """A gap to work on, with the registers that bound what the meter can have counted in it."""

    gap_id: int
    target: PollTarget
    from_at: datetime
    to_at: datetime
    done_to: datetime
    """What lies before was read back, or the meter does not have it."""
    attempts: int
    """In a row that failed."""
    rollover_wh: int
    step_wh: int | None
    """How coarsely the registers at both ends were read; None: not stated."""
    clock_offset_ms: int | None
    """How far the meter's clock was off when it was read last; None: never read."""
    clock_drifted: bool
    from_import_wh: int | None
    """Register at `from_at`; None: not stored, or not measured."""
    from_export_wh: int | None
    to_import_wh: int | None
    to_export_wh: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GapProgress:
    """How far a gap has come."""

    gap_id: int
    done_to: datetime
    state: GapState
    records: int
    """Read back since the last time."""
    refused: int
    """Read, and not believed, since the last time."""
    attempts: int
    detail: str
    """For a person."""


def note(connection: Connection, gaps: Sequence[FoundGap], *, now: datetime) -> None:
    """Keep gaps; one that begins where a kept one does is the same."""
    if gaps:
        values = {name: [getattr(gap, name) for gap in gaps] for name in FoundGap.__slots__}
        connection.execute(load("profiles")["note"], values | {"now": now})


def open_gaps(connection: Connection, buses: Collection[str], *, per_bus: int, now: datetime) -> list[OpenGap]:
    """The oldest open gaps of meters that serve and were read in their last round, at most so many of each bus.

    A gap that was tried in vain is left alone for a while, longer each time.
    """
    parameters = {"buses": list(buses), "per_bus": per_bus, "now": now}
    return [_gap(r) for r in rows(connection, load("profiles")["open_gaps"], parameters)]


def advance(connection: Connection, progress: GapProgress, *, now: datetime) -> None:
    """Take over how far a gap has come."""
    values = {name: getattr(progress, name) for name in GapProgress.__slots__}
    connection.execute(load("profiles")["advance"], values | {"now": now})


def abandon(connection: Connection, *, now: datetime) -> int:
    """Give up the gaps of meters that serve no more, or are not read over Modbus any more; returns how many."""
    return connection.execute(load("profiles")["abandon"], {"now": now}).rowcount


def last_readings(connection: Connection, meters: Collection[int]) -> dict[int, datetime]:
    """When each of these meters was read last, whichever way."""
    found = rows(connection, load("profiles")["last_readings"], {"meters": list(meters)})
    return {r["meter_id"]: r["ts"] for r in found}


def listed(connection: Connection, *, everything: bool = False, after: int | None = None, limit: int) -> list[Row]:
    """For people, newest first: gaps that are open or were given up; `everything` with the closed ones."""
    return rows(connection, load("profiles")["list"], {"all": everything, "after": after, "limit": limit})


def _gap(found: Row) -> OpenGap:
    own = {name: found.pop(name) for name in PollTarget.__slots__}
    return OpenGap(target=PollTarget(**own), **found)
