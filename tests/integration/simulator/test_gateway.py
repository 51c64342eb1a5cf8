"""A gateway at socket level: one question at a time, refusals, garbage, and many clients at once."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from drivers.simulator.days import US
from drivers.simulator.modbus_server import Gateway, start_gateways
from drivers.simulator.scenario import load_scenario
from drivers.simulator.world import World

EPOCH_US = 1_795_412_460 * US


@pytest.fixture
def world(scenario_file: Path) -> World:
    """The small neighbourhood at a fixed instant."""
    return World(load_scenario(scenario_file), EPOCH_US)


def slow(world: World, delay_ms: float) -> World:
    """The same with gateways that always take so long."""
    modbus = msgspec.structs.replace(world.scenario.modbus, delay_ms=(delay_ms, delay_ms))
    return World(msgspec.structs.replace(world.scenario, modbus=modbus), world.epoch_us)


def on_gateway(world: World, use: Callable[[Gateway, int], Awaitable[None]]) -> None:
    """Run `use` against the first area's gateway."""

    async def run() -> None:
        gateways = await start_gateways(world, "127.0.0.1", [0, 0], lambda: EPOCH_US)
        try:
            await use(*gateways[0])
        finally:
            for gateway, _ in gateways:
                await gateway.stop()

    asyncio.run(run())


async def ask(port: int, unit: int, pdu: bytes, transaction: int = 7) -> bytes:
    """One question on a connection of its own; the answer's PDU, its header checked."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu)
    header = await reader.readexactly(7)
    assert struct.unpack(">HHxxB", header) == (transaction, 0, unit)
    answer = await reader.readexactly(struct.unpack(">4xHx", header)[0] - 1)
    writer.close()
    await writer.wait_closed()
    return answer


READ_IMPORT = struct.pack(">BHH", 4, 0x0048, 2)


def test_the_area_meter_tells_its_register(world: World) -> None:
    async def use(gateway: Gateway, port: int) -> None:
        answer = await ask(port, 1, READ_IMPORT)
        assert answer[:2] == b"\x04\x04"
        import numpy as np

        meter = np.array([world.fleet.area_meter[0]])
        shown = world.shown(meter, world.true_cumulative(meter, np.array([[EPOCH_US]]))[0])[0, 0]
        assert round(struct.unpack(">f", answer[2:])[0] * 1000) == shown

    on_gateway(world, use)


@pytest.mark.parametrize(
    ("unit", "pdu", "code"),
    [
        (240, READ_IMPORT, 11),
        (1, struct.pack(">BHH", 4, 0x0900, 2), 2),
        (1, struct.pack(">BHH", 4, 0x0048, 126), 3),
        (1, struct.pack(">BHH", 1, 0, 8), 1),
        (1, b"\x04\x00", 1),
        (1, struct.pack(">BHHBH", 16, 0, 1, 2, 5), 1),
    ],
)
def test_refusals_on_the_wire(world: World, unit: int, pdu: bytes, code: int) -> None:
    async def use(gateway: Gateway, port: int) -> None:
        assert await ask(port, unit, pdu) == bytes((pdu[0] | 0x80, code))

    on_gateway(world, use)


def test_one_question_at_a_time_for_all_connections(world: World) -> None:
    async def use(gateway: Gateway, port: int) -> None:
        began = time.monotonic()
        answers = await asyncio.gather(*(ask(port, 1, READ_IMPORT, i) for i in range(10)))
        assert len(set(answers)) == 1
        assert time.monotonic() - began >= 10 * 0.02

    on_gateway(slow(world, 20.0), use)


def test_garbage_closes_that_connection_only(world: World) -> None:
    async def use(gateway: Gateway, port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        assert (await ask(port, 1, READ_IMPORT))[0] == 4

    on_gateway(world, use)


def test_who_hangs_up_while_being_served_hurts_nobody(world: World) -> None:
    async def use(gateway: Gateway, port: int) -> None:
        for _ in range(5):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(struct.pack(">HHHB", 1, 0, len(READ_IMPORT) + 1, 1) + READ_IMPORT)
            await writer.drain()
            writer.transport.abort()
        assert (await ask(port, 1, READ_IMPORT))[0] == 4
        assert gateway.requests >= 1

    on_gateway(slow(world, 10.0), use)


def test_a_port_that_is_taken_leaves_none_open(world: World) -> None:
    async def run() -> None:
        taken = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = taken.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match="address already in use"):
            await start_gateways(world, "127.0.0.1", [0, port], lambda: EPOCH_US)
        taken.close()
        await taken.wait_closed()

    asyncio.run(run())
