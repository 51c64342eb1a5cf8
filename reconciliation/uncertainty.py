"""How far a loss may be off: standard deviations from accuracy classes, register resolution, clock skew and estimates.

The rule it keeps: what repeats from day to day (a meter's gain) and what does not is kept apart, because over a month
the first adds up and the second adds in squares; and a register at midnight that two days share is found again on both
sides, so that a month can leave it out. All of it is type B in the sense of the GUM (JCGM 100:2008, 4.3): no number
here was fitted to measured losses.

Gain. A class-C meter may be off by C % (IEC 62053-21/-22, GB/T 17215). Two readings of that limit:
`normal_99`: lots are accepted by sampling at an AQL of 1 % (IEC 62058-11/-31) and meters outside are sorted out, so
the limit is about the 99 % level of a normal distribution: SD = C / 2.576 (GUM 4.3.4). `uniform`: of meters of which
nothing but the limit is known: SD = C / √3 (GUM 4.3.7). Current transformers add their own class (IEC 61869-2) in
squares. A gain acts on import and export alike, hence on their difference; it is independent between meters.

Resolution. A register is cut off within one step: variance step²/12 at either end of a stretch of intervals.

Skew. A clock that is off by s moves s × (power at a stretch's end − at its start).

Estimates. Inside a day the registers around a gap fix the sum; only a register at a day's first or last instant that
was not read is uncertain. With readings `a` before and `b` after it, w = a·b / (a + b), and P the power there, its
variance is P² × (f² τ w + (q w)²): power that fluctuates by f × its mean with a correlation time τ (the bridge of a
random walk), and a share q by which the means of the two sides differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]


class SigmaRule(StrEnum):
    """What a limit of error says of the errors within it."""

    NORMAL_99 = "normal_99"
    UNIFORM = "uniform"


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """What is assumed of meters of which nothing better is known."""

    area_class: float = 0.5
    """Percent: area meters are of class 0.5S."""
    household_class: float = 1.0
    """Percent: household meters are of class 1."""
    transformer_class: float = 0.5
    """Percent: current transformers for metering are of class 0.5S; counts where an installation has a multiplier."""
    sigma_rule: SigmaRule = SigmaRule.NORMAL_99
    skew_s: float = 30.0
    """SD of a meter's clock against UTC [s]: 0.5 s a day (IEC 62054-21), set once a quarter, is ± 45 s, uniform."""
    fluctuation_s: float = 900.0
    """Correlation time of a household's power [s], whose SD is about its mean: appliances run for a quarter-hour."""
    estimate_share: float = 0.3
    """SD of the difference of mean power before and after an instant that was not read, as share of it."""
    technical_share: float = 0.2
    """SD of the technical-loss model, as share of what it says."""


def class_sd(percent: float, rule: SigmaRule = SigmaRule.NORMAL_99) -> float:
    """Relative standard deviation of what may be off by so many percent."""
    return percent / 100 / _limit_in_sd(rule)


def _limit_in_sd(rule: SigmaRule) -> float:
    return 2.576 if rule == SigmaRule.NORMAL_99 else 3**0.5


def gain_sd(percent: npt.ArrayLike, accuracy: Accuracy, *, transformers: npt.ArrayLike) -> Floats:
    """(n,) relative standard deviation of metering points' gains: the meters', and their current transformers'."""
    meter = np.asarray(percent, dtype=np.float64) / 100 / _limit_in_sd(accuracy.sigma_rule)
    ratio = np.where(transformers, class_sd(accuracy.transformer_class, accuracy.sigma_rule), 0.0)
    return np.asarray(np.hypot(meter, ratio), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class EnergyVariance:
    """Variances [Wh²] of n meters' energies over the used intervals of D days; arrays (n, D) that add up."""

    gain: Floats
    """Of the meter: the same error on every day."""
    start: Floats
    """Of the register at the day's first instant: the day before has the same."""
    end: Floats
    """Of the register at the day's last instant."""
    inner: Floats
    """Of registers within the day, and of the clock: independent from day to day."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeterErrors:
    """What is known of the errors of n meters on D days."""

    gain_sd: Floats
    """(n, D) relative, of `gain_sd`."""
    resolution_wh: Floats
    """(n, D) register step, primary side [Wh]."""
    unread_s: Floats
    """(n, D + 1) w = a·b / (a + b) of each midnight [s]; 0: the register was read there."""
    fluctuation: Floats
    """(n, D) SD of the power as share of its mean: 1 of a household, 1/√N of N of them together."""


def energy_variance(
    net_wh: Ints, used: Bools, exports: Bools, days: Ints, *, errors: MeterErrors, interval_s: int, accuracy: Accuracy
) -> EnergyVariance:
    """Variances of n meters' energies on D days.

    `net_wh`: (n, T) import − export [Wh], 0 where not used; `used`: (n, T); `exports`: (n, D) whether the export
    register moved too; `days`: (D + 1,) index of each day's first interval and the end of the last.
    """
    first, last = days[:-1], days[1:] - 1
    if net_wh.shape[0] == 0:
        nothing = np.zeros((0, first.size))
        return EnergyVariance(nothing, nothing, nothing, nothing)
    power = net_wh / interval_s
    opens, closes = used[:, first], used[:, last]
    step = np.square(errors.resolution_wh) / 12 * (1 + exports)
    begun, ended = opens.astype(np.float64), closes.astype(np.float64)
    moved_w = power[:, last] * closes - power[:, first] * opens
    if not used.all():
        begins = used & ~_shifted(used, 1, first)
        ends = used & ~_shifted(used, -1, last)
        begun, ended = _daily(begins, first), _daily(ends, first)
        moved_w = _daily(power * ends, first) - _daily(power * begins, first)
    inner = step * (begun + ended - opens - closes) + np.square(accuracy.skew_s * moved_w)
    gain = np.square(errors.gain_sd * _daily(net_wh, first))
    fluctuating_s = np.square(errors.fluctuation) * accuracy.fluctuation_s
    start_s, end_s = errors.unread_s[:, :-1], errors.unread_s[:, 1:]
    at_start = fluctuating_s * start_s + np.square(accuracy.estimate_share * start_s)
    at_end = fluctuating_s * end_s + np.square(accuracy.estimate_share * end_s)
    start = np.where(opens, step + np.square(power[:, first]) * at_start, 0.0)
    end = np.where(closes, step + np.square(power[:, last]) * at_end, 0.0)
    return EnergyVariance(gain, start, end, inner)


def summed(variance: Floats) -> Floats:
    """(D,) sum of (n, D) variances [Wh²], the same to the last bit in whatever order and company they come: in steps of
    1/1024 Wh², whose sums float64 holds exactly up to an SD of 3 MWh.
    """
    return np.asarray(np.rint(variance * 1024).sum(axis=0) / 1024, dtype=np.float64)


def coarse_variance(used: Bools, coarser_wh: Floats, days: Ints) -> Floats:
    """(n, D) float64 [Wh²]: what registers with these steps (n, D) alone make uncertain; `used`, `days` as above."""
    first, last = days[:-1], days[1:] - 1
    if used.shape[0] == 0:
        return np.zeros((0, first.size))
    begins = _daily(used & ~_shifted(used, 1, first), first)
    ends = _daily(used & ~_shifted(used, -1, last), first)
    return np.asarray(np.square(coarser_wh) / 12 * (begins + ends), dtype=np.float64)


def _shifted(used: Bools, by: int, edges: Ints) -> Bools:
    """Whether the interval before (1) or after (-1) is used, on the same day."""
    moved = np.roll(used, by, axis=1)
    moved[:, edges] = False
    return moved


def _daily(values: npt.NDArray[np.generic], first: Ints) -> npt.NDArray[np.float64]:
    """(n, D) sums by day of (n, T) values."""
    return np.add.reduceat(np.ascontiguousarray(values, dtype=np.float64), first, axis=-1)
