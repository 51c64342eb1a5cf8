"""From metering points' intervals to the rows of an area's daily balances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import from_us, to_us
from headend.settlement.grid import DayRange
from headend.settlement.intervals import PointIntervals
from headend.settlement.presence import Presence
from headend.settlement.rules import Rules
from headend.settlement.topology import DIRECT_E4
from reconciliation.balance import (
    IntervalBalance,
    MeteredEnergy,
    UnmeteredEnergy,
    interval_balance,
    technical_loss_wh,
)
from reconciliation.day_balance import Sources, day_balances
from reconciliation.registers import IntervalQuality, is_measured
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
    is_area = np.asarray(settled.points.kind == "area", dtype=np.bool_)
    mask = settled.presence.counted
    into, points = _metered(settled, mask, is_area), _metered(settled, mask, ~is_area)
    balance = interval_balance(into, points, unmetered)
    balance.complete[~settled.presence.aligned] = False
    technical = _technical(model, balance, rules.calendar.interval_s)
    found = day_balances(
        balance,
        _sources(settled, is_area, area=into, points=points, rules=rules),
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
    is_area: Bools,
    *,
    area: MeteredEnergy,
    points: MeteredEnergy,
    rules: Rules,
) -> Sources:
    """How far each metering point's energy may be off, by day."""
    gains = _gains(settled.presence, rules.accuracy)
    step_wh = settled.resolution_wh
    coarser_wh = np.sqrt(np.maximum(np.square(step_wh) - np.square(settled.presence.own_step_wh), 0.0))
    # Of the day, not of the stretch: a day says the same whichever days it is settled with.
    households = np.maximum(settled.presence.on_area[~is_area].sum(axis=0), 1)
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
        area_coarser_wh=coarser_wh[is_area], point_coarser_wh=coarser_wh[~is_area],
    )  # fmt: skip


def _gains(presence: Presence, accuracy: Accuracy) -> Floats:
    """(P, D) relative SD of each point's gain; on a day on which two meters served, the less accurate one's."""
    installed = presence.installed
    of_area = presence.columns.kind[installed.point] == "area"
    usual = np.where(of_area, accuracy.area_class, accuracy.household_class)
    percent = np.where(np.isnan(installed.accuracy_class), usual, installed.accuracy_class)
    return presence.highest(gain_sd(percent, accuracy, transformers=installed.multiplier_e4 != DIRECT_E4))


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
    customers = np.asarray(settled.points.kind == "customer", dtype=np.bool_)
    if not customers.any():
        return [(0, 0)] * len(days.days)
    here = settled.presence.on_area & customers[:, None]
    by_day = np.logical_or.reduceat(is_measured(settled.quality), days.midnights[:-1], axis=-1)
    return list(zip(here.sum(axis=0).tolist(), (here & by_day).sum(axis=0).tolist(), strict=True))


def _nullable(values: npt.NDArray[Any], there: Bools) -> Sequence[int | None]:
    if there.all():
        whole: list[int | None] = np.rint(values).astype(np.int64).tolist()
        return whole
    return [round(v) if ok else None for v, ok in zip(values.tolist(), there.tolist(), strict=True)]
