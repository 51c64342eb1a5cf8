"""What carries bytes both ways: a TCP connection, a serial port, a modem that dialled in.

It knows nothing of Modbus; what comes goes to whoever listens, and nothing is sent after the connection is lost.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Final, Protocol, cast

from drivers.errors import ConnectionFailed

_IDLE_S: Final = 60
_PROBE_S: Final = 15
_PROBES: Final = 4
"""A peer that vanished without a word is noticed after `_IDLE_S + _PROBES × _PROBE_S` of silence."""
_LOOKING_UP: Final = ThreadPoolExecutor(8, "name look-up")


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast a serial line is."""

    character_s: float
    """Time of one character, start and stop bits included."""
    silence_s: float
    """Rest that separates two frames."""


class Carrier(Protocol):
    """Where a channel comes from."""

    @property
    def peer(self) -> str:
        """How a person would look for the other end."""
        ...

    @property
    def pace(self) -> Pace | None:
        """None where somebody else cares for the gaps between frames."""
        ...

    async def open(self, timeout_s: float) -> Channel:
        """A connected channel that nobody else uses. Raises `ConnectionFailed`."""
        ...


class Channel(asyncio.Protocol):
    """An open connection; `heard` and `lost` are called with what happens until `close`."""

    def __init__(self) -> None:
        self.heard: Callable[[bytes], None] = _ignore
        """Takes the bytes that come, as they come."""
        self.lost: Callable[[str], None] = _ignore
        """Takes the reason, once, when the connection has ended."""
        self._transport: asyncio.WriteTransport | None = None

    @property
    def connected(self) -> bool:
        """Whether bytes can be sent."""
        return self._transport is not None

    def send(self, data: bytes) -> None:
        """Send; nothing happens where the connection is gone, since `lost` has been called then."""
        if self._transport is not None:
            self._transport.write(data)

    def close(self) -> None:
        """End the connection now; nothing is called any more."""
        self.heard = self.lost = _ignore
        self.drop("closed here")

    def drop(self, reason: str) -> None:
        """End the connection now and tell whoever listens."""
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()  # what is unsent would wait for a dead peer
            self.lost(reason)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the event loop."""
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one without being derived from it
        carried_by = transport.get_extra_info("socket")
        if carried_by is not None:
            _keep_alive(carried_by)

    def data_received(self, data: bytes) -> None:
        """Called by the event loop."""
        self.heard(data)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the event loop, also after `drop`."""
        if self._transport is not None:
            self._transport = None
            self.lost(str(exc) if exc else "the other end closed the connection")


class TcpCarrier:
    """A gateway that listens."""

    pace: Final = None

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port

    @property
    def peer(self) -> str:
        """`host:port`."""
        return host_port(self._host, self._port)

    async def open(self, timeout_s: float) -> Channel:
        """See `Carrier.open`. Of a name with several addresses each gets its share of the time."""
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                addresses = await _addresses(self._host, self._port)
            for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
                try:
                    async with asyncio.timeout((until - loop.time()) / left):
                        _, channel = await loop.create_connection(Channel, address, self._port)
                    return channel
                except OSError:  # of time as well
                    if left == 1:
                        raise
        except OSError as error:
            why = f": {error}" if str(error) else ""
            raise ConnectionFailed(f"no connection within {timeout_s:g} s{why}", peer=self.peer) from error
        raise AssertionError("a name that is known has an address")


async def _addresses(host: str, port: int) -> list[str]:
    """Looked up in threads of their own, so that a name server that is away holds up nobody but who asks it."""
    try:
        return [str(ip_address(host))]
    except ValueError:
        found = await asyncio.get_running_loop().run_in_executor(
            _LOOKING_UP, partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        )
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


def host_port(host: str, port: int) -> str:
    """`10.1.2.3:502`, `[fd00::1]:502`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _keep_alive(carried_by: socket.socket) -> None:
    carried_by.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (("TCP_KEEPIDLE", _IDLE_S), ("TCP_KEEPINTVL", _PROBE_S), ("TCP_KEEPCNT", _PROBES)):
        if hasattr(socket, option):  # not every system has them
            carried_by.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def _ignore(_: object) -> None:
    """Nobody listens."""
