"""Everything that a stretch of an area's days is settled from, read in one place: topology and raw readings.

The rule it keeps: what is not in here decides nothing. So a day can be settled as it is known now, or as it was known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial

import numpy as np
import numpy.typing as npt

from headend.domain.unmetered import UnmeteredLoad
from headend.settlement.edited import EditedPoint, load_edited
from headend.settlement.grid import DayRange
from headend.settlement.observations import Observations, load_observations
from headend.settlement.outages import load_outages
from headend.settlement.rules import Rules
from headend.settlement.set_aside import believed
from headend.settlement.topology import Point, Points, load_points, points_of
from headend.store import edits, history, intervals, unmetered
from headend.store.intervals import MeterReadings
from headend.store.pool import Connection

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Inputs:
    """Of one area and stretch."""

    points: Sequence[Point]
    """In order of id."""
    readings: Mapping[int, MeterReadings]
    """By meter_id: the stretch, and a few around it; without what a person set aside."""
    set_aside: Mapping[int, Ints] = field(default_factory=dict)
    """(n,) int64 instants of readings that are left out [µs UTC], by meter_id."""
    edited: Sequence[EditedPoint] = ()
    """Points whose edits may reach into the stretch."""
    outages: Mapping[int, Ints] = field(default_factory=dict)
    """By meter_id: (d, 2) int64 [µs UTC] from when until when its power had certainly failed; most meters have none."""
    unmetered: Sequence[UnmeteredLoad] = ()
    """Loads without a meter that hold on the area at any time of the stretch."""
    observed: Observations = field(default_factory=Observations)
    """What was seen of the meters besides registers, as far as a validation rule may find fault with it."""


def load_inputs(
    connection: Connection, area_id: int, days: DayRange, rules: Rules, known_at: datetime | None = None
) -> Inputs:
    """Read what the stretch rests on as it is known now; with `known_at` every query in here is answered as of then."""
    start, end = days.bounds
    with history.as_known(connection, known_at):
        inputs = _of_points(connection, load_points(connection, area_id, start, end), days, rules, known_at)
        return replace(inputs, unmetered=unmetered.of_area(connection, area_id, start, end))


def inputs_of(
    connection: Connection, usage_points: Sequence[int], days: DayRange, rules: Rules, known_at: datetime | None = None
) -> Inputs:
    """The same of some metering points wherever they hung; without memberships, and without what areas have."""
    with history.as_known(connection, known_at):
        return _of_points(connection, points_of(connection, usage_points, *days.bounds), days, rules, known_at)


def _of_points(
    connection: Connection, points: Points, days: DayRange, rules: Rules, known_at: datetime | None
) -> Inputs:
    start, end = days.bounds
    margin = timedelta(microseconds=rules.grid.on_grid_us)
    meters = points.meters
    spans = edits.set_aside(connection, meters, known_at)
    readings, gone = believed(partial(intervals.readings, connection), meters, start - margin, end + margin, spans)
    return Inputs(
        points,
        readings,
        set_aside=gone,
        edited=load_edited(connection, points, days, rules, known_at=known_at),
        outages=load_outages(connection, readings),
        observed=load_observations(connection, points, days, rules),
    )
