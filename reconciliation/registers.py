"""Cumulative register readings → registers at the instants of a grid → interval energy that conserves every Wh.

The rule it keeps: the intervals between two registers that were read sum to the difference of those registers ×
multiplier exactly, in integer Wh, whatever lies between. It is kept by rounding registers, never intervals: an interval
is the difference of two rounded cumulative values.

Against the largest remainder, which hands the Wh that are lost in rounding a gap down to its intervals with the largest
fractions: both sum to the register difference exactly, and both leave each interval less than 1 Wh off. Rounded
registers leave *every* sum of neighbouring intervals less than 1 Wh off too (each end by half a Wh at the most), so
hours, days and billing periods cut out of a gap are right. Of the largest remainder that is not so (n equal fractions
of 0.5: the first n / 2 intervals all go up, n / 4 Wh too much by then), and its intervals depend on the whole gap,
while a rounded register depends on its own instant only.

A *series* is one direction (import or export) of one installation: its readings in order of time, and what holds for
it (`SeriesMeta`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt

from reconciliation.cleaning import LARGEST_TICKS, Cleaned, SeriesMeta
from reconciliation.validation import Flag

Ints: TypeAlias = npt.NDArray[np.int64]
Small: TypeAlias = npt.NDArray[np.int8]
Flags: TypeAlias = npt.NDArray[np.int32]
Bools: TypeAlias = npt.NDArray[np.bool_]

TICKS_PER_WH: Final = 10_000
"""Primary energy is counted in 1e-4 Wh, because a multiplier has four decimals."""
NO_VALUE: Final = np.iinfo(np.int64).min
"""A register that is not known; never a zero."""


class IntervalQuality(IntEnum):
    """How a register or an interval came to be; ordered: the larger, the less it rests on the meter (0: not at all)."""

    ABSENT = 0
    MEASURED = 1
    INTERPOLATED = 2
    ESTIMATED = 3
    EDITED = 4
    ZERO_BY_EVENT = 5


def is_measured(quality: npt.NDArray[Any]) -> Bools:
    """Which of some qualities say that a value rests on registers read around its own interval."""
    found: Bools = np.equal(quality, IntervalQuality.MEASURED)
    found |= np.equal(quality, IntervalQuality.INTERPOLATED)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class GridRules:
    """How close readings must lie for a grid instant to be measured, interpolated or estimated."""

    on_grid_us: int = 5_000_000
    """A reading this close to a grid instant is the register there [µs]."""
    tolerance_us: int = 900_000_000
    """Readings this close on both sides: interpolated [µs]."""
    line_gap_us: int = 7_200_000_000
    """Gaps up to this, included, are a straight line; longer ones are spread by shape [µs]."""
    longest_gap_us: int = 400 * 86_400_000_000
    """Still longer ones are not spread at all: absent [µs]."""

    @property
    def longest_line_us(self) -> int:
        """Between readings, which may stand `on_grid_us` outside the grid instants that the gap is counted by [µs]."""
        return self.line_gap_us + 2 * self.on_grid_us


@dataclass(frozen=True, slots=True, eq=False)
class GridRegisters:
    """Registers of every series at its own grid instants (the grid clipped to the time that the series served)."""

    at_us: Ints
    """(series, instants) int64 [µs UTC]."""
    ticks: Ints
    """(series, instants) int64 [1e-4 Wh, primary side], continuous within a run; NO_VALUE: absent."""
    quality: Small
    """(series, instants) IntervalQuality of the register: ABSENT, MEASURED, INTERPOLATED or ESTIMATED."""
    run: Ints
    """(series, instants) the run that the register belongs to; runs are parted by resets."""
    before: Ints
    """(series, instants) index of the last reading at or before the instant; -1: none."""
    after: Ints
    """(series, instants) index of the first reading at or after it; -1: none."""
    anchor: Ints
    """(series, instants) index of the reading that is the register there; -1: not measured."""
    thin: Bools
    """(series, instants) interpolated between readings so far apart that one between them is missing."""
    method: Flags
    """(series, instants) how an ESTIMATED register was made, a bit of Flag (estimation.METHODS); else 0."""


@dataclass(frozen=True, slots=True)
class LongGap:
    """Two neighbouring readings too far apart for a straight line, and the grid instants between them."""

    series: int
    before: int
    after: int
    first: int
    """First grid index between the two readings."""
    last: int
    """Last grid index between them, included."""


def registers_at(readings: Cleaned, meta: SeriesMeta, grid_us: Ints, rules: GridRules) -> GridRegisters:
    """Registers of S series at K grid instants.

    `grid_us`: (K,) int64 rising [µs UTC]. For every instant: a reading within `on_grid_us` is the register (measured;
    of two the nearer one, of two as near the earlier one); between two readings of one run it lies on the straight line
    (interpolated where both lie within the tolerance and no further apart than a line may reach, else estimated);
    otherwise it is absent: before the first reading, after the last one, across a reset.
    Raises ValueError when registers × multiplier leave the range of 64 bits (`clean` lets none through).
    """
    _check_range(readings, meta)
    at = np.clip(grid_us[None, :], meta.from_us[:, None], meta.to_us[:, None])
    before, after = _bracket(readings, grid_us, at)
    _, value, run = padded = _padded(readings)
    nearest = before.copy()
    ticks = value[nearest] * meta.multiplier_e4[:, None]
    quality = np.where(nearest >= 0, IntervalQuality.MEASURED, IntervalQuality.ABSENT).astype(np.int8)
    thin = np.zeros(at.shape, dtype=np.bool_)
    apart = np.flatnonzero(before != after)
    if apart.size:  # no reading stands at the very instant
        found = _between(
            padded, at.ravel()[apart], before.ravel()[apart], after.ravel()[apart],
            multiplier_e4=meta.multiplier_e4[apart // grid_us.size],
            usual_us=int(np.diff(grid_us).min(initial=rules.longest_gap_us)), rules=rules,
        )  # fmt: skip
        nearest.flat[apart], ticks.flat[apart], quality.flat[apart], thin.flat[apart] = found
    ticks[quality == IntervalQuality.ABSENT] = NO_VALUE
    return GridRegisters(
        at,
        ticks,
        quality,
        run[nearest],
        before,
        after,
        np.where(quality == IntervalQuality.MEASURED, nearest, -1),
        thin,
        np.where(quality == IntervalQuality.ESTIMATED, Flag.BY_LINE, 0).astype(np.int32),
    )


def _between(
    padded: tuple[Ints, Ints, Ints],
    at: Ints,
    before: Ints,
    after: Ints,
    *,
    multiplier_e4: Ints,
    usual_us: int,
    rules: GridRules,
) -> tuple[Ints, Ints, Small, Bools]:
    """Registers at n instants between readings: which of these decides each, its ticks, quality, and whether a reading
    is missing there, because these are further apart than half as much again as instants are (`usual_us`).
    """
    ts, value, run = padded
    far = np.iinfo(np.int64).max
    has_b, has_a = before >= 0, after >= 0
    near_b, near_a = np.where(has_b, at - ts[before], far), np.where(has_a, ts[after] - at, far)
    snapped = np.minimum(near_b, near_a) <= rules.on_grid_us
    nearest = np.where(snapped & (near_a < near_b), after, before)
    both = has_b & has_a & (run[before] == run[after])
    gap = np.where(both, ts[after] - ts[before], 1)
    between = both & ~snapped & (gap <= rules.longest_gap_us)
    climb = np.where(between, value[after] - value[before], 0) * multiplier_e4
    share = np.where(between, near_b, 0) / np.maximum(gap, 1)
    ticks = value[nearest] * multiplier_e4 + np.rint(climb * share).astype(np.int64)
    quality = np.full(at.shape, IntervalQuality.ABSENT, dtype=np.int8)
    quality[between] = IntervalQuality.ESTIMATED
    close = (np.maximum(near_b, near_a) <= rules.tolerance_us) & (gap <= rules.longest_line_us)
    quality[between & close] = IntervalQuality.INTERPOLATED
    quality[snapped] = IntervalQuality.MEASURED
    return nearest, ticks, quality, between & (2 * gap > 3 * usual_us)


def _bracket(readings: Cleaned, grid_us: Ints, at: Ints) -> tuple[Ints, Ints]:
    """(S, K) indices of the last reading at or before and the first at or after every instant; -1: none.

    `at`: (S, K) the grid's instants (K,), clipped where a series serves only part of the time. Readings are counted
    into the grid's cells, all series at once; only clipped rows are searched one by one.
    """
    series, instants = at.shape
    sizes = np.diff(readings.offsets)
    first_at_or_after, first_after = _cells(readings.ts_us, grid_us)
    row = np.repeat(np.arange(series) * (instants + 1), sizes)
    counted = (np.bincount(row + cell, minlength=series * (instants + 1)) for cell in (first_at_or_after, first_after))
    upto, below = (np.cumsum(c.reshape(series, instants + 1)[:, :instants], axis=1) for c in counted)
    for s in np.flatnonzero((at[:, 0] != grid_us[0]) | (at[:, -1] != grid_us[-1])):
        own = readings.ts_us[readings.offsets[s] : readings.offsets[s + 1]]
        upto[s], below[s] = (np.searchsorted(own, at[s], side=side) for side in ("right", "left"))
    first = readings.offsets[:-1, None]
    return np.where(upto > 0, first + upto - 1, -1), np.where(below < sizes[:, None], first + below, -1)


def _cells(ts_us: Ints, grid_us: Ints) -> tuple[Ints, Ints]:
    """(n,) index of the first grid instant at or after each instant, and of the first one after it; K: none."""
    steps = np.diff(grid_us)
    if steps.size == 0 or (steps != steps[0]).any():
        return np.searchsorted(grid_us, ts_us, side="left"), np.searchsorted(grid_us, ts_us, side="right")
    since = ts_us - grid_us[0]
    below = since // steps[0]
    above = below + (below * steps[0] < since)
    return np.clip(above, 0, grid_us.size), np.clip(below + 1, 0, grid_us.size)


def _padded(readings: Cleaned) -> tuple[Ints, Ints, Ints]:
    """Columns with one row more at the end, so that index -1 may be looked up (and is masked afterwards)."""
    pad = np.array([-1], dtype=np.int64)
    return (
        np.concatenate([readings.ts_us, pad]),
        np.concatenate([readings.value_wh, pad]),
        np.concatenate([readings.run, pad]),
    )


def _check_range(readings: Cleaned, meta: SeriesMeta) -> None:
    if readings.value_wh.size == 0:
        return
    if float(readings.value_wh.max()) * float(meta.multiplier_e4.max()) <= LARGEST_TICKS:  # nearly always
        return
    multiplier = np.repeat(meta.multiplier_e4, np.diff(readings.offsets))
    ticks = readings.value_wh * multiplier.astype(np.float64)
    k = int(ticks.argmax())
    if ticks[k] > LARGEST_TICKS:
        raise ValueError(f"a register of {readings.value_wh[k]} Wh x {multiplier[k] / 1e4} is beyond 64 bits")


def long_gaps(registers: GridRegisters, readings: Cleaned, rules: GridRules) -> list[LongGap]:
    """Every gap too long for a line that holds an estimated grid instant, in order of series and time."""
    ts, _, _ = _padded(readings)
    wide = (registers.quality == IntervalQuality.ESTIMATED) & (
        ts[registers.after] - ts[registers.before] > rules.longest_line_us
    )
    found: list[LongGap] = []
    for s in np.flatnonzero(wide.any(axis=1)):
        inside = np.flatnonzero(wide[s])
        starts = np.flatnonzero(np.diff(registers.before[s, inside], prepend=-2) != 0)
        for i, first in enumerate(starts):
            last = (starts[i + 1] if i + 1 < len(starts) else len(inside)) - 1
            k = int(inside[first])
            found.append(LongGap(int(s), int(registers.before[s, k]), int(registers.after[s, k]), k, int(inside[last])))
    return found


def rounded_wh(ticks: Ints) -> Ints:
    """Cumulative 1e-4 Wh rounded half up to Wh; NO_VALUE stays."""
    return np.where(ticks == NO_VALUE, NO_VALUE, (ticks + TICKS_PER_WH // 2) // TICKS_PER_WH)


def interval_energy(
    registers: GridRegisters, meta: SeriesMeta, grid_us: Ints, day_start: Ints, *, forgiven_wh: Ints | None = None
) -> tuple[Ints, Small, Flags, Bools]:
    """Energy of the K-1 intervals between the grid's instants.

    `day_start`: (D,) int64, grid index at which each day begins. Returns `energy_wh` (S, K-1) int64 (NO_VALUE where
    absent), `quality` (S, K-1) IntervalQuality, `flags` (S, K-1) Flag, and `serving` (S, K-1) bool: whether the series
    served at any time in the interval.
    An estimated interval carries the method of its registers. A register that fell by less than its tolerance is
    smoothed within its day; the day's energy stays the difference of its two registers, even where that is below zero
    (the interval of the fall carries it: what the next day counts too much must be taken off somewhere).
    Such a fall is flagged, but for one that the coarse step of what was read explains:
    `forgiven_wh` (S, K) int64 [Wh, primary side], the larger of an interval's two instants counts; None: nothing.
    """
    wh = rounded_wh(registers.ticks)
    left, right = registers.quality[:, :-1], registers.quality[:, 1:]
    same_run = registers.run[:, :-1] == registers.run[:, 1:]
    known = (left != IntervalQuality.ABSENT) & (right != IntervalQuality.ABSENT)
    serving = (grid_us[None, 1:] > meta.from_us[:, None]) & (grid_us[None, :-1] < meta.to_us[:, None])
    good = known & same_run & serving
    energy = np.where(good, wh[:, 1:] - wh[:, :-1], NO_VALUE)
    quality = np.where(good, np.maximum(left, right), IntervalQuality.ABSENT).astype(np.int8)
    flags = np.zeros(energy.shape, dtype=np.int32)
    if registers.method.any():
        flags = np.where(good, registers.method[:, :-1] | registers.method[:, 1:], 0).astype(np.int32)
    if not same_run.all():
        flags[serving & known & ~same_run] |= Flag.RESET
    if registers.thin.any():
        flags[good & (registers.thin[:, :-1] | registers.thin[:, 1:])] |= Flag.MISSING
    fell = good & (energy < 0)
    if not fell.any():
        return energy, quality, flags, serving
    explained = 0 if forgiven_wh is None else np.maximum(forgiven_wh[:, :-1], forgiven_wh[:, 1:])
    flags[fell & (-energy > explained)] |= Flag.REGISTER_DECREASED
    bounds = [*day_start.tolist(), energy.shape[1]]
    for s in np.flatnonzero(fell.any(axis=1)):
        for first, end in pairwise(bounds):
            if fell[s, first:end].any():
                _smooth(energy[s, first:end], registers.run[s, first : end + 1])
    return energy, quality, flags, serving


def _smooth(energy: Ints, run: Ints) -> None:
    """Make one day's intervals non-negative in place, keeping the energy of every unbroken stretch of registers.

    A stretch whose registers fall from its first to its last keeps that fall in one interval, the deepest one, and is
    zero elsewhere.
    """
    known = energy != NO_VALUE
    breaks = np.flatnonzero(~(known[1:] & known[:-1]) | (run[1:-1] != run[:-2])) + 1
    for stretch in np.split(np.arange(energy.size), breaks):
        if not known[stretch[0]]:
            continue
        total = int(energy[stretch].sum())
        if total < 0:
            deepest = stretch[np.argmin(energy[stretch])]
            energy[stretch] = 0
            energy[deepest] = total
            continue
        level = np.concatenate([[0], np.cumsum(energy[stretch])])
        energy[stretch] = np.diff(np.minimum(np.maximum.accumulate(level), total))
