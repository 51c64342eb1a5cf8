"""What the meters of a simulated world report, as the windows that the engine takes: straight from the physics."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from drivers.simulator.days import from_us
from drivers.simulator.fleet import INSTALLED, SHARED
from drivers.simulator.profile import freezes
from drivers.simulator.world import World
from reconciliation import AreaWindow


def reported(world: World) -> list[AreaWindow]:
    """What the meters report over the full days of history, as interval energies on the primary side."""
    days = [world.first_day + timedelta(days=i) for i in range(world.scenario.history_days)]
    ts = np.concatenate([world.days.grid_us(d)[0 if d == days[0] else 1 :] for d in days])
    everything = np.arange(len(world.fleet.meters))
    frozen = freezes(world, everything, ts)
    gap = ~frozen.present

    def energy(registers: np.ndarray, modulus: np.ndarray) -> np.ndarray:
        return np.where(gap[:, 1:] | gap[:, :-1], np.nan, np.diff(registers, axis=1) % modulus[:, None]).astype(float)

    imported, exported = energy(frozen.import_wh, world.modulus_wh), energy(frozen.export_wh, world.modulus_wh)
    volts = np.where(gap, np.nan, frozen.voltage_v)[:, 1:]
    windows = []
    for number, area in enumerate(world.scenario.areas):
        rows = [i for i, m in enumerate(world.fleet.meters) if m.area == number and m.role in (SHARED, INSTALLED)]
        meter = world.fleet.area_meter[number]
        place, ratio = int(world.instruments.place3[meter]), world.fleet.meters[meter].multiplier
        phases = [np.diff(world.shown(np.full(3, meter), c)) for c in world.true_phase_cumulative(meter, ts)]
        busbar = np.concatenate([world.day(d).metered.phase_voltage_v[place] for d in days], axis=1)
        windows.append(
            AreaWindow(
                area=area.code,
                start=from_us(world.start_us),
                interval_s=900,
                meters=tuple(world.fleet.meters[i].name for i in rows),
                three_phase=np.array([world.fleet.meters[i].phases == 3 for i in rows]),
                household_import_wh=imported[rows],
                household_export_wh=exported[rows],
                household_voltage_v=volts[rows],
                area_import_wh=imported[meter] * ratio,
                area_export_wh=exported[meter] * ratio,
                area_phase_wh=np.where(np.isnan(imported[meter]), np.nan, (phases[0] - phases[1]) * ratio),
                area_voltage_v=np.round(busbar, 1),
            )
        )
    return windows
