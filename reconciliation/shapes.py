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

from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy.ndimage import maximum_filter1d, minimum_filter1d

from reconciliation.prepare import Prepared, dequantised, moving_mean
from reconciliation.window import Bools, Floats, Ints

READING, SMOOTH, ON, OFF, PLATEAU, IDLE_OWN, IDLE, STUCK_OWN, STUCK, STUCK_AREA, CONSTANT, AREA, REVERSED = range(13)
N_COLUMNS: Final = 13


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


def meter_columns(area: Prepared) -> Floats:
    """(N, N_COLUMNS, T) columns [Wh for readings, 1 for indicators]."""
    n, t = area.imported.shape
    raw = np.maximum(area.imported, 0.0)
    y = np.maximum(dequantised(raw, area.step), 0.0)
    out = np.zeros((n, N_COLUMNS, t))
    out[:, READING], out[:, SMOOTH] = y, moving_mean(y, 9)
    out[:, ON], out[:, OFF] = raw > 0, raw <= 0
    out[:, CONSTANT], out[:, AREA] = 1.0, area_profile(area)
    n_slots = int(area.slot.max()) + 1
    shape = area_profile(area)
    hours = max(round(7200 / area.window.interval_s), 2)
    per_day = max(round(86400 / area.window.interval_s), 1)
    backwards = _backwards(area.day, area.slot)
    still = still_registers(area)
    for i in range(n):
        out[i, PLATEAU] = plateau(raw[i], float(area.step[i]))
        idle = (raw[i] <= 0) & long_runs(raw[i], hours)
        frozen = still[i]
        if idle.any() and not idle.all():
            out[i, IDLE_OWN] = _profile(y[i], ~idle, area.slot, n_slots) * idle
            out[i, IDLE] = idle
        if frozen.any():
            own = _profile(y[i], ~frozen, area.slot, n_slots) if (~frozen).sum() >= per_day else 0.0 * shape
            out[i, STUCK_OWN] = moving_mean(np.asarray(own)[None], hours + 1 - hours % 2)[0] * frozen
            out[i, STUCK] = frozen
            out[i, STUCK_AREA] = shape * frozen
        out[i, REVERSED] = y[i, backwards] - y[i]
    out *= area.measured[:, None, :]  # what was not read hides nothing
    return out


def plateau(x: Floats, step: float) -> Floats:
    """(T,) 1 where a reading sits at its most over-populated high level, 0 elsewhere (all 0 if there is none).

    A level counts when its three register steps hold far more readings (6 Poisson SD) than the steps above and below
    would suggest and it lies above the median.
    """
    count = np.rint(x / max(step, 1e-9)).astype(np.int64)
    high = count[count > max(np.median(count), 2)]
    if high.size < 10 or high.max() > 100_000:
        return np.zeros_like(x)
    hist = np.bincount(high, minlength=16).astype(float)
    three = np.convolve(hist, np.ones(3), mode="same")
    around = (np.convolve(hist, np.ones(13), mode="same") - three) * 3.0 / 10.0
    excess = (three - around) / np.sqrt(around + 1.0)
    level = int(np.argmax(excess))
    if excess[level] < 6.0 or three[level] < 0.01 * x.size:
        return np.zeros_like(x)
    return np.asarray((np.abs(count - level) <= 1).astype(float))


def still_registers(area: Prepared) -> Bools:
    """(N, T) whether each meter's register stands still for at least a day; gaps between equal readings count."""
    per_day = max(round(86400 / area.window.interval_s), 1)
    return np.stack([standing_still(np.abs(x), float(s), per_day) for x, s in zip(area.net, area.step, strict=True)])


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


def long_runs(x: Floats, length: int) -> Bools:
    """(T,) whether an interval lies in a run of at least ``length`` equal values."""
    change = np.flatnonzero(np.diff(x) != 0) + 1
    bounds = np.concatenate([[0], change, [x.size]])
    runs = np.diff(bounds)
    return np.repeat(runs >= length, runs)


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
