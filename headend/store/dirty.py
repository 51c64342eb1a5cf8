"""Dirty marks: which local days of which areas have to be settled again, shared between workers without a queue server.

A worker locks an area and the areas that share a usage point with it (SKIP LOCKED), reads its marks, settles, and
deletes just the marks it read: a mark that was renewed meanwhile is another row version and stays. So whoever changes
what a day rests on renews its mark in the same transaction. Marks are written in the order of area and day, by one
statement at the end of a transaction, so that nobody waits in a circle.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any, Final

from psycopg import Rollback

from headend.store import queries
from headend.store.arrays import dates, integers
from headend.store.pool import Connection, row

_SQL = queries.load("dirty")
_CANDIDATES: Final = 64
"""So many areas are tried before the store is asked again which ones wait."""


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
class Span:
    """Local days from first to last, both included."""

    first: date = date.min
    last: date = date.max


ALWAYS: Final = Span()


@dataclass(frozen=True, slots=True)
class Mark:
    """A day to settle, and the version of the mark that says so."""

    day: date
    version: str


def waiting_areas(connection: Connection, ripe: Ripe, span: Span = ALWAYS, most: int = _CANDIDATES) -> list[int]:
    """Areas with ripe marks in a span of days, the one that waits longest first; others may have them meanwhile."""
    found = connection.execute(_SQL["waiting_areas"], _ripe(ripe) | _span(span) | {"most": most}).fetchall()
    return [area_id for (area_id,) in found]


def try_area(connection: Connection, area_id: int) -> str | None:
    """Lock an area and those that share a usage point with it until the transaction ends: its code; None, and nothing
    locked, where somebody has one of them. Never waits.
    """
    code: str | None = None
    with connection.transaction() as attempt:
        found = connection.execute(_SQL["take_area"], {"area_id": area_id}).fetchall()
        if not found or len(found) < found[0][1]:
            raise Rollback(attempt)
        code = found[0][0]
    return code


def take_area(connection: Connection, ripe: Ripe, span: Span = ALWAYS) -> tuple[int, str] | None:
    """Lock the area that waits longest and that nobody else has: (area_id, code), or None."""
    for area_id in waiting_areas(connection, ripe, span):
        if (code := try_area(connection, area_id)) is not None:
            return area_id, code
    return None


def lock_area(connection: Connection, area_id: int) -> None:
    """Lock an area and those that share a usage point with it, waiting for the workers that have them."""
    connection.execute(_SQL["lock_area"], {"area_id": area_id})


def marks(connection: Connection, area_id: int, ripe: Ripe, most: int, span: Span = ALWAYS) -> list[Mark]:
    """The area's ripe marks in a span of days, earliest day first."""
    parameters = _ripe(ripe) | _span(span) | {"area_id": area_id, "most": most}
    return [Mark(day, version) for day, version in connection.execute(_SQL["marks"], parameters).fetchall()]


def marks_on(connection: Connection, area_id: int, days: Sequence[date]) -> list[Mark]:
    """The marks that an area has on some days, ripe or not, earliest day first."""
    found = connection.execute(_SQL["marks_on"], {"area_id": area_id, "days": list(days)}).fetchall()
    return [Mark(day, version) for day, version in found]


def clear(connection: Connection, area_id: int, taken: Sequence[Mark]) -> int:
    """Delete the marks that were taken and have not been renewed; returns how many."""
    if not taken:
        return 0
    days = [m.day for m in taken]
    parameters = {"area_id": area_id, "days": days, "versions": [m.version for m in taken]}
    cleared = connection.execute(_SQL["clear"], parameters).rowcount
    if cleared < len(taken):
        connection.execute(_SQL["wait_anew"], {"area_id": area_id, "days": days})
    return cleared


def mark_points(
    connection: Connection, usage_points: Sequence[int], days: Sequence[date], *, zone: str, marked_at: datetime
) -> int:
    """Mark days of metering points, pairwise, on the areas they hung on, to be settled again; returns how many."""
    return connection.execute(
        _SQL["mark_points"],
        {"usage_points": list(usage_points), "days": list(days), "zone": zone, "marked_at": marked_at},
    ).rowcount


def mark_area(connection: Connection, area_id: int, first: date, last: date, marked_at: datetime) -> int:
    """Mark every day of an area from first to last (none where last < first), to be settled again; returns how many."""
    return connection.execute(
        _SQL["mark_area"], {"area_id": area_id, "first": first, "last": last, "marked_at": marked_at}
    ).rowcount


def pass_on(
    connection: Connection,
    area_id: int,
    taken: Sequence[date],
    touched: Iterable[tuple[int, date]],
    *,
    zone: str,
    marked_at: datetime,
) -> Mapping[int, Sequence[date]]:
    """Mark what settling the days `taken` of an area makes out of date: (usage_point_id, day) pairs that it touches.

    Returns the days by area that are marked now. The caller holds the area's locks.
    """
    pairs = list(dict.fromkeys(touched))
    if not pairs:
        return {}
    parameters = {
        "area_id": area_id,
        "taken": list(taken),
        "usage_points": integers([point for point, _ in pairs]),
        "days": dates([day for _, day in pairs]),
        "zone": zone,
        "marked_at": marked_at,
    }
    found: dict[int, list[date]] = {}
    for area, day in connection.execute(_SQL["pass_on"], parameters).fetchall():
        found.setdefault(area, []).append(day)
    return found


def mark_ended(connection: Connection, *, yesterday: date, back: int, zone: str, marked_at: datetime) -> int:
    """Mark days that ended since they were settled, or that nothing touched; at most `back` days back."""
    return connection.execute(
        _SQL["mark_ended"], {"yesterday": yesterday, "back": back, "zone": zone, "marked_at": marked_at}
    ).rowcount


def waiting(connection: Connection, area_id: int | None = None) -> int:
    """How many area-days are marked."""
    found = row(connection, _SQL["waiting"], {"area_id": area_id})
    return 0 if found is None else int(found["days"])


def _ripe(ripe: Ripe) -> dict[str, Any]:
    return asdict(ripe)


def _span(span: Span) -> dict[str, Any]:
    return asdict(span)
