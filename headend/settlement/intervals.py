"""Metering points' interval energy over a stretch of days, from topology and raw readings: no database here, arrays
in and out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from headend.settlement.grid import DayRange
from headend.settlement.references import Past, spread_long_gaps
from headend.settlement.rules import Rules
from headend.settlement.series import Series, build_series
from headend.settlement.topology import Point
from headend.store.intervals import MeterReadings
from headend.store.vectors import ABSENT
from reconciliation import validation
from reconciliation.cleaning import Cleaned, clean
from reconciliation.registers import NO_VALUE, GridRegisters, IntervalQuality, interval_energy, registers_at
from reconciliation.validation import Flag

Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int8]
Flags = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

_CLOCK_SUSPECT = 1
"""Bit of a raw reading's flags (drivers' ReadingFlag): its device's clock is off."""


@dataclass(frozen=True, slots=True, eq=False)
class PointIntervals:
    """P metering points over T intervals of D days."""

    points: Sequence[Point]
    import_wh: Ints
    """(P, T) int64 [Wh], primary side; NO_VALUE: absent."""
    export_wh: Ints
    quality: Small
    flags: Flags
    served: Bools
    """(P, T) whether a meter was installed at any time of the interval."""
    voltage_dv: Ints
    """(P, T) mean of the readings that end in the interval [0.1 V]; NO_VALUE: none."""
    start_registers: tuple[Ints, Ints]
    """(P, D) raw import and export registers at each day's first instant, as the meter shows them; NO_VALUE: not read
    there.
    """
    end_registers: tuple[Ints, Ints]
    resolution_wh: Floats
    """(P, D) coarsest step of the day's registers, primary side [Wh]: the meter's own, or what a reading states."""
    marks: Ints
    """(P, D + 1) digest of the readings that decide the register at each midnight."""
    gap_from_us: Ints
    """(P,) last reading before the first midnight, FAR when there is none."""
    gap_to_us: Ints
    """(P,) first reading after the last midnight, FAR when there is none."""


FAR = np.iinfo(np.int64).max


def point_intervals(
    points: Sequence[Point], readings: Mapping[int, MeterReadings], days: DayRange, rules: Rules, past: Past
) -> PointIntervals:
    """Settle metering points over a stretch. `past` gives settled days before it, for the shape of long gaps."""
    series = build_series(points, readings)
    grid = days.grid_us
    cleaned = clean(series.offsets, series.ts_us, series.value_wh, series.meta, series.coarser_wh)
    registers = registers_at(cleaned, series.meta, grid, rules.grid)
    forgiven = _forgiven(series, cleaned, registers)
    settled = _combine(points, series, registers, days, forgiven)
    if spread_long_gaps(points, series, cleaned, registers, settled=settled, days=days, rules=rules, past=past):
        settled = _combine(points, series, registers, days, forgiven)
    import_wh, export_wh, quality, flags, served = settled
    _flag_readings(flags, series, cleaned, readings, days)
    voltage = _voltages(points, readings, days, rules)
    _validate(
        points,
        import_wh=import_wh,
        quality=quality,
        flags=flags,
        served=served,
        voltage_dv=voltage,
        days=days,
        rules=rules,
    )
    starts, ends, *edges = _edges(points, series, cleaned, registers, days)
    steps = _resolution(points, readings, days)
    return PointIntervals(points, import_wh, export_wh, quality, flags, served, voltage, starts, ends, steps, *edges)


Settled = tuple[Ints, Ints, Small, Flags, Bools]


def _forgiven(series: Series, cleaned: Cleaned, registers: GridRegisters) -> Ints | None:
    """(S, K) fall at each grid instant that the coarse step of the readings around it explains [Wh, primary side]."""
    if not series.coarser_wh.any():
        return None
    coarser = np.append(series.coarser_wh[cleaned.source], 0)  # the last: where there is no reading
    around = np.maximum(coarser[registers.before], coarser[registers.after])
    return np.asarray(-(-around * series.meta.multiplier_e4[:, None] // 10_000), dtype=np.int64)


def _combine(
    points: Sequence[Point], series: Series, registers: GridRegisters, days: DayRange, forgiven_wh: Ints | None
) -> Settled:
    """Sum each point's series: a swap in the middle of an interval still makes one number."""
    grid, shape = days.grid_us, (len(points), days.intervals)
    energy, quality, flags, serving = interval_energy(
        registers, series.meta, grid, days.midnights[:-1], forgiven_wh=forgiven_wh
    )
    total = {into: np.zeros(shape, dtype=np.int64) for into in ("import", "export")}
    known = {into: np.zeros(shape, dtype=np.bool_) for into in total}
    lacking = {into: np.zeros(shape, dtype=np.bool_) for into in total}
    worst = {into: np.zeros(shape, dtype=np.int8) for into in total}
    marked = np.zeros(shape, dtype=np.int32)
    meters = np.zeros(shape, dtype=np.int16)
    covered = np.zeros(shape, dtype=np.int64)
    for s, owner in enumerate(series.owners):
        p, into = owner.point, owner.into
        there = energy[s] != NO_VALUE
        total[into][p] += np.where(there, energy[s], 0)
        known[into][p] |= there
        lacking[into][p] |= serving[s] & ~there
        np.maximum(worst[into][p], quality[s], out=worst[into][p])
        marked[p] |= flags[s]
        if into == "import":
            meters[p] += serving[s]
            low = np.maximum(grid[:-1], owner.installed.from_us)
            covered[p] += np.maximum(np.minimum(grid[1:], owner.installed.to_us) - low, 0)
    import_wh, export_wh = (
        np.where(known[into] & ~lacking[into], total[into], NO_VALUE) for into in ("import", "export")
    )
    joint = worst["import"].copy()
    moved = (export_wh != NO_VALUE) & (export_wh != 0)
    joint[moved] = np.maximum(joint, worst["export"])[moved]
    partial = covered < np.diff(grid)[None, :]
    joint = np.where(partial & (meters == 1), np.maximum(joint, IntervalQuality.INTERPOLATED), joint)
    joint = np.where(partial & (meters > 1), np.maximum(joint, IntervalQuality.ESTIMATED), joint)
    joint = np.where(import_wh == NO_VALUE, IntervalQuality.ABSENT, joint).astype(np.int8)
    marked[meters > 1] |= Flag.METER_SWAP
    return import_wh, export_wh, joint, marked, meters > 0


def _cells(ts_us: Ints, grid_us: Ints) -> tuple[Ints, Bools]:
    """The interval that ends at or after each instant, and which instants lie on the grid at all."""
    cell = np.searchsorted(grid_us, ts_us, side="left") - 1
    return cell, (cell >= 0) & (cell < len(grid_us) - 1)


def _flag_readings(
    flags: Flags, series: Series, cleaned: Cleaned, readings: Mapping[int, MeterReadings], days: DayRange
) -> None:
    """Carry what was said of single readings to the intervals that they end in, in place."""
    owner = np.repeat(np.array([o.point for o in series.owners], dtype=np.int64), np.diff(series.offsets))
    refused = np.zeros(cleaned.refused.size, dtype=np.int32) + int(Flag.REGISTER_DECREASED)
    stepped = np.flatnonzero(cleaned.flag)
    for rows, said in ((cleaned.refused, refused), (cleaned.source[stepped], cleaned.flag[stepped])):
        cell, inside = _cells(series.ts_us[rows], days.grid_us)
        np.bitwise_or.at(flags, (owner[rows][inside], cell[inside]), said[inside])
    for o in series.owners[::2]:
        own = readings.get(o.installed.meter_id)
        if own is None:
            continue
        suspect = own.ts_us[(own.flags & _CLOCK_SUSPECT) != 0]
        cell, inside = _cells(suspect, days.grid_us)
        flags[o.point, cell[inside & (suspect >= o.installed.from_us) & (suspect <= o.installed.to_us)]] |= (
            Flag.CLOCK_DRIFT
        )


def _voltages(points: Sequence[Point], readings: Mapping[int, MeterReadings], days: DayRange, rules: Rules) -> Ints:
    """(P, T) mean voltage of the readings that end in each interval [0.1 V]."""
    total = np.zeros((len(points), days.intervals))
    count = np.zeros((len(points), days.intervals), dtype=np.int64)
    for p, point in enumerate(points):
        for installed in point.installations:
            own = readings.get(installed.meter_id)
            if own is None:
                continue
            cell, inside = _cells(own.ts_us - rules.grid.on_grid_us, days.grid_us)
            used = (
                inside & (own.voltage_dv != ABSENT) & (own.ts_us >= installed.from_us) & (own.ts_us <= installed.to_us)
            )
            total[p] += np.bincount(cell[used], weights=own.voltage_dv[used], minlength=days.intervals)
            count[p] += np.bincount(cell[used], minlength=days.intervals)
    mean = np.rint(total / np.maximum(count, 1)).astype(np.int64)
    return np.where(count > 0, mean, NO_VALUE)


def own_step_wh(point: Point) -> float:
    """The coarsest step of the registers of a point's meters, primary side [Wh]; 0 without one."""
    return max((i.resolution_wh * i.multiplier_e4 / 1e4 for i in point.installations), default=0.0)


def _resolution(points: Sequence[Point], readings: Mapping[int, MeterReadings], days: DayRange) -> Floats:
    """(P, D) coarsest step of each day's registers, primary side [Wh]; a midnight's register belongs to both days."""
    midnights = days.grid_us[days.midnights]
    found = np.repeat([[own_step_wh(point)] for point in points], len(days.days), axis=1).reshape(len(points), -1)
    for p, point in enumerate(points):
        for installed in point.installations:
            scale = installed.multiplier_e4 / 1e4
            own = readings.get(installed.meter_id)
            if own is None or not own.resolution_wh.any():
                continue
            used = (own.ts_us >= installed.from_us) & (own.ts_us <= installed.to_us)
            for side in ("left", "right"):
                day = np.searchsorted(midnights, own.ts_us, side=side) - 1
                here = used & (day >= 0) & (day < len(days.days))
                np.maximum.at(found[p], day[here], own.resolution_wh[here] * scale)
    return found


def _validate(
    points: Sequence[Point],
    *,
    import_wh: Ints,
    quality: Small,
    flags: Flags,
    served: Bools,
    voltage_dv: Ints,
    days: DayRange,
    rules: Rules,
) -> None:
    """Run the rules and set their flags, in place."""
    present = quality != IntervalQuality.ABSENT
    limits, hours = rules.thresholds, rules.calendar.interval_s / 3600
    phases = np.array([max((i.phases for i in p.installations), default=1) for p in points], dtype=np.int64)
    current = np.array([np.nan if p.rated_current_a is None else p.rated_current_a for p in points], dtype=np.float64)
    capacity = validation.capacity_w(current, phases)
    flags[validation.above_capacity(import_wh, present, capacity, hours, limits)] |= Flag.ABOVE_CAPACITY
    flags[validation.missing(present & (quality != IntervalQuality.ESTIMATED), served)] |= Flag.MISSING
    volts = np.where(voltage_dv == NO_VALUE, np.nan, voltage_dv / 10)
    flags[validation.voltage_band(volts, limits)] |= Flag.VOLTAGE_BAND
    for d in range(len(days.days)):
        here = days.day_slice(d)
        flags[:, here][validation.spike(import_wh[:, here], present[:, here], limits)] |= Flag.SPIKE
        flags[:, here][validation.constant(import_wh[:, here], present[:, here], limits)] |= Flag.CONSTANT


def _edges(
    points: Sequence[Point], series: Series, cleaned: Cleaned, registers: GridRegisters, days: DayRange
) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints], Ints, Ints, Ints]:
    """Raw registers at midnights, digests of what decides them, and where gaps across the stretch's ends begin and
    end.
    """
    count, n_days = len(points), len(days.days)
    starts = {into: np.full((count, n_days), NO_VALUE, dtype=np.int64) for into in ("import", "export")}
    ends = {into: np.full((count, n_days), NO_VALUE, dtype=np.int64) for into in starts}
    marks = np.zeros((count, n_days + 1), dtype=np.uint64)
    gap_from, gap_to = np.full(count, FAR), np.full(count, FAR)
    columns = days.midnights
    at = days.grid_us[columns]
    raw_wh = np.append(series.value_wh[cleaned.source], -1)
    stamp_us, run = np.append(cleaned.ts_us, -1), np.append(cleaned.run, -1)
    for s, o in enumerate(series.owners):
        begin, finish = o.installed.from_us, o.installed.to_us
        anchor = registers.anchor[s, columns]
        read = anchor >= 0
        raw = np.where(read, raw_wh[anchor], NO_VALUE)
        opens = read & (at >= begin) & (at < finish)
        closes = read & (at > begin) & (at <= finish)
        starts[o.into][o.point] = np.where(opens[:-1], raw[:-1], starts[o.into][o.point])
        ends[o.into][o.point] = np.where(closes[1:], raw[1:], ends[o.into][o.point])
        within = (at > begin) & (at < finish)
        low, high = registers.before[s, columns], registers.after[s, columns]
        parts = (
            stamp_us[low], raw_wh[low], stamp_us[high], raw_wh[high],
            ((low >= 0) & (high >= 0) & (run[low] == run[high])).astype(np.int64),
        )  # fmt: skip
        marks[o.point] += np.where(within, _mixed(parts, s % 2), np.uint64(0))
        if within[0] and low[0] >= 0:
            gap_from[o.point] = min(gap_from[o.point], cleaned.ts_us[low[0]])
        if within[-1] and high[-1] >= 0:
            latest = gap_to[o.point] if gap_to[o.point] != FAR else -1
            gap_to[o.point] = max(latest, cleaned.ts_us[high[-1]])
    pairs = ((starts["import"], starts["export"]), (ends["import"], ends["export"]))
    return *pairs, marks.view(np.int64), gap_from, gap_to


def _mixed(parts: Sequence[Ints], salt: int) -> npt.NDArray[np.uint64]:
    """One 64-bit digest of a few columns (a multiply-xorshift mixer after each)."""
    digest = np.full(parts[0].shape, salt + 1, dtype=np.uint64)
    for part in parts:
        digest = (digest ^ part.astype(np.int64).view(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        digest ^= digest >> np.uint64(29)
    return digest
