"""Intervals of many points and days as rows of one local day each: what rules that judge a day take.

Days on which the clocks change are shorter or longer than the others: each length is a block of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from headend.settlement.grid import DayRange
from reconciliation.validation import Flag

Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]
_Type = TypeVar("_Type", bound=np.generic)


@dataclass(frozen=True, slots=True, eq=False)
class MeterDays:
    """All days of one length; a row is a point on a day, points first."""

    days: Ints
    """(d,) indices of the days."""
    first: Ints
    """(d,) grid index at which each begins."""
    intervals: int
    whole: bool
    """Whether these are all days of the stretch, in order."""

    def of(self, values: npt.NDArray[_Type]) -> npt.NDArray[_Type]:
        """(points × d, intervals) of (points, all intervals); no copy where these are all days."""
        if self.whole:
            return values.reshape(-1, self.intervals)
        return values[:, self.first[:, None] + np.arange(self.intervals)].reshape(-1, self.intervals)

    def of_days(self, values: npt.NDArray[_Type]) -> npt.NDArray[_Type]:
        """(points × d,) of (points, all days)."""
        return values[:, self.days].reshape(-1)

    def mark(self, flags: Flags, failed: Bools, flag: Flag) -> None:
        """Set a flag, in place, where `failed` (points × d, intervals) says so."""
        if not failed.any():
            return
        row, slot = np.nonzero(failed)
        point, day = np.divmod(row, self.days.size)
        flags[point, self.first[day] + slot] |= flag


def blocks(days: DayRange) -> Iterator[MeterDays]:
    """The stretch's days by their length."""
    sizes = np.diff(days.midnights)
    for size in np.unique(sizes):
        chosen = np.flatnonzero(sizes == size)
        yield MeterDays(chosen, days.midnights[chosen], int(size), chosen.size == sizes.size)
