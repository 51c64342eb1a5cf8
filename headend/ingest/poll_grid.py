"""When a bus is polled: ticks of the UTC grid, each bus a little after it so that not all start at once. Pure."""

from __future__ import annotations

import zlib
from typing import Final

from headend.domain.calendar import US_PER_S

_SPREAD_SHARE: Final = 0.05
"""Largest share of the period by which a bus may start late."""
_SPREAD_MOST_S: Final = 2.0
"""... and never more than this: meters of one area are to be read close together, on whichever bus they hang."""


def stagger_us(bus: str, period_s: int) -> int:
    """How long after a tick a bus starts [µs]: the same for a bus for ever, spread evenly over many."""
    share = zlib.crc32(bus.encode()) / 2**32
    return round(min(period_s * _SPREAD_SHARE, _SPREAD_MOST_S) * share * US_PER_S)


def next_tick(now_us: int, period_s: int, offset_us: int) -> int:
    """Number of the first tick (counted from 1970) whose round starts after `now_us`."""
    return (now_us - offset_us) // (period_s * US_PER_S) + 1


def due_us(tick: int, period_s: int, offset_us: int) -> int:
    """When the round of a tick starts [µs UTC]."""
    return tick * period_s * US_PER_S + offset_us
