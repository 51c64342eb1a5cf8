"""The data set of `headend reconcile --example`: a simulated neighbourhood's registers in files as utilities have them.

The rule it keeps: the same files every time, and what was planted stands in a file that the engine is not given.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np

from drivers.simulator.days import STEP_US
from drivers.simulator.export import truth
from drivers.simulator.fleet import AREA, INSTALLED
from drivers.simulator.profile import freezes
from drivers.simulator.scenario import load_scenario
from drivers.simulator.world import World
from headend.domain.calendar import from_us, to_us

EPOCH: Final = datetime(2026, 3, 15, 16, tzinfo=UTC)
"""Midnight in the scenario's zone: fourteen full days end there."""
DIRECTORY: Final = "example"


def write_example(directory: Path) -> list[Path]:
    """Write the files below a directory; returns those that the engine is given. Raises OSError."""
    scenario = load_scenario(Path(str(files("drivers.simulator").joinpath("scenarios", "workbench.toml"))))
    world = World(scenario, to_us(EPOCH))
    into = directory / DIRECTORY
    into.mkdir(parents=True, exist_ok=True)
    given = [into / "readings.csv", into / "area-meters.csv", into / "meters.csv"]
    _rows(
        given[0], ("area", "meter", "timestamp", "register_kwh", "register_export_kwh", "voltage_v"), _households(world)
    )
    phases = ("l1", "l2", "l3")
    _rows(
        given[1],
        (
            "area", "meter", "role", "timestamp", "register_kwh", "register_export_kwh",
            *(f"register_{p}_kwh" for p in phases), *(f"register_export_{p}_kwh" for p in phases),
            *(f"voltage_{p}_v" for p in phases),
        ),
        _area_meters(world),
    )  # fmt: skip
    _rows(given[2], ("meter", "area", "phases", "multiplier", "resolution_wh", "digits"), _meters(world))
    planted = [fault for fault in truth(world)["planted"] if fault.get("counted", True)]
    (into / "planted.json").write_text(json.dumps(planted, indent=1) + "\n", encoding="utf-8")
    return given


def _rows(path: Path, columns: tuple[str, ...], rows: Iterator[tuple[Any, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(columns)
        writer.writerows(rows)


def _of(world: World, role: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.array([i for i, m in enumerate(world.fleet.meters) if m.role == role], dtype=np.int64)


def _instants(world: World) -> tuple[np.ndarray[Any, np.dtype[np.int64]], list[str]]:
    at = np.arange(world.start_us, world.until_us + 1, STEP_US, dtype=np.int64)
    zone = world.scenario.tz
    return at, [from_us(us).astimezone(zone).strftime("%Y-%m-%d %H:%M") for us in at.tolist()]


def _households(world: World) -> Iterator[tuple[Any, ...]]:
    """A row a meter and quarter-hour; a reading that never came has no row."""
    meters, (at, local) = _of(world, INSTALLED), _instants(world)
    frozen = freezes(world, meters, at)
    for row, i in enumerate(meters.tolist()):
        meter = world.fleet.meters[i]
        area = world.scenario.areas[meter.area].code
        for k in np.flatnonzero(frozen.present[row]).tolist():
            yield (
                area, meter.serial, local[k], _kwh(frozen.import_wh[row, k]), _kwh(frozen.export_wh[row, k]),
                _volts(frozen.voltage_v[row, k]),
            )  # fmt: skip


def _area_meters(world: World) -> Iterator[tuple[Any, ...]]:
    meters, (at, local) = _of(world, AREA), _instants(world)
    frozen = freezes(world, meters, at)
    for row, i in enumerate(meters.tolist()):
        meter, place = world.fleet.meters[i], int(world.instruments.place3[i])
        same = np.full(3, i)
        imported, exported = (world.shown(same, total) for total in world.true_phase_cumulative(i, at))
        volts = np.full((3, at.size), np.nan)
        for k, us in enumerate(at.tolist()[1:], 1):
            day = world.day(world.days.of(us - 1))
            volts[:, k] = day.metered.phase_voltage_v[place, :, (us - int(day.grid_us[0])) // STEP_US - 1]
        for k in np.flatnonzero(frozen.present[row]).tolist():
            yield (
                world.scenario.areas[meter.area].code, meter.serial, "area", local[k], _kwh(frozen.import_wh[row, k]),
                _kwh(frozen.export_wh[row, k]), *map(_kwh, imported[:, k]), *map(_kwh, exported[:, k]),
                *map(_volts, volts[:, k]),
            )  # fmt: skip


def _meters(world: World) -> Iterator[tuple[Any, ...]]:
    for i in [*_of(world, INSTALLED).tolist(), *_of(world, AREA).tolist()]:
        m = world.fleet.meters[i]
        yield m.serial, world.scenario.areas[m.area].code, m.phases, m.multiplier, m.resolution_wh, m.digits


def _kwh(energy_wh: Any) -> str:
    return f"{int(energy_wh) / 1000:.3f}"


def _volts(voltage_v: Any) -> str:
    return f"{float(voltage_v):.1f}" if np.isfinite(voltage_v) else ""
