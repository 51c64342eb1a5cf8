"""Everything that a stretch of an area's days is settled from, read in one place: topology and raw readings.

The rule it keeps: what is not in here decides nothing. So a day can be settled as it is known now, or as it was known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from headend.settlement.grid import DayRange
from headend.settlement.rules import Rules
from headend.settlement.topology import Point, load_points
from headend.store import intervals
from headend.store.intervals import MeterReadings
from headend.store.pool import Connection


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Of one area and stretch."""

    points: Sequence[Point]
    """In order of id."""
    readings: Mapping[int, MeterReadings]
    """By meter_id: the stretch, and a few around it."""


def load_inputs(connection: Connection, area_id: int, days: DayRange, rules: Rules) -> Inputs:
    """Read what the stretch rests on."""
    start, end = days.bounds
    points = load_points(connection, area_id, start, end)
    meters = sorted({i.meter_id for p in points for i in p.installations})
    margin = timedelta(microseconds=rules.grid.on_grid_us)
    return Inputs(points, intervals.readings(connection, meters, start - margin, end + margin))
