"""Rules run over settled energy, and what was said of single readings carried over to intervals.

No value changes here: flags are set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from headend.settlement.draft import Draft
from headend.settlement.grid import DayRange
from headend.settlement.inputs import Inputs
from headend.settlement.rules import Rules
from headend.settlement.series import Series
from headend.settlement.topology import Point
from headend.store.intervals import MeterReadings
from headend.store.vectors import ABSENT
from reconciliation import validation
from reconciliation.cleaning import Cleaned
from reconciliation.registers import NO_VALUE, IntervalQuality
from reconciliation.validation import Flag

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

_CLOCK_SUSPECT: Final = 1
"""Bit of a raw reading's flags (drivers' ReadingFlag): its device's clock is off."""


def cells_of(ts_us: Ints, grid_us: Ints) -> tuple[Ints, Bools]:
    """The interval that ends at or after each instant, and which instants lie on the grid at all."""
    cell = np.searchsorted(grid_us, ts_us, side="left") - 1
    return cell, (cell >= 0) & (cell < len(grid_us) - 1)


def flag_readings(
    flags: Flags, series: Series, cleaned: Cleaned, readings: Mapping[int, MeterReadings], days: DayRange
) -> None:
    """Carry what was said of single readings to the intervals that they end in, in place."""
    owner = np.repeat(np.array([o.point for o in series.owners], dtype=np.int64), np.diff(series.offsets))
    refused = np.zeros(cleaned.refused.size, dtype=np.int32) + int(Flag.REGISTER_DECREASED)
    stepped = np.flatnonzero(cleaned.flag)
    for rows, said in ((cleaned.refused, refused), (cleaned.source[stepped], cleaned.flag[stepped])):
        cell, inside = cells_of(series.ts_us[rows], days.grid_us)
        np.bitwise_or.at(flags, (owner[rows][inside], cell[inside]), said[inside])
    for o in series.owners[::2]:
        own = readings.get(o.installed.meter_id)
        if own is None:
            continue
        suspect = own.ts_us[(own.flags & _CLOCK_SUSPECT) != 0]
        cell, inside = cells_of(suspect, days.grid_us)
        flags[o.point, cell[inside & (suspect >= o.installed.from_us) & (suspect <= o.installed.to_us)]] |= (
            Flag.CLOCK_DRIFT
        )


def mean_voltages(points: Sequence[Point], readings: Mapping[int, MeterReadings], days: DayRange, rules: Rules) -> Ints:
    """(P, T) mean voltage of the readings that end in each interval [0.1 V]."""
    total = np.zeros((len(points), days.intervals))
    count = np.zeros((len(points), days.intervals), dtype=np.int64)
    for p, point in enumerate(points):
        for installed in point.installations:
            own = readings.get(installed.meter_id)
            if own is None:
                continue
            cell, inside = cells_of(own.ts_us - rules.grid.on_grid_us, days.grid_us)
            used = (
                inside & (own.voltage_dv != ABSENT) & (own.ts_us >= installed.from_us) & (own.ts_us <= installed.to_us)
            )
            total[p] += np.bincount(cell[used], weights=own.voltage_dv[used], minlength=days.intervals)
            count[p] += np.bincount(cell[used], minlength=days.intervals)
    mean = np.rint(total / np.maximum(count, 1)).astype(np.int64)
    return np.where(count > 0, mean, NO_VALUE)


def validate(inputs: Inputs, draft: Draft, voltage_dv: Ints, days: DayRange, rules: Rules) -> None:
    """Run the rules and set their flags, in place."""
    points, flags, import_wh = inputs.points, draft.flags, draft.import_wh
    present = draft.quality != IntervalQuality.ABSENT
    limits, hours = rules.thresholds, rules.calendar.interval_s / 3600
    phases = np.array([max((i.phases for i in p.installations), default=1) for p in points], dtype=np.int64)
    current = np.array([np.nan if p.rated_current_a is None else p.rated_current_a for p in points], dtype=np.float64)
    capacity = validation.capacity_w(current, phases)
    flags[validation.above_capacity(import_wh, present, capacity, hours, limits)] |= Flag.ABOVE_CAPACITY
    flags[validation.missing(present & (draft.quality != IntervalQuality.ESTIMATED), draft.served)] |= Flag.MISSING
    volts = np.where(voltage_dv == NO_VALUE, np.nan, voltage_dv / 10)
    flags[validation.voltage_band(volts, limits)] |= Flag.VOLTAGE_BAND
    for d in range(len(days.days)):
        here = days.day_slice(d)
        flags[:, here][validation.spike(import_wh[:, here], present[:, here], limits)] |= Flag.SPIKE
        flags[:, here][validation.constant(import_wh[:, here], present[:, here], limits)] |= Flag.CONSTANT
