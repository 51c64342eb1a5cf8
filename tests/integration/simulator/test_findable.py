"""The demonstration's faults can be found by whoever sees only what the meters report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from drivers.simulator.days import from_us, to_us
from drivers.simulator.export import truth
from drivers.simulator.fleet import INSTALLED, SHARED
from drivers.simulator.profile import freezes
from drivers.simulator.scenario import demo_scenario, load_scenario
from drivers.simulator.world import World
from reconciliation import AreaWindow, analyse


@pytest.fixture(scope="module")
def demo() -> World:
    """The demonstration at a fixed instant."""
    return World(load_scenario(demo_scenario()), to_us(datetime(2026, 11, 23, 5, 41, tzinfo=UTC)))


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


def test_planted_faults_sit_on_ordinary_households(demo: World) -> None:
    told = truth(demo)
    for fault in told["planted"]:
        if fault["counted"] and fault["meter"]:
            assert 6_000 < told["true_wh"][fault["meter"]] / 28 < 16_000
    for area, supplied in told["supplied_wh"].items():
        assert 0.004 < told["technical_loss_wh"][area] / supplied < 0.05


def test_the_engine_finds_them_and_accuses_no_honest_meter(demo: World) -> None:
    reports, told = analyse(reported(demo)), truth(demo)
    planted = {f["fault"]: f for f in told["planted"] if f["counted"]}
    faulty = {f["meter"] for f in told["planted"] if f["meter"]}
    accused = {m for r in reports.values() for m in r.accused}
    assert accused <= faulty
    assert [(planted["wrong_area"]["meter"], "TA-03")] == list(reports["TA-02"].misplaced)
    assert not reports["TA-01"].misplaced
    assert not reports["TA-03"].misplaced
    assert all(r.alarm for r in reports.values())
    # Ranked first among its area's meters, whether or not the engine ventures to accuse.
    for area, kinds in {"TA-01": ("stuck", "under_registering"), "TA-02": ("wrong_multiplier",)}.items():
        ranking = sorted(reports[area].suspicion, key=lambda m, a=area: -reports[a].suspicion[m])
        assert {planted[k]["meter"] for k in kinds} == set(ranking[: len(kinds)])
    assert "direct_tap" in {f.kind for f in reports["TA-03"].findings}
