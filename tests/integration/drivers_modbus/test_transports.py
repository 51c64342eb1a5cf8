"""Every transport against foreign servers: the same reads, refusals, silence and writes over each of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
from pymodbus.constants import ExcCodes
from pymodbus.framer import FramerType
from pymodbus.server import ModbusSerialServer, ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.errors import IllegalAddress, ResponseTimeout
from drivers.modbus.dialin import DialInServer
from drivers.modbus.dialin_settings import DialInSettings
from drivers.modbus.endpoint import parse_endpoint
from drivers.modbus.link import Link
from drivers.modbus.registration import IdForm, RegistrationRule
from drivers.registry import open_link
from support.libmodbus import COILS, REGISTERS, UNIT, libmodbus, word_at
from support.lines import DialInModem, gateway, pass_on, serial_line, terminal

IMEI = "861234567890123"
SHORT_S = 0.5
"""Long against a loopback answer, short for a test that waits it out."""
LINE = "baud=115200&parity=N&stop=1"
"""Pseudo terminals know no parity."""
Route = Callable[[], AbstractAsyncContextManager[Link]]


def _devices() -> list[SimDevice]:
    def table(name: str) -> list[SimData]:
        words = [word_at(name, address) for address in range(REGISTERS)]
        return [SimData(0, values=words, datatype=DataType.REGISTERS)]

    coils = [SimData(0, values=[False] * COILS, datatype=DataType.BITS)]
    return [SimDevice(UNIT, simdata=(coils, coils, table("holding"), table("input")))]


@asynccontextmanager
async def _served(server: Any) -> AsyncIterator[Any]:
    await server.serve_forever(background=True)
    try:
        yield server
    finally:
        await server.shutdown()


@asynccontextmanager
async def _opened(uri: str, dialin: DialInServer | None = None) -> AsyncIterator[Link]:
    link = open_link(parse_endpoint(uri), dialin=dialin)
    await link.connect(SHORT_S)
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def tcp_from_libmodbus() -> AsyncIterator[Link]:
    with libmodbus("tcp") as port:
        async with _opened(f"modbus+tcp://127.0.0.1:{port}") as link:
            yield link


@asynccontextmanager
async def tcp_from_pymodbus() -> AsyncIterator[Link]:
    server = ModbusTcpServer(_devices(), address=("127.0.0.1", 0))
    async with _served(server), _opened(f"modbus+tcp://127.0.0.1:{_port(server)}") as link:
        yield link


@asynccontextmanager
async def rtu_tcp_from_libmodbus() -> AsyncIterator[Link]:
    with terminal() as line, libmodbus("rtu", line.path, "9600", "N", "1"):
        async with gateway(line) as port, _opened(f"modbus+rtu+tcp://127.0.0.1:{port}") as link:
            yield link


@asynccontextmanager
async def rtu_tcp_from_pymodbus() -> AsyncIterator[Link]:
    server = ModbusTcpServer(_devices(), address=("127.0.0.1", 0), framer=FramerType.RTU)
    async with _served(server), _opened(f"modbus+rtu+tcp://127.0.0.1:{_port(server)}") as link:
        yield link


@asynccontextmanager
async def serial_from_libmodbus() -> AsyncIterator[Link]:
    async with serial_line() as line:
        with libmodbus("rtu", line.theirs.path, "115200", "N", "1"):
            async with _opened(f"modbus+serial://{line.ours.path}?{LINE}") as link:
                yield link


@asynccontextmanager
async def serial_from_pymodbus() -> AsyncIterator[Link]:
    async with serial_line() as line:
        server = ModbusSerialServer(_devices(), framer=FramerType.RTU, port=line.theirs.path, baudrate=115200)
        async with _served(server), _opened(f"modbus+serial://{line.ours.path}?{LINE}") as link:
            yield link


@asynccontextmanager
async def dialin_from_libmodbus() -> AsyncIterator[Link]:
    """A modem in transparent mode."""
    async with AsyncExitStack() as stack:
        line = stack.enter_context(terminal())
        stack.enter_context(libmodbus("rtu", line.path, "9600", "N", "1"))
        server = await _listening(stack)
        modem = await DialInModem(server.port, IMEI.encode()).dial()
        stack.callback(asyncio.create_task(pass_on(modem.reader, modem.writer, line)).cancel)
        yield await stack.enter_async_context(_opened(f"modbus+dialin://{IMEI}", server))


@asynccontextmanager
async def dialin_tcp_from_libmodbus() -> AsyncIterator[Link]:
    """A modem that speaks Modbus TCP."""
    async with AsyncExitStack() as stack:
        port = stack.enter_context(libmodbus("tcp"))
        server = await _listening(stack)
        modem = await DialInModem(server.port, IMEI.encode()).dial()
        reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
        stack.callback(writer.close)
        for source, sink in ((modem.reader, writer), (reader, modem.writer)):
            stack.callback(asyncio.create_task(_copy(source, sink)).cancel)
        yield await stack.enter_async_context(_opened(f"modbus+dialin+tcp://{IMEI}", server))


async def _copy(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while data := await source.read(4096):
        sink.write(data)


async def _listening(stack: AsyncExitStack) -> DialInServer:
    rules = (RegistrationRule(form=IdForm.IMEI),)
    server = DialInServer(DialInSettings(host="127.0.0.1", port=0, registration=rules))
    await server.start()
    stack.push_async_callback(server.stop)
    return server


def _port(server: Any) -> int:
    return int(server.transport.sockets[0].getsockname()[1])


ROUTES: list[Route] = [
    tcp_from_libmodbus,
    tcp_from_pymodbus,
    rtu_tcp_from_libmodbus,
    rtu_tcp_from_pymodbus,
    serial_from_libmodbus,
    serial_from_pymodbus,
    dialin_from_libmodbus,
    dialin_tcp_from_libmodbus,
]
every_route = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.__name__)


def over(route: Route, scene: Callable[[Link], Any]) -> None:
    async def play() -> None:
        async with route() as link:
            await scene(link)

    asyncio.run(asyncio.wait_for(play(), 30))


async def read(link: Link, function: int, address: int, count: int, unit: int = UNIT) -> tuple[int, ...]:
    answer = await link.read(unit=unit, function=function, address=address, count=count, timeout_s=SHORT_S)
    return answer.words


def right(table: str, address: int, count: int) -> tuple[int, ...]:
    return tuple(word_at(table, a) for a in range(address, address + count))


@every_route
def test_registers_of_both_tables_come_whole(route: Route) -> None:
    async def scene(link: Link) -> None:
        for address, count in ((0, 1), (0x1FF, 1), (0x80, 125), (7, 60)):
            assert await read(link, 4, address, count) == right("input", address, count)
            assert await read(link, 3, address, count) == right("holding", address, count)
        answer = await link.read(unit=UNIT, function=4, address=0, count=2, timeout_s=SHORT_S)
        assert 0 < answer.span_us < SHORT_S * 1e6

    over(route, scene)


@every_route
def test_an_address_that_is_not_there_is_refused(route: Route) -> None:
    async def scene(link: Link) -> None:
        with pytest.raises(IllegalAddress, match=r"unit 3: exception 2 .* to input 0x01FF\.\.0x0200") as refused:
            await read(link, 4, 0x1FF, 2)
        assert refused.value.exception_code == ExcCodes.ILLEGAL_ADDRESS
        assert await read(link, 4, 0x1FF, 1) == right("input", 0x1FF, 1)

    over(route, scene)


@pytest.mark.parametrize(
    "route",
    [rtu_tcp_from_libmodbus, serial_from_libmodbus, dialin_from_libmodbus],
    ids=lambda route: route.__name__,
)
def test_a_unit_that_is_not_there_is_silent_and_costs_its_timeout(route: Route) -> None:
    """The other servers answer for every unit, as a device that is no gateway may."""

    async def scene(link: Link) -> None:
        with pytest.raises(ResponseTimeout, match=r"unit 9: no answer within 0\.2 s to input 0x0000\.\.0x0001$"):
            await link.read(unit=9, function=4, address=0, count=2, timeout_s=0.2)
        assert link.connected
        # libmodbus waits for the silent neighbour's answer, and takes this question for one (of 3 bytes, so it says).
        with pytest.raises(ResponseTimeout):
            await read(link, 4, 0x300, 2)
        assert await read(link, 4, 4, 2) == right("input", 4, 2)

    over(route, scene)


@every_route
def test_what_is_written_is_read_back(route: Route) -> None:
    async def scene(link: Link) -> None:
        async def write(function: int, address: int, *words: int) -> None:
            answer = await link.write(unit=UNIT, function=function, address=address, words=words, timeout_s=SHORT_S)
            assert answer.words == words
            assert 0 < answer.span_us < SHORT_S * 1e6

        await write(6, 0x20, 0xBEEF)
        assert await read(link, 3, 0x1F, 3) == (word_at("holding", 0x1F), 0xBEEF, word_at("holding", 0x21))
        long = tuple(range(1000, 1123))
        await write(16, 0x40, *long)
        assert await read(link, 3, 0x40, 123) == long
        await write(16, 0x40, 1)
        assert await read(link, 3, 0x40, 2) == (1, 1001)
        await write(5, 3, 0xFF00)
        await write(5, 3, 0x0000)
        for function, words in ((5, (0xFF00,)), (6, (1,)), (16, (1, 2))):
            with pytest.raises(IllegalAddress, match=r"exception 2 .* to the write of"):
                await link.write(unit=UNIT, function=function, address=0x1FFF, words=words, timeout_s=SHORT_S)
        assert await read(link, 3, 0x20, 1) == (0xBEEF,)

    over(route, scene)
