"""What hung where in a stretch: an area's metering points with memberships and installations, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import to_us
from headend.store import intervals as store_intervals
from headend.store.pool import Connection, Row

FOREVER_US: Final = 1 << 60
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
    return _points(connection, store_intervals.points_of_area(connection, area_id, start, end), start, end)


def points_of(connection: Connection, usage_points: Sequence[int], start: datetime, end: datetime) -> list[Point]:
    """Some metering points wherever they hung in a stretch, or nowhere, in order of id; without memberships."""
    return _points(connection, store_intervals.points(connection, usage_points), start, end)


def _points(connection: Connection, heads: Sequence[Row], start: datetime, end: datetime) -> list[Point]:
    """heads: a row for each membership, with its point."""
    memberships: dict[int, list[Membership]] = {}
    for head in heads:
        of_point = memberships.setdefault(head["usage_point_id"], [])
        if "valid_from" in head:
            of_point.append(
                Membership(to_us(head["valid_from"]), _end_us(head["valid_to"]), head["behind_usage_point_id"])
            )
    installed: dict[int, list[Row]] = {}
    for row in store_intervals.installations_of(connection, sorted(memberships)):
        installed.setdefault(row["usage_point_id"], []).append(row)
    return [
        Point(
            point,
            head["code"],
            head["kind"],
            head["rated_current_a"],
            tuple(memberships[point]),
            _installations(installed.get(point, []), to_us(start), to_us(end)),
        )
        for point, head in sorted({head["usage_point_id"]: head for head in heads}.items())
    ]


def widened(connection: Connection, point: Point, start: datetime, end: datetime) -> Point:
    """The same point with the installations of another stretch."""
    rows = store_intervals.installations_of(connection, [point.usage_point_id])
    return replace(point, installations=_installations(rows, to_us(start), to_us(end)))


def _end_us(valid_to: datetime | None) -> int:
    return FOREVER_US if valid_to is None else to_us(valid_to)


def _installations(rows: Sequence[Row], start_us: int, end_us: int) -> tuple[Installed, ...]:
    """One point's installations that overlap the stretch; neighbours of the same meter share their readings."""
    spans = [(to_us(r["valid_from"]), _end_us(r["valid_to"])) for r in rows]
    found: list[Installed] = []
    for i, (row, (begin, finish)) in enumerate(zip(rows, spans, strict=True)):
        if finish <= start_us or begin >= end_us:
            continue
        low, high = i, i
        while low > 0 and spans[low - 1][1] == spans[low][0] and rows[low - 1]["meter_id"] == row["meter_id"]:
            low -= 1
        while (
            high + 1 < len(rows)
            and spans[high + 1][0] == spans[high][1]
            and rows[high + 1]["meter_id"] == row["meter_id"]
        ):
            high += 1
        found.append(_installed(row, spans[i], (spans[low][0], spans[high][1])))
    return tuple(found)


def _installed(row: Row, span: tuple[int, int], scope: tuple[int, int]) -> Installed:
    return Installed(
        meter_id=row["meter_id"],
        identity=f"{row['manufacturer']}/{row['serial']}",
        from_us=span[0],
        to_us=span[1],
        scope_from_us=scope[0],
        scope_to_us=scope[1],
        multiplier_e4=int(row["multiplier"] * 10_000),
        sign=row["sign"],
        start_import_wh=row["start_import_wh"],
        start_export_wh=row["start_export_wh"],
        end_import_wh=row["end_import_wh"],
        end_export_wh=row["end_export_wh"],
        phases=row["phases"],
        digits=row["digits"],
        resolution_wh=row["resolution_wh"],
        accuracy_class=None if row["accuracy_class"] is None else float(row["accuracy_class"]),
    )


def counted(points: Sequence[Point], grid_us: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """(points, intervals) whether each is counted in the area's balance: a member at the interval's start, and behind
    nobody.
    """
    mask = np.zeros((len(points), len(grid_us) - 1), dtype=np.bool_)
    first, last = int(grid_us[0]), int(grid_us[-1])
    for p, point in enumerate(points):
        for m in point.memberships:
            if m.behind is None and m.from_us <= first and m.to_us >= last:
                mask[p] = True
            elif m.behind is None:
                mask[p] |= (grid_us[:-1] >= m.from_us) & (grid_us[:-1] < m.to_us)
    return mask


def aligned(points: Sequence[Point], grid_us: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """(intervals,) False where a membership begins or ends within the interval: its sums would belong to two areas."""
    mask = np.ones(len(grid_us) - 1, dtype=np.bool_)
    first, last = int(grid_us[0]), int(grid_us[-1])
    edges = {edge for point in points for m in point.memberships for edge in (m.from_us, m.to_us)}
    for edge in edges:
        if first < edge < last:
            k = int(np.searchsorted(grid_us, edge, side="left"))
            if grid_us[k] != edge:
                mask[k - 1] = False
    return mask
