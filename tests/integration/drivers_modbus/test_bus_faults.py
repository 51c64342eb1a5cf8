"""The bus over real sockets through a proxy that delays, drops, doubles, cuts, tears, swaps and garbles answers.

Whatever comes out is the truth of the meter's own registers or absent, and a faulty meter's neighbours are all read.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pymodbus import FramerType

from drivers.errors import PeerError
from drivers.modbus.address import ModbusAddress
from drivers.modbus.bus import ModbusBus
from drivers.modbus.bus_settings import BusSettings
from drivers.modbus.map_file import parse_model
from drivers.modbus.register_map import AddressRange, Table
from drivers.modbus.snapshot import Snapshot
from drivers.registry import open_bus
from support.spoiling_proxy import ALL, Fault, SpoilingProxy

UNITS = (1, 2, 3, 4)
TIMEOUT_S = 0.12
LATE_S = (0.02, 0.5)
"""Within the time-out, and long after it."""
SETTINGS = BusSettings(
    timeout_s=TIMEOUT_S,
    timeout_min_s=0.06,
    retries=1,
    late_s=0.6,
    backoff_s=0.001,
    busy_delay_s=0.01,
    breaker_backoff_s=0.05,
    breaker_backoff_max_s=0.2,
)
MAP = """
id = "twins"
manufacturer = "test"
name = "a meter whose blocks all look alike but for their address"
phases = 3
transformer_ratio = "none"
firmware_notes = "none"
sources = ["none"]

[manual]
title = "none"
where = "none"

[limits]
max_registers = 20
max_gap = 4

[defaults]
table = "input"
type = "u32"
"""
REGISTERS = {
    "import_wh": 0x00, "export_wh": 0x02, "import_l1_wh": 0x20, "import_l2_wh": 0x22,
    "import_l3_wh": 0x40, "export_l1_wh": 0x42, "export_l2_wh": 0x60, "export_l3_wh": 0x62,
}  # fmt: skip
MODEL = parse_model(
    MAP
    + "".join(
        f'\n[[registers]]\nquantity = "{quantity}"\nunit = "Wh"\naddress = {address}\n'
        for quantity, address in REGISTERS.items()
    ),
    file="twins.toml",
)


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 60))


def truth(unit: int, address: int) -> int:
    """Every register of every unit holds a number of its own."""
    return unit << 8 | address


@asynccontextmanager
async def scene(
    bench: Any, *, rtu: bool, seed: int, choose: Callable[[random.Random, int], Fault], **changed: Any
) -> AsyncIterator[tuple[ModbusBus, SpoilingProxy]]:
    """A foreign server with `UNITS`, the proxy before it, and a bus to the proxy."""
    rng = random.Random(seed)
    words = {unit: {Table.HOLDING: {}, Table.INPUT: {a: truth(unit, a) for a in range(0x80)}} for unit in UNITS}
    devices = [bench.device(unit, words[unit], fill_to=0x80) for unit in UNITS]
    framer = FramerType.RTU if rtu else FramerType.SOCKET
    async with bench.serving(devices, framer=framer) as upstream:
        proxy = SpoilingProxy(upstream, rtu, lambda unit: choose(rng, unit), rng, LATE_S)
        async with proxy.listening() as endpoint:
            settings = BusSettings(**{f: getattr(SETTINGS, f) for f in SETTINGS.__dataclass_fields__} | changed)
            bus = open_bus(endpoint, settings)
            try:
                yield bus, proxy
            finally:
                await bus.close()


def own(unit: int, where: AddressRange) -> tuple[int, ...]:
    """What these registers of this unit hold."""
    return tuple(truth(unit, a) for a in range(where.first, where.last + 1))


def wrong(unit: int, snapshot: Snapshot) -> list[str]:
    """Registers that are not this unit's own."""
    return [
        f"unit {unit} {quantity.value}: {words}"
        for quantity, words in snapshot.words.items()
        if words != own(unit, MODEL.by_quantity[quantity].range)
    ]


async def visit(bus: ModbusBus, unit: int) -> Snapshot | PeerError:
    try:
        return await bus.visit(ModbusAddress(unit, MODEL))
    except PeerError as error:
        return error


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("rtu", [False, True], ids=["tcp", "rtu_over_tcp"])
def test_every_value_is_the_meters_own_or_absent(rtu: bool, seed: int, bench: Any) -> None:
    def choose(rng: random.Random, unit: int) -> Fault:
        return rng.choice(ALL) if rng.random() < 0.4 else Fault.NONE

    async def life() -> None:
        async with scene(bench, rtu=rtu, seed=seed, choose=choose) as (bus, proxy):
            rng = random.Random(seed)
            came = absent = 0
            while proxy.met.total() < (160 if rtu else 300):  # RTU waits more
                unit = rng.choice(UNITS)
                if rng.random() < 0.3:
                    first = rng.choice([0, 2, 0x20, 0x22, 0x40])
                    where = AddressRange(Table.INPUT, first, first + 3)
                    try:
                        async with bus.turn(ModbusAddress(unit, MODEL)) as turn:
                            answer = await turn.read(where)
                    except PeerError:
                        absent += 1
                        continue
                    assert answer.words == own(unit, where)
                    came += 1
                else:
                    snapshot = await visit(bus, unit)
                    if isinstance(snapshot, PeerError):
                        absent += 1
                        continue
                    assert wrong(unit, snapshot) == []
                    came += len(snapshot.words)
                    absent += len(snapshot.missing)
            assert came > 100
            assert absent > 10, "the proxy spoils nothing"
            assert set(ALL) - {Fault.GARBLED if not rtu else Fault.NONE} <= set(proxy.met)

    run(life())


SPOILING = [
    pytest.param(rtu, fault, id=f"{'rtu_over_tcp' if rtu else 'tcp'}-{fault}")
    for rtu in (False, True)
    for fault in ALL
    if fault is not Fault.NONE and (rtu or fault is not Fault.GARBLED)  # Modbus TCP has no checksum of its own
]


@pytest.mark.parametrize(("rtu", "fault"), SPOILING)
def test_the_neighbours_of_a_faulty_meter_are_all_read_in_every_round(rtu: bool, fault: Fault, bench: Any) -> None:
    def choose(_: random.Random, unit: int) -> Fault:
        return fault if unit == 2 else Fault.NONE

    async def life() -> None:
        patient = {"timeout_s": 0.3, "timeout_min_s": 0.2, "retries": 2, "breaker_failures": 100}
        async with scene(bench, rtu=rtu, seed=7, choose=choose, **patient) as (bus, _):
            for _ in range(4):
                for unit in UNITS:
                    snapshot = await visit(bus, unit)
                    if unit == 2:
                        assert isinstance(snapshot, PeerError) or wrong(unit, snapshot) == []
                    else:
                        assert isinstance(snapshot, Snapshot), (unit, snapshot)
                        assert (wrong(unit, snapshot), snapshot.missing) == ([], ())

    run(life())


def test_where_answers_come_again_later_only_the_rule_of_shapes_keeps_them_apart(bench: Any) -> None:
    """The same line with the rule switched off shows that the test would see a mistake."""

    def choose(rng: random.Random, unit: int) -> Fault:
        return rng.choice([Fault.SWAPPED, Fault.AGAIN_LATER, Fault.LATE, Fault.NONE])

    async def mistakes(late_s: float) -> int:
        found = 0
        async with scene(bench, rtu=True, seed=11, choose=choose, late_s=late_s) as (bus, proxy):
            while proxy.met.total() < 100:
                for unit in UNITS[:2]:
                    snapshot = await visit(bus, unit)
                    found += len(wrong(unit, snapshot)) if isinstance(snapshot, Snapshot) else 0
        return found

    async def both() -> None:
        assert await mistakes(0.0) > 0
        assert await mistakes(SETTINGS.late_s) == 0

    run(both())
