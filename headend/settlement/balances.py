"""From metering points' intervals to the rows of an area's daily balances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import from_us, to_us
from headend.settlement.edges import own_step_wh
from headend.settlement.grid import DayRange
from headend.settlement.intervals import PointIntervals
from headend.settlement.rules import Rules
from headend.settlement.topology import Point, aligned, counted
from reconciliation.balance import (
    IntervalBalance,
    Limits,
    MeteredEnergy,
    day_balance,
    interval_balance,
    technical_loss_wh,
)
from reconciliation.registers import IntervalQuality
from reconciliation.report import TechnicalLossModel

Bools = npt.NDArray[np.bool_]


def balance_rows(
    area: Mapping[str, Any],
    model: Mapping[str, Any] | None,
    settled: PointIntervals,
    days: DayRange,
    *,
    rules: Rules,
    now: datetime,
) -> list[dict[str, Any]]:
    """One row of balance_day for every day. `area`: code and limits; `model`: its technical-loss model, if there is
    one.
    """
    is_area = np.array([p.kind == "area" for p in settled.points], dtype=np.bool_)
    mask = counted(settled.points, days.grid_us)
    into, points = _metered(settled, mask, is_area), _metered(settled, mask, ~is_area)
    balance = interval_balance(into, points)
    balance.complete[~aligned(settled.points, days.grid_us)] = False
    technical = _technical(model, balance, rules.calendar.interval_s)
    limits = rules.limits(area["high_loss_rate"], area["negative_loss_rate"])
    over = _elapsed(settled, days, now)
    return [
        _row(
            area["area_id"],
            d,
            settled=settled,
            days=days,
            balance=balance,
            area=into,
            points=points,
            is_area=is_area,
            technical=technical,
            elapsed=over[d],
            limits=limits,
            rules=rules,
        )
        for d in range(len(days.days))
    ]


def _metered(settled: PointIntervals, mask: Bools, chosen: Bools) -> MeteredEnergy:
    return MeteredEnergy(
        import_wh=settled.import_wh[chosen],
        export_wh=settled.export_wh[chosen],
        quality=settled.quality[chosen],
        counted=mask[chosen],
        served=settled.served[chosen],
        resolution_wh=settled.resolution_wh[chosen].max(axis=1, initial=0.0),
    )


def _technical(model: Mapping[str, Any] | None, balance: IntervalBalance, interval_s: int) -> npt.NDArray[np.float64]:
    """(T,) technical loss [Wh]; NaN without a model."""
    if model is None:
        return np.full(balance.complete.size, np.nan)
    fitted = TechnicalLossModel(constant_wh=model["constant_wh"], quadratic_per_wh=model["quadratic_per_wh"])
    return technical_loss_wh(fitted, model["interval_s"], balance.supplied_wh, interval_s)


def _elapsed(settled: PointIntervals, days: DayRange, now: datetime) -> list[int]:
    """Per day, how many intervals are over; on the running day, how many anything is known of."""
    found: list[int] = []
    known = (settled.quality != IntervalQuality.ABSENT).any(axis=0)
    for d in range(len(days.days)):
        here = days.day_slice(d)
        total = here.stop - here.start
        ended = int(np.searchsorted(days.grid_us[here.start + 1 : here.stop + 1], to_us(now), side="right"))
        if ended < total:
            seen = np.flatnonzero(known[here])
            ended = min(ended, int(seen[-1]) + 1 if seen.size else 0)
        found.append(ended)
    return found


def _row(
    area_id: int,
    d: int,
    *,
    settled: PointIntervals,
    days: DayRange,
    balance: IntervalBalance,
    area: MeteredEnergy,
    points: MeteredEnergy,
    is_area: Bools,
    technical: npt.NDArray[np.float64],
    elapsed: int,
    limits: Limits,
    rules: Rules,
) -> dict[str, Any]:
    here = days.day_slice(d)
    own_wh = np.array([own_step_wh(point) for point in settled.points], dtype=np.float64)
    of_area, of_points = (
        replace(
            metered,
            resolution_wh=settled.resolution_wh[chosen, d],
            coarser_wh=np.sqrt(np.square(settled.resolution_wh[chosen, d]) - np.square(own_wh[chosen])),
        )
        for metered, chosen in ((area, is_area), (points, ~is_area))
    )
    day = day_balance(
        balance, of_area, of_points, day=here, elapsed=elapsed, technical_wh=technical,
        interval_s=rules.calendar.interval_s, limits=limits, accuracy=rules.accuracy,
    )  # fmt: skip
    complete = balance.complete[here]
    households, measured = _households(settled, days, d)
    values = asdict(day) | {"state": str(day.state)}
    return values | {
        "area_id": area_id,
        "day": days.days[d],
        "starts_at": from_us(int(days.grid_us[here.start])),
        "interval_s": rules.calendar.interval_s,
        "households": households,
        "households_measured": measured,
        "coverage_households": measured / households if households else None,
        "supplied_interval_wh": _nullable(balance.supplied_wh[here], complete),
        "delivered_interval_wh": _nullable(balance.delivered_wh[here], complete),
        "technical_interval_wh": _nullable(technical[here], complete & np.isfinite(technical[here])),
    }


def _households(settled: PointIntervals, days: DayRange, d: int) -> tuple[int, int]:
    """Customers on the area that day, and how many of them were read by a meter of their own."""
    start, end = (int(us) for us in days.grid_us[days.midnights[d : d + 2]])
    quality = settled.quality[:, days.day_slice(d)]
    read = ((quality == IntervalQuality.MEASURED) | (quality == IntervalQuality.INTERPOLATED)).any(axis=1)
    here = [p for p, point in enumerate(settled.points) if point.kind == "customer" and _on_area(point, start, end)]
    return len(here), int(read[here].sum())


def _on_area(point: Point, start_us: int, end_us: int) -> bool:
    return any(m.from_us < end_us and m.to_us > start_us for m in point.memberships)


def _nullable(values: npt.NDArray[Any], there: Bools) -> Sequence[int | None]:
    return [round(v) if ok else None for v, ok in zip(values.tolist(), there.tolist(), strict=True)]
