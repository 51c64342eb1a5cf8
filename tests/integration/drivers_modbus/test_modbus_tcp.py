"""Reading over real sockets from a foreign server: values, exceptions, silence, every way to spoil an answer."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Coroutine
from typing import Any

import pytest

from drivers.base import Quantity
from drivers.errors import (
    ConnectionFailed,
    DeviceException,
    DriverConfigError,
    IllegalAddress,
    MalformedResponse,
    PeerError,
    ResponseTimeout,
)
from drivers.modbus.bus import BusSettings, ModbusBus
from drivers.modbus.client import ModbusTcpClient
from drivers.modbus.map_file import load_models
from drivers.modbus.probe import probe
from drivers.registry import open_bus

MODELS = load_models()
SDM630 = MODELS["eastron-sdm630"]
SDM120 = MODELS["eastron-sdm120"]
SHORT_S = 0.25
"""Long against a loopback answer (< 5 ms), short for a test that waits it out."""


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 30))


def counter(unit: int, address: int) -> int:
    return unit << 8 | address


def tables(bench: Any, unit: int = 3) -> Any:
    """Input registers 0..0x1FF that hold a number of their own each: a swapped answer cannot look right."""
    words = bench.words_of(SDM120, {})
    for table in words:
        words[table] = {a: counter(unit, a) for a in range(0x200)}
    return words


async def read(client: ModbusTcpClient, address: int, count: int = 2, unit: int = 3) -> tuple[int, ...]:
    answer = await client.read(unit=unit, function=4, address=address, count=count, timeout_s=SHORT_S)
    return answer.words


def right(address: int, count: int = 2, unit: int = 3) -> tuple[int, ...]:
    return tuple(counter(unit, a) for a in range(address, address + count))


def test_every_shipped_model_is_read_from_a_foreign_server(bench: Any) -> None:
    async def scene() -> None:
        values = {
            Quantity.IMPORT_WH: 1_234_000,  # some meters show whole kWh
            Quantity.EXPORT_WH: 5_000,
            Quantity.VOLTAGE_L1_V: 230.0,
            Quantity.FREQUENCY_HZ: 50.0,
            Quantity.CT_RATIO: 40,
        }
        units = dict(enumerate(MODELS.values(), start=1))
        devices = [bench.device(unit, bench.words_of(model, values)) for unit, model in units.items()]
        async with bench.serving(devices) as port:
            bus = open_bus(f"modbus+tcp://127.0.0.1:{port}")
            for unit, model in units.items():
                before = asyncio.get_running_loop().time()
                reading = await bus.read_meter(unit, model)
                assert reading.import_wh == 1_234_000
                assert reading.export_wh == 5_000
                assert reading.voltage_v is not None
                assert reading.voltage_v[0] == pytest.approx(230.0, abs=1e-3)
                assert reading.serial == ("210001" if Quantity.SERIAL in model.quantities else None)
                assert reading.uncertainty_ms <= 1000 * (asyncio.get_running_loop().time() - before) + 1
            report = await probe(bus, 1, units[1])
            assert {v.quantity for v in report.values} | set(report.missing) == units[1].quantities
            assert all(r.span_ms > 0 for r in report.requests)
            assert bus.stats.connects == 1
            await bus.close()

    run(scene())


def test_exceptions_keep_their_code_and_say_what_was_asked(bench: Any) -> None:
    async def scene() -> None:
        codes = iter(map(bench.codes, (4, 6, 1, 11)))

        async def failing(function: int, *_: Any) -> Any:
            return next(codes)

        sick = bench.device(4, tables(bench), action=failing)
        async with bench.serving([bench.device(3, tables(bench)), sick]) as port:
            client = ModbusTcpClient("127.0.0.1", port)
            await client.connect(SHORT_S)
            with pytest.raises(
                IllegalAddress, match=r"unit 3: exception 2 \(illegal data address\) to input 0x0300\.\.0x0301"
            ):
                await read(client, 0x300)
            names = (
                (4, "device failure"),
                (6, "device busy"),
                (1, "illegal function"),
                (11, "the device did not respond"),
            )
            for code, name in names:
                with pytest.raises(DeviceException, match=name) as caught:
                    await read(client, 0, unit=4)
                assert caught.value.exception_code == code
            assert await read(client, 8) == right(8)
            await client.close()

    run(scene())


def test_silence_is_a_timeout_and_the_connection_lives_on(bench: Any) -> None:
    async def scene() -> None:
        async with bench.serving([bench.device(3, tables(bench))]) as upstream:
            proxy = bench.proxy(upstream, dead={9})
            async with proxy.listening() as port:
                client = ModbusTcpClient("127.0.0.1", port)
                await client.connect(SHORT_S)
                for _ in range(8):  # more than pymodbus itself would bear
                    with pytest.raises(
                        ResponseTimeout, match=r"unit 9: no answer within 0.05 s to input 0x0000\.\.0x0001"
                    ):
                        await client.read(unit=9, function=4, address=0, count=2, timeout_s=0.05)
                assert client.connected
                assert await read(client, 4) == right(4)
                assert proxy.connections == 1
                await client.close()

    run(scene())


def test_nobody_there_is_a_connection_error() -> None:
    async def scene() -> None:
        server = await asyncio.start_server(lambda r, w: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        bus = open_bus(f"modbus+tcp://127.0.0.1:{port}", BusSettings(connect_timeout_s=SHORT_S))
        with pytest.raises(ConnectionFailed, match=f"127.0.0.1:{port}: no connection within"):
            await bus.read_meter(1, SDM120)
        with pytest.raises(ConnectionFailed, match="down; the next attempt is in"):
            await bus.read_meter(2, SDM120)
        client = ModbusTcpClient("127.0.0.1", port)
        with pytest.raises(ConnectionFailed, match="not connected"):
            await read(client, 0)

    run(scene())


def drop(proxy: Any, answer: bytes) -> list[bytes]:
    return []


def hold(proxy: Any, answer: bytes) -> list[bytes]:
    """Keep it back: it comes late, before the next one."""
    proxy.held.append(answer)
    return []


def late_first(proxy: Any, answer: bytes) -> list[bytes]:
    held, proxy.held = proxy.held, []
    return [*held, answer]


def late_after(proxy: Any, answer: bytes) -> list[bytes]:
    held, proxy.held = proxy.held, []
    return [answer, *held]


def glued(proxy: Any, answer: bytes) -> list[bytes]:
    held, proxy.held = proxy.held, []
    return [b"".join([*held, answer, answer])]


def twice(proxy: Any, answer: bytes) -> list[bytes]:
    return [answer, answer]


def byte_by_byte(proxy: Any, answer: bytes) -> list[bytes]:
    return [answer[i : i + 1] for i in range(len(answer))]


def passed(proxy: Any, answer: bytes) -> list[bytes]:
    return [answer]


def closed(proxy: Any, answer: bytes) -> None:
    return None


def cut(proxy: Any, answer: bytes) -> list[bytes]:
    return [answer[:-3]]


def cut_and_closed(proxy: Any, answer: bytes) -> None:
    proxy._writers[-2].write(answer[:-3])
    return None


def header(**changes: int) -> Any:
    def fault(proxy: Any, answer: bytes) -> list[bytes]:
        tid, pid, length, unit, function = struct.unpack(">HHHBB", answer[:8])
        fields = {"tid": tid, "pid": pid, "length": length, "unit": unit, "function": function} | changes
        return [struct.pack(">HHHBB", *fields.values()) + answer[8:]]

    return fault


def shortened(proxy: Any, answer: bytes) -> list[bytes]:
    """One register less, in a frame that is consistent in itself."""
    body = bytes([answer[8] - 2]) + answer[9:-2]
    return [answer[:4] + struct.pack(">H", len(body) + 2) + answer[6:8] + body]


def lying_count(proxy: Any, answer: bytes) -> list[bytes]:
    """All registers, but the byte count says fewer."""
    return [answer[:8] + bytes([answer[8] - 2]) + answer[9:]]


def foreign_register(proxy: Any, answer: bytes) -> list[bytes]:
    """An answer with the id 0, other contents, before the right one: some libraries take it."""
    return [b"\0\0" + answer[2:9] + bytes(len(answer) - 9), answer]


def noise(proxy: Any, answer: bytes) -> list[bytes]:
    return [b"HTTP/1.1 400 Bad Request\r\n\r\n"]


SPOILT = [
    # (fault, what the client says, whether the connection is given up)
    (drop, ResponseTimeout, "no answer within", False),
    (hold, ResponseTimeout, "no answer within", False),
    (cut, ResponseTimeout, "no answer within", True),
    (header(tid=0x7777), ResponseTimeout, "no answer within", False),
    (header(tid=0), ResponseTimeout, "no answer within", False),
    (closed, ConnectionFailed, "lost while waiting for input 0x0004..0x0005", True),
    (cut_and_closed, ConnectionFailed, "lost while waiting", True),
    (header(unit=4), MalformedResponse, "unit 4 answered a question to unit 3", True),
    (header(function=3), MalformedResponse, "function 3 answered a question of function 4", True),
    (header(function=0x83), MalformedResponse, "function 131 answered", True),
    (header(pid=5), MalformedResponse, "protocol id 5", True),
    (header(length=0xFFFF), MalformedResponse, "length of 65541 bytes", True),
    (shortened, MalformedResponse, "2 bytes of registers instead of 4", True),
    (lying_count, MalformedResponse, "byte count 2, but 4 bytes came", True),
    (noise, MalformedResponse, "", True),
]


@pytest.mark.parametrize(("fault", "error", "message", "given_up"), SPOILT)
def test_a_spoilt_answer_is_an_error_and_the_next_answer_is_right(
    fault: Any, error: type[PeerError], message: str, given_up: bool, bench: Any
) -> None:
    async def scene() -> None:
        async with bench.serving([bench.device(3, tables(bench))]) as upstream:
            proxy = bench.proxy(upstream)
            async with proxy.listening() as port:
                client = ModbusTcpClient("127.0.0.1", port)
                await client.connect(SHORT_S)
                assert await read(client, 2) == right(2)
                proxy.faults.append(fault)
                began = asyncio.get_running_loop().time()
                with pytest.raises(error) as caught:
                    await read(client, 4)
                took = asyncio.get_running_loop().time() - began
                assert message in str(caught.value)
                assert str(caught.value).startswith(f"127.0.0.1:{port} unit 3: ")
                assert type(caught.value) is error
                assert client.connected is not given_up
                if error is not ResponseTimeout:
                    assert took < SHORT_S / 2  # known at once, not after the time-out
                await client.connect(SHORT_S)
                assert await read(client, 6) == right(6)
                await client.close()

    run(scene())


@pytest.mark.parametrize("fault", [twice, byte_by_byte, foreign_register])
def test_odd_ways_of_a_right_answer_are_right(fault: Any, bench: Any) -> None:
    async def scene() -> None:
        async with bench.serving([bench.device(3, tables(bench))]) as upstream:
            proxy = bench.proxy(upstream)
            async with proxy.listening() as port:
                client = ModbusTcpClient("127.0.0.1", port)
                await client.connect(SHORT_S)
                for address in range(0, 60, 6):
                    proxy.faults.append(fault)
                    assert await read(client, address, 60) == right(address, 60)
                await client.close()

    run(scene())


@pytest.mark.parametrize("release", [late_first, late_after, glued])
@pytest.mark.parametrize("count", [2, 120])
def test_a_late_answer_is_never_taken_for_the_next_one(release: Any, count: int, bench: Any) -> None:
    async def scene() -> None:
        async with bench.serving([bench.device(3, tables(bench)), bench.device(4, tables(bench, 4))]) as upstream:
            proxy = bench.proxy(upstream)
            async with proxy.listening() as port:
                client = ModbusTcpClient("127.0.0.1", port)
                await client.connect(SHORT_S)
                proxy.faults.extend([hold, hold, release])
                for unit in (3, 4):
                    with pytest.raises(ResponseTimeout):
                        await read(client, 0, count, unit)
                assert await read(client, 7, count) == right(7, count)
                assert await read(client, 9, count, 4) == right(9, count, 4)
                assert proxy.connections == 1
                await client.close()

    run(scene())


@pytest.mark.parametrize("tail", [1, 3, 4, 7, 11])
def test_the_rest_of_a_torn_answer_that_comes_late_spoils_no_value(tail: int, bench: Any) -> None:
    def torn(proxy: Any, answer: bytes) -> list[bytes]:
        proxy.held.append(answer[-tail:])
        return [answer[:-tail]]

    async def scene() -> None:
        async with bench.serving([bench.device(3, tables(bench))]) as upstream:
            proxy = bench.proxy(upstream)
            async with proxy.listening() as port:
                client = ModbusTcpClient("127.0.0.1", port)
                await client.connect(SHORT_S)
                proxy.faults.extend([torn, glued])
                with pytest.raises(ResponseTimeout):
                    await read(client, 0, 60)
                assert not client.connected  # half an answer: nobody knows where the next frame begins
                await client.connect(SHORT_S)
                with pytest.raises((MalformedResponse, ResponseTimeout)):
                    await read(client, 6, 60)
                await client.connect(SHORT_S)
                assert await read(client, 8, 60) == right(8, 60)
                await client.close()

    run(scene())


def test_a_reader_who_gives_up_leaves_nothing_behind(bench: Any) -> None:
    async def scene() -> None:
        async with bench.serving([bench.device(3, tables(bench))]) as upstream:
            proxy = bench.proxy(upstream)
            async with proxy.listening() as port:
                client = ModbusTcpClient("127.0.0.1", port)
                await client.connect(SHORT_S)
                proxy.faults.extend([hold, late_first])
                given_up = asyncio.create_task(read(client, 0))
                while not proxy.held:
                    await asyncio.sleep(0)
                given_up.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await given_up
                assert client.connected
                assert await read(client, 6) == right(6)
                await client.close()

    run(scene())


def test_transaction_ids_go_on_over_a_reconnect(bench: Any) -> None:
    async def scene() -> None:
        async with bench.serving([bench.device(3, tables(bench))]) as upstream:
            proxy = bench.proxy(upstream)
            async with proxy.listening() as port:
                client = ModbusTcpClient("127.0.0.1", port)
                for _ in range(3):
                    await client.connect(SHORT_S)
                    assert await read(client, 0) == right(0)
                    await client.close()
                ids = [int.from_bytes(q[:2], "big") for q in proxy.questions]
                assert len(set(ids)) == 3
                assert proxy.connections == 3

    run(scene())


def test_the_bus_reads_right_whatever_happens_to_single_answers(bench: Any) -> None:
    """Every fault once, on a bus of three meters of which one is dead: all readings that come are right."""

    async def scene() -> None:
        values = {unit: {Quantity.IMPORT_WH: 1000 * unit, Quantity.EXPORT_WH: 0} for unit in (1, 3)}
        devices = [bench.device(unit, bench.words_of(SDM120, v)) for unit, v in values.items()]
        async with bench.serving(devices) as upstream:
            proxy = bench.proxy(upstream, dead={2})
            async with proxy.listening() as port:
                settings = BusSettings(timeout_s=SHORT_S, retries=1, backoff_s=0.01)
                bus = ModbusBus(ModbusTcpClient("127.0.0.1", port), settings)
                faults = [f for f, *_ in SPOILT] + [twice, foreign_register, byte_by_byte]
                for fault in faults:
                    proxy.held.clear()
                    proxy.faults.append(fault)
                    for unit in (1, 3):
                        reading = await bus.read_meter(unit, SDM120)
                        assert reading.import_wh == 1000 * unit
                        assert reading.serial == "210001"
                        assert reading.refused == ()
                    assert not proxy.faults
                with pytest.raises(ResponseTimeout):
                    await bus.read_meter(2, SDM120)
                assert (await bus.read_meter(3, SDM120)).import_wh == 3000
                assert (
                    bus.stats.malformed == 7
                )  # the first block is asked with function 3, so that fault changes nothing
                assert bus.stats.connections_lost == 2
                await bus.close()

    run(scene())


def test_an_address_that_the_meter_lacks_is_bisected_over_the_wire(bench: Any) -> None:
    async def scene() -> None:
        words = bench.words_of(SDM630, {Quantity.IMPORT_WH: 5000})
        inputs = next(w for t, w in words.items() if t.value == "input")
        for address in range(0x15A, 0x160):  # a firmware without imports per phase
            del inputs[address]
        async with bench.serving([bench.device(3, words, fill_to=0x100)]) as port:
            bus = open_bus(f"modbus+tcp://127.0.0.1:{port}")
            first = await bus.read_meter(3, SDM630)
            assert first.import_wh == 5000
            assert first.refused == ("import_l1_wh", "import_l2_wh", "import_l3_wh")
            assert first.import_phase_wh is None
            assert first.export_phase_wh is not None
            asked = bus.stats.requests
            assert (await bus.read_meter(3, SDM630)).refused == first.refused
            assert bus.stats.requests == asked + 3
            await bus.close()

    run(scene())


def test_a_wire_that_breaks_in_mid_round_is_mended(bench: Any) -> None:
    async def scene() -> None:
        device = bench.device(3, bench.words_of(SDM120, {Quantity.IMPORT_WH: 7000}))
        async with bench.serving([device]) as upstream:
            proxy = bench.proxy(upstream)
            async with proxy.listening() as port:
                bus = ModbusBus(ModbusTcpClient("127.0.0.1", port), BusSettings(timeout_s=SHORT_S, retries=1))
                for _ in range(5):
                    proxy.faults.append(closed)
                    assert (await bus.read_meter(3, SDM120)).import_wh == 7000
                assert proxy.connections == 6
                assert bus.stats.connections_lost == 5
                await bus.close()

    run(scene())


@pytest.mark.parametrize(
    ("endpoint", "message"),
    [
        ("127.0.0.1:502", "unknown scheme"),
        ("http://127.0.0.1", r"unknown scheme 'http'; known are modbus\+tcp://"),
        ("modbus+tcp://", r"wanted modbus\+tcp://HOST"),
        ("modbus+tcp://h:99999", "Port out of range"),
        ("modbus+tcp://h/3", r"wanted modbus\+tcp://HOST"),
        ("modbus+tcp://[::1", "Invalid IPv6"),
    ],
)
def test_a_wrong_endpoint_says_what_would_be_right(endpoint: str, message: str) -> None:
    with pytest.raises(DriverConfigError, match=message):
        open_bus(endpoint)


def test_the_default_port_is_502() -> None:
    assert open_bus("modbus+tcp://gateway.example").peer == "gateway.example:502"
