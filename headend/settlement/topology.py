"""What hung where in a stretch: an area's metering points with memberships and installations, as plain values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
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
    memberships: dict[int, list[Membership]] = {}
    heads: dict[int, Row] = {}
    for row in store_intervals.points_of_area(connection, area_id, start, end):
        point = row["usage_point_id"]
        heads[point] = row
        memberships.setdefault(point, []).append(
            Membership(to_us(row["valid_from"]), _end_us(row["valid_to"]), row["behind_usage_point_id"])
        )
    installed: dict[int, list[Row]] = {}
    for row in store_intervals.installations_of(connection, sorted(heads)):
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
        for point, head in sorted(heads.items())
    ]


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
        found.append(
            Installed(
                meter_id=row["meter_id"],
                identity=f"{row['manufacturer']}/{row['serial']}",
                from_us=begin,
                to_us=finish,
                scope_from_us=spans[low][0],
                scope_to_us=spans[high][1],
                multiplier_e4=int(row["multiplier"] * 10_000),
                sign=row["sign"],
                start_import_wh=row["start_import_wh"],
                start_export_wh=row["start_export_wh"],
                end_import_wh=row["end_import_wh"],
                end_export_wh=row["end_export_wh"],
                phases=row["phases"],
                digits=row["digits"],
                resolution_wh=row["resolution_wh"],
            )
        )
    return tuple(found)


def counted(points: Sequence[Point], grid_us: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """(points, intervals) whether each is counted in the area's balance: a member at the interval's start, and behind
    nobody.
    """
    mask = np.zeros((len(points), len(grid_us) - 1), dtype=np.bool_)
    for p, point in enumerate(points):
        for m in point.memberships:
            if m.behind is None:
                mask[p] |= (grid_us[:-1] >= m.from_us) & (grid_us[:-1] < m.to_us)
    return mask


def aligned(points: Sequence[Point], grid_us: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """(intervals,) False where a membership begins or ends within the interval: its sums would belong to two areas."""
    mask = np.ones(len(grid_us) - 1, dtype=np.bool_)
    for point in points:
        for m in point.memberships:
            for edge in (m.from_us, m.to_us):
                k = int(np.searchsorted(grid_us, edge, side="left"))
                if 0 < k < len(grid_us) and grid_us[k] != edge:
                    mask[k - 1] = False
    return mask
