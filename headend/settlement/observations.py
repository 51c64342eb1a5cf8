"""What was seen of an area's meters besides their registers, as far as a validation rule may find fault with it.

The rule it keeps: whatever is not in order is in here, what is in order mostly is not; and what a stretch is given does
not depend on where it begins and ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import from_us, to_us
from headend.settlement.grid import DayRange
from headend.settlement.rulebook import NO_CATEGORY
from headend.settlement.rules import Rules
from headend.settlement.tariffs import TariffReadings, load_tariffs
from headend.settlement.topology import FOREVER_US, Installed, Point, Points
from headend.store import observations
from headend.store.observations import PhaseBounds
from headend.store.pool import Connection, Row
from headend.store.vectors import ABSENT
from reconciliation.validation import NOMINAL_V

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class PhaseReadings:
    """Per-phase readings of one meter that may fail a rule; NaN: not measured."""

    ts_us: Ints
    voltage_v: Floats
    """(n, 3)"""
    current_a: Floats
    """(n, 3) as the meter shows them."""
    power_w: Floats
    """(n,)"""


@dataclass(frozen=True, slots=True, eq=False)
class OtherValues:
    """Second readings of one meter's instants; (n, 2) import and export registers, NaN: not told."""

    ts_us: Ints
    kept_wh: Floats
    other_wh: Floats


@dataclass(frozen=True, slots=True, eq=False)
class ClocksOff:
    """When one meter's clock was found off, by how much, and until when that counts."""

    from_us: Ints
    until_us: Ints
    """Read again, whatever it said; FOREVER_US: never since."""
    offset_s: Floats
    """NaN: its registers named no instant."""


@dataclass(frozen=True, slots=True, eq=False)
class Observations:
    """By meter_id where nothing else is said; a meter without anything of note is not among them."""

    category: Ints | None = None
    """(points, days) index in CATEGORIES at the end of each local day; None: of none."""
    phases: Mapping[int, PhaseReadings] = field(default_factory=dict)
    other_values: Mapping[int, OtherValues] = field(default_factory=dict)
    clocks: Mapping[int, ClocksOff] = field(default_factory=dict)
    tariffs: Mapping[int, TariffReadings] = field(default_factory=dict)
    served_until: Mapping[tuple[int, int], int] = field(default_factory=dict)
    """(meter_id, installed at [µs UTC]) → until when it had served elsewhere before [µs UTC]."""


def load_observations(connection: Connection, points: Points, days: DayRange, rules: Rules) -> Observations:
    """What there is of note about the points' meters in a stretch."""
    meters = points.meters
    near = timedelta(microseconds=rules.grid.on_grid_us)
    return Observations(
        category=_categories(connection, points, days),
        phases=_phases(connection, meters, days, rules, near),
        other_values=_other_values(connection, meters, days, near),
        clocks=_clocks(connection, meters, days, rules),
        tariffs=load_tariffs(connection, meters, days, rules, near),
        served_until=_served_until(connection, points, days),
    )


def _categories(connection: Connection, points: Points, days: DayRange) -> Ints:
    """(points, days): the one in force as each day ends."""
    found = np.full((len(points), len(days.days)), NO_CATEGORY, dtype=np.int64)
    point, category, since_us = observations.categories(connection, points.usage_point_id, *days.bounds)
    place = np.searchsorted(points.usage_point_id, point)
    # in order of time: the last one stays
    ended = np.searchsorted(days.grid_us[days.midnights[1:]], since_us, side="right")
    for d in range(len(days.days)):
        holds = ended <= d
        found[place[holds], d] = category[holds]
    return found


def _phases(
    connection: Connection, meters: Sequence[int], days: DayRange, rules: Rules, near: timedelta
) -> dict[int, PhaseReadings]:
    book = rules.book
    phase, back = book.in_use("phase_missing"), book.in_use("reversed_flow")
    if not phase and not back:
        return {}
    gone_v = NOMINAL_V * book.extreme("phase_missing", "gone_share", highest=True)
    idle = book.extreme("phase_missing", "idle_share", highest=True)
    load = book.extreme("phase_missing", "load_share", highest=False)
    bounds = PhaseBounds(
        gone_dv=int(np.ceil(10 * gone_v)) if phase else 0,
        back_w=-int(book.extreme("reversed_flow", "floor_w", highest=False)) if back else -(1 << 62),
        idle_to_load=(idle / load if load > 0 else 1.0) if phase else -1.0,
    )
    start, end = days.bounds
    found = {}
    for row in observations.odd_phases(connection, meters, start - near, end + near, bounds):
        order = np.argsort(row["ts_us"], kind="stable")
        volts, amperes = (
            np.stack([_measured(row[pattern.format(n)], scale)[order] for n in (1, 2, 3)], axis=1)
            for pattern, scale in (("voltage_l{}_dv", 10), ("current_l{}_ma", 1000))
        )
        found[row["meter_id"]] = PhaseReadings(row["ts_us"][order], volts, amperes, _measured(row["power_w"], 1)[order])
    return found


def _measured(values: Ints, scale: int) -> Floats:
    return np.where(values == ABSENT, np.nan, values / scale)


def _other_values(
    connection: Connection, meters: Sequence[int], days: DayRange, near: timedelta
) -> dict[int, OtherValues]:
    start, end = days.bounds
    told: dict[int, list[Row]] = {}
    for row in observations.other_values(connection, meters, start - near, end + near):
        told.setdefault(row["meter_id"], []).append(row)
    return {
        meter: OtherValues(
            np.array([to_us(row["ts"]) for row in of_meter], dtype=np.int64),
            _registers(of_meter, "kept_import_wh", "kept_export_wh"),
            _registers(of_meter, "other_import_wh", "other_export_wh"),
        )
        for meter, of_meter in told.items()
    }


def _registers(rows: Sequence[Row], *columns: str) -> Floats:
    return np.array([[np.nan if row[c] is None else row[c] for c in columns] for row in rows], dtype=np.float64)


def _clocks(connection: Connection, meters: Sequence[int], days: DayRange, rules: Rules) -> dict[int, ClocksOff]:
    book = rules.book
    if not book.in_use("clock_drift"):
        return {}
    holds = timedelta(hours=book.extreme("clock_drift", "holds_h", highest=True))
    offset_ms = int(1000 * book.extreme("clock_drift", "offset_s", highest=False))
    start, end = days.bounds
    told: dict[int, list[tuple[int, int, float]]] = {}
    for row in observations.clocks_off(connection, meters, start - holds, end, offset_ms=offset_ms):
        until = FOREVER_US if row["again_at"] is None else to_us(row["again_at"])
        offset_s = np.nan if row["offset_ms"] is None else row["offset_ms"] / 1000
        told.setdefault(row["meter_id"], []).append((to_us(row["at"]), until, offset_s))
    return {
        meter: ClocksOff(
            np.array([r[0] for r in rows], dtype=np.int64),
            np.array([r[1] for r in rows], dtype=np.int64),
            np.array([r[2] for r in rows], dtype=np.float64),
        )
        for meter, rows in told.items()
    }


def put_in(points: Sequence[Point], days: DayRange) -> list[tuple[int, Installed]]:
    """With their point's index, the installations that begin in a stretch because a meter is put in; not those that do
    because something else about it changes.
    """
    installed = Points.of(points).installed
    begins = (installed.from_us >= days.grid_us[0]) & (installed.from_us < days.grid_us[-1])
    begins &= installed.scope_from_us == installed.from_us
    return [(int(installed.point[i]), installed[i]) for i in np.flatnonzero(begins).tolist()]


def _served_until(connection: Connection, points: Sequence[Point], days: DayRange) -> dict[tuple[int, int], int]:
    begun = [(i.meter_id, i.from_us) for _, i in put_in(points, days)]
    if not begun:
        return {}
    found = observations.served_before(connection, [m for m, _ in begun], [from_us(us) for _, us in begun])
    return {(meter, to_us(at)): to_us(until) for (meter, at), until in found.items()}
