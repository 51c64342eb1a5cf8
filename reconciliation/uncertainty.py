"""How far a loss may be off: one standard deviation from accuracy classes, register resolution, clock skew and
estimates.

A class-C meter's limit of error (C % at its rated load, IEC 62053-21/-22, GB/T 17215) is taken as the half width of a
uniform distribution:
SD = C % / √3. It is the same error in every interval of a meter (it adds up), and independent between meters (adds in
squares).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Bools: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What is assumed of meters of which nothing better is known."""

    area_class: float = 0.5
    """Percent: area meters are of class 0.5S."""
    household_class: float = 1.0
    """Percent: household meters are of class 1."""
    skew_s: float = 5.0
    """SD of a meter's clock against UTC [s]."""
    estimate_share: float = 0.3
    """SD of energy that was estimated across a day's end, as share of it."""
    technical_share: float = 0.2
    """SD of the technical-loss model, as share of what it says."""


def class_sd(percent: float) -> float:
    """Relative standard deviation of a meter of this accuracy class."""
    return percent / 100 / 3**0.5


def energy_sd_wh(
    energy_wh: Floats,
    used: Bools,
    estimated: Bools,
    *,
    percent: float,
    resolution_wh: Floats,
    interval_s: int,
    accuracy: Accuracy,
) -> Floats:
    """(n,) float64 [Wh]: standard deviation of each meter's energy over one day's used intervals.

    `energy_wh`: (n, k) net energy [Wh], 0 where not used; `used`, `estimated`: (n, k); `resolution_wh`: (n,) on the
    primary side.
    Resolution: a stretch of intervals is the difference of two registers, each cut off within one step, so step²/6 a
    stretch.
    Skew: a clock that is off by s moves s × (power at the stretch's end − at its start). Estimates count only where
    they reach the
    day's first or last instant: within the day the registers around the gap fix their sum.
    """
    if energy_wh.size == 0:
        return np.zeros(energy_wh.shape[0])
    gain = class_sd(percent) * np.abs(energy_wh.sum(axis=1))
    edges = _edges(used)
    resolution = np.square(resolution_sd_wh(used, resolution_wh))
    power = energy_wh / interval_s
    at_start = (power * (edges[:, :-1] == 1)).sum(axis=1)
    at_end = (power * (edges[:, 1:] == -1)).sum(axis=1)
    skew = accuracy.skew_s * (at_end - at_start)
    open_ended = estimated[:, 0] | estimated[:, -1]
    guess = accuracy.estimate_share * np.abs(np.where(estimated & used, energy_wh, 0.0)).sum(axis=1) * open_ended
    return np.asarray(np.sqrt(np.square(gain) + resolution + np.square(skew) + np.square(guess)), dtype=np.float64)


def _edges(used: Bools) -> npt.NDArray[np.int8]:
    """(n, k + 1): 1 where a stretch of used intervals begins, −1 where it has ended."""
    return np.asarray(np.diff(np.pad(used.astype(np.int8), ((0, 0), (1, 1))), axis=1), dtype=np.int8)


def resolution_sd_wh(used: Bools, resolution_wh: Floats) -> Floats:
    """(n,) float64 [Wh]: what registers with these steps (n,) alone make uncertain; `used` as in `energy_sd_wh`."""
    stretches = (_edges(used) == 1).sum(axis=1)
    return np.asarray(np.sqrt(np.square(resolution_wh) / 6 * stretches), dtype=np.float64)


def loss_sd_wh(area_sd_wh: Floats, household_sd_wh: Floats) -> float:
    """Standard deviation of supplied − delivered [Wh]; meters err independently of each other."""
    return float(np.sqrt(np.square(area_sd_wh).sum() + np.square(household_sd_wh).sum()))
