"""The area balance per interval and per day: what went in, what came out through meters, and what is missing.

The rule it keeps: sums are made over aligned and complete intervals only (every meter that served has a value), and
what a sum leaves out is said by its coverage. `loss = supplied − delivered`; `rate = loss ÷ gross` with gross = area
import + household export.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from reconciliation.registers import NO_VALUE, IntervalQuality
from reconciliation.report import TechnicalLossModel
from reconciliation.uncertainty import Accuracy, EnergyVariance, MeterErrors, coarse_variance, energy_variance, summed

Ints: TypeAlias = npt.NDArray[np.int64]
Small: TypeAlias = npt.NDArray[np.int8]
Bools: TypeAlias = npt.NDArray[np.bool_]
Floats: TypeAlias = npt.NDArray[np.float64]


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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MeteredEnergy:
    """Energies of n metering points over T intervals."""

    import_wh: Ints
    """(n, T) int64 [Wh], NO_VALUE: absent."""
    export_wh: Ints
    """(n, T) int64 [Wh], NO_VALUE: absent (a meter without an export register has none)."""
    quality: Small
    """(n, T) IntervalQuality."""
    counted: Bools
    """(n, T) whether the point hangs on the area and is counted in the balance then."""
    served: Bools
    """(n, T) whether a meter was installed."""

    @property
    def present(self) -> Bools:
        """(n, T) whether there is a number at all."""
        return np.not_equal(self.quality, IntervalQuality.ABSENT)

    @property
    def measured(self) -> Bools:
        """(n, T) whether it rests on registers read around the interval."""
        found: Bools = np.equal(self.quality, IntervalQuality.MEASURED)
        found |= self.quality == IntervalQuality.INTERPOLATED
        return found

    @property
    def dark(self) -> Bools:
        """(n, T) whether power had failed: the energy is known, and there was nothing to measure."""
        return np.equal(self.quality, IntervalQuality.ZERO_BY_EVENT)


@dataclass(frozen=True, slots=True, eq=False)
class UnmeteredEnergy:
    """What L known loads without a meter (street lights by schedule) take in T intervals."""

    energy_wh: Ints
    """(L, T) int64 [Wh]."""
    sd_share: Floats
    """(L,) standard deviation of each load's energy as share of it; the same error on every day."""

    @classmethod
    def none(cls, intervals: int) -> UnmeteredEnergy:
        """No such load."""
        return cls(np.zeros((0, intervals), dtype=np.int64), np.zeros(0))


def _flowing(energy_wh: Ints, used: Bools) -> Ints:
    """For sums: what is not used, and what a meter does not measure, as 0. Most meters never feed in."""
    if not energy_wh.any():
        return energy_wh
    return np.where(used & (energy_wh != NO_VALUE), energy_wh, 0)


@dataclass(frozen=True, slots=True, eq=False)
class IntervalBalance:
    """The balance of T intervals; sums are meaningful where `complete`."""

    complete: Bools
    supplied_wh: Ints
    delivered_wh: Ints
    """Through meters, and by unmetered loads."""
    gross_wh: Ints
    unmetered_wh: Ints
    """(T,) of the delivered energy, by schedule."""
    required: Ints
    """(T,) counted metering points, area meters included, of which there was something to measure: not those without
    power, or every outage would be a day that cannot be computed.
    """
    measured: Ints
    """(T,) of them measured."""
    area_present: Bools
    expected: Bools
    """(T,) whether there is anything that takes energy: a household's meter or an unmetered load."""
    measured_wh: Ints
    """(T,) Σ |import| + |export| of the counted points, of what was measured ..."""
    estimated_wh: Ints
    """... estimated ..."""
    edited_wh: Ints
    """... or set by a person."""
    area_net_wh: Ints
    """(a, T) import − export of each area meter where it is counted, else 0."""
    point_net_wh: Ints
    """(n, T) the same of each metering point."""


def interval_balance(
    area: MeteredEnergy, points: MeteredEnergy, unmetered: UnmeteredEnergy | None = None
) -> IntervalBalance:
    """Balance of T intervals from the area's own meters, its counted metering points and its unmetered loads."""
    count = area.import_wh.shape[1]
    by_schedule = unmetered or UnmeteredEnergy.none(count)
    wanted = points.counted & points.served
    area_wanted = area.counted & area.served
    area_present: Bools = np.logical_and(area_wanted.any(axis=0), (area.present | ~area_wanted).all(axis=0))
    expected: Bools = np.logical_or(wanted.any(axis=0), (by_schedule.energy_wh > 0).any(axis=0))
    complete: Bools = area_present & (points.present | ~wanted).all(axis=0) & expected
    # Where power had failed there was nothing to measure; an area without a meter lacks one all the same.
    area_required = np.where(area.counted.any(axis=0), (area.counted & ~area.dark).sum(axis=0), 1)
    measured = points.measured
    used = wanted & points.present
    area_used = area_wanted & area.present
    into, out = _flowing(area.import_wh, area_used), _flowing(area.export_wh, area_used)
    taken, fed = _flowing(points.import_wh, used), _flowing(points.export_wh, used)
    exchanged = taken + fed
    net, area_net = taken - fed, into - out
    soft = used & ~measured
    measured_wh = exchanged.sum(axis=0)
    estimated_wh, edited_wh = np.zeros_like(measured_wh), np.zeros_like(measured_wh)
    if soft.any():
        measured_wh = measured_wh - np.where(soft, exchanged, 0).sum(axis=0)
        estimated_wh = np.where(points.quality == IntervalQuality.ESTIMATED, exchanged, 0).sum(axis=0)
        edited_wh = np.where(points.quality == IntervalQuality.EDITED, exchanged, 0).sum(axis=0)
    unmetered_wh = by_schedule.energy_wh.sum(axis=0)
    return IntervalBalance(
        complete=complete,
        supplied_wh=area_net.sum(axis=0),
        delivered_wh=net.sum(axis=0) + unmetered_wh,
        gross_wh=into.sum(axis=0) + fed.sum(axis=0),
        unmetered_wh=unmetered_wh,
        required=(points.counted & ~points.dark).sum(axis=0) + area_required,
        measured=(points.counted & measured).sum(axis=0) + (area.counted & area.measured).sum(axis=0),
        area_present=area_present,
        expected=expected,
        measured_wh=measured_wh,
        estimated_wh=estimated_wh,
        edited_wh=edited_wh,
        area_net_wh=area_net,
        point_net_wh=net,
    )


def technical_loss_wh(model: TechnicalLossModel, model_interval_s: int, supplied_wh: Ints, interval_s: int) -> Floats:
    """(T,) float64 technical loss of intervals of `interval_s` from a model fitted on intervals of `model_interval_s`.

    Power, not energy, makes heat: at another interval length the constant scales with it, the quadratic coefficient
    against it.
    """
    ratio = interval_s / model_interval_s
    scaled = TechnicalLossModel(constant_wh=model.constant_wh * ratio, quadratic_per_wh=model.quadratic_per_wh / ratio)
    return np.asarray(scaled.predict(supplied_wh.astype(np.float64)), dtype=np.float64)


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
    unmetered: UnmeteredEnergy


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
    """Machine word for why a day cannot be judged; None: it can."""
    if elapsed == 0:
        return "no_interval_over"
    if expected == 0:
        return "no_household_meter"
    if area_present < limits.coverage * elapsed:
        return "area_meter_missing"
    if coverage is None or coverage < limits.coverage:
        return "coverage_too_low"
    if complete == 0:
        return "no_complete_interval"
    return None


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
    if sources.unmetered.energy_wh.size:
        used_wh = np.add.reduceat(np.where(complete, sources.unmetered.energy_wh, 0), first, axis=-1)
        systematic = systematic + summed(np.square(used_wh * sources.unmetered.sd_share[:, None]))
    variances = {
        "uncertainty_wh": systematic + start + end + inner,
        "systematic_wh": systematic,
        "start_wh": start,
        "end_wh": end,
        "inner_wh": inner,
        "coarse_wh": coarse,
    }
    return {name: np.sqrt(variance) for name, variance in variances.items()}
