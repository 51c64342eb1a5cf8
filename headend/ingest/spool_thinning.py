"""Which readings of one meter can be done without when a spool is full. Pure.

The rule it keeps: registers are cumulative, so a reading between two kept ones takes the shape between them with it
and no energy, as long as the register did not fall in between (a rollover, a reset, an exchanged meter: both sides of
a fall are kept). For each register the first and the last reading are kept, and those on both sides of a local
midnight: days and months are billed from these.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from itertools import pairwise
from zoneinfo import ZoneInfo

from drivers.base import RegisterReading
from headend.domain.calendar import US_PER_S, from_us

_REGISTERS: tuple[Callable[[RegisterReading], int | None], ...] = (lambda r: r.import_wh, lambda r: r.export_wh)


def wanted(readings: Sequence[RegisterReading], *, zone: ZoneInfo, every_s: int | None) -> list[bool]:
    """For each reading of one meter, in the order of their instants, whether it is kept.

    `every_s`: besides, the first reading of each span of so long of the local day; None: no more than the rule wants.
    """
    places = [_place(reading.instant_us, zone, every_s) for reading in readings]
    keep = [False] * len(readings)
    for register in _REGISTERS:
        known = [(i, value) for i, r in enumerate(readings) if (value := register(r)) is not None]
        if not known:
            continue
        keep[known[0][0]] = keep[known[-1][0]] = True
        for (a, before), (b, after) in pairwise(known):
            if places[a][0] != places[b][0] or after < before:
                keep[a] = keep[b] = True
            elif places[a] != places[b]:
                keep[b] = True
    return keep


def _place(instant_us: int, zone: ZoneInfo, every_s: int | None) -> tuple[date, int]:
    """The local day, and which of its spans."""
    local = from_us(instant_us).astimezone(zone)
    if every_s is None:
        return local.date(), 0
    midnight = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    since_us = instant_us - round(midnight.timestamp() * US_PER_S)
    return local.date(), since_us // (every_s * US_PER_S)
