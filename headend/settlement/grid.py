"""The grid of a stretch of local days: one line of interval instants, and where on it each day begins."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import LocalCalendar, from_us, to_us

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class DayRange:
    """Local days from first to last, both included."""

    calendar: LocalCalendar
    first: date
    last: date

    @cached_property
    def days(self) -> list[date]:
        """Every day."""
        return list(self.calendar.days(self.first, self.last))

    @cached_property
    def bounds(self) -> tuple[datetime, datetime]:
        """UTC start of the first day and end of the last."""
        return self.calendar.bounds(self.first)[0], self.calendar.bounds(self.last)[1]

    @cached_property
    def grid_us(self) -> Ints:
        """(intervals + 1,) int64 [µs UTC]; every local midnight lies on it.

        Where clocks change by half an hour and the grid is of hours, a day's last interval takes what is left of it.
        """
        parts = [self.calendar.grid_us(day)[:-1] for day in self.days]
        return np.concatenate([*parts, [to_us(self.bounds[1])]])

    @cached_property
    def midnights(self) -> Ints:
        """(days + 1,) int64: grid index of every day's first instant, and of the last one's end."""
        return np.cumsum([0, *(self.calendar.intervals(day) for day in self.days)], dtype=np.int64)

    @property
    def intervals(self) -> int:
        """Intervals of all days together."""
        return len(self.grid_us) - 1

    def day_slice(self, index: int) -> slice:
        """The intervals of one day."""
        return slice(int(self.midnights[index]), int(self.midnights[index + 1]))

    def slots(self, index: int) -> Ints:
        """(intervals of the day,) place of each interval on a wall clock of 24 hours: differs where the clocks
        change.
        """
        here = self.day_slice(index)
        usual = 86_400 // self.calendar.interval_s
        count = here.stop - here.start
        if count == usual:
            return np.arange(count, dtype=np.int64)
        local = [from_us(int(us)).astimezone(self.calendar.zone) for us in self.grid_us[here]]
        return np.array([(t.hour * 3600 + t.minute * 60 + t.second) // self.calendar.interval_s for t in local])


def stretches(days: list[date], most: int | None = None) -> list[tuple[date, date]]:
    """Runs of consecutive days, as (first, last), of sorted days; none of more than `most` days."""
    found: list[tuple[date, date]] = []
    for day in days:
        whole = bool(found) and (day - found[-1][0]).days == most
        if found and day - found[-1][1] == timedelta(days=1) and not whole:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found


def cells_of(ts_us: Ints, grid_us: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """The interval that ends at or after each instant, and which instants lie on the grid at all."""
    steps = np.diff(grid_us)
    if steps.size and (steps == steps[0]).all():
        cell = -((grid_us[0] - ts_us) // steps[0]) - 1
    else:  # the clocks were changed by less than an interval
        cell = np.searchsorted(grid_us, ts_us, side="left") - 1
    return cell, (cell >= 0) & (cell < len(grid_us) - 1)
