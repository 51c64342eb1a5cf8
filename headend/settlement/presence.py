"""When points hung on the area, and which meters served, by the days and intervals of a stretch: topology as arrays.

The rule it keeps: derived once for a stretch, whoever asks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, TypeVar

import numpy as np
import numpy.typing as npt

from headend.settlement.grid import DayRange
from headend.settlement.topology import Point, Points, Served

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
_Type = TypeVar("_Type", bound=np.generic)
_SIDES: Final[tuple[Literal["left", "right"], ...]] = ("left", "right")


@dataclass(frozen=True, eq=False)
class Presence:
    """P points with I installations over T intervals of D days."""

    points: Sequence[Point]
    days: DayRange

    @cached_property
    def on_area(self) -> Bools:
        """(P, D) whether each point hung on the area at any time of a day."""
        members = self.columns.members
        return self._joined(np.logical_or, members.point, self._overlaps(members.from_us, members.to_us))

    @cached_property
    def counted(self) -> Bools:
        """(P, T) whether each is counted in the area's balance: a member at the interval's start, and behind nobody."""
        mask = np.zeros((len(self.points), self.days.intervals), dtype=np.bool_)
        members = self.columns.members
        direct = members.behind == 0
        low, high = np.searchsorted(self.days.grid_us[:-1], (members.from_us, members.to_us))
        whole = (low == 0) & (high == mask.shape[1])
        mask[members.point[whole & direct]] = True
        for i in np.flatnonzero(direct & ~whole):
            mask[members.point[i], low[i] : high[i]] = True
        return mask

    @cached_property
    def aligned(self) -> Bools:
        """(T,) False where a membership begins or ends within the interval: its sums would belong to two areas."""
        grid, members = self.days.grid_us, self.columns.members
        edges = np.concatenate([members.from_us, members.to_us])
        edges = edges[(edges > grid[0]) & (edges < grid[-1])]
        after = np.searchsorted(grid, edges)
        mask = np.ones(len(grid) - 1, dtype=np.bool_)
        mask[after[grid[after] != edges] - 1] = False
        return mask

    @cached_property
    def steady(self) -> Bools:
        """(P, T) False where a membership or an installation of the point begins or ends in the interval, or at one of
        its ends, after the stretch began and before it ends.
        """
        grid = self.days.grid_us
        mask = np.ones((len(self.points), len(grid) - 1), dtype=np.bool_)
        for held in (self.columns.members, self.installed):
            for edges in (held.from_us, held.to_us):
                inside = (edges > grid[0]) & (edges < grid[-1])
                for side in _SIDES:
                    mask[held.point[inside], np.searchsorted(grid, edges[inside], side=side) - 1] = False
        return mask

    @cached_property
    def served(self) -> Bools:
        """(I, D) whether each installation served at any time of a day."""
        return self._overlaps(self.installed.from_us, self.installed.to_us)

    def highest(self, values: npt.NDArray[_Type]) -> npt.NDArray[_Type]:
        """(P, D) of a value of each installation (I,), none below 0, the highest of those that served on a day; 0: none
        did.
        """
        return self._joined(
            np.maximum, self.installed.point, np.where(self.served, values[:, None], values.dtype.type(0))
        )

    @cached_property
    def own_step_wh(self) -> Floats:
        """(P, D) coarsest step of the registers of the meters that served, primary side [Wh]; 0: none did."""
        return self.highest(self.installed.resolution_wh * self.installed.multiplier_e4 / 1e4)

    @cached_property
    def columns(self) -> Points:
        """The points in columns."""
        return Points.of(self.points)

    @property
    def installed(self) -> Served:
        """All installations, in order of point and time."""
        return self.columns.installed

    def _overlaps(self, since: Ints, until: Ints) -> Bools:
        midnights = self.days.grid_us[self.days.midnights]
        return (since[:, None] < midnights[1:]) & (until[:, None] > midnights[:-1])

    def _joined(self, how: np.ufunc, owner: Ints, values: npt.NDArray[_Type]) -> npt.NDArray[_Type]:
        """(P, D) of (n, D) values of what belongs to points `owner` (n,), which rise; 0: nothing does."""
        found = np.zeros((len(self.points), len(self.days.days)), dtype=values.dtype)
        if owner.size:
            first = np.flatnonzero(np.diff(owner, prepend=-1))
            found[owner[first]] = how.reduceat(values, first, axis=0)
        return found
