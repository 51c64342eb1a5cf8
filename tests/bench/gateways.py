"""Simulated gateways in a process of their own: arguments scenario file, epoch, file to write the ports to."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import datetime
from pathlib import Path

from drivers.simulator.days import to_us
from drivers.simulator.modbus_server import start_gateways
from drivers.simulator.scenario import load_scenario
from drivers.simulator.world import World


async def serve(scenario_file: str, epoch: str, ready_file: str) -> None:
    scenario = load_scenario(Path(scenario_file))
    now_us = to_us(datetime.fromisoformat(epoch))
    world = World(scenario, now_us)
    world.day(world.days.of(now_us))
    gateways = await start_gateways(world, "127.0.0.1", [0] * len(scenario.areas), lambda: now_us)
    Path(ready_file).with_suffix(".new").write_text(json.dumps([port for _, port in gateways]))
    Path(ready_file).with_suffix(".new").rename(ready_file)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
