"""Long gaps get the shape of reference days: the same point's most recent measured days of the same weekday type
before the gap. Holidays count as weekend days, weekends that are worked as working days.

The rule it keeps: only what was measured is a reference, whoever settles it: a day with one interval estimated, edited
or zero by event is none, and neither is one on which the point hung on no area, because nobody settles that.
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
from headend.settlement.series import Owner, Series
from headend.settlement.topology import Point, Points
from reconciliation.cleaning import Cleaned
from reconciliation.estimation import NO_SPANS, cumulative_share, has_energy, reference_profiles, spread
from reconciliation.outages import DarkGap
from reconciliation.registers import GridRegisters, LongGap, is_measured
from reconciliation.validation import Flag

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Past = Callable[[Sequence[int], date, date], Sequence[Mapping[str, Any]]]
"""Settled days of some metering points (ids) from a day to a day: rows with usage_point_id, day, import_wh,
export_wh, quality.
"""


def spread_long_gaps(
    gaps: Sequence[LongGap],
    points: Sequence[Point],
    series: Series,
    cleaned: Cleaned,
    registers: GridRegisters,
    *,
    draft: Draft,
    days: DayRange,
    rules: Rules,
    past: Past,
    here: Bools | None = None,
    dark: Sequence[DarkGap] = (),
) -> None:
    """Put the registers inside the long gaps, one at the least, on the shape of reference days, in place. `here`:
    (points, days) the days of the stretch that are settled with it; the others are looked up in the past, like those
    before it; None: all are. `dark`: gaps in which power had failed for a time: nothing is used then.
    """
    starts = [rules.calendar.day_of(from_us(int(cleaned.ts_us[gap.before]))) for gap in gaps]
    ids = Points.of(points).usage_point_id[series.point[[gap.series for gap in gaps]]].tolist()
    wanted = sorted(set(ids))
    stored: dict[int, dict[date, Mapping[str, Any]]] = {}
    first, last = min(starts) - timedelta(days=REFERENCE_SPAN_DAYS), days.first - timedelta(days=1)
    if here is not None and not here.all():
        last = max(last, min(max(starts) - timedelta(days=1), days.last))
    if first <= last:
        for row in past(wanted, first, last):
            stored.setdefault(row["usage_point_id"], {})[row["day"]] = row
    dark_of = {(gap.series, gap.before): gap.dark_us for gap in dark}
    for gap, gap_day, usage_point_id in zip(gaps, starts, ids, strict=True):
        owner = series.owner(gap.series)
        known = stored.get(usage_point_id, {})
        energy, good = _past_days(
            owner.point, _shaped_as(owner, gap.series), gap_day, draft=draft, stored=known, days=days, here=here
        )
        weekend = np.array([rules.working.free(day) for day in _days_before(gap_day)], dtype=np.bool_)
        profiles = reference_profiles(energy, good, weekend)
        dark_us = dark_of.get((gap.series, gap.before), NO_SPANS)
        _spread_one(gap, profiles, dark_us, cleaned=cleaned, series=series, registers=registers, rules=rules)


def _shaped_as(owner: Owner, series: int) -> str:
    """The direction whose past shapes a gap.

    Where one meter serves on under another installation a gap may belong to both, and both have to find the same
    register at the instant between them, whatever their signs: there it is the direction of the register itself.
    """
    own = owner.installed
    if (own.scope_from_us, own.scope_to_us) == (own.from_us, own.to_us):
        return owner.into
    return ("import", "export")[series % 2]


def _past_days(
    point: int,
    into: str,
    gap_day: date,
    *,
    draft: Draft,
    stored: Mapping[date, Mapping[str, Any]],
    days: DayRange,
    here: Bools | None,
) -> tuple[Floats, Bools]:
    """Energies of the days before a gap (days, slots), and which of them are good; DST days are never references."""
    slots = 86_400 // days.calendar.interval_s
    energy = np.zeros((REFERENCE_SPAN_DAYS, slots))
    good = np.zeros(REFERENCE_SPAN_DAYS, dtype=np.bool_)
    for i, day in enumerate(_days_before(gap_day)):
        d = (day - days.first).days
        if days.first <= day <= days.last and (here is None or here[point, d]):
            own = days.day_slice(d)
            energy_wh = draft.import_wh if into == "import" else draft.export_wh
            values, quality = energy_wh[point, own], draft.quality[point, own]
        elif day in stored:
            values, quality = stored[day][f"{into}_wh"], stored[day]["quality"]
        else:
            continue
        if len(values) != slots:
            continue
        good[i] = bool(is_measured(quality).all() and (values >= 0).all())
        if good[i]:
            energy[i] = values
    return energy, good


def _days_before(gap_day: date) -> list[date]:
    return [gap_day - timedelta(days=back) for back in range(REFERENCE_SPAN_DAYS, 0, -1)]


def _spread_one(
    gap: LongGap,
    profiles: tuple[Floats | None, Floats | None],
    dark_us: Ints,
    *,
    cleaned: Cleaned,
    series: Series,
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
        weight = np.zeros(span.intervals)
    else:
        weight = np.concatenate(
            [(free if rules.working.free(day) else working)[span.slots(d)] for d, day in enumerate(span.days)]
        )
    here = slice(gap.first, gap.last + 1)
    at = registers.at_us[gap.series, here]
    spread(registers, gap, low, high, cumulative_share(span.grid_us, weight, begin, end, at, dark_us=dark_us))
    shaped = has_energy(span.grid_us, weight, begin, end, dark_us=dark_us)
    registers.method[gap.series, here] = Flag.BY_REFERENCE_DAYS if shaped else Flag.EVENLY
