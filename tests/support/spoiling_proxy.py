"""A proxy before a real Modbus server that spoils answers at random, over Modbus TCP or RTU over TCP.

Questions pass whole. An answer may come late, again, torn, its tail later, after the next one, with a fallen bit, or
never. What is late goes to whoever is connected then where the gateway is transparent (RTU); a gateway that speaks
Modbus TCP drops it with the connection that asked.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final


class Fault(StrEnum):
    """What may happen to an answer."""

    NONE = "none"
    LATE = "late"
    DROPPED = "dropped"
    TWICE = "twice"
    AGAIN_LATER = "again_later"
    CUT = "cut"
    TORN = "torn"
    """The first part now, the rest later; on a TCP stream all that follows comes after it."""
    SWAPPED = "swapped"
    """After the next answer."""
    GARBLED = "garbled"
    """One bit has fallen over; only where a checksum tells."""
    CLOSED = "closed"
    """The connection ends instead."""


ALL: Final = tuple(Fault)
_APART_S: Final = 1e-4
"""Between two pieces that go out in order."""


async def _mbap(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(6)
    return head + await reader.readexactly(int.from_bytes(head[4:6], "big"))


async def _rtu_question(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(8)


async def _rtu_answer(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(3)
    return head + await reader.readexactly(2 if head[1] & 0x80 else head[2] + 2)


@dataclass
class SpoilingProxy:
    """Listens before the server at `upstream_port`."""

    upstream_port: int
    rtu: bool
    choose: Callable[[int], Fault]
    """Unit → what happens to its next answer."""
    rng: random.Random
    late_s: tuple[float, float]
    """How late an answer may be, from … to."""
    met: Counter[Fault] = field(default_factory=Counter)
    connections: int = 0
    _writer: asyncio.StreamWriter | None = None
    _held: list[bytes] = field(default_factory=list)
    _free_at: dict[asyncio.StreamWriter, float] = field(default_factory=dict)
    """When the rest of a torn answer will have been sent."""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listens on a free port; yields the endpoint."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        scheme = "modbus+rtu+tcp" if self.rtu else "modbus+tcp"
        try:
            yield f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        finally:
            server.close()
            if self._writer is not None:
                self._writer.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writer = writer
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream_port)
        answers = asyncio.create_task(self._answers(up_reader, writer))
        question_of = _rtu_question if self.rtu else _mbap
        try:
            while True:
                up_writer.write(await question_of(reader))
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client hung up
        finally:
            answers.cancel()
            up_writer.close()
            writer.close()

    async def _answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answer_of = _rtu_answer if self.rtu else _mbap
        try:
            while True:
                answer = await answer_of(reader)
                held, self._held = self._held, []
                self._spoil(answer, writer)
                for late in held:
                    self._send(late, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def _spoil(self, answer: bytes, writer: asyncio.StreamWriter) -> None:
        fault = self.choose(answer[0] if self.rtu else answer[6])
        if fault is Fault.GARBLED and not self.rtu:
            fault = Fault.NONE
        self.met[fault] += 1
        cut = self.rng.randrange(1, len(answer))
        match fault:
            case Fault.NONE:
                self._send(answer, writer)
            case Fault.LATE:
                self._send_later(answer, writer)
            case Fault.DROPPED:
                pass
            case Fault.TWICE:
                self._send(answer, writer)
                self._send(answer, writer)
            case Fault.AGAIN_LATER:
                self._send(answer, writer)
                self._send_later(answer, writer)
            case Fault.CUT:
                self._send(answer[:cut], writer)
            case Fault.TORN:
                self._send(answer[:cut], writer)
                self._send_later(answer[cut:], writer, rest=True)
            case Fault.SWAPPED:
                self._held.append(answer)
            case Fault.GARBLED:
                at = self.rng.randrange(len(answer))
                fallen = bytes((answer[at] ^ 1 << self.rng.randrange(8),))
                self._send(answer[:at] + fallen + answer[at + 1 :], writer)
            case Fault.CLOSED:
                writer.close()

    def _send(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        """Now, or after the rest of a torn answer that goes before it."""
        now = asyncio.get_running_loop().time()
        free_at = now if self.rtu else self._free_at.get(writer, now)
        if free_at <= now:
            self._write(data, writer)
        else:
            self._free_at[writer] = free_at + _APART_S
            asyncio.get_running_loop().call_at(free_at + _APART_S, self._write, data, writer)

    def _send_later(self, data: bytes, writer: asyncio.StreamWriter, *, rest: bool = False) -> None:
        loop = asyncio.get_running_loop()
        at = max(loop.time(), self._free_at.get(writer, 0.0)) + self.rng.uniform(*self.late_s)
        if rest:
            self._free_at[writer] = at
            loop.call_at(at, self._write, data, writer)
        else:
            loop.call_at(at, self._send, data, writer)

    def _write(self, data: bytes, writer: asyncio.StreamWriter) -> None:
        to = self._writer if self.rtu else writer
        if to is not None and not to.is_closing():
            to.write(data)
