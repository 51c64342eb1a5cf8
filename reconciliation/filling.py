"""Fills intervals that were not read, and says how wrong each filled value may be.

x = habit + u. Habit: mean by time of day, as far as its course is more than chance. The deviation u is estimated from
the values around the hole (kriging.py); its variance follows how restless the household is then (fill_variance.py);
the errors of one gap are related, and sum to the registers' energy where that is known (whole_gaps.py). Where a reading
is the same on both sides for an hour's worth of readings, it is taken to be the same in between (still.py): a register
that stands still follows no habit.

Nothing filled here leaves the package: a filled interval only carries weight 1/(its variance) in the likelihoods.
"""

from dataclasses import dataclass

import numpy as np

from reconciliation.by_slot import known_by_slot, sums_by_slot
from reconciliation.fill_variance import learn, variance
from reconciliation.kriging import Complete, Holes, autocovariance, complete, fill_holes
from reconciliation.places import Places
from reconciliation.still import unchanged_across
from reconciliation.whole_gaps import relate
from reconciliation.window import Floats, Ints

UNKNOWN = 1e12
"""Variance of a meter that was never read [Wh²]."""


def fill(values: Floats, slot: Ints, gap_wh: Floats | None = None) -> tuple[Floats, Floats]:
    """Fill NaN in (n, T) series [Wh]; returns them and the variance of what was filled [Wh²], 0 where known.

    ``slot`` (T,): interval of the day. ``gap_wh`` (n, T): at the last interval of a run of NaN, the run's sum by the
    registers; NaN where it is not known.
    """
    holes = np.isnan(values)
    out, var = values.copy(), np.zeros(values.shape)
    read = ~holes.all(axis=1)
    out[~read], var[~read] = 0.0, UNKNOWN
    some = np.flatnonzero(read & holes.any(axis=1))
    if some.size == 0:
        return out, var
    deviation = _Deviation.of(values if some.size == values.shape[0] else values[some], slot)
    v = variance(learn(deviation.u, deviation.where, slot, deviation.usual), deviation.missing, slot)
    row, at = deviation.missing.row, deviation.missing.at
    gaps = None if gap_wh is None else gap_wh[some]
    gamma = deviation.gamma
    filled, related = relate(row, at, deviation.estimate, v, gamma / gamma[:, :1], gap_wh=gaps)
    out[some[row], at], var[some[row], at] = filled, related
    return out, var


def filled(values: Floats, slot: Ints) -> Floats:
    """What ``fill`` puts into (n, T) series [Wh] where no register tells a gap's energy, without its variance."""
    holes = np.isnan(values)
    out = np.where(holes, 0.0, values)
    some = np.flatnonzero(holes.any(axis=1) & ~holes.all(axis=1))
    if some.size:
        deviation = _Deviation.of(values[some], slot)
        out[some[deviation.missing.row], deviation.missing.at] = deviation.estimate
    return out


@dataclass(frozen=True, kw_only=True, eq=False)
class _Deviation:
    """What n series are beside their habit. h holes."""

    where: Places
    u: Floats
    """(n, T) deviation from the habit [Wh], 0 in holes."""
    gamma: Floats
    """(n, L) its autocovariance [Wh²]."""
    usual: Complete
    """How a value is estimated around which all are known."""
    missing: Holes
    estimate: Floats
    """(h,) habit and estimated deviation of the holes [Wh]; what stands still on both sides stands still."""

    @classmethod
    def of(cls, values: Floats, slot: Ints) -> "_Deviation":
        t, day = values.shape[1], int(slot.max()) + 1
        where = Places.of(np.isfinite(values))
        row, at = where.row, where.at
        u = values.copy()
        u[row, at] = 0.0
        habitual = habit(u, where, slot)
        u -= habitual
        u[row, at] = 0.0
        gamma = autocovariance(u, where, min(5 * day // 2 + 4, t - 1))
        usual = complete(gamma, t, day)
        missing = fill_holes(u, where, gamma, usual)
        same, value = unchanged_across(values, where)
        estimate = np.where(same, value, habitual[row, at] + missing.estimate)
        return cls(where=where, u=u, gamma=gamma, usual=usual, missing=missing, estimate=estimate)


def habit(x: Floats, where: Places, slot: Ints) -> Floats:
    """(n, T) mean by time of day of series that are 0 in their holes, drawn towards the mean of all times by how much
    of its course is chance: the variance of a time's mean over that between the times."""
    n_slots = int(slot.max()) + 1
    count = known_by_slot(where, slot, n_slots)
    total, square = sums_by_slot(x, slot, n_slots), sums_by_slot(np.square(x), slot, n_slots)
    mean = total.sum(axis=1, keepdims=True) / count.sum(axis=1, keepdims=True)
    several = np.maximum(count, 1.0)
    course = np.where(count > 0, total / several - mean, 0.0)
    within = np.maximum(square - np.square(total) / several, 0.0).sum(axis=1)
    within /= np.maximum(np.maximum(count - 1.0, 0.0).sum(axis=1), 1.0)
    chance = within * np.mean(1.0 / several, axis=1)
    between = np.mean(np.square(course), axis=1)
    keep = np.clip(1.0 - chance / np.maximum(between, 1e-9), 0.0, 1.0)
    return np.asarray((mean + keep[:, None] * course)[:, slot])
