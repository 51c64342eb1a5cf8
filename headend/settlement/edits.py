"""Values that people set, fitted between the registers that hold and put into settled intervals; and what is said of
readings that were set aside.

The rule it keeps: energy between two registers that hold never changes. Each midnight inside a block with an edit
carries a digest of the block, so that days that disagree on it are settled again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import US_PER_S
from headend.settlement.draft import Draft
from headend.settlement.edges import FAR
from headend.settlement.edited import EditedPoint, SetValues, estimated_at
from headend.settlement.grid import DayRange, cells_of
from headend.settlement.references import Past
from headend.settlement.series import Series
from headend.settlement.topology import Point, Points
from reconciliation.cleaning import Cleaned
from reconciliation.editing import Edit, Fitted, fit, regrid
from reconciliation.estimation import BY_METHOD
from reconciliation.outages import DarkGap
from reconciliation.registers import GridRegisters, IntervalQuality, LongGap
from reconciliation.validation import Flag

Ints = npt.NDArray[np.int64]
_DIRECTIONS: Final = ("import", "export")


@dataclass(frozen=True, slots=True, eq=False)
class Unedited:
    """Points over a stretch as registers and estimates make them."""

    series: Series
    cleaned: Cleaned
    registers: GridRegisters
    dark: list[DarkGap]
    """Gaps between readings in which power had failed for a time."""
    long: Sequence[LongGap]
    """Gaps too long for a line, on the shape of reference days now."""
    draft: Draft


@dataclass(frozen=True, slots=True, eq=False)
class Ties:
    """What binds the days of an edited block together."""

    marks: Ints
    """(P, D + 1) digest of the blocks with edits that each midnight lies inside; 0: none."""
    low_us: Ints
    """(P,) where the block over the first midnight begins; FAR: there is none."""
    high_us: Ints
    """(P,) where the block over the last midnight ends; FAR: there is none."""

    def bind(self, marks: Ints, gap_from_us: Ints, gap_to_us: Ints) -> tuple[Ints, Ints, Ints]:
        """The marks and outward gaps of days, so that days in one block are settled again together."""
        reach = np.where(self.high_us == FAR, gap_to_us, self.high_us - 1)
        return (
            marks ^ self.marks,
            np.minimum(gap_from_us, self.low_us),
            np.where(gap_to_us == FAR, reach, np.maximum(gap_to_us, reach)),
        )


def edits_on_grid(edited: EditedPoint, direction: str, energy_wh: Ints) -> list[Edit]:
    """The edits of one direction on the grid of the days; `energy_wh` (T,) gives the shape inside of an interval that
    was longer when it was edited.
    """
    grid, is_s = edited.days.grid_us, edited.days.calendar.interval_s
    found: list[Edit] = []
    for edit in edited.edits:
        if edit.head.direction != direction:
            continue
        low = int(np.searchsorted(grid, edit.head.from_us, side="right")) - 1
        high = int(np.searchsorted(grid, edit.head.to_us, side="left"))
        if grid[low] == edit.head.from_us and grid[high] == edit.head.to_us and _fits(edit, high - low, is_s):
            found.append(Edit(low, regrid(edit.energy_wh, edit.head.interval_s, is_s, energy_wh[low:high])))
        else:
            found.append(Edit(low, np.zeros(high - low, dtype=np.int64), on_grid=False))
    return found


def _fits(edit: SetValues, count: int, is_s: int) -> bool:
    """Whether an edit can be put on `count` intervals of a grid: on another than its own only where both are regular,
    which the last interval of a day is not when clocks change by half an hour on a grid of hours.
    """
    if edit.head.interval_s == is_s:
        return len(edit.energy_wh) == count
    length_s = (edit.head.to_us - edit.head.from_us) // US_PER_S
    return count * is_s == len(edit.energy_wh) * edit.head.interval_s == length_s


def fitted(edited: EditedPoint, unedited: Unedited) -> dict[str, Fitted]:
    """What the edits make of the point's energies over its days; `unedited` of this one point."""
    draft, found = unedited.draft, {}
    estimated = estimated_at(unedited.series, unedited.registers, edited.days.grid_us)
    for direction in _DIRECTIONS:
        mine = unedited.series.into_import == (direction == "import")
        energy = draft.import_wh[0] if direction == "import" else draft.export_wh[0]
        found[direction] = fit(
            energy,
            draft.quality[0],
            draft.served[0],
            np.asarray(estimated[mine].any(axis=0), dtype=np.bool_),
            edits_on_grid(edited, direction, energy),
        )
    return found


def apply_edits(
    draft: Draft,
    edited: Sequence[EditedPoint],
    points: Sequence[Point],
    days: DayRange,
    unedited: Callable[[EditedPoint], Unedited],
) -> Ties:
    """Set in the draft, in place, what edits make of it; `unedited` settles one of the points over its own days."""
    ties = Ties(
        np.zeros((len(points), len(days.days) + 1), dtype=np.int64),
        np.full(len(points), FAR), np.full(len(points), FAR),
    )  # fmt: skip
    ids = Points.of(points).usage_point_id
    for one in edited:
        p, plain = int(np.searchsorted(ids, one.point.usage_point_id)), unedited(one)
        made = fitted(one, plain)
        _set(plain.draft, made)
        here = slice(int(np.searchsorted(one.days.grid_us, days.grid_us[0])), None)
        for name in ("import_wh", "export_wh", "quality", "flags", "served"):
            getattr(draft, name)[p] = getattr(plain.draft, name)[0, here][: days.intervals]
        _tie(ties, p, made, one.days, days)
    return ties


def _set(draft: Draft, made: Mapping[str, Fitted]) -> None:
    """One point's energies, quality and flags as edits make them."""
    draft.import_wh[0], draft.export_wh[0] = made["import"].energy_wh, made["export"].energy_wh
    into, out = (made[direction].edited_by >= 0 for direction in _DIRECTIONS)
    # An edit of what was fed in makes no import known that is not: such an interval stays absent.
    set_by_hand = into | (out & (draft.quality[0] != IntervalQuality.ABSENT))
    draft.quality[0, set_by_hand] = IntervalQuality.EDITED
    draft.flags[0, set_by_hand] &= ~int(BY_METHOD)
    draft.flags[0, made["import"].refused | made["export"].refused] |= Flag.EDIT_REFUSED


def _tie(ties: Ties, p: int, made: Mapping[str, Fitted], wide: DayRange, days: DayRange) -> None:
    """Give every midnight inside a run of blocks that an edit binds together a digest of what came out there."""
    grid = wide.grid_us
    midnights = days.grid_us[days.midnights]
    for salt, result in enumerate(made.values()):
        for verdict in result.verdicts:
            if not verdict.blocks:
                continue
            low, high = verdict.blocks[0].low, verdict.blocks[-1].high
            inside = np.flatnonzero((midnights > grid[low]) & (midnights < grid[high]))
            if inside.size == 0:
                continue
            said = hashlib.blake2b(digest_size=8, salt=bytes([salt]))
            for part in (grid[[low, high]], result.energy_wh[low:high], result.edited_by[low:high] >= 0):
                said.update(np.ascontiguousarray(part).tobytes())
            said.update(bytes([verdict.holds]))
            ties.marks[p, inside] += np.frombuffer(said.digest(), dtype=np.int64)[0]
            if inside[0] == 0:
                ties.low_us[p] = min(ties.low_us[p], grid[low])
            if inside[-1] == len(midnights) - 1:
                earlier = ties.high_us[p] if ties.high_us[p] != FAR else 0
                ties.high_us[p] = max(earlier, grid[high])


def without_refused(past: Past) -> Past:
    """Settled days for the shape of estimates: an interval whose edit does not hold is no reference either, whether
    that is known when the estimate is made or not.
    """

    def told(usage_points: Sequence[int], first: date, last: date) -> Sequence[Mapping[str, Any]]:
        rows = past(usage_points, first, last)
        return [_shown_edited(row) if "flags" in row else row for row in rows]

    return told


def _shown_edited(row: Mapping[str, Any]) -> Mapping[str, Any]:
    refused = (np.asarray(row["flags"]) & int(Flag.EDIT_REFUSED)) != 0
    if not refused.any():
        return row
    return {**row, "quality": np.where(refused, int(IntervalQuality.EDITED), row["quality"])}


def flag_set_aside(
    flags: npt.NDArray[np.int32], points: Sequence[Point], gone: Mapping[int, Ints], days: DayRange
) -> None:
    """Say of the interval in which a reading ended that it was set aside, in place; `gone`: instants by meter."""
    installed = Points.of(points).installed
    for i in np.flatnonzero(np.isin(installed.meter_id, list(gone))).tolist():
        ts_us = gone[int(installed.meter_id[i])]
        cell, inside = cells_of(ts_us, days.grid_us)
        mine = inside & (ts_us >= installed.from_us[i]) & (ts_us <= installed.to_us[i])
        flags[installed.point[i], cell[mine]] |= Flag.SET_ASIDE
