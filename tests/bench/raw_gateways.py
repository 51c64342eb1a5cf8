"""A thousand Modbus TCP gateways in one cheap process.

Arguments: delay [ms]; units that are dead behind every gateway, and behind those of an odd address (a,b,…); file to
write the port to. One socket listens; whoever connects to 127.x.y.z finds the gateway of that address. The first four
registers of an answer hold the microsecond at which they were true, so that a reader can see how good its stamps are.
"""

from __future__ import annotations

import asyncio
import random
import resource
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

_HEADER = struct.Struct(">HHHBBHH")
_ANSWER = struct.Struct(">HHHBBB")
_BACKLOG = 4096


class Gateway(asyncio.Protocol):
    """One connection: every question is answered after the delay, by an instant within it; the dead do not answer."""

    def __init__(self, delay_s: float, dead: frozenset[int], dead_behind_odd: frozenset[int]) -> None:
        self._delay_s = delay_s
        self._dead = dead
        self._dead_behind_odd = dead_behind_odd
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._received = b""

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        carried_by = transport.get_extra_info("socket")
        carried_by.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if int(carried_by.getsockname()[0].rpartition(".")[2]) % 2:
            self._dead |= self._dead_behind_odd

    def data_received(self, data: bytes) -> None:
        self._received += data
        while len(self._received) >= _HEADER.size:
            transaction, _, _, unit, function, _, count = _HEADER.unpack_from(self._received)
            self._received = self._received[_HEADER.size :]
            if unit in self._dead:
                continue
            true_us = time.time_ns() // 1000 + round(random.random() * self._delay_s * 1e6)
            words = struct.pack(">Q", true_us) * (count // 4) + bytes(2 * (count % 4))
            answer = _ANSWER.pack(transaction, 0, 3 + len(words), unit, function, len(words)) + words
            if self._delay_s:
                self._loop.call_later(self._delay_s, self._send, answer)
            else:
                self._send(answer)

    def _send(self, answer: bytes) -> None:
        if self._transport is not None:
            self._transport.write(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None


def units(text: str) -> frozenset[int]:
    return frozenset(map(int, filter(None, text.split(","))))


async def serve(delay_ms: str, dead: str, dead_behind_odd: str, ready_file: str) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    delay_s, always, odd = float(delay_ms) / 1000, units(dead), units(dead_behind_odd)
    server = await asyncio.get_running_loop().create_server(
        lambda: Gateway(delay_s, always, odd), "0.0.0.0", 0, backlog=_BACKLOG
    )
    Path(ready_file).with_suffix(".new").write_text(str(server.sockets[0].getsockname()[1]))
    Path(ready_file).with_suffix(".new").rename(ready_file)
    await asyncio.Event().wait()


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(serve(*sys.argv[1:]))
    else:
        uvloop.run(serve(*sys.argv[1:]))
