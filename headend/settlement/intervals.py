"""Metering points' interval energy over a stretch of days, from topology and raw readings: no database here, arrays
in and out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt

from headend.settlement.draft import Draft
from headend.settlement.edges import day_edges, day_resolution, unread_s
from headend.settlement.edits import Unedited, apply_edits, flag_set_aside, without_refused
from headend.settlement.grid import DayRange
from headend.settlement.inputs import Inputs
from headend.settlement.outages import dark_marks, gaps_in_the_dark, zero_by_event
from headend.settlement.presence import Presence
from headend.settlement.references import Past, spread_long_gaps
from headend.settlement.rules import Rules
from headend.settlement.series import Series, build_series
from headend.settlement.shaped import gap_days
from headend.settlement.topology import Point, Points
from headend.settlement.validate import flag_readings, mean_voltages, validate
from reconciliation.cleaning import Cleaned, SeriesMeta, clean
from reconciliation.estimation import BY_METHOD
from reconciliation.outages import darken_lines
from reconciliation.registers import NO_VALUE, GridRegisters, IntervalQuality, interval_energy, long_gaps, registers_at
from reconciliation.validation import Flag

Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int8]
Flags = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]

LARGEST_WH: Final = 2**31 - 1
"""More than that in one interval [Wh] no low-voltage network carries: no number, and flagged. So 32 bits hold any."""


@dataclass(frozen=True, slots=True, eq=False)
class PointIntervals:
    """P metering points over T intervals of D days."""

    points: Points
    presence: Presence
    """Of these points in these days."""
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
    unread_s: Floats
    """(P, D + 1) how far from each midnight its register was read [s], see `edges.unread_s`; 0: at midnight."""
    gap_days: Ints
    """(P, D) ordinal of the day on which the earliest long gap of each day begins, see `shaped.gap_days`; 0: none."""


def point_intervals(inputs: Inputs, days: DayRange, rules: Rules, past: Past) -> PointIntervals:
    """Settle metering points over a stretch. `past` gives settled days before it, for the shape of long gaps."""
    points, readings, past = Points.of(inputs.points), inputs.readings, without_refused(past)
    presence = Presence(points, days)
    plain = unedited(inputs, days, rules, past, here=presence.on_area)
    series, cleaned, registers, draft = plain.series, plain.cleaned, plain.registers, plain.draft
    ties = apply_edits(
        draft, inputs.edited, points, days,
        lambda one: unedited(
            Inputs([one.point], one.readings, outages=one.outages), one.days, rules, past, touched=one.touched
        ),
    )  # fmt: skip
    flag_readings(draft.flags, series, cleaned, days)
    flag_set_aside(draft.flags, points, inputs.set_aside, days)
    voltage = mean_voltages(points, readings, days, rules)
    validate(inputs, draft, voltage, presence, rules=rules, past=past)
    starts, ends, marks, *outward = day_edges(points, series, cleaned, registers, days)
    marks = marks ^ dark_marks(plain.dark, series, cleaned, len(points), days)
    steps = day_resolution(presence, readings)
    return PointIntervals(
        points, presence, draft.import_wh, draft.export_wh, draft.quality, draft.flags, draft.served, voltage,
        starts, ends, steps, *ties.bind(marks, *outward),
        unread_s=unread_s(len(points), series, cleaned, registers, days),
        gap_days=gap_days(len(points), series, cleaned, plain.long, days),
    )  # fmt: skip


def unedited(
    inputs: Inputs,
    days: DayRange,
    rules: Rules,
    past: Past,
    *,
    touched: Bools | None = None,
    here: Bools | None = None,
) -> Unedited:
    """Energy as registers and estimates make it. `touched` (P, T): intervals that an edit covers, no references; `here`
    (P, D): days that are settled with the stretch, see `spread_long_gaps`.
    """
    points, readings = inputs.points, inputs.readings
    series = build_series(points, readings, rules.plausible)
    cleaned = clean(series.offsets, series.ts_us, series.value_wh, series.meta, series.coarser_wh)
    registers = registers_at(cleaned, series.meta, days.grid_us, rules.grid)
    dark = gaps_in_the_dark(inputs.outages, readings, series, cleaned)
    darken_lines(registers, cleaned, series.meta.multiplier_e4, dark, rules.grid)
    forgiven = _forgiven(series, cleaned, registers)
    draft = _combine(points, series, registers, days, forgiven)
    zero_by_event(draft, series, registers, dark)
    seen = draft
    if touched is not None:
        seen = replace(draft, quality=np.where(touched, np.int8(IntervalQuality.EDITED), draft.quality))
    gaps = long_gaps(registers, cleaned, rules.grid)
    if gaps:
        spread_long_gaps(
            gaps, points, series, cleaned, registers, draft=seen, days=days, rules=rules, past=past, here=here,
            dark=dark,
        )  # fmt: skip
        draft = _combine(points, series, registers, days, forgiven)
        zero_by_event(draft, series, registers, dark)
    return Unedited(series, cleaned, registers, dark, gaps, draft)


def _forgiven(series: Series, cleaned: Cleaned, registers: GridRegisters) -> Ints | None:
    """(S, K) fall at each grid instant that the coarse step of the readings around it explains [Wh, primary side]."""
    if not series.coarser_wh.any():
        return None
    coarser = np.append(series.coarser_wh[cleaned.source], 0)  # the last: where there is no reading
    around = np.maximum(coarser[registers.before], coarser[registers.after])
    return np.asarray(-(-around * series.meta.multiplier_e4[:, None] // 10_000), dtype=np.int64)


def _served_us(meta: SeriesMeta, own: Ints, grid: Ints) -> Ints:
    """How long each of some series served in each interval [µs]: (n, T), or (T,) where all did throughout."""
    since, until = meta.from_us[own, None], meta.to_us[own, None]
    if bool((since <= grid[0]).all() and (until >= grid[-1]).all()):
        return np.diff(grid)
    return np.asarray(np.maximum(np.minimum(grid[1:], until) - np.maximum(grid[:-1], since), 0), dtype=np.int64)


def _combine(
    points: Sequence[Point], series: Series, registers: GridRegisters, days: DayRange, forgiven_wh: Ints | None
) -> Draft:
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
    for own in series.rounds():
        p, into = series.of_round(own), "import" if series.into_import[own[0]] else "export"
        there = energy[own] != NO_VALUE
        total[into][p] += np.where(there, energy[own], 0)
        known[into][p] |= there
        lacking[into][p] |= serving[own] & ~there
        worst[into][p] = np.maximum(worst[into][p], quality[own])
        # how what was fed in was estimated matters, as its quality does, only where any was
        told = flags[own]
        if into == "export":
            told = np.where(energy[own] != 0, told, told & ~int(BY_METHOD))
        marked[p] |= told
        if into == "import":
            meters[p] += serving[own]
            covered[p] += _served_us(series.meta, own, grid)
    import_wh, export_wh = (
        np.where(known[into] & ~lacking[into], total[into], NO_VALUE) for into in ("import", "export")
    )
    beyond = np.zeros(shape, dtype=np.bool_)
    for energy_wh in (import_wh, export_wh):
        wide = (np.abs(energy_wh) > LARGEST_WH) & (energy_wh != NO_VALUE)
        if wide.any():
            energy_wh[wide] = NO_VALUE
            beyond |= wide
    joint = worst["import"]
    moved = (export_wh != NO_VALUE) & (export_wh != 0)
    if moved.any():
        joint[moved] = np.maximum(joint, worst["export"])[moved]
    partial, swapped = covered < np.diff(grid)[None, :], meters > 1
    if partial.any():
        joint = np.where(partial & (meters == 1), np.maximum(joint, IntervalQuality.INTERPOLATED), joint)
        joint = np.where(partial & swapped, np.maximum(joint, IntervalQuality.ESTIMATED), joint)
    joint = np.where(import_wh == NO_VALUE, IntervalQuality.ABSENT, joint).astype(np.int8)
    marked[swapped] |= Flag.METER_SWAP
    marked[beyond] |= Flag.ABOVE_CAPACITY
    marked[joint != IntervalQuality.ESTIMATED] &= ~int(BY_METHOD)
    return Draft(import_wh, export_wh, joint, marked, meters > 0)
