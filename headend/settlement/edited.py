"""Points with edits near a stretch, and all that their blocks rest on: read once, whole.

The rule it keeps: the same whichever stretch is settled. A point with an edit is settled over whole days as far as the
blocks reach that begin or end outside (a gap over midnight, an edit of several days), and only then cut to the stretch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from functools import partial

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import from_us
from headend.settlement.grid import DayRange
from headend.settlement.outages import load_outages
from headend.settlement.rules import LONGEST_GAP_DAYS, Rules
from headend.settlement.series import Series, build_series
from headend.settlement.set_aside import believed
from headend.settlement.topology import Point, Points, widened
from headend.store import edits as store_edits
from headend.store import intervals
from headend.store.edits import EditHead
from headend.store.intervals import MeterReadings
from headend.store.pool import Connection
from reconciliation.cleaning import clean
from reconciliation.registers import GridRegisters, IntervalQuality, registers_at

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class SetValues:
    """An edit of values that stands."""

    head: EditHead
    energy_wh: Ints
    """One an interval of `head.interval_s`."""


@dataclass(frozen=True, slots=True, eq=False)
class EditedPoint:
    """A point with edits near the stretch, and all that its blocks rest on."""

    point: Point
    """With the installations of `days`."""
    readings: Mapping[int, MeterReadings]
    days: DayRange
    """The stretch, and on both sides as many days as blocks reach out of it."""
    edits: Sequence[SetValues]
    """In the order in which they were made."""
    outages: Mapping[int, Ints] = field(default_factory=dict)
    """As in Inputs, of the readings."""

    @property
    def touched(self) -> Bools:
        """(1, T) intervals that an edit covers, whether it holds or not: they are no reference for an estimate."""
        found = np.zeros((1, self.days.intervals), dtype=np.bool_)
        grid = self.days.grid_us
        for edit in self.edits:
            found[0] |= (grid[1:] > edit.head.from_us) & (grid[:-1] < edit.head.to_us)
        return found


def load_edited(
    connection: Connection,
    points: Points,
    days: DayRange,
    rules: Rules,
    *,
    known_at: datetime | None = None,
    proposed: Sequence[SetValues] = (),
) -> list[EditedPoint]:
    """Points whose edits may reach into a stretch, each with all that decides them. `proposed`: as though made now."""
    far = timedelta(days=LONGEST_GAP_DAYS)
    start, end = days.bounds
    ids = points.usage_point_id
    heads: dict[int, list[EditHead]] = {}
    standing = store_edits.active(connection, ids, start - far, end + far, known_at)
    for head in [*standing, *(p.head for p in proposed)]:
        heads.setdefault(head.usage_point_id, []).append(head)
    found: list[EditedPoint] = []
    for usage_point_id, of_point in sorted(heads.items()):
        point = points[int(np.searchsorted(ids, usage_point_id))]
        wide = _whole_blocks(connection, point, of_point, days, rules, known_at)
        here = [h for h in of_point if h.to_us > wide.days.grid_us[0] and h.from_us < wide.days.grid_us[-1]]
        if here:
            values = store_edits.energies(connection, [h.edit_id for h in here])
            values |= {p.head.edit_id: p.energy_wh for p in proposed}
            found.append(
                replace(
                    wide,
                    edits=[SetValues(h, values[h.edit_id]) for h in here],
                    outages=load_outages(connection, wide.readings),
                )
            )
    return found


def _whole_blocks(  # noqa: PLR0917 those of load_edited
    connection: Connection,
    point: Point,
    heads: Sequence[EditHead],
    days: DayRange,
    rules: Rules,
    known_at: datetime | None,
) -> EditedPoint:
    """The stretch, made longer until no block reaches out of it: neither a gap nor an edit lies over its two ends."""
    load, margin = partial(intervals.readings, connection), timedelta(microseconds=rules.grid.on_grid_us)
    while True:
        start, end = days.bounds
        point = widened(connection, point, start, end)
        meters = sorted({i.meter_id for i in point.installations})
        spans = store_edits.set_aside(connection, meters, known_at)
        readings, _ = believed(load, meters, start - margin, end + margin, spans)
        first, last = _reach(point, readings, heads, days, rules)
        if (first, last) == (days.first, days.last):
            return EditedPoint(point, readings, days, ())
        days = DayRange(days.calendar, first, last)


def _reach(
    point: Point, readings: Mapping[int, MeterReadings], heads: Sequence[EditHead], days: DayRange, rules: Rules
) -> tuple[date, date]:
    """The days in which what lies over the two ends of a stretch begins and ends."""
    ends = days.grid_us[[0, -1]]
    series = build_series([point], readings, rules.plausible)
    cleaned = clean(series.offsets, series.ts_us, series.value_wh, series.meta, series.coarser_wh)
    registers = registers_at(cleaned, series.meta, ends, rules.grid)
    estimated = estimated_at(series, registers, ends)
    begins, finishes = [int(ends[0])], [int(ends[1])]
    for s in range(series.point.size):
        for k, found in ((0, begins), (1, finishes)):
            if estimated[s, k]:
                index = (registers.before if k == 0 else registers.after)[s, k]
                found.append(int(cleaned.ts_us[index]))
    for head in heads:
        begins += [head.from_us] if head.from_us < ends[0] < head.to_us else []
        finishes += [head.to_us] if head.from_us < ends[1] < head.to_us else []
    return days.calendar.day_of(from_us(min(begins))), days.calendar.day_of(from_us(max(finishes) - 1))


def estimated_at(series: Series, registers: GridRegisters, grid_us: Ints) -> Bools:
    """(S, K) whether a series has an estimate for its register at an instant at which it serves."""
    there = (grid_us >= series.meta.from_us[:, None]) & (grid_us <= series.meta.to_us[:, None])
    return np.asarray(there & (registers.quality == IntervalQuality.ESTIMATED), dtype=np.bool_)
