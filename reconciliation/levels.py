"""Where a register stands still, reads zero for long, or comes back to the same high level again and again."""

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from reconciliation.prepare import Prepared
from reconciliation.still import READINGS
from reconciliation.window import Bools, Floats, Ints


def plateaus(x: Floats, step: Floats) -> Ints:
    """(n,) each meter's most over-populated high level of (n, T) readings [register steps]; −1 if there is none.

    A level counts when its three register steps hold far more readings (6 Poisson SD) than the steps above and below
    would suggest and it lies above the median.
    """
    count = np.rint(x / np.maximum(step, 1e-9)[:, None])
    middle = np.maximum(np.median(count, axis=1), 2)
    top = count.max(axis=1, initial=0.0)
    out = np.full(x.shape[0], -1)
    for i in np.flatnonzero((top > middle) & (top <= 100_000)):
        high = count[i][count[i] > middle[i]].astype(np.int64)
        if high.size < 10:
            continue
        hist = np.bincount(high, minlength=16).astype(float)
        three = _window_sum(hist, 3)
        if three.max() < 0.01 * x.shape[1]:
            continue
        wide = _window_sum(hist, 13)
        around = (wide - three) * 3.0 / 10.0
        excess = (three - around) / np.sqrt(around + 1.0)
        level = int(np.argmax(excess))
        if excess[level] >= 6.0 and three[level] >= 0.01 * x.shape[1]:
            out[i] = level
    return out


def _window_sum(x: Floats, width: int) -> Floats:
    """(k,) centred sum over ``width`` (odd) values, zeros beyond the ends."""
    padded = np.zeros(x.size + 2 * (width // 2) + 1)
    padded[width // 2 + 1 : width // 2 + 1 + x.size] = x
    total = padded.cumsum()
    return np.asarray(total[width:] - total[:-width])


def still_registers(area: Prepared) -> Bools:
    """(N, T) whether each meter's register stands still for at least a day; short gaps between equal readings count."""
    per_day = max(round(86400 / area.window.interval_s), 1)
    out = np.zeros(area.net.shape, bool)
    some = np.flatnonzero(_may_stand_still(np.abs(area.net), area.measured, area.step, per_day))
    x = _over_short_gaps(np.abs(area.net[some]), area.measured[some])
    for i, energy in zip(some, x, strict=True):
        out[i] = standing_still(energy, float(area.step[i]), per_day)
    return out


def _over_short_gaps(x: Floats, measured: Bools) -> Floats:
    """(N, T) with the last reading kept over up to READINGS missing ones: what is filled there by a usual course would
    look as if the register had moved."""
    at = np.arange(x.shape[1])
    last = np.maximum.accumulate(np.where(measured, at, -1), axis=1)
    short = ~measured & (last >= 0) & (at - last <= READINGS)
    return np.asarray(np.where(short, np.take_along_axis(x, np.maximum(last, 0), axis=1), x))


def _may_stand_still(x: Floats, measured: Bools, step: Floats, length: int) -> Bools:
    """(n,) whether a stretch of ``length`` may, whatever was not measured in it: then a whole block of half of it does,
    or the first or last half."""
    n, t = x.shape
    half = min(max(length // 2, 1), t)
    ends, step = [], step[:, None]
    for unknown, most in ((-np.inf, np.maximum), (np.inf, np.minimum)):
        there = np.where(measured, x, unknown)
        blocks = most.reduce(there[:, : t // half * half].reshape(n, -1, half), axis=2)
        ends.append(np.concatenate([blocks, most.reduce(there[:, t - half :], axis=1)[:, None]], axis=1))
    high, low = ends
    return np.asarray(((high <= 0) | ((high - low <= 1.01 * step) & (low >= 2 * step))).any(axis=1))


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
