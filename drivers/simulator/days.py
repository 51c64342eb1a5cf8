"""Local days on the 15-minute grid: a day has 23 or 25 hours where the clocks change."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np

from drivers.simulator.scenario import INTERVAL_S
from drivers.simulator.streams import Floats, Ints

US = 1_000_000
STEP_US = INTERVAL_S * US
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def to_us(instant: datetime) -> int:
    """Microseconds since 1970 of an aware instant."""
    return (instant - _EPOCH) // timedelta(microseconds=1)


def from_us(instant_us: int) -> datetime:
    """The aware UTC instant of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=int(instant_us))


def iso(instant_us: int) -> str:
    """`2026-11-23T05:15:00Z`, with fractions only where there are any."""
    return from_us(instant_us).isoformat().replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Days:
    """Local days of one zone."""

    zone: ZoneInfo

    def of(self, instant_us: int) -> date:
        """The local day that an instant lies in; midnight belongs to the day it begins."""
        return from_us(instant_us).astimezone(self.zone).date()

    def start_us(self, day: date) -> int:
        """Its first instant [µs UTC]."""
        return to_us(datetime.combine(day, time(), self.zone))

    def grid_us(self, day: date) -> Ints:
        """(n + 1,) freeze instants of the day, both midnights included [µs UTC]."""
        start, end = self.start_us(day), self.start_us(day + timedelta(days=1))
        return np.arange(start, end + 1, STEP_US, dtype=np.int64)

    def hours(self, day: date) -> Floats:
        """(n,) local clock hour at the middle of each interval."""
        middles = self.grid_us(day)[:-1] + STEP_US // 2
        local = [from_us(int(m)).astimezone(self.zone) for m in middles]
        return np.array([t.hour + t.minute / 60 + t.second / 3600 for t in local])
