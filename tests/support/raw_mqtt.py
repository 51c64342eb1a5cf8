"""A foreign MQTT client of a few lines, 3.1.1 or 5: what a small device sends, byte by byte, over one connection.

It repeats nothing by itself and keeps nothing: whoever uses it decides what is sent again. Section numbers are those of
the OASIS standards, in which both versions agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import struct
import time
from collections.abc import Callable
from typing import Literal

NO_MATCHING_SUBSCRIBERS = 0x10
"""PUBACK's reason code in MQTT 5 (§3.4.2.1): taken, and thrown away. MQTT 3.1.1 has no such word."""
Puback = Callable[[object, int], None]
"""Called with what was sent and the wall clock [ns since 1970] at which its PUBACK was read."""


class RawMqtt:
    """One connection; `run` ends when it breaks. Everything is called in the event loop."""

    def __init__(
        self,
        client_id: str,
        *,
        on_puback: Puback,
        on_unheard: Callable[[object], None] = lambda _tag: None,
        on_message: Callable[[str, bytes], None] = lambda _topic, _payload: None,
        subscribe: str | None = None,
        will: tuple[str, bytes] | None = None,
        keepalive_s: int = 30,
        version: Literal[4, 5] = 4,
    ) -> None:
        """`on_unheard` is called with what the broker took although nobody subscribes to it (MQTT 5 only).

        `version` is the protocol level: 4 is MQTT 3.1.1.
        """
        self._client_id, self._will, self._subscribe = client_id, will, subscribe
        self._on_puback, self._on_unheard, self._on_message = on_puback, on_unheard, on_message
        self._version, self._no_properties = version, b"\x00" if version == 5 else b""
        self._keepalive_s = keepalive_s
        self._numbers = itertools.cycle(range(1, 65_536))
        self._writer: asyncio.StreamWriter | None = None
        self.on_the_way: dict[int, object] = {}
        """Packet identifier → what was published with it and has no PUBACK yet."""
        self.up = False
        """The broker has accepted the connection, and the subscription where there is one."""

    def publish(self, topic: str, payload: bytes, tag: object, *, retain: bool = False) -> bool:
        """Send with QoS 1; `tag` comes back with its PUBACK. False: not connected, nothing was sent."""
        if not self.up or self._writer is None or self._writer.is_closing():
            return False
        number = next(n for n in self._numbers if n not in self.on_the_way)
        self.on_the_way[number] = tag
        body = _text(topic) + struct.pack(">H", number) + self._no_properties + payload
        self._writer.write(_packet(0x32 | retain, body))  # §3.3
        return True

    async def run(self, host: str, port: int) -> None:
        """Connect and receive until the line breaks; what was on the way then is left in `on_the_way`."""
        self.on_the_way.clear()
        try:
            reader, self._writer = await asyncio.wait_for(asyncio.open_connection(host, port), 5.0)
        except (OSError, TimeoutError):
            return
        pinging: asyncio.Task[None] | None = None
        try:
            self._writer.write(self._connect())
            pinging = asyncio.create_task(self._ping())
            # §3.1.2.10: a line on which nothing comes for one and a half keep-alives is dead.
            while (packet := await asyncio.wait_for(_read(reader), 1.5 * self._keepalive_s)) is not None:
                self._received(*packet)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # that is how it ends
        finally:
            self.up = False
            if pinging is not None:
                pinging.cancel()
            with contextlib.suppress(OSError):
                self._writer.close()
            self._writer = None

    def hang_up(self) -> None:
        """Break the line without a word."""
        if self._writer is not None:
            self._writer.transport.abort()

    def _connect(self) -> bytes:
        clean_session, will_qos1_retained = 0x02, 0x2C
        flags = clean_session | (will_qos1_retained if self._will else 0)
        body = _text("MQTT") + bytes((self._version, flags)) + struct.pack(">H", self._keepalive_s)
        body += self._no_properties + _text(self._client_id)
        if self._will is not None:
            body += self._no_properties + _text(self._will[0]) + struct.pack(">H", len(self._will[1])) + self._will[1]
        return _packet(0x10, body)  # §3.1

    def _received(self, head: int, body: bytes) -> None:
        match head >> 4:
            case _ if self._writer is None:
                return
            case 2:  # CONNACK, §3.2
                if body[1] != 0:
                    raise ConnectionRefusedError(f"CONNACK {body[1]}")
                if self._subscribe is None:
                    self.up = True
                else:
                    wanted = _text(self._subscribe) + b"\x01"
                    self._writer.write(_packet(0x82, b"\x00\x01" + self._no_properties + wanted))  # §3.8
            case 9:  # SUBACK
                self.up = True
            case 4:  # PUBACK
                (number,) = struct.unpack(">H", body[:2])
                tag = self.on_the_way.pop(number, None)
                if tag is not None and body[2:3] == bytes((NO_MATCHING_SUBSCRIBERS,)):
                    self._on_unheard(tag)
                elif tag is not None:
                    self._on_puback(tag, time.time_ns())
            case 3:  # PUBLISH to us
                length = struct.unpack(">H", body[:2])[0]
                topic, rest = body[2 : 2 + length].decode(), body[2 + length :]
                if head & 0b0110:
                    self._writer.write(_packet(0x40, rest[:2]))
                    rest = rest[2:]
                if self._version == 5:
                    rest = rest[1 + rest[0] :]  # properties: the broker has few to say, their length is one byte
                self._on_message(topic, rest)

    async def _ping(self) -> None:
        while self._writer is not None:
            await asyncio.sleep(self._keepalive_s / 2)
            if self._writer is not None:
                self._writer.write(b"\xc0\x00")


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack(">H", len(encoded)) + encoded


def _packet(head: int, body: bytes) -> bytes:
    """§2.2: a length of seven bits a byte, low end first."""
    length, size = b"", len(body)
    while True:
        size, low = size >> 7, size & 0x7F
        length += bytes((low | (0x80 if size else 0),))
        if not size:
            return bytes((head,)) + length + body


async def _read(reader: asyncio.StreamReader) -> tuple[int, bytes] | None:
    head = await reader.read(1)
    if not head:
        return None
    size = shift = 0
    while True:
        (byte,) = await reader.readexactly(1)
        size |= (byte & 0x7F) << shift
        shift += 7
        if not byte & 0x80:
            return head[0], await reader.readexactly(size)
