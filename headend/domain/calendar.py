"""The local day and its grid of interval instants: a day has 23 or 25 hours where the clocks change."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

US_PER_S = 1_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = _EPOCH
LATEST = datetime(3000, 1, 1, tzinfo=UTC)
"""Beyond these no meter is read, and a day more or less soon leaves the calendar."""


def to_us(instant: datetime) -> int:
    """Microseconds since 1970 of an aware instant, exactly."""
    if instant.tzinfo is None:
        raise ValueError(f"instant {instant.isoformat()} has no time zone")
    since = instant - _EPOCH
    return (since.days * 86_400 + since.seconds) * US_PER_S + since.microseconds  # a quarter of a division's time


def from_us(instant_us: int) -> datetime:
    """The aware UTC instant of microseconds since 1970."""
    return _EPOCH + timedelta(microseconds=int(instant_us))


@dataclass(frozen=True, slots=True)
class LocalCalendar:
    """Local days of one zone on a grid of `interval_s` seconds."""

    zone: ZoneInfo
    interval_s: int = 900
    """A divisor of an hour, so that every local midnight lies on the grid."""

    def __post_init__(self) -> None:
        if self.interval_s not in (300, 900, 1800, 3600):
            raise ValueError(f"interval_s is {self.interval_s}; it must be 300, 900, 1800 or 3600")

    def day_of(self, instant: datetime) -> date:
        """The local day that an instant lies in; midnight belongs to the day it begins."""
        return instant.astimezone(self.zone).date()

    def bounds(self, day: date) -> tuple[datetime, datetime]:
        """UTC start of a local day and of the next one."""
        start = datetime.combine(day, time(), self.zone).astimezone(UTC)
        end = datetime.combine(day + timedelta(days=1), time(), self.zone).astimezone(UTC)
        return start, end

    def intervals(self, day: date) -> int:
        """How many intervals a local day has (96 at 15 min; 92 or 100 where the clocks change)."""
        start, end = self.bounds(day)
        return int((end - start).total_seconds()) // self.interval_s

    def grid_us(self, day: date) -> npt.NDArray[np.int64]:
        """(intervals + 1,) int64 [µs UTC]: the register instants of a local day, both midnights included."""
        start, end = self.bounds(day)
        return np.arange(to_us(start), to_us(end) + 1, self.interval_s * US_PER_S, dtype=np.int64)

    def days(self, first: date, last: date) -> Iterator[date]:
        """Every local day from first to last, both included."""
        for offset in range((last - first).days + 1):
            yield first + timedelta(days=offset)
