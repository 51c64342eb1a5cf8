"""Which settled days have long gaps in them, shaped by reference days, and on what day each gap begins.

Such a day rests on other days: on those of the four weeks before the gap. Where one of these changes, it is settled
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import from_us
from headend.settlement.grid import DayRange
from headend.settlement.series import Series
from reconciliation.cleaning import Cleaned
from reconciliation.registers import LongGap

if TYPE_CHECKING:
    from headend.settlement.intervals import PointIntervals

Ints = npt.NDArray[np.int64]


def gap_days(count: int, series: Series, cleaned: Cleaned, gaps: Sequence[LongGap], days: DayRange) -> Ints:
    """(count points, D) ordinal of the local day of the reading before the earliest long gap of each day; 0: none."""
    found = np.zeros((count, len(days.days)), dtype=np.int64)
    for gap in gaps:
        begins = days.calendar.day_of(from_us(int(cleaned.ts_us[gap.before]))).toordinal()
        # Intervals with an instant in the gap, as far as the meter served: before and after, its instants are its ends.
        served = np.searchsorted(days.grid_us, series.meta.to_us[gap.series]) - 1
        first = max(gap.first - 1, int(np.searchsorted(days.grid_us, series.meta.from_us[gap.series], "right")) - 1, 0)
        last = min(gap.last, int(served), days.intervals - 1)
        if first > last:
            continue
        low, high = np.searchsorted(days.midnights, (first, last), side="right") - 1
        here = found[series.point[gap.series], low : high + 1]
        np.copyto(here, np.where(here == 0, begins, np.minimum(here, begins)))
    return found


def shaped_rows(settled: PointIntervals, days: DayRange) -> list[tuple[int, date, date]]:
    """The same of a settled stretch: (usage_point_id, day, day of the reading before the gap)."""
    ids = settled.points.usage_point_id
    return [
        (int(ids[p]), days.days[d], date.fromordinal(int(settled.gap_days[p, d])))
        for p, d in zip(*np.nonzero(settled.gap_days), strict=True)
    ]
