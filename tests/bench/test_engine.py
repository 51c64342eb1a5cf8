"""What the reconciliation costs: CPU time for the simulated neighbourhood's 28 days."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from drivers.simulator.days import to_us
from drivers.simulator.scenario import demo_scenario, load_scenario
from drivers.simulator.world import World
from reconciliation import analyse
from support.reported import reported

pytestmark = pytest.mark.bench


def test_cpu_of_an_analysis(report: Any) -> None:
    world = World(load_scenario(demo_scenario()), to_us(datetime(2026, 11, 23, 5, 41, tzinfo=UTC)))
    windows = reported(world)
    meters = sum(len(w.meters) for w in windows)
    started, wall = time.process_time(), time.perf_counter()
    reports = analyse(windows)
    cpu_s, wall_s = time.process_time() - started, time.perf_counter() - wall
    assert set(reports) == {w.area for w in windows}
    assert any(r.alarm for r in reports.values())
    report("engine_cpu_per_100_meters_28_days", 100 * cpu_s / meters, "CPU-s", n=meters)
    report("engine_wall_per_100_meters_28_days", 100 * wall_s / meters, "s", n=meters)
