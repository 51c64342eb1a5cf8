"""Rules run over settled energy, and what was said of single readings carried over to intervals.

No value changes here: flags are set. Rules run over all points and days at once; only what is out of the ordinary is
looked at one by one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from headend.settlement import validate_meters
from headend.settlement.draft import Draft
from headend.settlement.grid import DayRange, cells_of
from headend.settlement.inputs import Inputs
from headend.settlement.meter_days import MeterDays, blocks
from headend.settlement.presence import Presence
from headend.settlement.references import Past
from headend.settlement.rulebook import NO_CATEGORY
from headend.settlement.rules import Rules
from headend.settlement.series import Series, while_served
from headend.settlement.topology import Point
from headend.settlement.zero_days import flag_zero_days
from headend.store.intervals import MeterReadings, ReadingTable
from headend.store.vectors import ABSENT
from reconciliation import validation
from reconciliation.cleaning import Cleaned
from reconciliation.registers import NO_VALUE, IntervalQuality, is_measured
from reconciliation.validation import Flag

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def flag_readings(flags: Flags, series: Series, cleaned: Cleaned, days: DayRange) -> None:
    """Carry what was said of single registers to the intervals that they end in, in place. A meter that goes on under
    another installation is a series of each: what one says of registers while the other serves is not asked.
    """
    of_series = np.repeat(np.arange(series.point.size), np.diff(series.offsets))
    refused = np.zeros(cleaned.refused.size, dtype=np.int32) + int(Flag.REGISTER_DECREASED)
    stepped = np.flatnonzero(cleaned.flag)
    for rows, said in ((cleaned.refused, refused), (cleaned.source[stepped], cleaned.flag[stepped])):
        own, ts = of_series[rows], series.ts_us[rows]
        cell, inside = cells_of(ts, days.grid_us)
        inside &= (ts >= series.meta.from_us[own]) & (ts <= series.meta.to_us[own])
        np.bitwise_or.at(flags, (series.point[own[inside]], cell[inside]), said[inside])


def mean_voltages(points: Sequence[Point], readings: Mapping[int, MeterReadings], days: DayRange, rules: Rules) -> Ints:
    """(P, T) mean voltage of the readings that end in each interval [0.1 V]."""
    table, size = ReadingTable.of(readings), len(points) * days.intervals
    means = np.full(size + 1, NO_VALUE, dtype=np.int64)  # the last: readings that count nowhere
    if (table.rows.voltage_dv != ABSENT).any():
        point, rows, _ = while_served(points, table)
        dv = table.rows.voltage_dv[rows]
        cell, inside = cells_of(table.rows.ts_us[rows] - rules.grid.on_grid_us, days.grid_us)
        at = np.where(inside & (dv != ABSENT), point * days.intervals + cell, size)
        count = np.bincount(at, minlength=size + 1)
        if count[:-1].max(initial=0) == 1:
            means[at] = dv
        else:
            mean = np.rint(np.bincount(at, weights=dv, minlength=size + 1) / np.maximum(count, 1))
            means = np.where(count > 0, mean.astype(np.int64), NO_VALUE)
    return means[:-1].reshape(len(points), days.intervals)


def validate(inputs: Inputs, draft: Draft, voltage_dv: Ints, presence: Presence, *, rules: Rules, past: Past) -> None:
    """Run the rules and set their flags, in place. `past` gives settled days before the stretch."""
    points, days = inputs.points, presence.days
    category = inputs.observed.category
    if category is None:
        category = np.full((len(points), len(days.days)), NO_CATEGORY, dtype=np.int64)
    present = draft.quality != IntervalQuality.ABSENT
    unread = validation.missing(present & (draft.quality != IntervalQuality.ESTIMATED), draft.served)
    draft.flags[unread] |= Flag.MISSING
    capacity = _capacity_w(presence)
    for block in blocks(days):
        _judge_days(block, draft, present, voltage_dv, category=category, capacity=capacity, rules=rules)
    flag_zero_days(draft, presence, category, rules=rules, past=past)
    validate_meters.flag_meters(inputs, draft, category, days, rules)


def _judge_days(
    block: MeterDays, draft: Draft, present: Bools, voltage_dv: Ints, *, category: Ints, capacity: Floats, rules: Rules
) -> None:
    """The rules that need nothing but a day's intervals."""
    book, hours = rules.book, rules.calendar.interval_s / 3600
    import_wh, there, of_row = block.of(draft.import_wh), block.of(present), block.of_days(category)

    def mark(rule: str, failed: Bools) -> None:
        runs = book.runs(rule, of_row)
        block.mark(draft.flags, failed if runs.all() else failed & runs[:, None], validation.RULES[rule].flag)

    if book.in_use("above_capacity"):
        limits = book.limits("above_capacity", of_row)
        mark(
            "above_capacity",
            validation.above_capacity(import_wh, there, block.of_days(capacity), hours, **limits),
        )
    if book.in_use("spike"):
        mark("spike", validation.spike(import_wh, there, **book.limits("spike", of_row)))
    if book.in_use("constant"):
        read = is_measured(block.of(draft.quality))
        intervals = np.asarray(book.limit("constant", "hours", of_row)) / hours
        mark("constant", validation.constant(import_wh, read, intervals=intervals))
    if book.in_use("voltage_band"):
        mark("voltage_band", _voltage_band(block.of(voltage_dv), of_row, rules))


def _voltage_band(dv: Ints, category: Ints, rules: Rules) -> Bools:
    """(n, k) outside the band; only rows that may be are made volts."""
    book = rules.book
    low = 10 * book.extreme("voltage_band", "low_v", highest=True)
    high = 10 * book.extreme("voltage_band", "high_v", highest=False)
    found = np.zeros(dv.shape, dtype=np.bool_)
    rows = np.flatnonzero((((dv < low) & (dv != NO_VALUE)) | (dv > high)).any(axis=1))
    if rows.size:
        volts = np.where(dv[rows] == NO_VALUE, np.nan, dv[rows] / 10)
        found[rows] = validation.voltage_band(volts, **book.limits("voltage_band", category[rows]))
    return found


def _capacity_w(presence: Presence) -> Floats:
    """(P, D) what each connection carries; by the meters that served on the day. NaN: not known."""
    phases = np.maximum(presence.highest(presence.installed.phases), 1)
    return validation.capacity_w(presence.columns.rated_current_a[:, None], phases)
