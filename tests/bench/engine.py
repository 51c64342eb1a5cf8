"""One analysis of the simulated neighbourhood's 28 days in a process of its own; prints meters, CPU and wall time."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

from drivers.simulator.days import to_us
from drivers.simulator.scenario import demo_scenario, load_scenario
from drivers.simulator.world import World
from reconciliation import analyse
from support.reported import reported

if __name__ == "__main__":
    windows = reported(World(load_scenario(demo_scenario()), to_us(datetime(2026, 11, 23, 5, 41, tzinfo=UTC))))
    cpu, wall = time.process_time(), time.perf_counter()
    reports = analyse(windows)
    spent = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
    print(
        json.dumps(
            spent | {"meters": sum(len(w.meters) for w in windows), "alarms": sum(r.alarm for r in reports.values())}
        )
    )
