"""What hung where in a stretch: an area's metering points with memberships and installations, as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from headend.domain.calendar import to_us
from headend.store import intervals as store_intervals
from headend.store.intervals import Installation
from headend.store.pool import Connection

FOREVER_US: Final = store_intervals.FOREVER_US
"""End of what still holds [µs since 1970]: far beyond any reading."""


@dataclass(frozen=True, slots=True)
class Membership:
    """A point on the area from an instant to an instant."""

    from_us: int
    to_us: int
    behind: int | None
    """The shared point whose meter counts instead; None: the point itself is counted."""


@dataclass(frozen=True, slots=True)
class Installed:
    """A meter at a point from an instant to an instant."""

    meter_id: int
    identity: str
    """manufacturer/serial."""
    from_us: int
    to_us: int
    scope_from_us: int
    scope_to_us: int
    """Readings between these belong to the same meter at the same point, though with another multiplier perhaps."""
    multiplier_e4: int
    sign: int
    start_import_wh: int | None
    start_export_wh: int | None
    end_import_wh: int | None
    end_export_wh: int | None
    phases: int
    digits: int
    resolution_wh: int
    accuracy_class: float | None = None
    """Limit of the meter's error [%]; None: the default of its kind."""


@dataclass(frozen=True, slots=True)
class Point:
    """A metering point with what it was in the stretch."""

    usage_point_id: int
    code: str
    kind: str
    rated_current_a: int | None
    memberships: tuple[Membership, ...]
    installations: tuple[Installed, ...]
    """In order of time; only those that overlap the stretch."""


def load_points(connection: Connection, area_id: int, start: datetime, end: datetime) -> list[Point]:
    """The metering points of an area in a stretch, in order of id."""
    heads: dict[int, _Head] = {}
    memberships: dict[int, list[Membership]] = {}
    for member in store_intervals.points_of_area(connection, area_id, start, end):
        point = member.usage_point_id
        heads[point] = (member.code, member.kind, member.rated_current_a)
        memberships.setdefault(point, []).append(Membership(member.from_us, member.to_us, member.behind))
    return _points(connection, heads, memberships, start, end)


def points_of(connection: Connection, usage_points: Sequence[int], start: datetime, end: datetime) -> list[Point]:
    """Some metering points wherever they hung in a stretch, or nowhere, in order of id; without memberships."""
    heads = {
        row["usage_point_id"]: (row["code"], row["kind"], row["rated_current_a"])
        for row in store_intervals.points(connection, usage_points)
    }
    return _points(connection, heads, {}, start, end)


_Head = tuple[str, str, int | None]
"""Code, kind and rated current of a point."""


def _points(
    connection: Connection,
    heads: Mapping[int, _Head],
    memberships: Mapping[int, Sequence[Membership]],
    start: datetime,
    end: datetime,
) -> list[Point]:
    start_us, end_us = to_us(start), to_us(end)
    ids = sorted(heads)
    installed: dict[int, list[Installation]] = {}
    for installation in store_intervals.installations_of(connection, ids):
        installed.setdefault(installation.usage_point_id, []).append(installation)
    return [
        Point(
            point,
            *heads[point],
            tuple(memberships.get(point, ())),
            _installations(installed.get(point, ()), start_us, end_us),
        )
        for point in ids
    ]


def widened(connection: Connection, point: Point, start: datetime, end: datetime) -> Point:
    """The same point with the installations of another stretch."""
    found = store_intervals.installations_of(connection, [point.usage_point_id])
    return replace(point, installations=_installations(found, to_us(start), to_us(end)))


def _installations(all_: Sequence[Installation], start_us: int, end_us: int) -> tuple[Installed, ...]:
    """One point's installations that overlap the stretch; neighbours of the same meter share their readings."""
    found: list[Installed] = []
    for i, one in enumerate(all_):
        if one.to_us <= start_us or one.from_us >= end_us:
            continue
        low, high = i, i
        while low > 0 and _serves_on(all_[low - 1], all_[low]):
            low -= 1
        while high + 1 < len(all_) and _serves_on(all_[high], all_[high + 1]):
            high += 1
        found.append(_installed(one, all_[low].from_us, all_[high].to_us))
    return tuple(found)


def _serves_on(one: Installation, following: Installation) -> bool:
    """Whether it is the same meter all the while, with another multiplier perhaps."""
    return one.to_us == following.from_us and one.meter_id == following.meter_id


def _installed(one: Installation, scope_from_us: int, scope_to_us: int) -> Installed:
    return Installed(
        meter_id=one.meter_id,
        identity=one.identity,
        from_us=one.from_us,
        to_us=one.to_us,
        scope_from_us=scope_from_us,
        scope_to_us=scope_to_us,
        multiplier_e4=one.multiplier_e4,
        sign=one.sign,
        start_import_wh=one.start_import_wh,
        start_export_wh=one.start_export_wh,
        end_import_wh=one.end_import_wh,
        end_export_wh=one.end_export_wh,
        phases=one.phases,
        digits=one.digits,
        resolution_wh=one.resolution_wh,
        accuracy_class=one.accuracy_class,
    )
