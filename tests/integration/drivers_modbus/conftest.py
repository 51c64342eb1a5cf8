"""A foreign Modbus TCP server (pymodbus's own) and a proxy before it that spoils answers on order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.server import ModbusTcpServer
from pymodbus.simulator import DataType, SimData, SimDevice

from drivers.base import Quantity
from drivers.modbus.codec import encode
from drivers.modbus.model import MeterModel
from drivers.modbus.plan import cover
from drivers.modbus.register_map import Table

Fault = Callable[["FaultProxy", bytes], list[bytes] | None]
"""(proxy, whole answer) → what is sent instead, in pieces; None closes the connection."""


TEXTS: dict[Quantity, Any] = {Quantity.SERIAL: "210001", Quantity.FIRMWARE: "10"}


def words_of(model: MeterModel, values: dict[Quantity, Any]) -> dict[Table, dict[int, int]]:
    """Registers of every quantity of `model`; those without a value hold their address."""
    words: dict[Table, dict[int, int]] = {Table.HOLDING: {}, Table.INPUT: {}}
    for spec in model.registers:
        default = TEXTS.get(spec.quantity, float(spec.address % 100) / 100)
        for i, word in enumerate(encode(spec, values.get(spec.quantity, default))):
            words[spec.table][spec.address + i] = word
    for spec in model.registers:  # a meter that gives even numbers of registers only has a neighbour for each odd one
        block = cover([spec], model.limits)
        for address in range(block.address, block.range.last + 1):
            words[spec.table].setdefault(address, 0)
    return words


def device(unit: int, words: dict[Table, dict[int, int]], *, fill_to: int = 0x200, action: Any = None) -> SimDevice:
    """A device with these registers; input registers below `fill_to` that are not given read 0."""

    def blocks(registers: dict[int, int]) -> list[SimData]:
        return [SimData(a, values=w, datatype=DataType.REGISTERS) for a, w in sorted(registers.items())]

    inputs = dict.fromkeys(range(fill_to), 0) | words[Table.INPUT]
    bit = [SimData(0, values=0, datatype=DataType.REGISTERS)]
    bits = [SimData(0, values=False, datatype=DataType.BITS)]
    return SimDevice(
        unit, simdata=(bits, bits, blocks(words[Table.HOLDING]) or bit, blocks(inputs) or bit), action=action
    )


@asynccontextmanager
async def serving(devices: list[SimDevice], framer: FramerType = FramerType.SOCKET) -> AsyncIterator[int]:
    """A server on a free port of this machine; yields the port."""
    server = ModbusTcpServer(devices, address=("127.0.0.1", 0), framer=framer)
    await server.serve_forever(background=True)
    try:
        yield server.transport.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    finally:
        await server.shutdown()


@dataclass
class FaultProxy:
    """Passes questions on whole; each answer meets the next fault in line, or passes."""

    upstream_port: int
    faults: deque[Fault] = field(default_factory=deque)
    held: list[bytes] = field(default_factory=list)
    dead: set[int] = field(default_factory=set)
    """Units that never answer."""
    connections: int = 0
    questions: list[bytes] = field(default_factory=list)
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Listens on a free port; yields the port."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            for writer in self._writers:
                writer.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        self._writers += [writer, up_writer]
        answers = asyncio.create_task(self._answers(up_reader, writer))
        try:
            while True:
                question = await _frame(reader)
                self.questions.append(question)
                if question[6] not in self.dead:
                    up_writer.write(question)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            answers.cancel()
            up_writer.close()
            writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                answer = await _frame(reader)
                pieces = self.faults.popleft()(self, answer) if self.faults else [answer]
                if pieces is None:
                    writer.close()
                    return
                for piece in pieces:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass


async def _frame(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(6)
    return head + await reader.readexactly(int.from_bytes(head[4:6], "big"))


@pytest.fixture(scope="session")
def bench() -> SimpleNamespace:
    """What the tests build their scenes with."""
    return SimpleNamespace(words_of=words_of, device=device, serving=serving, proxy=FaultProxy, codes=ExcCodes)
