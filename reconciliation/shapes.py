"""How a wrong reading would look in the balance: for each meter, time courses of the energy it would be hiding.

Every column is built from the meter's own reading (and the area's mean load) alone, never from the balance. A family
is a small set of columns with a Gaussian prior on their coefficients; L is the area's typical household energy per
interval [Wh].

- scaled: θ·reading, θ = true/read − 1 ~ N(0, 1.5²): a share bypasses the meter; one phase or CT missing;
- multiplier: the same with SD 10: the register is multiplied by the wrong factor;
- random: θ₁·reading + θ₂·smoothed reading, SD 1.5: an intermittent bypass hides what is usual then, not what was read;
- floor: constants while above zero and while at zero, SD L: a constant piece is cut off whatever is used;
- plateau: a constant at the plateau, SD 2 L: the reading is capped, something is hidden only where it sits at the cap;
- idle: θ₁·own profile + θ₂ while idle, SD 1 and L: zero for hours in which it otherwise is not;
- stuck: θ₁·own profile + θ₂ + θ₃·area profile while frozen, SD 1, L, L: the register stands still, the load goes on;
- replaced: θ₁·reading + constant + area profile, mean −1, 0, 0, SD 0.1, L, L: the reading says nothing about the load;
- reversed: θ·(own day backwards − reading), mean 1, SD 0.05: intervals stored in the wrong order.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from reconciliation.prepare import Prepared, dequantised, moving_mean
from reconciliation.still import READINGS
from reconciliation.window import Bools, Floats, Ints, Singles

READING, SMOOTH, ON, OFF, PLATEAU, IDLE_OWN, IDLE, STUCK_OWN, STUCK, STUCK_AREA, CONSTANT, AREA, REVERSED = range(13)
N_COLUMNS: Final = 13
COMMON: Final = (READING, SMOOTH, CONSTANT, AREA, REVERSED)
"""Columns that every meter has a course of its own for."""
SMOOTH_WIDTH: Final = 9
"""Intervals over which a reading is smoothed: what is usual then."""


@dataclass(frozen=True)
class Family:
    """One way of being wrong."""

    name: str
    columns: tuple[int, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    in_loads: tuple[bool, ...]
    """Whether the coefficient is in units of L."""


FAMILIES: Final = (
    Family("scaled", (READING,), (0.0,), (1.5,), (False,)),
    Family("multiplier", (READING,), (0.0,), (10.0,), (False,)),
    Family("random", (READING, SMOOTH), (0.0, 0.0), (1.5, 1.5), (False, False)),
    Family("floor", (ON, OFF), (0.0, 0.0), (1.0, 1.0), (True, True)),
    Family("plateau", (PLATEAU,), (0.0,), (2.0,), (True,)),
    Family("idle", (IDLE_OWN, IDLE), (0.0, 0.0), (1.0, 1.0), (False, True)),
    Family("stuck", (STUCK_OWN, STUCK, STUCK_AREA), (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (False, True, True)),
    Family("replaced", (READING, CONSTANT, AREA), (-1.0, 0.0, 0.0), (0.1, 1.0, 1.0), (False, True, True)),
    Family("reversed", (REVERSED,), (1.0,), (0.05,), (False,)),
)

LOAD: Final = Family("load", (CONSTANT, AREA), (0.0, 0.0), (2.0, 2.0), (True, True))
"""What no meter's reading tells: an extra load on the meter's stream. Evidence for it is not evidence against the
meter."""


def typical_load(area: Prepared) -> float:
    """L: median over the meters of the mean energy taken per interval [Wh], at least one register step."""
    mean = area.imported.mean(axis=1)
    alive = mean[mean > 0]
    step = float(np.median(area.step)) if area.step.size else 1.0
    return max(float(np.median(alive)) if alive.size else 0.0, step, 1.0)


def area_profile(area: Prepared) -> Floats:
    """(T,) energy taken by all households, scaled to mean 1."""
    total = area.imported.sum(axis=0)
    mean = float(total.mean())
    return np.asarray(total / mean) if mean > 0 else np.ones_like(total)


@dataclass(frozen=True, kw_only=True, eq=False)
class MeterColumns:
    """The columns of N meters, each time course kept once; reads like an (N, S, T) array."""

    courses: Singles
    """(R, T) time courses [Wh for readings, 1 for indicators]: readings have fewer digits than float32."""
    where: Ints
    """(N, S) course of each column; −1 where it is zero throughout."""

    @classmethod
    def all_of(cls, columns: Floats) -> "MeterColumns":
        """Of an (N, S, T) array."""
        n, s, t = columns.shape
        return cls(courses=columns.reshape(n * s, t).astype(np.float32), where=np.arange(n * s).reshape(n, s))

    @property
    def shape(self) -> tuple[int, int, int]:
        """N, S, T."""
        return (*self.where.shape, self.courses.shape[1])

    def held(self, column: int) -> bool:
        """Whether any meter has something in this column."""
        return bool((self.where[:, column] >= 0).any())

    def __getitem__(self, key: tuple[int, Sequence[int]]) -> Floats:
        """(q, T) columns of one meter."""
        meter, columns = key
        at = self.where[meter, list(columns)]
        return np.asarray(self.courses[at].astype(np.float64) * (at >= 0)[:, None])


def meter_columns(area: Prepared) -> MeterColumns:
    """(N, N_COLUMNS, T) columns [Wh for readings, 1 for indicators]."""
    n, t = area.imported.shape
    raw = np.maximum(area.imported, 0.0)
    y = np.maximum(dequantised(raw, area.step), 0.0)
    profile = area_profile(area)
    hours = max(round(7200 / area.window.interval_s), 2)
    still, levels = still_registers(area), plateaus(raw, area.step)
    off: Bools = np.asarray(raw <= 0)
    idle: Bools = np.asarray(off & long_runs(off, hours))
    on_read: Bools = np.asarray((~off & area.measured).any(axis=1))
    off_read: Bools = np.asarray((off & area.measured).any(axis=1))
    where = np.full((n, N_COLUMNS), -1)
    where[:, COMMON] = np.arange(n * len(COMMON)).reshape(n, -1)
    where[on_read & ~off_read, ON] = where[on_read & ~off_read, CONSTANT]
    where[off_read & ~on_read, OFF] = where[off_read & ~on_read, CONSTANT]
    special = np.zeros((n, N_COLUMNS), bool)
    special[:, PLATEAU] = levels >= 0
    special[np.ix_(on_read & off_read, np.array([ON, OFF]))] = True
    special[np.ix_(np.asarray(idle.any(axis=1) & ~idle.all(axis=1)), np.array([IDLE_OWN, IDLE]))] = True
    special[np.ix_(np.asarray(still.any(axis=1)), np.array([STUCK_OWN, STUCK, STUCK_AREA]))] = True
    where[special] = n * len(COMMON) + np.arange(int(special.sum()))
    courses = np.empty((n * len(COMMON) + int(special.sum()), t), np.float32)
    read = area.measured.astype(np.float32)  # what was not read hides nothing
    common = courses[: n * len(COMMON)].reshape(n, len(COMMON), t)
    common[:, 0], common[:, 1], common[:, 2] = y, moving_mean(y, SMOOTH_WIDTH), 1.0
    common[:, 3], common[:, 4] = profile, np.take(y, _backwards(area.day, area.slot), axis=1) - y
    common *= read[:, None]
    n_slots = int(area.slot.max()) + 1
    per_day = max(round(86400 / area.window.interval_s), 1)
    for i, column in zip(*np.nonzero(special), strict=True):
        if column == PLATEAU:
            course = np.abs(np.rint(raw[i] / max(float(area.step[i]), 1e-9)) - levels[i]) <= 1
        elif column in (ON, OFF):
            course = off[i] if column == OFF else ~off[i]
        elif column in (IDLE, STUCK):
            course = idle[i] if column == IDLE else still[i]
        elif column == IDLE_OWN:
            course = _profile(y[i], ~idle[i], area.slot, n_slots) * idle[i]
        elif column == STUCK_AREA:
            course = profile * still[i]
        else:
            moving = ~still[i]
            own = _profile(y[i], moving, area.slot, n_slots) if moving.sum() >= per_day else np.zeros(t)
            course = moving_mean(own[None], hours + 1 - hours % 2)[0] * still[i]
        np.multiply(course, read[i], out=courses[where[i, column]])
    return MeterColumns(courses=courses, where=where)


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
    x = _over_short_gaps(np.abs(area.net), area.measured)
    out = np.zeros(x.shape, bool)
    for i in np.flatnonzero(_may_stand_still(x, area.step, per_day)):
        out[i] = standing_still(x[i], float(area.step[i]), per_day)
    return out


def _over_short_gaps(x: Floats, measured: Bools) -> Floats:
    """(N, T) with the last reading kept over up to READINGS missing ones: what is filled there by a usual course would
    look as if the register had moved."""
    at = np.arange(x.shape[1])
    last = np.maximum.accumulate(np.where(measured, at, -1), axis=1)
    short = ~measured & (last >= 0) & (at - last <= READINGS)
    return np.asarray(np.where(short, np.take_along_axis(x, np.maximum(last, 0), axis=1), x))


def _may_stand_still(x: Floats, step: Floats, length: int) -> Bools:
    """(n,) whether a stretch of ``length`` may: then a whole block of half of it does, or the first or last half."""
    n, t = x.shape
    half = min(max(length // 2, 1), t)
    blocks = x[:, : t // half * half].reshape(n, -1, half)
    high, low, step = blocks.max(axis=2), blocks.min(axis=2), step[:, None]
    high = np.concatenate([high, x[:, t - half :].max(axis=1, keepdims=True)], axis=1)
    low = np.concatenate([low, x[:, t - half :].min(axis=1, keepdims=True)], axis=1)
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


def _profile(y: Floats, use: Bools, slot: Ints, n_slots: int) -> Floats:
    count = np.bincount(slot[use], minlength=n_slots)
    mean = np.bincount(slot[use], weights=y[use], minlength=n_slots) / np.maximum(count, 1)
    fallback = float(y[use].mean()) if use.any() else 0.0
    return np.asarray(np.where(count > 0, mean, fallback)[slot])


def _backwards(day: Ints, slot: Ints) -> Ints:
    """(T,) index of the interval as far from its day's end as this one is from its start."""
    last = np.zeros(int(day[-1]) + 1, np.int64)
    np.maximum.at(last, day, slot)
    first = np.arange(day.size) - slot
    return np.asarray(first + last[day] - slot, dtype=np.int64)
