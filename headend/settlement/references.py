"""Long gaps get the shape of reference days: the same point's most recent measured days of the same weekday type
before the gap.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import from_us
from headend.settlement.draft import Draft
from headend.settlement.grid import DayRange
from headend.settlement.rules import REFERENCE_SPAN_DAYS, Rules
from headend.settlement.series import Series
from headend.settlement.topology import Point
from reconciliation.cleaning import Cleaned
from reconciliation.estimation import cumulative_share, reference_profiles, spread
from reconciliation.registers import GridRegisters, IntervalQuality, LongGap, long_gaps

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Past = Callable[[Sequence[int], date, date], Sequence[Mapping[str, Any]]]
"""Settled days of some metering points (ids) from a day to a day: rows with usage_point_id, day, import_wh,
export_wh, quality.
"""


def spread_long_gaps(
    points: Sequence[Point],
    series: Series,
    cleaned: Cleaned,
    registers: GridRegisters,
    *,
    draft: Draft,
    days: DayRange,
    rules: Rules,
    past: Past,
) -> int:
    """Put the registers inside every long gap on the shape of reference days, in place; returns how many gaps there
    were.
    """
    gaps = long_gaps(registers, cleaned, rules.grid)
    if not gaps:
        return 0
    starts = [rules.calendar.day_of(from_us(int(cleaned.ts_us[gap.before]))) for gap in gaps]
    wanted = sorted({points[series.owners[gap.series].point].usage_point_id for gap in gaps})
    stored: dict[int, dict[date, Mapping[str, Any]]] = {}
    if min(starts) - timedelta(days=REFERENCE_SPAN_DAYS) < days.first:
        for row in past(wanted, min(starts) - timedelta(days=REFERENCE_SPAN_DAYS), days.first - timedelta(days=1)):
            stored.setdefault(row["usage_point_id"], {})[row["day"]] = row
    for gap, gap_day in zip(gaps, starts, strict=True):
        owner = series.owners[gap.series]
        known = stored.get(points[owner.point].usage_point_id, {})
        energy, good, weekend = _past_days(owner.point, owner.into, gap_day, draft=draft, stored=known, days=days)
        profiles = reference_profiles(energy, good, weekend)
        _spread_one(gap, profiles, cleaned, series, registers=registers, rules=rules)
    return len(gaps)


def _past_days(
    point: int,
    into: str,
    gap_day: date,
    *,
    draft: Draft,
    stored: Mapping[date, Mapping[str, Any]],
    days: DayRange,
) -> tuple[Floats, npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Energies of the days before a gap (days, slots), which of them are good, and which are weekends; DST days are
    never references.
    """
    slots = 86_400 // days.calendar.interval_s
    energy = np.zeros((REFERENCE_SPAN_DAYS, slots))
    good = np.zeros(REFERENCE_SPAN_DAYS, dtype=np.bool_)
    weekend = np.zeros(REFERENCE_SPAN_DAYS, dtype=np.bool_)
    for i in range(REFERENCE_SPAN_DAYS):
        day = gap_day - timedelta(days=REFERENCE_SPAN_DAYS - i)
        weekend[i] = _is_weekend(day)
        if days.first <= day <= days.last:
            here = days.day_slice((day - days.first).days)
            energy_wh = draft.import_wh if into == "import" else draft.export_wh
            values, quality = energy_wh[point, here], draft.quality[point, here]
        elif day in stored:
            values, quality = stored[day][f"{into}_wh"], stored[day]["quality"]
        else:
            continue
        if len(values) != slots:
            continue
        good[i] = bool(
            np.isin(quality, (IntervalQuality.MEASURED, IntervalQuality.INTERPOLATED)).all() and (values >= 0).all()
        )
        if good[i]:
            energy[i] = values
    return energy, good, weekend


def _is_weekend(day: date) -> bool:
    return day.weekday() >= 5


def _spread_one(
    gap: LongGap,
    profiles: tuple[Floats | None, Floats | None],
    cleaned: Cleaned,
    series: Series,
    *,
    registers: GridRegisters,
    rules: Rules,
) -> None:
    begin, end = int(cleaned.ts_us[gap.before]), int(cleaned.ts_us[gap.after])
    scale = int(series.meta.multiplier_e4[gap.series])
    low, high = int(cleaned.value_wh[gap.before]) * scale, int(cleaned.value_wh[gap.after]) * scale
    calendar = rules.calendar
    span = DayRange(calendar, calendar.day_of(from_us(begin)), calendar.day_of(from_us(end)))
    working, free = profiles
    if working is None or free is None:
        weight = np.ones(span.intervals)
    else:
        weight = np.concatenate(
            [(free if _is_weekend(day) else working)[span.slots(d)] for d, day in enumerate(span.days)]
        )
    at = registers.at_us[gap.series, gap.first : gap.last + 1]
    spread(registers, gap, low, high, cumulative_share(span.grid_us, weight, begin, end, at))
