"""A `Link` over any carrier and framing, the only file that imports pymodbus: one question at a time, no retries.

Questions are built by pymodbus, and its serial transport carries serial lines. Answers are taken from bytes that
`frames` or `rtu` has checked one by one; every failure becomes one of `drivers.errors`.
Its clients are not used: they take an answer for another one's, wait out what is known to be broken, repeat questions
under the same transaction id, and are slower.
"""

from __future__ import annotations

import asyncio
import os
import struct
import termios
from typing import Final

from pymodbus.pdu import ModbusPDU
from pymodbus.pdu.bit_message import WriteSingleCoilRequest
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadInputRegistersRequest,
    WriteMultipleRegistersRequest,
    WriteSingleRegisterRequest,
)
from pymodbus.transport.serialtransport import SerialTransport

from drivers.errors import (
    ConnectionFailed,
    DeviceException,
    DriverConfigError,
    IllegalAddress,
    MalformedResponse,
    ResponseTimeout,
)
from drivers.modbus.carrier import Carrier, Channel, Pace, TcpCarrier
from drivers.modbus.clock import Clock, SystemClock
from drivers.modbus.endpoint import SerialEndpoint
from drivers.modbus.frames import EXCEPTION_BIT, Answered, Broken, Framing, MbapFraming
from drivers.modbus.link import Answer

EXCEPTIONS: Final = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    5: "acknowledge: still working on it",
    6: "device busy",
    7: "negative acknowledge",
    8: "memory parity error",
    10: "gateway path unavailable",
    11: "gateway: the device did not respond",
}
"""Modbus Application Protocol V1.1b3, section 7."""

_READS: Final = {3: ReadHoldingRegistersRequest, 4: ReadInputRegistersRequest}
_COIL: Final = {0x0000: False, 0xFF00: True}
_MOST_WRITTEN: Final = 123
"""Modbus Application Protocol V1.1b3, section 6.12."""
_ROOM: Final = 16 * 260
"""Bytes that may come in vain: several late answers before the right one; more is noise without an end."""
_SHOWN: Final = 16
"""Bytes of noise that a message quotes."""


class _BrokenFrame(Exception):
    """What came cannot be the answer."""


class _Lost(Exception):
    """The connection ended while we waited."""


class _Silent(Exception):
    """The time is up."""


class ModbusLink:
    """A `Link`: a carrier brings the channel, a framing says where an answer begins and ends."""

    def __init__(self, carrier: Carrier, framing: Framing, *, clock: Clock | None = None) -> None:
        self._carrier = carrier
        self._framing = framing
        self._clock = clock or SystemClock()
        self._channel: Channel | None = None
        self._received = bytearray()
        self._asking = False
        self._answered: asyncio.Future[Answered] | None = None
        self._silent_from = float("-inf")

    @property
    def peer(self) -> str:
        """See `Link.peer`."""
        return self._carrier.peer

    @property
    def connected(self) -> bool:
        """See `Link.connected`."""
        return self._channel is not None and self._channel.connected

    @property
    def numbered(self) -> bool:
        """See `Link.numbered`."""
        return self._framing.numbered

    async def connect(self, timeout_s: float) -> None:
        """See `Link.connect`."""
        if self.connected:
            return
        await self.close()
        channel = await self._carrier.open(timeout_s)
        channel.heard, channel.lost = self._heard, self._on_lost
        self._channel = channel

    async def close(self) -> None:
        """See `Link.close`."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
            self._fail(_Lost("closed here"))

    async def read(self, *, unit: int, function: int, address: int, count: int, timeout_s: float) -> Answer:
        """See `Link.read`."""
        asked = _name({3: "holding", 4: "input"}[function], address, count)
        pdu = _packed(_READS[function](address=address, count=count))
        data, sent_us, span_us = await self._ask(unit, pdu, count, asked, timeout_s)
        return Answer(struct.unpack_from(f">{count}H", data, 2), sent_us, span_us)

    async def write(
        self, *, unit: int, function: int, address: int, words: tuple[int, ...], timeout_s: float
    ) -> Answer:
        """See `Link.write`."""
        asked = "the write of " + _name("coil" if function == 5 else "holding", address, len(words))
        pdu = _packed(_order(function, address, words))
        _, sent_us, span_us = await self._ask(unit, pdu, len(words), asked, timeout_s)
        return Answer(words, sent_us, span_us)

    async def _ask(self, unit: int, pdu: bytes, count: int, asked: str, timeout_s: float) -> tuple[bytes, int, int]:
        """The answer's PDU, when the question left [UTC µs], and how long the answer took [µs]."""
        peer = f"{self.peer} unit {unit}"
        if unit == 0 and not self._framing.numbered:
            raise DriverConfigError(f"{peer}: 0 is the broadcast address of a serial line, which nobody answers")
        if self._asking:
            raise RuntimeError(f"{peer}: asked while another question is open")
        if self._channel is None or not self._channel.connected:
            raise ConnectionFailed("not connected", peer=peer)
        try:
            answered, sent_us, span_us = await self._exchange(self._channel, unit, pdu, count, timeout_s)
        except asyncio.CancelledError:
            await self._close_out_of_step()
            raise
        except _Silent as error:
            await self._close_out_of_step()
            raise ResponseTimeout(f"no answer within {timeout_s:g} s to {asked}{error}", peer=peer) from error
        except _BrokenFrame as error:
            await self.close()
            raise MalformedResponse(f"{error} (asked for {asked})", peer=peer) from error
        except _Lost as error:
            await self.close()
            raise ConnectionFailed(f"lost while waiting for {asked}: {error}", peer=peer) from error
        answer = self._framing.pdu(answered)
        if answer[0] & EXCEPTION_BIT:
            raise _refusal(answer[1], asked, peer)
        return answer, sent_us, span_us

    async def _close_out_of_step(self) -> None:
        """The question is given up: the rest of an answer, if it comes at all, would stand before the next one."""
        if self._framing.out_of_step(bytes(self._received)):
            await self.close()

    async def _exchange(
        self, channel: Channel, unit: int, pdu: bytes, count: int, timeout_s: float
    ) -> tuple[Answered, int, int]:
        loop = asyncio.get_running_loop()
        timer = None
        self._asking = True
        try:
            if not self._framing.numbered:
                await self._until_silent(timeout_s)
            if not channel.connected:
                raise _Lost("the connection ended before the question was sent")
            frame = self._framing.ask(unit, pdu, count)
            self._received.clear()
            answered = self._answered = loop.create_future()
            longest_s = timeout_s + self._travel_s(len(frame), count)
            sent_us, began = self._clock.now_us(), self._clock.monotonic()
            channel.send(frame)
            timer = loop.call_later(longest_s, self._on_timeout)
            answer = await answered
            return answer, sent_us, max(0, round((self._clock.monotonic() - began) * 1e6))
        finally:
            self._asking = False
            self._answered = None
            if timer is not None:
                timer.cancel()

    async def _until_silent(self, timeout_s: float) -> None:
        """Let pass what is older than the question, and the gap that separates two frames."""
        for _ in range(2):  # what lies in the system's buffer is older: one turn of the loop to see it, one to take it
            await asyncio.sleep(0)
        give_up = self._clock.monotonic() + timeout_s
        while (rest_s := self._silent_from - self._clock.monotonic()) > 0:
            if self._silent_from > give_up:
                raise _Silent(": the line is never silent; another master, a wrong baud rate or parity?")
            await self._clock.sleep(rest_s)

    def _travel_s(self, length: int, count: int) -> float:
        """How long a question and its longest answer are on the line; until the question is over it is not silent."""
        pace = self._carrier.pace
        if pace is None:
            return 0.0
        self._silent_from = self._clock.monotonic() + length * pace.character_s + pace.silence_s
        return (length + 5 + 2 * count) * pace.character_s

    def _heard(self, data: bytes) -> None:
        pace = self._carrier.pace
        if pace is not None:
            self._silent_from = self._clock.monotonic() + pace.silence_s
        if self._answered is None or self._answered.done():
            return
        self._received += data
        verdict = self._framing.examine(bytes(self._received))
        if isinstance(verdict, Answered):
            self._answered.set_result(verdict)
        elif isinstance(verdict, Broken):
            self._fail(_BrokenFrame(verdict.reason))
        elif len(self._received) > _ROOM:
            self._fail(_BrokenFrame(f"{len(self._received)} bytes and no answer among them"))

    def _on_lost(self, reason: str) -> None:
        self._fail(_Lost(reason))

    def _on_timeout(self) -> None:
        came = self._received
        dots = " …" if len(came) > _SHOWN else ""
        self._fail(_Silent(f"; {len(came)} bytes that are none: {came[:_SHOWN].hex(' ')}{dots}" if came else ""))

    def _fail(self, error: Exception) -> None:
        """End the wait for the open question now."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(error)


class ModbusTcpClient(ModbusLink):
    """A `Link` over Modbus TCP."""

    def __init__(self, host: str, port: int = 502, *, clock: Clock | None = None) -> None:
        super().__init__(TcpCarrier(host, port), MbapFraming(), clock=clock)


class SerialCarrier:
    """A serial port of this machine; exclusively ours while it is open."""

    def __init__(self, endpoint: SerialEndpoint) -> None:
        self._endpoint = endpoint
        self.pace = Pace(endpoint.character_s, endpoint.silence_s)

    @property
    def peer(self) -> str:
        """The device's path."""
        return self._endpoint.device

    async def open(self, timeout_s: float) -> Channel:  # noqa: ARG002 - a port is there at once or not at all
        """See `Carrier.open`."""
        channel = Channel()
        line = self._endpoint
        try:
            transport = _SerialTransport(
                asyncio.get_running_loop(), channel, line.device, line.baud, 8, line.parity, line.stop, None
            )
        except (OSError, ValueError, termios.error) as error:
            # No such port, not ours, in use, or it cannot do this rate or parity.
            raise ConnectionFailed(f"cannot be opened: {error}", peer=self.peer) from error
        transport.setup()
        channel.connection_made(transport)
        return channel


class _SerialTransport(SerialTransport):
    """pymodbus's transport, but reading and writing the descriptor itself.

    Its own way asks select(), which fails for descriptors from 1,024 on: where many modems dial in there are such.
    """

    def intern_read_ready(self) -> None:
        """Called by the event loop."""
        try:
            data = os.read(self.sync_serial.fileno(), 1024)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(error)
            return
        if data:
            assert isinstance(self.intern_protocol, asyncio.Protocol)
            self.intern_protocol.data_received(data)
        else:
            self.close(OSError("the serial device is gone"))

    def intern_write_ready(self) -> None:
        """Called by the event loop."""
        data = b"".join(self.intern_write_buffer)
        try:
            sent = os.write(self.sync_serial.fileno(), data)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            self.close(error)
            return
        self.flush()
        if sent < len(data):
            self.write(data[sent:])


def _packed(question: ModbusPDU) -> bytes:
    """Function code and data. Raises ValueError where address or count cannot be written."""
    return bytes((question.function_code,)) + question.encode()


def _order(function: int, address: int, words: tuple[int, ...]) -> ModbusPDU:
    """The question that writes `words`. Raises ValueError where it cannot be written."""
    if function == 5 and len(words) == 1 and words[0] in _COIL:
        return WriteSingleCoilRequest(address=address, bits=[_COIL[words[0]]])
    if function == 6 and len(words) == 1:
        return WriteSingleRegisterRequest(address=address, registers=list(words))
    if function == 16 and 1 <= len(words) <= _MOST_WRITTEN:
        return WriteMultipleRegistersRequest(address=address, registers=list(words))
    raise ValueError(f"function {function} cannot write {words}")


def _refusal(code: int, asked: str, peer: str) -> DeviceException:
    message = f"exception {code} ({EXCEPTIONS.get(code, 'unknown exception')}) to {asked}"
    error = IllegalAddress if code == 2 else DeviceException
    return error(message, peer=peer, exception_code=code)


def _name(table: str, address: int, count: int) -> str:
    return f"{table} 0x{address:04X}..0x{address + count - 1:04X}"
