"""Whether the simulated field could become the bottleneck: days of 10,000 meters made, and live reads answered."""

from __future__ import annotations

import asyncio
import json
import struct
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.modbus.map_file import load_models
from drivers.modbus.plan import plan
from drivers.simulator.days import to_us
from drivers.simulator.scenario import load_scenario
from drivers.simulator.world import World
from headend.ingest.poll_bus import POLLED

pytestmark = pytest.mark.bench
EPOCH = datetime(2026, 11, 23, 5, 41, tzinfo=UTC)
HOUSEHOLDS = 190
FOR_S = 5.0
HEAD = """
title = "a town"
seed = {seed}
zone = "Asia/Shanghai"
history_days = 1
modbus.delay_ms = [0, 0]

[station]
code = "S"
name = "station"
"""
AREA = """
[[areas]]
code = "TA-{number:02d}"
name = "area"
households = {households}
feeders = 12
transformer_kva = 630
span_m = 25
links = {{ modbus = 1.0, mqtt = 0.0 }}
"""


def town(path: Path, seed: int, areas: int) -> Path:
    path.write_text(
        HEAD.format(seed=seed) + "".join(AREA.format(number=n, households=HOUSEHOLDS) for n in range(areas))
    )
    return path


def test_days_of_history(kit: Any, report: Any, tmp_path: Path) -> None:
    world = World(load_scenario(town(tmp_path / "town.toml", kit.SEED, kit.scaled(53))), to_us(EPOCH))
    meters, days = len(world.fleet.meters), 2
    started = time.perf_counter()
    for i in range(days):
        world.compute(world.first_day + timedelta(days=i))
    elapsed = time.perf_counter() - started
    report("simulator_meter_days", meters * days / elapsed, "meter-days/s", n=meters * days)


async def drain(port: int, questions: list[bytes], until: float) -> int:
    """Ask one gateway as fast as it answers; returns the answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    count = 0
    while time.perf_counter() < until:
        question = questions[count % len(questions)]
        writer.write(question)
        head = await reader.readexactly(8)
        await reader.readexactly(int.from_bytes(head[4:6], "big") - 2)
        assert head[7] == question[7], "an exception was answered"
        count += 1
    writer.close()
    return count


def test_live_reads(kit: Any, report: Any, tmp_path: Path) -> None:
    scenario, ready = town(tmp_path / "town.toml", kit.SEED, kit.scaled(53)), tmp_path / "ports.json"
    models = load_models()
    world = World(load_scenario(scenario), to_us(EPOCH))
    questions: dict[int, list[bytes]] = {}
    for meter in world.fleet.meters:
        if meter.unit is None:
            continue
        limits = models[meter.model].limits
        block = max(
            plan([s for s in models[meter.model].registers if s.quantity in POLLED], limits), key=lambda b: b.count
        )
        pdu = struct.pack(">BHH", limits.function_codes[block.table], block.address, block.count)
        questions.setdefault(meter.area, []).append(struct.pack(">HHHB", 1, 0, 6, meter.unit) + pdu)

    async def ask(ports: list[int]) -> int:
        until = time.perf_counter() + FOR_S
        return sum(await asyncio.gather(*(drain(port, questions[area], until) for area, port in enumerate(ports))))

    gateways = Path(__file__).with_name("gateways.py")
    with kit.child(
        str(gateways), str(scenario), EPOCH.isoformat(), str(ready), log=tmp_path / "gateway.log"
    ) as process:
        kit.wait_for(ready.exists, "the gateways", process)
        answered = asyncio.run(ask(json.loads(ready.read_text())))
    meters = sum(map(len, questions.values()))
    report("simulator_live_reads", answered / FOR_S, "reads/s", n=meters)
