"""Rules on interval energy: what a connection carries, spikes, days without energy, energy that never changes.

Shapes: n rows of k intervals; a row is a meter-day unless it says otherwise. `present`: (n, k) bool, where there is a
number at all. A threshold is one for all rows or one for each.
"""

from __future__ import annotations

from typing import Final, TypeAlias

import numpy as np
import numpy.typing as npt

from reconciliation.validation.limits import Limit, column, of_rows
from reconciliation.validation.runs import in_long_run, run_before

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]

NOMINAL_V: Final = 230.0
"""Nominal phase voltage of a low-voltage network [V] (IEC 60038)."""
_THIRD: Final = 3


def capacity_w(rated_current_a: Floats, phases: Ints) -> Floats:
    """float64 [W], of the shape that both make: what a connection carries at nominal voltage."""
    return rated_current_a * NOMINAL_V * phases


def above_capacity(energy_wh: Ints, present: Bools, capacity: Floats, hours: float, *, factor: Limit) -> Bools:
    """(n, k) bool: more energy than the connection carries; `capacity` (n,) [W], NaN: not known; `hours`: an interval's
    length.
    """
    n = len(energy_wh)
    most = np.where(np.isfinite(capacity), capacity, np.inf) * hours * of_rows(factor, n)
    return _above(energy_wh, present, np.broadcast_to(most, (n,)))


def spike(energy_wh: Ints, present: Bools, *, factor: Limit, floor_wh: Limit) -> Bools:
    """(n, k) bool: more than `factor` times the third-highest interval of the same row, and than `floor_wh` [Wh].

    With fewer than three numbers a day has no third-highest.
    """
    found = np.zeros(energy_wh.shape, dtype=np.bool_)
    n, k = energy_wh.shape
    if k <= _THIRD:
        return found
    floor = of_rows(floor_wh, n)
    high = np.flatnonzero((_highest(energy_wh) > floor) & (np.count_nonzero(present, axis=1) >= _THIRD))
    if not high.size:
        return found
    there = present[high]
    known = np.where(there, energy_wh[high], 0)
    third = np.partition(known, k - _THIRD, axis=1)[:, k - _THIRD]
    most = np.maximum(of_rows(factor, n)[high] * third, floor[high])
    found[high] = there & np.greater(known, most[:, None])
    return found


def zero_days(day_energy_wh: Ints, known: Bools, *, days: Limit) -> Bools:
    """(n, d) bool over n meters and d days in a row: no energy on this day and on those before it, `days` [d] in all.

    It looks back only: what comes later does not change what was said of a day. A day that is not known (n, d) is no
    day without energy.
    """
    zero = known & (day_energy_wh == 0)
    return np.greater_equal(run_before(zero), np.maximum(np.ceil(column(days)), 1))


def constant(energy_wh: Ints, present: Bools, *, intervals: Limit) -> Bools:
    """(n, k) bool: within a run of at least so many `intervals` of one row with the same energy, which is not zero."""
    n, k = energy_wh.shape
    least = np.maximum(np.ceil(of_rows(intervals, n)), 2).astype(np.int64)
    found = np.zeros((n, k), dtype=np.bool_)
    same = energy_wh[:, 1:] == energy_wh[:, :-1]
    rows = np.flatnonzero(np.count_nonzero(same, axis=1) >= least - 1)
    if not rows.size:
        return found
    usable = present[rows] & (energy_wh[rows] != 0)
    as_before = np.zeros((rows.size, k), dtype=np.bool_)
    as_before[:, 1:] = same[rows] & usable[:, 1:] & usable[:, :-1]
    long = in_long_run(as_before, least[rows] - 1)
    long[:, :-1] |= long[:, 1:] & ~as_before[:, :-1]  # the first of each run, which equals none before it
    found[rows] = long
    return found


def missing(present: Bools, wanted: Bools) -> Bools:
    """Intervals in which a meter served and no energy is known."""
    return wanted & ~present


def _highest(energy_wh: Ints) -> Ints:
    """(n,) the highest number of each row; absent ones are the smallest of all."""
    return np.asarray(energy_wh.max(axis=1, initial=np.iinfo(np.int64).min))


def _above(energy_wh: Ints, present: Bools, most: Floats) -> Bools:
    found = np.zeros(energy_wh.shape, dtype=np.bool_)
    rows = np.flatnonzero(_highest(energy_wh) > most)
    if rows.size:
        found[rows] = present[rows] & np.greater(energy_wh[rows], most[rows][:, None])
    return found
