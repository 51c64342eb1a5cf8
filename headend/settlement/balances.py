"""From metering points' intervals to the rows of an area's daily balances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import from_us, to_us
from headend.settlement.edges import own_step_wh
from headend.settlement.grid import DayRange
from headend.settlement.intervals import PointIntervals
from headend.settlement.rules import Rules
from headend.settlement.topology import Installed, Point, aligned, counted
from reconciliation.balance import (
    IntervalBalance,
    MeteredEnergy,
    UnmeteredEnergy,
    interval_balance,
    technical_loss_wh,
)
from reconciliation.day_balance import Sources, day_balances
from reconciliation.registers import IntervalQuality
from reconciliation.report import TechnicalLossModel
from reconciliation.uncertainty import Accuracy, MeterErrors, gain_sd

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BY_MODEL: Final = "model"
"""Where a day's technical loss came from: the model that the last report left behind."""


def balance_rows(
    area: Mapping[str, Any],
    model: Mapping[str, Any] | None,
    settled: PointIntervals,
    days: DayRange,
    *,
    rules: Rules,
    now: datetime,
    unmetered: UnmeteredEnergy | None = None,
) -> list[dict[str, Any]]:
    """One row of balance_day for every day. `area`: code and limits; `model`: its technical-loss model, if there is
    one; `unmetered`: what its loads without a meter take.
    """
    is_area = np.array([p.kind == "area" for p in settled.points], dtype=np.bool_)
    mask = counted(settled.points, days.grid_us)
    by_schedule = unmetered or UnmeteredEnergy.none(days.intervals)
    into, points = _metered(settled, mask, is_area), _metered(settled, mask, ~is_area)
    balance = interval_balance(into, points, by_schedule)
    balance.complete[~aligned(settled.points, days.grid_us)] = False
    technical = _technical(model, balance, rules.calendar.interval_s)
    found = day_balances(
        balance,
        _sources(settled, days, is_area, area=into, points=points, unmetered=by_schedule, rules=rules),
        days=days.midnights,
        elapsed=_elapsed(settled, mask, days, now),
        technical_wh=technical,
        interval_s=rules.calendar.interval_s,
        limits=rules.limits(area["high_loss_rate"], area["negative_loss_rate"]),
        accuracy=rules.accuracy,
    )
    rows: list[dict[str, Any]] = []
    for d, (day, (households, measured)) in enumerate(zip(found, _households(settled, days), strict=True)):
        here = days.day_slice(d)
        complete = balance.complete[here]
        rows.append(
            asdict(day)
            | {
                "state": str(day.state),
                "area_id": area["area_id"],
                "day": days.days[d],
                "starts_at": from_us(int(days.grid_us[here.start])),
                "interval_s": rules.calendar.interval_s,
                "technical_source": None if day.technical_wh is None else BY_MODEL,
                "households": households,
                "households_measured": measured,
                "coverage_households": measured / households if households else None,
                "supplied_interval_wh": _nullable(balance.supplied_wh[here], complete),
                "delivered_interval_wh": _nullable(balance.delivered_wh[here], complete),
                "technical_interval_wh": _nullable(technical[here], complete & np.isfinite(technical[here])),
            }
        )
    return rows


def _metered(settled: PointIntervals, mask: Bools, chosen: Bools) -> MeteredEnergy:
    return MeteredEnergy(
        import_wh=settled.import_wh[chosen],
        export_wh=settled.export_wh[chosen],
        quality=settled.quality[chosen],
        counted=mask[chosen],
        served=settled.served[chosen],
    )


def _sources(
    settled: PointIntervals,
    days: DayRange,
    is_area: Bools,
    *,
    area: MeteredEnergy,
    points: MeteredEnergy,
    unmetered: UnmeteredEnergy,
    rules: Rules,
) -> Sources:
    """How far each metering point's energy may be off, by day."""
    gains = _gains(settled.points, days, rules.accuracy)
    own_wh = own_step_wh(settled.points, days)
    step_wh = settled.resolution_wh
    coarser_wh = np.sqrt(np.maximum(np.square(step_wh) - np.square(own_wh), 0.0))
    # Of the day, not of the stretch: a day says the same whichever days it is settled with.
    households = np.maximum(_on_area(settled.points, days)[~is_area].sum(axis=0), 1)
    fluctuation = np.where(is_area[:, None], households**-0.5, 1.0)

    def errors(chosen: Bools) -> MeterErrors:
        return MeterErrors(
            gain_sd=gains[chosen],
            resolution_wh=step_wh[chosen],
            unread_s=settled.unread_s[chosen],
            fluctuation=fluctuation[chosen],
        )

    return Sources(
        area=area, points=points, area_errors=errors(is_area), point_errors=errors(~is_area),
        area_coarser_wh=coarser_wh[is_area], point_coarser_wh=coarser_wh[~is_area], unmetered=unmetered,
    )  # fmt: skip


def _gains(points: Sequence[Point], days: DayRange, accuracy: Accuracy) -> Floats:
    """(P, D) relative SD of each point's gain; on a day on which two meters served, the less accurate one's."""
    found = np.zeros((len(points), len(days.days)))
    midnights = days.grid_us[days.midnights]
    begin, end = int(midnights[0]), int(midnights[-1])
    for p, point in enumerate(points):
        if (
            len(point.installations) == 1
            and point.installations[0].from_us <= begin
            and point.installations[0].to_us >= end
        ):
            found[p] = _gain(point, point.installations[0], accuracy)
            continue
        for installed in point.installations:
            first = max(int(np.searchsorted(midnights, installed.from_us, side="right")) - 1, 0)
            last = int(np.searchsorted(midnights[:-1], installed.to_us, side="left"))
            found[p, first:last] = np.maximum(found[p, first:last], _gain(point, installed, accuracy))
    return found


def _gain(point: Point, installed: Installed, accuracy: Accuracy) -> float:
    usual = accuracy.area_class if point.kind == "area" else accuracy.household_class
    percent = usual if installed.accuracy_class is None else installed.accuracy_class
    return gain_sd(percent, accuracy, transformers=installed.multiplier_e4 != 10_000)


def _technical(model: Mapping[str, Any] | None, balance: IntervalBalance, interval_s: int) -> Floats:
    """(T,) technical loss [Wh]; NaN without a model."""
    if model is None:
        return np.full(balance.complete.size, np.nan)
    fitted = TechnicalLossModel(constant_wh=model["constant_wh"], quadratic_per_wh=model["quadratic_per_wh"])
    return technical_loss_wh(fitted, model["interval_s"], balance.supplied_wh, interval_s)


def _elapsed(settled: PointIntervals, mask: Bools, days: DayRange, now: datetime) -> Ints:
    """(D,) how many intervals of each day are over; on the running day, how many anything counted is known of."""
    found = np.diff(days.midnights)
    if to_us(now) >= days.grid_us[-1]:
        return found
    known = ((settled.quality != IntervalQuality.ABSENT) & mask).any(axis=0)
    for d in range(len(days.days)):
        here = days.day_slice(d)
        ended = int(np.searchsorted(days.grid_us[here.start + 1 : here.stop + 1], to_us(now), side="right"))
        if ended < found[d]:
            seen = np.flatnonzero(known[here])
            found[d] = min(ended, int(seen[-1]) + 1 if seen.size else 0)
    return found


def _households(settled: PointIntervals, days: DayRange) -> list[tuple[int, int]]:
    """By day: customers on the area, and how many of them were read by a meter of their own."""
    customers = np.array([p.kind == "customer" for p in settled.points], dtype=np.bool_)
    if not customers.any():
        return [(0, 0)] * len(days.days)
    here = _on_area(settled.points, days) & customers[:, None]
    quality = settled.quality
    read = (quality == IntervalQuality.MEASURED) | (quality == IntervalQuality.INTERPOLATED)
    by_day = np.logical_or.reduceat(read, days.midnights[:-1], axis=-1)
    return list(zip(here.sum(axis=0).tolist(), (here & by_day).sum(axis=0).tolist(), strict=True))


def _on_area(points: Sequence[Point], days: DayRange) -> Bools:
    """(P, D) whether each point hung on the area at any time of a day."""
    midnights = days.grid_us[days.midnights]
    begin, end = int(midnights[0]), int(midnights[-1])
    here = np.zeros((len(points), len(days.days)), dtype=np.bool_)
    for p, point in enumerate(points):
        for m in point.memberships:
            if m.from_us <= begin and m.to_us >= end:
                here[p] = True
            else:
                here[p] |= (midnights[:-1] < m.to_us) & (midnights[1:] > m.from_us)
    return here


def _nullable(values: npt.NDArray[Any], there: Bools) -> Sequence[int | None]:
    if there.all():
        whole: list[int | None] = np.rint(values).astype(np.int64).tolist()
        return whole
    return [round(v) if ok else None for v, ok in zip(values.tolist(), there.tolist(), strict=True)]
