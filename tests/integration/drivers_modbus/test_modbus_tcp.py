"""Single questions over real sockets to a foreign server: exceptions, silence, every way to spoil an answer."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import Any

import pytest

from drivers.errors import (
    ConnectionFailed,
    DeviceException,
    DriverConfigError,
    IllegalAddress,
    MalformedResponse,
    PeerError,
    ResponseTimeout,
)
from drivers.modbus.bus import BusSettings
from drivers.modbus.client import ModbusTcpClient
from drivers.modbus.map_file import load_models
from drivers.registry import open_bus
from support.answer_faults import (
    SPOILT,
    byte_by_byte,
    foreign_register,
    glued,
    hold,
    late_after,
    late_first,
    twice,
)

SDM120 = load_models()["eastron-sdm120"]
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


def test_of_a_name_with_two_addresses_one_that_swallows_everything_hides_not_the_other(
    bench: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def two(host: str, port: int, *_: Any, **__: Any) -> list[Any]:
        assert host == "gateway.example"
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (a, port)) for a in ("127.0.0.2", "127.0.0.1")]

    async def scene() -> None:
        async with bench.serving([bench.device(3, tables(bench))]) as port:
            with socket.socket() as deaf, socket.socket() as first, socket.socket() as second:
                deaf.bind(("127.0.0.2", port))
                deaf.listen(0)
                for caller in (first, second):  # the queue is full: whoever calls now hears nothing
                    caller.setblocking(False)
                    caller.connect_ex(("127.0.0.2", port))
                monkeypatch.setattr(socket, "getaddrinfo", two)
                client = ModbusTcpClient("gateway.example", port)
                await client.connect(4 * SHORT_S)
                assert await read(client, 4) == right(4)
                await client.close()

    run(scene())


def test_a_name_that_nobody_knows_is_a_connection_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    async def scene() -> None:
        monkeypatch.setattr(socket, "getaddrinfo", unknown)
        with pytest.raises(ConnectionFailed, match=r"gateway\.example:502: no connection within 0\.25 s: .*not known"):
            await ModbusTcpClient("gateway.example").connect(SHORT_S)

    run(scene())


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
