"""The area balance of each day: sums over complete intervals, how far they may be off, and what that says.

The rule it keeps: what a sum leaves out is said by its coverage, and below the limit of that nothing is judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt

from reconciliation.balance import Bools, Floats, IntervalBalance, Ints, MeteredEnergy
from reconciliation.uncertainty import Accuracy, EnergyVariance, MeterErrors, coarse_variance, energy_variance, summed


class State(StrEnum):
    """What a day's balance says."""

    NORMAL = "normal"
    HIGH = "high"
    NEGATIVE = "negative"
    NOT_COMPUTABLE = "not_computable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When a balance is high, negative or not computable; per area."""

    high_loss_rate: float = 0.07
    negative_loss_rate: float = -0.01
    coverage: float = 0.9
    """Least share of (metering point x interval) that must be measured."""
    sigmas: float = 3.0
    """Above technical loss + so many standard deviations a loss is high."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DayBalance:
    """One day of an area; None: not known."""

    state: State
    reason: str | None = None
    supplied_wh: int | None = None
    delivered_wh: int | None = None
    unmetered_wh: int | None = None
    """Of the delivered energy, by schedule."""
    loss_wh: int | None = None
    technical_wh: int | None = None
    unexplained_wh: int | None = None
    gross_wh: int | None = None
    loss_rate: float | None = None
    uncertainty_wh: int | None = None
    """One standard deviation of the loss: the root of the squares of the four that follow."""
    systematic_wh: int | None = None
    """Of it, what is the same error every day: gains, unmetered loads."""
    start_wh: int | None = None
    """... what the registers at the day's first instant leave open ..."""
    end_wh: int | None = None
    """... those at its last instant, which the next day shares ..."""
    inner_wh: int | None = None
    """... and what is independent from day to day."""
    coarse_wh: int | None = None
    """Of the uncertainty, what registers bring in that are read more coarsely than they count."""
    intervals: int
    intervals_complete: int
    coverage_intervals: float | None = None
    measured_wh: int | None = None
    """Σ |import| + |export| through household meters in complete intervals: of what was measured ..."""
    estimated_wh: int | None = None
    """... estimated ..."""
    edited_wh: int | None = None
    """... or set by a person."""
    estimated_share: float | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """State of a balance whose sums are known, and what of its loss is not technical."""

    state: State
    unexplained_wh: int | None


def judge(
    *,
    loss_wh: int,
    loss_rate: float | None,
    technical_wh: int | None,
    uncertainty_wh: float,
    limits: Limits,
    accuracy: Accuracy,
    rate_margin: float = 0.0,
) -> Verdict:
    """High: the rate is above its limit, or the loss above technical + k standard deviations (of both); negative: the
    rate is below its limit. `rate_margin`: by so much the rate may be beyond a limit for the registers' steps alone.
    """
    unexplained = None if technical_wh is None else loss_wh - technical_wh
    if loss_rate is not None and loss_rate + rate_margin < limits.negative_loss_rate:
        return Verdict(State.NEGATIVE, unexplained)
    if loss_rate is not None and loss_rate - rate_margin > limits.high_loss_rate:
        return Verdict(State.HIGH, unexplained)
    if unexplained is not None and technical_wh is not None:
        spread = (uncertainty_wh**2 + (accuracy.technical_share * technical_wh) ** 2) ** 0.5
        if unexplained > limits.sigmas * spread:
            return Verdict(State.HIGH, unexplained)
    return Verdict(State.NORMAL, unexplained)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sources:
    """What a stretch of days is balanced from, besides the sums of its intervals."""

    area: MeteredEnergy
    points: MeteredEnergy
    area_errors: MeterErrors
    point_errors: MeterErrors
    area_coarser_wh: Floats
    """(a, D) what of a register's step is not the meter's own, but of the way it is read [Wh]."""
    point_coarser_wh: Floats
    """(n, D)."""


def day_balances(
    intervals: IntervalBalance,
    sources: Sources,
    *,
    days: Ints,
    elapsed: Ints,
    technical_wh: Floats,
    interval_s: int,
    limits: Limits,
    accuracy: Accuracy,
) -> list[DayBalance]:
    """Balances of D days, of each of which the first `elapsed` (D,) intervals are over.

    `days`: (D + 1,) index of each day's first interval and the end of the last; `technical_wh`: (T,) float64, NaN: no
    model. A day below the coverage limit keeps its sums, where it has any, with the state not computable.
    """
    first, sizes = days[:-1], np.diff(days)
    over = np.arange(intervals.complete.size) < np.repeat(first + elapsed, sizes)
    complete = intervals.complete & over

    def total(values: npt.NDArray[np.generic], among: Bools) -> Ints:
        return np.add.reduceat(np.where(among, values, 0).astype(np.int64), first)

    one = np.ones(complete.size, dtype=np.int64)
    counts, required, measured = total(one, complete), total(intervals.required, over), total(intervals.measured, over)
    area_present, expected = total(one, over & intervals.area_present), total(one, over & intervals.expected)
    sums = {
        name: total(getattr(intervals, name), complete)
        for name in (
            "supplied_wh", "delivered_wh", "gross_wh", "unmetered_wh", "measured_wh", "estimated_wh", "edited_wh",
        )
    }  # fmt: skip
    known = np.isfinite(technical_wh)
    technical = np.add.reduceat(np.where(complete & known, technical_wh, 0.0), first)
    unknown = total(one, complete & ~known)
    deviations = _deviations(intervals, sources, complete, days=days, interval_s=interval_s, accuracy=accuracy)
    found: list[DayBalance] = []
    for d in range(first.size):
        coverage = int(measured[d]) / int(required[d]) if required[d] else None
        reason = _why_not(
            elapsed=int(elapsed[d]), expected=int(expected[d]), area_present=int(area_present[d]), coverage=coverage,
            complete=int(counts[d]), limits=limits,
        )  # fmt: skip
        known_sums = {name: int(values[d]) for name, values in sums.items()}
        found.append(
            _day(
                known_sums,
                {name: float(values[d]) for name, values in deviations.items()},
                reason=reason,
                intervals=(int(sizes[d]), int(counts[d])),
                coverage=coverage,
                technical=None if unknown[d] else round(float(technical[d])),
                limits=limits,
                accuracy=accuracy,
            )
        )
    return found


def _day(
    sums: dict[str, int],
    deviations: dict[str, float],
    *,
    reason: str | None,
    intervals: tuple[int, int],
    coverage: float | None,
    technical: int | None,
    limits: Limits,
    accuracy: Accuracy,
) -> DayBalance:
    if intervals[1] == 0:
        return DayBalance(
            state=State.NOT_COMPUTABLE, reason=reason, intervals=intervals[0], intervals_complete=0,
            coverage_intervals=coverage,
        )  # fmt: skip
    loss, gross = sums["supplied_wh"] - sums["delivered_wh"], sums["gross_wh"]
    rate = loss / gross if gross > 0 else None
    exchanged = sums["measured_wh"] + sums["estimated_wh"] + sums["edited_wh"]
    verdict = judge(
        loss_wh=loss,
        loss_rate=rate,
        technical_wh=technical,
        uncertainty_wh=deviations["uncertainty_wh"],
        limits=limits,
        accuracy=accuracy,
        rate_margin=limits.sigmas * deviations["coarse_wh"] / gross if gross > 0 else 0.0,
    )
    return DayBalance(
        state=verdict.state if reason is None else State.NOT_COMPUTABLE,
        reason=reason,
        loss_wh=loss,
        technical_wh=technical,
        unexplained_wh=verdict.unexplained_wh,
        loss_rate=rate,
        intervals=intervals[0],
        intervals_complete=intervals[1],
        coverage_intervals=coverage,
        estimated_share=sums["estimated_wh"] / exchanged if exchanged else 0.0,
        **sums,
        **{name: round(value) for name, value in deviations.items()},
    )


def _why_not(
    *, elapsed: int, expected: int, area_present: int, coverage: float | None, complete: int, limits: Limits
) -> str | None:
    """Machine word for why a day cannot be judged; None: it can. Without coverage, nothing that is counted had power:
    there was nothing to measure.
    """
    reasons = (
        ("no_interval_over", elapsed == 0),
        ("no_household_meter", expected == 0),
        ("area_meter_missing", area_present < limits.coverage * elapsed),
        ("power_failed", coverage is None),
        ("coverage_too_low", coverage is not None and coverage < limits.coverage),
        ("no_complete_interval", complete == 0),
    )
    return next((word for word, applies in reasons if applies), None)


def _deviations(
    intervals: IntervalBalance,
    sources: Sources,
    complete: Bools,
    *,
    days: Ints,
    interval_s: int,
    accuracy: Accuracy,
) -> dict[str, Floats]:
    """(D,) float64 [Wh] each: standard deviations of the loss by their kind; meters err independently of each other."""
    first = days[:-1]
    parts: list[EnergyVariance] = []
    coarse = np.zeros(first.size)
    for energy, net, errors, coarser in (
        (sources.area, intervals.area_net_wh, sources.area_errors, sources.area_coarser_wh),
        (sources.points, intervals.point_net_wh, sources.point_errors, sources.point_coarser_wh),
    ):
        used = energy.counted & energy.present & complete
        exports = np.zeros((net.shape[0], first.size), dtype=np.bool_)
        if net.shape[0]:
            exports = np.logical_or.reduceat(used & (energy.export_wh > 0), first, axis=-1)
        parts.append(
            energy_variance(
                np.where(used, net, 0), used, exports, days, errors=errors, interval_s=interval_s, accuracy=accuracy
            )
        )
        if coarser.any():
            coarse += summed(coarse_variance(used, coarser, days))
    systematic, start, end, inner = (
        sum(summed(getattr(part, name)) for part in parts) for name in ("gain", "start", "end", "inner")
    )
    loads = intervals.unmetered
    if loads.energy_wh.size:
        used_wh = np.add.reduceat(np.where(complete, loads.energy_wh, 0), first, axis=-1)
        systematic = systematic + summed(np.square(used_wh * loads.sd_share[:, None]))
    variances = {
        "uncertainty_wh": systematic + start + end + inner,
        "systematic_wh": systematic,
        "start_wh": start,
        "end_wh": end,
        "inner_wh": inner,
        "coarse_wh": coarse,
    }
    return {name: np.sqrt(variance) for name, variance in variances.items()}
