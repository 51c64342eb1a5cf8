"""Wires for tests: a serial line between two pseudo terminals, a transparent gateway, a modem that dials in."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager

Change = Callable[[bytes], list[bytes]]
"""What passes on instead of a piece of bytes."""


def unchanged(data: bytes) -> list[bytes]:
    """Passes everything on as it is."""
    return [data]


class Terminal:
    """A pseudo terminal: programs open `path`, the test holds the other end."""

    def __init__(self) -> None:
        self.end, self._kept = os.openpty()
        tty.setraw(self._kept)  # kept open, so that the end stays readable while no program has it
        os.set_blocking(self.end, False)
        self.path = os.ttyname(self._kept)

    def read(self) -> bytes:
        """What the program wrote since the last time."""
        try:
            return os.read(self.end, 4096)
        except (BlockingIOError, OSError):
            return b""

    def write(self, data: bytes) -> None:
        """The program reads this."""
        os.write(self.end, data)

    def deliver(self, data: bytes) -> None:
        """The program could read this now, but has not been told yet."""
        self.write(data)
        assert select.select([self._kept], [], [], 5)[0]

    def close(self) -> None:
        """Unplugs it."""
        for end in (self.end, self._kept):
            with contextlib.suppress(OSError):
                os.close(end)


@contextmanager
def terminal() -> Iterator[Terminal]:
    """A pseudo terminal for the length of the block."""
    made = Terminal()
    try:
        yield made
    finally:
        made.close()


class SerialLine:
    """Two pseudo terminals joined: `ours` for the driver, `theirs` for the meters; what passes may be changed."""

    def __init__(self, ours: Terminal, theirs: Terminal) -> None:
        self.ours, self.theirs = ours, theirs
        self.question: Change = unchanged
        self.answer: Change = unchanged
        self.echo = False
        """Ours hears what it says, as with some RS-485 converters."""

    def _asked(self) -> None:
        for piece in self.question(data) if (data := self.ours.read()) else []:
            if self.echo:
                self.ours.write(piece)
            self.theirs.write(piece)

    def _answered(self) -> None:
        for piece in self.answer(data) if (data := self.theirs.read()) else []:
            self.ours.write(piece)

    @asynccontextmanager
    async def joined(self) -> AsyncIterator[SerialLine]:
        """Bytes pass for the length of the block."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self.ours.end, self._asked)
        loop.add_reader(self.theirs.end, self._answered)
        try:
            yield self
        finally:
            loop.remove_reader(self.ours.end)
            loop.remove_reader(self.theirs.end)


@asynccontextmanager
async def serial_line() -> AsyncIterator[SerialLine]:
    """A joined line."""
    with terminal() as ours, terminal() as theirs:
        async with SerialLine(ours, theirs).joined() as line:
            yield line


@asynccontextmanager
async def gateway(line: Terminal) -> AsyncIterator[int]:
    """A transparent gateway: its TCP connections and a serial line are one; yields its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await pass_on(reader, writer, line)

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await server.wait_closed()


async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Terminal) -> None:
    """Pass bytes between a connection and a serial line until the connection ends."""
    loop = asyncio.get_running_loop()
    loop.add_reader(line.end, lambda: writer.write(line.read()))
    try:
        while data := await reader.read(4096):
            line.write(data)
    except ConnectionError:
        pass  # how a connection may end
    finally:
        loop.remove_reader(line.end)
        writer.close()


class DialInModem:
    """A modem under the test's hand: registers, beats, passes bytes on, vanishes."""

    def __init__(self, port: int, registration: bytes) -> None:
        self._port, self._registration = port, registration
        self.reader: asyncio.StreamReader
        self.writer: asyncio.StreamWriter

    async def dial(self) -> DialInModem:
        """Connect and register."""
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self._port)
        self.say(self._registration)
        return self

    def say(self, data: bytes) -> None:
        """Send bytes."""
        self.writer.write(data)

    async def hear(self, length: int) -> bytes:
        """Receive bytes."""
        return await self.reader.readexactly(length)

    async def dropped(self) -> bytes:
        """Wait until the other end closes; what came before."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""

    def vanish(self) -> None:
        """Be gone."""
        self.writer.transport.abort()
