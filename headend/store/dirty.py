"""Dirty marks: which local days of which areas have to be settled again, shared between workers without a queue server.

A worker locks an area (SKIP LOCKED), reads its marks, settles, and deletes just the marks it read: a mark that a
reading renewed meanwhile is
another row version and stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime

from headend.store import queries
from headend.store.pool import Connection, row

_SQL = queries.load("dirty")


@dataclass(frozen=True, slots=True)
class Ripe:
    """When a mark may be settled."""

    quiet: datetime
    """Not renewed since this instant ..."""
    quiet_loading: datetime
    """... or this one, on an area below its history watermark ..."""
    overdue: datetime
    """... or kept busy, and last settled before this one."""
    started: datetime
    """Counts as the last time for days that have never been settled, and concentrators that have never been heard."""
    silent: datetime
    """Concentrators not heard of since this instant hold no history open."""

    @classmethod
    def now(cls, now: datetime) -> Ripe:
        """Every mark, however young."""
        return cls(quiet=now, quiet_loading=now, overdue=now, started=now, silent=now)


@dataclass(frozen=True, slots=True)
class Mark:
    """A day to settle, and the version of the mark that says so."""

    day: date
    version: str


def take_area(connection: Connection, ripe: Ripe) -> tuple[int, str] | None:
    """Lock the area that waits longest and that nobody else has: (area_id, code), or None."""
    found = row(connection, _SQL["take_area"], _ripe(ripe))
    return None if found is None else (found["area_id"], found["code"])


def lock_area(connection: Connection, area_id: int) -> None:
    """Lock one area, waiting for the worker that has it."""
    connection.execute(_SQL["lock_area"], {"area_id": area_id})


def marks(connection: Connection, area_id: int, ripe: Ripe, most: int) -> list[Mark]:
    """The area's ripe marks, earliest day first."""
    found = connection.execute(_SQL["marks"], _ripe(ripe) | {"area_id": area_id, "most": most}).fetchall()
    return [Mark(day, version) for day, version in found]


def clear(connection: Connection, area_id: int, taken: Sequence[Mark]) -> int:
    """Delete the marks that were taken and have not been renewed; returns how many."""
    return connection.execute(
        _SQL["clear"], {"area_id": area_id, "days": [m.day for m in taken], "versions": [m.version for m in taken]}
    ).rowcount


def mark_points(
    connection: Connection, usage_points: Sequence[int], days: Sequence[date], *, zone: str, marked_at: datetime
) -> int:
    """Mark days of metering points, pairwise, on the areas they hung on; returns how many marks are new."""
    return connection.execute(
        _SQL["mark_points"],
        {"usage_points": list(usage_points), "days": list(days), "zone": zone, "marked_at": marked_at},
    ).rowcount


def mark_area(connection: Connection, area_id: int, first: date, last: date, marked_at: datetime) -> int:
    """Mark every day of an area from first to last; returns how many marks are new."""
    return connection.execute(
        _SQL["mark_area"], {"area_id": area_id, "first": first, "last": last, "marked_at": marked_at}
    ).rowcount


def mark_ended(connection: Connection, *, yesterday: date, back: int, zone: str, marked_at: datetime) -> int:
    """Mark days that ended since they were settled, or that nothing touched; at most `back` days back."""
    return connection.execute(
        _SQL["mark_ended"], {"yesterday": yesterday, "back": back, "zone": zone, "marked_at": marked_at}
    ).rowcount


def waiting(connection: Connection, area_id: int | None = None) -> int:
    """How many area-days are marked."""
    found = row(connection, _SQL["waiting"], {"area_id": area_id})
    return 0 if found is None else int(found["days"])


def _ripe(ripe: Ripe) -> dict[str, datetime]:
    return asdict(ripe)
