"""The grid that readings of any origin are put on: how long an interval is, which instants there are, where days begin.

The rule it keeps: every local midnight lies on the grid; where clocks change, a day's last interval takes what is left.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import US_PER_S, from_us, to_us
from headend.workbench.cells import Ints

LENGTHS_S: Final = (60, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 14_400, 21_600, 28_800, 43_200, 86_400)
"""Intervals there may be [s]: they divide the day."""
NEAR_US: Final = 5 * US_PER_S
"""So close to an instant of the grid is on it."""
MOST_DAYS: Final = 800


@dataclass(frozen=True, slots=True, eq=False)
class Grid:
    """K intervals."""

    zone: ZoneInfo
    interval_s: int
    edges_us: Ints
    """(K + 1,) instants [µs UTC]."""
    day_start: Ints
    """(days,) index of each local day's first interval; the first day may be a part of one."""
    days: tuple[date, ...]

    @property
    def intervals(self) -> int:
        """K."""
        return self.edges_us.size - 1

    def finer(self, interval_s: int) -> Grid:
        """The same time in shorter intervals, which divide these."""
        return grid_between(self.zone, interval_s, int(self.edges_us[0]), int(self.edges_us[-1]))


class TooLong(Exception):
    """More days than an engine window can mean."""

    def __init__(self, first: date, last: date) -> None:
        super().__init__(f"rows from {first} to {last}")


def grid_between(zone: ZoneInfo, interval_s: int, low_us: int, high_us: int) -> Grid:
    """Intervals that lie whole between two instants. Raises TooLong."""
    first = from_us(low_us).astimezone(zone).date()
    last = from_us(max(high_us - 1, low_us)).astimezone(zone).date()
    if (last - first).days >= MOST_DAYS:
        raise TooLong(first, last)
    step = interval_s * US_PER_S
    parts: list[Ints] = []
    owner: list[Ints] = []
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]
    for k, day in enumerate(days):
        begin, end = midnight_us(zone, day), midnight_us(zone, day + timedelta(days=1))
        starts = np.arange(begin, end, step, dtype=np.int64)
        parts.append(starts)
        owner.append(np.full(starts.size, k, dtype=np.int64))
    edges = np.append(np.concatenate(parts), midnight_us(zone, last + timedelta(days=1)))
    inside = (edges[:-1] >= low_us - NEAR_US) & (edges[1:] <= high_us + NEAR_US)
    chosen = np.flatnonzero(inside)
    if not chosen.size:
        return Grid(zone, interval_s, edges[:1], np.zeros(0, dtype=np.int64), ())
    begin, end = int(chosen[0]), int(chosen[-1]) + 1
    day_of = np.concatenate(owner)[begin:end]
    start = np.flatnonzero(np.diff(day_of, prepend=-1))
    return Grid(zone, interval_s, edges[begin : end + 1], start, tuple(days[int(day_of[k])] for k in start))


def midnight_us(zone: ZoneInfo, day: date) -> int:
    """When a local day begins [µs UTC]."""
    return to_us(datetime.combine(day, time(), zone))


def own_interval(keys: npt.NDArray[np.int32], ts_us: Ints, count: int) -> npt.NDArray[np.int64]:
    """(count,) how far apart each key's rows mostly are [s], as the nearest of LENGTHS_S; 0: fewer than two rows."""
    order = np.lexsort((ts_us, keys))
    owner, ts = keys[order], ts_us[order]
    same = owner[1:] == owner[:-1]
    gaps = (ts[1:] - ts[:-1])[same]
    owner = owner[1:][same]
    apart = gaps > 0
    nearest = _nearest(gaps[apart] / US_PER_S)
    found = np.bincount(
        owner[apart].astype(np.int64) * len(LENGTHS_S) + nearest, minlength=count * len(LENGTHS_S)
    ).reshape(count, len(LENGTHS_S))
    lengths = np.array(LENGTHS_S, dtype=np.int64)[found.argmax(axis=1)]
    return np.where(found.any(axis=1), lengths, 0)


def _nearest(gap_s: npt.NDArray[np.float64]) -> Ints:
    """Index of the length that each gap is closest to, by ratio."""
    bounds = np.sqrt(np.array(LENGTHS_S[:-1], dtype=np.float64) * np.array(LENGTHS_S[1:], dtype=np.float64))
    return np.searchsorted(bounds, gap_s).astype(np.int64)


def chosen_interval(households: Ints, area_meters: Ints) -> int:
    """The grid for meters of these own intervals [s]: that of the area meters, or coarser where more than a fifth of
    the households need it. 0: nobody has two rows.
    """
    known = np.sort(households[households > 0])
    of_most = int(known[min(known.size - 1, int(0.8 * known.size))]) if known.size else 0
    return max(of_most, int(area_meters.max(initial=0)))
