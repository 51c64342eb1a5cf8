"""Many buses at once: 50 against 50 bare pymodbus loops; 1,000 gateways with dead meters among the living."""

from __future__ import annotations

import asyncio
import resource
import statistics
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pymodbus.client import AsyncModbusTcpClient

from drivers.errors import PeerError
from drivers.modbus.bus import BusSettings, ModbusBus
from drivers.modbus.map_file import parse_model
from drivers.registry import open_bus

pytestmark = pytest.mark.bench
ROUNDS = 5
BLOCKS = ((0x000, 8), (0x100, 4))
"""What the map below makes a visit ask."""
MODEL = parse_model(
    """
id = "bench"
manufacturer = "bench"
name = "two blocks"
phases = 1
transformer_ratio = "none"
firmware_notes = "none"
sources = ["raw_gateways.py"]
manual = { title = "none", where = "none" }
limits = { max_registers = 60 }
defaults = { table = "input", type = "u64" }

[[registers]]
quantity = "import_wh"
unit = "Wh"
address = 0x000

[[registers]]
quantity = "export_wh"
unit = "Wh"
address = 0x004

[[registers]]
quantity = "power_w"
unit = "W"
address = 0x100
""",
    file="bench.toml",
)


@contextmanager
def gateways(kit: Any, tmp_path: Path, delay_ms: int, dead: str = "", dead_behind_odd: str = "") -> Iterator[int]:
    """The simulated gateways in a process of their own; yields the port."""
    server, ready = str(Path(__file__).with_name("raw_gateways.py")), tmp_path / "port"
    with kit.child(server, str(delay_ms), dead, dead_behind_odd, str(ready), log=tmp_path / "gateways.log") as process:
        kit.wait_for(ready.exists, "the gateways", process)
        yield int(ready.read_text())


def host(gateway: int) -> str:
    """The address of a gateway: a loopback one for each."""
    return f"127.1.{gateway // 200}.{gateway % 200 + 1}"


async def bare(gateway: int, port: int, meters: int) -> int:
    """pymodbus alone, with the very same requests."""
    client = AsyncModbusTcpClient(host(gateway), port=port, timeout=5, retries=0)
    assert await client.connect()
    for unit in range(1, meters + 1):
        for address, count in BLOCKS:
            answer = await client.read_input_registers(address, count=count, device_id=unit)
            assert not answer.isError()
            assert len(answer.registers) == count
    client.close()
    return meters * len(BLOCKS)


async def by_bus(gateway: int, port: int, meters: int) -> int:
    """The bus, with every answer checked and decoded."""
    bus = open_bus(f"modbus+tcp://{host(gateway)}:{port}", BusSettings(timeout_s=5, timeout_min_s=5, retries=0))
    for unit in range(1, meters + 1):
        reading = await bus.read_meter(unit, MODEL)
        assert reading.import_wh is not None
        assert not reading.refused
    await bus.close()
    return bus.stats.requests


async def rate(of: Callable[[int, int, int], Awaitable[int]], port: int, buses: int, meters: int) -> float:
    """Requests per second of all buses together."""
    started = time.perf_counter()
    asked = sum(await asyncio.gather(*(of(gateway, port, meters) for gateway in range(buses))))
    assert asked == buses * meters * len(BLOCKS)
    return asked / (time.perf_counter() - started)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_fifty_buses_against_fifty_bare_loops(loop: str, kit: Any, report: Any, tmp_path: Path) -> None:
    if loop == "uvloop":
        run = pytest.importorskip("uvloop", reason="uvloop is among the dev dependencies").run
    else:
        run = asyncio.run
    meters = kit.scaled(60, 5)
    with gateways(kit, tmp_path, delay_ms=10) as port:
        loops, buses = [], []
        for _ in range(ROUNDS):  # in turns, so that a busy machine slows both
            loops.append(run(rate(bare, port, 50, meters)))
            buses.append(run(rate(by_bus, port, 50, meters)))
    n = ROUNDS * 50 * meters * len(BLOCKS)
    report(f"bare_pymodbus_50_{loop}", statistics.median(loops), "requests/s", n=n)
    ratio = statistics.median(b / a for a, b in zip(loops, buses, strict=True))
    report(
        f"modbus_bus_50_{loop}",
        statistics.median(buses),
        "requests/s",
        ratio_to={f"bare_pymodbus_50_{loop}": ratio},
        n=n,
    )


UNITS = range(1, 51)
TICK_S = 900.0


class Fleet:
    """A thousand buses with their meters, read in rounds."""

    def __init__(self, port: int, buses: int) -> None:
        settings = BusSettings()  # as shipped
        self.buses = [open_bus(f"modbus+tcp://{host(i)}:{port}", settings) for i in range(buses)]
        self.dead = [{17, 33} if (i % 200 + 1) % 2 else {17} for i in range(buses)]
        self.stamp_errors_ms: list[float] = []
        self.rounds_s: list[float] = []

    @property
    def live(self) -> int:
        """How many meters answer."""
        return sum(len(UNITS) - len(dead) for dead in self.dead)

    @property
    def asked(self) -> int:
        """Requests so far."""
        return sum(bus.stats.requests for bus in self.buses)

    async def round(self, spread_s: float) -> None:
        """Every meter of every bus once; the buses start spread over so many seconds."""
        self.stamp_errors_ms, self.rounds_s = [], []
        share_s = spread_s / len(self.buses)
        await asyncio.gather(*(self._read(bus, self.dead[i], i * share_s) for i, bus in enumerate(self.buses)))

    async def _read(self, bus: ModbusBus, dead: set[int], after_s: float) -> None:
        await asyncio.sleep(after_s)
        started = time.perf_counter()
        for unit in UNITS:
            try:
                reading = await bus.read_meter(unit, MODEL)
            except PeerError:
                assert unit in dead, f"{bus.peer} unit {unit} lives and was not read"
                continue
            assert reading.import_wh is not None
            error_ms = abs(reading.instant_us - reading.import_wh) / 1000
            assert error_ms <= reading.uncertainty_ms + 1
            self.stamp_errors_ms.append(error_ms)
        self.rounds_s.append(time.perf_counter() - started)

    async def close(self) -> None:
        """Hang up everywhere."""
        for bus in self.buses:
            await bus.close()


def test_a_thousand_gateways_with_fifty_meters_each(kit: Any, report: Any, tmp_path: Path) -> None:
    """In real time: 50 ms an answer, two requests a meter, 3 % of the meters dead, one process on one core."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    buses = min(kit.scaled(1000, 10), limit - 200)

    async def life(port: int) -> None:
        fleet = Fleet(port, buses)
        # First as after a restart, with every dead meter still to be found out; at last as the service does it.
        for name, spread_s in (("cold", 0.0), ("at_once", 0.0), ("staggered", 60.0)):
            cpu_s, asked, started = time.process_time(), fleet.asked, time.perf_counter()
            await fleet.round(spread_s)
            cpu_s, asked, took_s = time.process_time() - cpu_s, fleet.asked - asked, time.perf_counter() - started
            assert len(fleet.stamp_errors_ms) == fleet.live  # every live meter, within the round
            assert took_s < TICK_S
            p99_ms = statistics.quantiles(fleet.stamp_errors_ms, n=100)[98]
            report(f"modbus_fleet_{name}_round", took_s, "s", ratio_to={"tick": took_s / TICK_S}, n=fleet.live)
            slowest_s = max(fleet.rounds_s)
            report(f"modbus_fleet_{name}_slowest_bus", slowest_s, "s", ratio_to={"tick": slowest_s / TICK_S}, n=buses)
            report(f"modbus_fleet_{name}_stamp_error_p99", p99_ms, "ms", ratio_to={"answer": p99_ms / 50}, n=fleet.live)
            report(f"modbus_fleet_{name}_client_cpu", cpu_s, "s", ratio_to={"tick": cpu_s / TICK_S}, n=asked)
        await fleet.close()

    with gateways(kit, tmp_path, delay_ms=50, dead="17", dead_behind_odd="33") as port:
        asyncio.run(life(port))
