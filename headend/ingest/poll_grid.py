"""When a bus is polled: ticks of the UTC grid, each area a little after it so that not all buses start at once. Pure.

The rule it keeps: all buses of one area start at the same instant, so that its meters are read close together whichever
bus they hang on.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from headend.domain.calendar import US_PER_S


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """The ticks of one bus, numbered from 1970; area meters may be due more often than the others."""

    period_s: int
    """Everybody is due once in it."""
    area_period_s: int
    """Area meters are due once in it; it divides `period_s`."""
    offset_us: int = 0
    """How long after a tick the bus starts."""

    def __post_init__(self) -> None:
        if not 0 < self.area_period_s <= self.period_s or self.period_s % self.area_period_s:
            raise ValueError(f"area_period_s = {self.area_period_s}: wanted a divisor of period_s, {self.period_s}")

    def next_tick(self, now_us: int) -> int:
        """Number of the first tick whose round starts after `now_us`."""
        return (now_us - self.offset_us) // (self.area_period_s * US_PER_S) + 1

    def due_us(self, tick: int) -> int:
        """When the round of a tick starts [µs UTC]."""
        return tick * self.area_period_s * US_PER_S + self.offset_us

    def is_for_all(self, tick: int) -> bool:
        """Whether everybody is due, and not the area meters alone."""
        return tick % (self.period_s // self.area_period_s) == 0

    def rounds(self, first: int, end: int, *, area_meters: bool) -> int:
        """How many ticks of first..end-1 have somebody to read; `area_meters`: whether the bus has any."""
        if area_meters:
            return max(0, end - first)
        per_period = self.period_s // self.area_period_s
        return max(0, (end - 1) // per_period - (first - 1) // per_period)


def offsets_us(areas_of: Mapping[str, Collection[str]], *, spread_s: float) -> dict[str, int]:
    """How long after a tick each bus starts [µs]: spread evenly over `spread_s`, the same for a bus for ever.

    `areas_of`: bus → the areas whose meters it carries. Buses that share an area start together; areas that share a bus
    do too, for the same reason. A bus without an area goes by itself.
    """
    leader: dict[str, str] = {}

    def found(area: str) -> str:
        while leader.setdefault(area, area) != area:
            area = leader[area]
        return area

    for areas in areas_of.values():
        leaders = sorted(map(found, areas))
        for other in leaders[1:]:
            leader[other] = leaders[0]  # the smallest code leads: an area that joins later moves nobody but its own
    return {
        bus: stagger_us(min(map(found, areas)) if areas else bus, spread_s=spread_s) for bus, areas in areas_of.items()
    }


def stagger_us(name: str, *, spread_s: float) -> int:
    """A delay below `spread_s` that belongs to a name [µs]: even over many names, always the same for one."""
    return round(spread_s * US_PER_S * (zlib.crc32(name.encode()) / 2**32))
