"""The area balance per interval and per day: what went in, what came out through meters, and what is missing.

The rule it keeps: sums are made over aligned and complete intervals only (every meter that served has a value), and
what a sum leaves out is
said by its coverage. `loss = supplied − delivered`; `rate = loss ÷ gross` with gross = area import + household export.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from reconciliation.registers import NO_VALUE, IntervalQuality
from reconciliation.report import TechnicalLossModel
from reconciliation.uncertainty import Accuracy, energy_sd_wh, loss_sd_wh, resolution_sd_wh

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
    resolution_wh: Floats
    """(n,) register step on the primary side [Wh]."""
    coarser_wh: Floats | None = None
    """(n,) what of that step is not the meter's own, but of the way it is read [Wh]; None: nothing."""

    @property
    def present(self) -> Bools:
        """(n, T) whether there is a number at all."""
        return np.not_equal(self.quality, IntervalQuality.ABSENT)

    @property
    def measured(self) -> Bools:
        """(n, T) whether it rests on registers read around the interval."""
        return np.isin(self.quality, (IntervalQuality.MEASURED, IntervalQuality.INTERPOLATED))


def value_or_zero(energy_wh: Ints) -> Ints:
    """For sums over a mask that leaves absent values out: NO_VALUE as 0."""
    return np.where(energy_wh == NO_VALUE, 0, energy_wh)


@dataclass(frozen=True, slots=True, eq=False)
class IntervalBalance:
    """The balance of T intervals; sums are meaningful where `complete`."""

    complete: Bools
    supplied_wh: Ints
    delivered_wh: Ints
    gross_wh: Ints
    required: Ints
    """(T,) counted metering points, area meters included."""
    measured: Ints
    """(T,) of them measured."""
    area_present: Bools
    absolute_wh: Ints
    """(T,) Σ |import| + |export| of the counted points."""
    estimated_wh: Ints
    """(T,) of that, estimated."""


def interval_balance(area: MeteredEnergy, points: MeteredEnergy) -> IntervalBalance:
    """Balance of T intervals from the area's own meters and from its counted metering points."""
    wanted = points.counted & points.served
    area_wanted = area.counted & area.served
    area_present: Bools = np.logical_and(area_wanted.any(axis=0), (area.present | ~area_wanted).all(axis=0))
    complete: Bools = np.logical_and(area_present, (points.present | ~wanted).all(axis=0) & wanted.any(axis=0))
    used = wanted & points.present
    area_used = area_wanted & area.present
    into, out = value_or_zero(area.import_wh) * area_used, value_or_zero(area.export_wh) * area_used
    taken, fed = value_or_zero(points.import_wh) * used, value_or_zero(points.export_wh) * used
    absolute = taken + fed
    return IntervalBalance(
        complete=complete,
        supplied_wh=into.sum(axis=0) - out.sum(axis=0),
        delivered_wh=taken.sum(axis=0) - fed.sum(axis=0),
        gross_wh=into.sum(axis=0) + fed.sum(axis=0),
        required=points.counted.sum(axis=0) + np.maximum(area.counted.sum(axis=0), 1),
        measured=(points.counted & points.measured).sum(axis=0) + (area.counted & area.measured).sum(axis=0),
        area_present=area_present,
        absolute_wh=absolute.sum(axis=0),
        estimated_wh=(absolute * (points.quality == IntervalQuality.ESTIMATED)).sum(axis=0),
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
    loss_wh: int | None = None
    technical_wh: int | None = None
    unexplained_wh: int | None = None
    gross_wh: int | None = None
    loss_rate: float | None = None
    uncertainty_wh: int | None = None
    intervals: int
    intervals_complete: int
    coverage_intervals: float | None = None
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


def day_balance(
    intervals: IntervalBalance,
    area: MeteredEnergy,
    points: MeteredEnergy,
    *,
    day: slice,
    elapsed: int,
    technical_wh: Floats,
    interval_s: int,
    limits: Limits,
    accuracy: Accuracy,
) -> DayBalance:
    """Balance of one day: the intervals `day`, of which the first `elapsed` are over.

    `technical_wh`: (T,) float64, NaN: no model. A day below the coverage limit keeps its sums, where it has any, with
    the state not computable.
    """
    total = day.stop - day.start
    over = slice(day.start, day.start + elapsed)
    complete = intervals.complete[over]
    count = int(complete.sum())
    required = int(intervals.required[over].sum())
    coverage = int(intervals.measured[over].sum()) / required if required else None
    reason = _why_not(intervals, over, complete=count, coverage=coverage, points=points, limits=limits)
    if count == 0:
        return DayBalance(
            state=State.NOT_COMPUTABLE,
            reason=reason,
            intervals=total,
            intervals_complete=0,
            coverage_intervals=coverage,
        )
    supplied = int(intervals.supplied_wh[over][complete].sum())
    delivered = int(intervals.delivered_wh[over][complete].sum())
    gross = int(intervals.gross_wh[over][complete].sum())
    absolute = int(intervals.absolute_wh[over][complete].sum())
    estimated = int(intervals.estimated_wh[over][complete].sum())
    technical = technical_wh[over][complete]
    technical_sum = round(float(technical.sum())) if np.isfinite(technical).all() else None
    loss, rate = supplied - delivered, (supplied - delivered) / gross if gross > 0 else None
    sigma = _loss_sd(area, points, over, complete=complete, interval_s=interval_s, accuracy=accuracy)
    coarse = _coarser_sd(area, points, over, complete=complete)
    verdict = judge(
        loss_wh=loss,
        loss_rate=rate,
        technical_wh=technical_sum,
        uncertainty_wh=sigma,
        limits=limits,
        accuracy=accuracy,
        rate_margin=limits.sigmas * coarse / gross if gross > 0 else 0.0,
    )
    return DayBalance(
        state=verdict.state if reason is None else State.NOT_COMPUTABLE,
        reason=reason,
        supplied_wh=supplied,
        delivered_wh=delivered,
        loss_wh=loss,
        technical_wh=technical_sum,
        unexplained_wh=verdict.unexplained_wh,
        gross_wh=gross,
        loss_rate=rate,
        uncertainty_wh=round(sigma),
        intervals=total,
        intervals_complete=count,
        coverage_intervals=coverage,
        estimated_share=estimated / absolute if absolute else 0.0,
    )


def _why_not(
    intervals: IntervalBalance,
    over: slice,
    *,
    complete: int,
    coverage: float | None,
    points: MeteredEnergy,
    limits: Limits,
) -> str | None:
    """Machine word for why a day cannot be judged; None: it can."""
    elapsed = over.stop - over.start
    if elapsed == 0:
        return "no_interval_over"
    if not (points.counted[:, over] & points.served[:, over]).any():
        return "no_household_meter"
    if intervals.area_present[over].sum() < limits.coverage * elapsed:
        return "area_meter_missing"
    if coverage is None or coverage < limits.coverage:
        return "coverage_too_low"
    if complete == 0:
        return "no_complete_interval"
    return None


def _coarser_sd(area: MeteredEnergy, points: MeteredEnergy, over: slice, *, complete: Bools) -> float:
    """Standard deviation of the loss that registers bring in which are read more coarsely than they count [Wh]."""
    variance = 0.0
    for energy in (area, points):
        if energy.coarser_wh is not None and energy.coarser_wh.any():
            used = energy.counted[:, over] & energy.present[:, over] & complete[None, :]
            variance += float(np.square(resolution_sd_wh(used, energy.coarser_wh)).sum())
    return float(np.sqrt(variance))


def _loss_sd(
    area: MeteredEnergy, points: MeteredEnergy, over: slice, *, complete: Bools, interval_s: int, accuracy: Accuracy
) -> float:
    parts: list[Floats] = []
    for energy, percent in ((area, accuracy.area_class), (points, accuracy.household_class)):
        used = energy.counted[:, over] & energy.present[:, over] & complete[None, :]
        net = value_or_zero(energy.import_wh[:, over]) - value_or_zero(energy.export_wh[:, over])
        estimated = energy.quality[:, over] == IntervalQuality.ESTIMATED
        parts.append(
            energy_sd_wh(
                np.where(used, net, 0).astype(np.float64),
                used,
                estimated,
                percent=percent,
                resolution_wh=energy.resolution_wh,
                interval_s=interval_s,
                accuracy=accuracy,
            )
        )
    return loss_sd_wh(parts[0], parts[1])
