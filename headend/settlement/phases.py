"""Per-phase energy and voltage at an area's own meters, from their per-phase registers at the grid instants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headend.settlement.grid import DayRange
from headend.settlement.rules import Rules
from headend.settlement.series import series_meta
from headend.settlement.set_aside import covered
from headend.settlement.topology import Installed, Point, Points
from headend.store import edits, intervals
from headend.store.edits import Span
from headend.store.pool import Connection
from headend.store.vectors import ABSENT
from reconciliation.cleaning import clean
from reconciliation.registers import interval_energy, is_measured, registers_at

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
PHASES: Final = ("l1", "l2", "l3")


@dataclass(frozen=True, slots=True, eq=False)
class AreaPhases:
    """(3, intervals) each; None: not measured at all."""

    energy_wh: Floats | None
    """Import − export on the primary side [Wh], + into the area; NaN: not measured."""
    voltage_v: Floats | None
    """Busbar voltage [V], mean of the readings that end in the interval; NaN: not measured."""


def area_phases(connection: Connection, points: Sequence[Point], days: DayRange, rules: Rules) -> AreaPhases:
    """Phases of an area's meters (summed where there are several); only measured and interpolated intervals have a
    number.
    """
    start, end = days.bounds
    meters = sorted({i.meter_id for p in points for i in p.installations})
    margin = timedelta(microseconds=rules.grid.tolerance_us + rules.grid.on_grid_us)
    found = intervals.phase_readings(connection, meters, start - margin, end + margin)
    spans = edits.set_aside(connection, meters)
    readings = {row["meter_id"]: _believed(row, spans.get(row["meter_id"], ())) for row in found}
    energy = np.zeros((3, days.intervals))
    volts, count = np.zeros((3, days.intervals)), np.zeros((3, days.intervals))
    covered = np.zeros(days.intervals, dtype=np.bool_)
    for point in points:
        own = np.full((3, days.intervals), np.nan)
        for installed in point.installations:
            row = readings.get(installed.meter_id)
            if row is None:
                continue
            phased = _phase_energy(point, installed, row, days, rules)
            own = np.where(np.isnan(own), phased, own)
            _add_voltages(volts, count, installed, row, days=days, rules=rules)
        energy += own
        covered |= np.isfinite(own).all(axis=0)
    energy[:, ~covered] = np.nan
    mean = np.where(count > 0, volts / np.maximum(count, 1) / 10, np.nan)
    return AreaPhases(energy if np.isfinite(energy).any() else None, mean if np.isfinite(mean).any() else None)


def _believed(row: Mapping[str, Any], spans: Sequence[Span]) -> Mapping[str, Any]:
    """Without the readings that a person set aside."""
    if not spans:
        return row
    left = ~covered(row["ts_us"], spans)
    return {name: value if name == "meter_id" else value[left] for name, value in row.items()}


def _phase_energy(point: Point, installed: Installed, row: Mapping[str, Any], days: DayRange, rules: Rules) -> Floats:
    """(3, intervals) of one installation; a phase without an export register has no export."""
    into, out = ("import", "export") if installed.sign > 0 else ("export", "import")
    stamps: list[Ints] = []
    values: list[Ints] = []
    for direction in (into, out):
        for phase in PHASES:
            register = row[f"{direction}_{phase}_wh"]
            there = (register != ABSENT) & (row["ts_us"] >= installed.from_us) & (row["ts_us"] <= installed.to_us)
            stamps.append(row["ts_us"][there])
            values.append(register[there])
    offsets = np.cumsum([0, *(len(t) for t in stamps)], dtype=np.int64)
    alone = Points.of([replace(point, installations=(installed,))])
    meta = series_meta(alone, rules.plausible, each=6)
    cleaned = clean(offsets, np.concatenate(stamps), np.concatenate(values), meta)
    registers = registers_at(cleaned, meta, days.grid_us, rules.grid)
    energy, quality, _, _ = interval_energy(registers, meta, days.grid_us, days.midnights[:-1])
    measured = is_measured(quality)
    taken = np.where(measured[:3], energy[:3], np.nan)
    never = np.diff(offsets)[3:] == 0
    fed = np.where(measured[3:], energy[3:], np.where(never[:, None], 0.0, np.nan))
    return np.asarray(taken - fed, dtype=np.float64)


def _add_voltages(
    volts: Floats, count: Floats, installed: Installed, row: Mapping[str, Any], *, days: DayRange, rules: Rules
) -> None:
    cell = np.searchsorted(days.grid_us, row["ts_us"] - rules.grid.on_grid_us, side="left") - 1
    inside = (cell >= 0) & (cell < days.intervals)
    inside &= (row["ts_us"] >= installed.from_us) & (row["ts_us"] <= installed.to_us)
    for k, phase in enumerate(PHASES):
        value = row[f"voltage_{phase}_dv"]
        used = inside & (value != ABSENT)
        volts[k] += np.bincount(cell[used], weights=value[used], minlength=days.intervals)
        count[k] += np.bincount(cell[used], minlength=days.intervals)
