"""The bus against a bare pymodbus loop on the same simulated gateway; block reads against one register at a time."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient

from drivers.modbus.bus import BusSettings
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from drivers.modbus.plan import plan
from drivers.registry import open_bus
from drivers.simulator.days import to_us
from drivers.simulator.scenario import load_scenario
from drivers.simulator.world import World
from headend.ingest.poll_bus import POLLED

pytestmark = pytest.mark.bench
ROUNDS = 5
EPOCH = datetime(2026, 11, 23, 5, 41, tzinfo=UTC)
SCENARIO = """
title = "one gateway"
seed = {seed}
zone = "Asia/Shanghai"
history_days = 1
modbus.delay_ms = [10, 10]

[station]
code = "S"
name = "station"

[[areas]]
code = "TA-01"
name = "area"
households = {households}
feeders = 8
transformer_kva = 400
links = {{ modbus = 1.0, mqtt = 0.0 }}
"""

Meter = tuple[int, MeterModel]


def meters_of(scenario: Path) -> list[Meter]:
    """Unit and model of every meter behind the gateway."""
    models = load_models()
    fleet = World(load_scenario(scenario), to_us(EPOCH)).fleet.meters
    return [(m.unit, models[m.model]) for m in fleet if m.unit is not None]


def questions(model: MeterModel) -> list[tuple[int, int, int]]:
    """Function code, address and count of each block that a round asks one meter for."""
    wanted = [spec for spec in model.registers if spec.quantity in POLLED]
    return [(model.limits.function_codes[b.table], b.address, b.count) for b in plan(wanted, model.limits)]


async def bare(port: int, meters: list[Meter]) -> tuple[float, int]:
    """Seconds and requests of one round by pymodbus alone, with the very same requests."""
    client = AsyncModbusTcpClient("127.0.0.1", port=port, timeout=2, retries=0)
    assert await client.connect()
    count, started = 0, time.perf_counter()
    for unit, model in meters:
        for code, address, size in questions(model):
            ask = client.read_holding_registers if code == 3 else client.read_input_registers
            answer = await ask(address, count=size, device_id=unit)
            assert not answer.isError()
            assert len(answer.registers) == size
            count += 1
    elapsed = time.perf_counter() - started
    client.close()
    return elapsed, count


async def by_bus(port: int, meters: list[Meter]) -> tuple[float, int]:
    """The same by the bus, with every answer decoded and checked."""
    bus = open_bus(f"modbus+tcp://127.0.0.1:{port}", BusSettings(timeout_s=2, timeout_min_s=2, retries=0))
    await bus.read_meter(*meters[0], POLLED)  # connects
    before, started = bus.stats.requests, time.perf_counter()
    for unit, model in meters:
        reading = await bus.read_meter(unit, model, POLLED)
        assert reading.import_wh is not None
        assert not reading.refused
    elapsed, count = time.perf_counter() - started, bus.stats.requests - before
    await bus.close()
    return elapsed, count


def test_bus_against_bare_pymodbus(kit: Any, report: Any, tmp_path: Path) -> None:
    scenario, ready = tmp_path / "scenario.toml", tmp_path / "ports.json"
    scenario.write_text(SCENARIO.format(seed=kit.SEED, households=kit.scaled(100, 5)))
    meters = meters_of(scenario)
    gateways = Path(__file__).with_name("gateways.py")
    with kit.child(
        str(gateways), str(scenario), EPOCH.isoformat(), str(ready), log=tmp_path / "gateway.log"
    ) as process:
        kit.wait_for(ready.exists, "the gateway", process)
        (port,) = json.loads(ready.read_text())
        loops: list[float] = []
        buses: list[float] = []
        for _ in range(ROUNDS):  # in turns, so that a busy machine slows both
            bare_s, count = asyncio.run(bare(port, meters))
            bus_s, asked = asyncio.run(by_bus(port, meters))
            assert asked == count
            loops.append(count / bare_s)
            buses.append(asked / bus_s)
    one_by_one = sum(spec.quantity in POLLED for _, model in meters for spec in model.registers)
    report("bare_pymodbus_loop", statistics.median(loops), "requests/s", n=ROUNDS * count)
    report(
        "modbus_bus",
        statistics.median(buses),
        "requests/s",
        ratio_to={"bare_pymodbus_loop": statistics.median(b / a for a, b in zip(loops, buses, strict=True))},
        n=ROUNDS * count,
    )
    report(
        "modbus_requests_a_round",
        count,
        "requests",
        ratio_to={"one_request_a_register": count / one_by_one},
        n=len(meters),
    )
