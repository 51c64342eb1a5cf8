"""Where a register stands still, reads zero for long, or comes back to the same high level again and again."""

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from reconciliation.prepare import Prepared
from reconciliation.still import READINGS
from reconciliation.window import Bools, Floats, Ints

HIGHEST = 100_000
"""Levels looked at [register steps]: a household's are a few hundred."""
PEAK_SD = 6.0
"""Poisson SD by which a level's readings exceed those around it: by chance in none of 10⁸ levels."""
PEAK_SHARE = 0.01
"""Of the readings that a level must hold to matter."""
FEW = 16
"""Intervals of a stretch that are looked at before all of them."""
STILL_DAYS = 2.0
"""A register must have stood still this long to be told from one that hardly moves."""
AT_VALUE = 7.0
"""[nat] a register that stands still at a value: the rule where one is stuck; one household in a thousand draws the
same to a register step for days (a router and nothing else)."""
AT_ONCE = 1 << 14
"""Levels of several meters looked at together: 128 KiB each time, which stays in the cache."""


def plateaus(x: Floats, step: Floats) -> Ints:
    """(n,) the highest over-populated level of each meter's (n, T) readings [register steps]; −1 if there is none.

    A level is over-populated when its three register steps hold far more readings (PEAK_SD) than the geometric mean of
    the three steps from two below and from two above would suggest (a distribution's slope is no peak, nor is the
    middle of a narrow one), and it lies above the median. The highest one, for a load that is cut off has nothing
    above.
    """
    count = np.rint(x / np.maximum(step, 1e-9)[:, None])
    top = count.max(axis=1, initial=0.0)
    out = np.full(x.shape[0], -1)
    order = np.argsort(top, kind="stable")
    order = order[top[order] <= HIGHEST]
    while order.size:
        some = order[-max(AT_ONCE // (int(top[order[-1]]) + 1), 1) :]
        out[some] = _highest_peaks(count[some].astype(np.int64), max(int(top[some[-1]]) + 1, 16))
        order = order[: -some.size]
    return out


def _highest_peaks(count: Ints, levels: int) -> Ints:
    """(n,) highest over-populated level of (n, T) whole numbers below ``levels``; −1 if there is none."""
    n, t = count.shape
    flat = np.bincount((count + levels * np.arange(n)[:, None]).ravel(), minlength=n * levels)
    hist = flat.reshape(n, levels).astype(float)
    seen = hist.cumsum(axis=1)
    median = np.maximum(np.argmax(2 * seen >= t, axis=1), 2)[:, None]
    at = np.arange(levels)
    three = _beside(hist, -1) + hist + _beside(hist, 1)
    below, above = (sum(_beside(hist, side * k) for k in (2, 3, 4)) / 3.0 for side in (-1, 1))
    around = 3.0 * np.sqrt((below + 0.5) * (above + 0.5))
    top = count.max(axis=1, initial=0)[:, None]  # however many levels other meters need
    excess = np.where((at > median) & (at <= top), (three - around) / np.sqrt(around + 1.0), -np.inf)
    peaks = (excess >= PEAK_SD) & (three >= PEAK_SHARE * t)
    peaks &= t - np.take_along_axis(seen, median, axis=1) >= 10
    highest = np.where(peaks, at, -1).max(axis=1)[:, None]
    near = (highest - 2 <= at) & (at <= highest)  # its steps make several peaks of one
    return np.asarray(np.where(highest[:, 0] >= 0, np.where(near, excess, -np.inf).argmax(axis=1), -1))


def _beside(x: Floats, by: int) -> Floats:
    """(n, k) each column's neighbour ``by`` columns on; zero beyond the ends."""
    out = np.zeros_like(x)
    if by > 0:
        out[:, :-by] = x[:, by:]
    else:
        out[:, -by:] = x[:, :by]
    return out


def still_registers(area: Prepared) -> Bools:
    """(N, T) whether each meter's register stands still for at least a day; short gaps between equal readings count.

    Of who also exports, the import register may stand at a value whatever the roof makes; at zero, it is the roof's
    energy that is used.
    """
    out = _standing(area, np.arange(area.net.shape[0]), np.abs(area.net), zero=True)
    exporters = np.flatnonzero((area.imported > area.net).any(axis=1))
    out[exporters] |= _standing(area, exporters, area.imported[exporters], zero=False)
    return out


def standing_at_a_value(area: Prepared, still: Bools) -> Bools:
    """(N,) registers that stand ``still`` (N, T) at a value other than zero for STILL_DAYS, as hardly any household's
    does."""
    long = STILL_DAYS * 86400 / area.window.interval_s
    return np.asarray((still & (np.abs(area.net) > 0)).sum(axis=1) >= long)


def _standing(area: Prepared, meters: Ints, energy: Floats, *, zero: bool) -> Bools:
    """(n, T) where the (n, T) ``energy`` of some meters stands still for a day or more; ``zero``: at zero, too."""
    per_day = max(round(86400 / area.window.interval_s), 1)
    out = np.zeros(energy.shape, bool)
    measured, step = area.measured[meters], area.step[meters]
    some = np.flatnonzero(_may_stand_still(energy, measured, step, per_day))
    for i, x in zip(some, _over_short_gaps(energy[some], measured[some]), strict=True):
        out[i] = standing_still(x, float(step[i]), per_day) & (zero | (x >= 2 * step[i]))
    return out


def _over_short_gaps(x: Floats, measured: Bools) -> Floats:
    """(N, T) with the last reading kept over up to READINGS missing ones: what is filled there by a usual course would
    look as if the register had moved."""
    at = np.arange(x.shape[1])
    last = np.maximum.accumulate(np.where(measured, at, -1), axis=1)
    short = ~measured & (last >= 0) & (at - last <= READINGS)
    return np.asarray(np.where(short, np.take_along_axis(x, np.maximum(last, 0), axis=1), x))


def _may_stand_still(x: Floats, measured: Bools, step: Floats, length: int) -> Bools:
    """(n,) whether a stretch of ``length`` may, whatever was not measured in it; a few of its intervals are looked at
    before all of them."""
    every = max(length // FEW, 1)
    out = _block_stands_still(x[:, ::every], measured[:, ::every], step, length // every)
    some = np.flatnonzero(out)
    out[some] = _block_stands_still(x[some], measured[some], step[some], length)
    return out


def _block_stands_still(x: Floats, measured: Bools, step: Floats, length: int) -> Bools:
    """(n,) whether a whole block of half of ``length`` does, or the first or last half: one does if so long a stretch
    does."""
    n, t = x.shape
    half = min(max(length // 2, 1), t)
    x, step = x.astype(np.float32), step[:, None].astype(np.float32)  # a reading has fewer digits
    ends = []
    for unknown, most in ((np.float32(-np.inf), np.maximum), (np.float32(np.inf), np.minimum)):
        there = np.where(measured, x, unknown)
        blocks = most.reduce(there[:, : t // half * half].reshape(n, t // half, half), axis=2)
        ends.append(np.concatenate([blocks, most.reduce(there[:, t - half :], axis=1)[:, None]], axis=1))
    high, low = ends
    return np.asarray(((high <= 0) | ((high - low <= 1.5 * step) & (low >= 1.5 * step))).any(axis=1))


def standing_still(x: Floats, step: float, length: int) -> Bools:
    """(T,) whether a reading lies in a stretch of ``length`` intervals that is all zero, or constant to one register
    step.

    A constant energy shows up as two neighbouring multiples of the step; below two steps standby and a fridge look the
    same, so only zero counts.
    """
    if x.size < length:
        return np.zeros(x.size, bool)
    high, low = maximum_filter1d(x, length), minimum_filter1d(x, length)
    still = (high <= 0) | ((high - low <= 1.01 * step) & (low >= 2 * step))
    return np.asarray(maximum_filter1d(still.astype(np.int8), length) > 0)


def long_runs(x: Bools, length: int) -> Bools:
    """(n, T) whether an interval lies in a run of at least ``length`` equal values."""
    n, t = x.shape
    change = np.ones((n, t), bool)  # a row's first interval begins a run
    np.not_equal(x[:, 1:], x[:, :-1], out=change[:, 1:])
    runs = np.diff(np.append(np.flatnonzero(change), n * t))
    return np.asarray(np.repeat(runs >= length, runs).reshape(n, t))
