"""Modbus TCP through pymodbus, the only file that imports it: one connection, one question at a time, no retries.

Every answer is examined by `frames` before pymodbus sees it; every failure becomes one of `drivers.errors`. Its retries
are off because they repeat the transaction id: a late answer to the first try would pass for one to the second.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from pymodbus import ModbusException
from pymodbus.client import AsyncModbusTcpClient
from pymodbus.pdu import ExceptionResponse, ModbusPDU

from drivers.errors import ConnectionFailed, DeviceException, IllegalAddress, MalformedResponse, ResponseTimeout
from drivers.modbus.clock import Clock, SystemClock
from drivers.modbus.frames import Broken, Question, examine
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

_NEVER_S: Final = 86_400.0
_BUFFER: Final = 16 * 260
"""Bytes that may wait: several late answers and the right one; pymodbus drops all of them beyond 264 by default."""
_QUIET: Final = logging.CRITICAL
"""What pymodbus logs we raise, and whoever handles it logs it once."""


class _FrameError(Exception):
    """What came cannot be the answer."""


class _Lost(Exception):
    """The connection ended while we waited."""


class ModbusTcpClient:
    """A `Link` over Modbus TCP."""

    def __init__(self, host: str, port: int = 502, *, clock: Clock | None = None) -> None:
        self._host = host
        self._port = port
        self._clock = clock or SystemClock()
        self._client: AsyncModbusTcpClient | None = None
        self._question: Question | None = None
        self._transaction = 0
        logging.getLogger("pymodbus").setLevel(_QUIET)

    @property
    def peer(self) -> str:
        """`host:port`."""
        return f"{self._host}:{self._port}"

    @property
    def connected(self) -> bool:
        """Whether a question can be asked now."""
        return self._client is not None and self._client.connected

    async def connect(self, timeout_s: float) -> None:
        """Connect, or raise `ConnectionFailed`."""
        if self.connected:
            return
        await self.close()
        client = AsyncModbusTcpClient(
            self._host,
            port=self._port,
            timeout=timeout_s,
            retries=0,
            reconnect_delay=0,  # the bus decides when to try again
            trace_packet=self._on_packet,
            trace_connect=self._on_connect,
        )
        client.ctx.max_buffer_size = _BUFFER
        if not await client.connect():
            client.close()
            raise ConnectionFailed(f"no connection within {timeout_s:g} s, or it was refused", peer=self.peer)
        # From here on each question has its own time-out; pymodbus's would count, and drop the connection of a dead
        # meter's neighbours with it.
        client.ctx.comm_params.timeout_connect = _NEVER_S
        client.ctx.next_tid = self._transaction  # go on counting, so that no old answer fits a new question
        self._client = client

    async def close(self) -> None:
        """Give the connection up."""
        if self._client is not None:
            self._transaction = self._client.ctx.next_tid
            self._client.close()
            self._client = None

    async def read(self, *, unit: int, function: int, address: int, count: int, timeout_s: float) -> Answer:
        """Ask one unit for `count` registers from `address` (0-based); see `Link.read`."""
        peer = f"{self.peer} unit {unit}"
        client = self._client
        if client is None or not client.connected:
            raise ConnectionFailed("not connected", peer=peer)
        ask = {3: client.read_holding_registers, 4: client.read_input_registers}[function]
        self._question = Question(0, unit, function, count)
        sent_us, began = self._clock.now_us(), self._clock.monotonic()
        try:
            async with asyncio.timeout(timeout_s):
                response = await ask(address, count=count, device_id=unit)
        except TimeoutError as error:
            raise ResponseTimeout(
                f"no answer within {timeout_s:g} s to {_asked(function, address, count)}", peer=peer
            ) from error
        except _FrameError as error:
            await self.close()
            raise MalformedResponse(f"{error} (asked for {_asked(function, address, count)})", peer=peer) from error
        except (_Lost, ModbusException, OSError) as error:
            await self.close()
            raise ConnectionFailed(
                f"lost while waiting for {_asked(function, address, count)}: {error}", peer=peer
            ) from error
        finally:
            self._question = None
        span_us = max(0, round((self._clock.monotonic() - began) * 1e6))
        return Answer(_registers(response, function, address, count, peer), sent_us, span_us)

    def _on_packet(self, sending: bool, data: bytes) -> bytes:
        """Let pymodbus see nothing but the whole, right answer to the question that is open."""
        if sending:
            if self._question is not None:
                transaction = int.from_bytes(data[:2], "big")
                q = self._question
                self._question = Question(transaction, q.unit, q.function, q.count)
            return data
        if self._question is None:
            return b""
        verdict = examine(data, self._question)
        if isinstance(verdict, Broken):
            self._fail(_FrameError(verdict.reason))
            return b""
        return b"" if verdict is None else verdict.frame

    def _on_connect(self, connected: bool) -> None:
        if not connected:
            self._fail(_Lost("the other end closed the connection"))

    def _fail(self, error: Exception) -> None:
        """End the wait for the open question now; pymodbus alone would sit the time-out out."""
        if self._client is not None and self._question is not None and not self._client.ctx.response_future.done():
            self._client.ctx.response_future.set_exception(error)


def _registers(response: ModbusPDU, function: int, address: int, count: int, peer: str) -> tuple[int, ...]:
    if isinstance(response, ExceptionResponse):
        code = response.exception_code
        name = EXCEPTIONS.get(code, "unknown exception")
        message = f"exception {code} ({name}) to {_asked(function, address, count)}"
        error = IllegalAddress if code == 2 else DeviceException
        raise error(message, peer=peer, exception_code=code)
    words = tuple(response.registers)
    if len(words) != count:
        raise MalformedResponse(f"{len(words)} registers instead of {count}", peer=peer)
    return words


def _asked(function: int, address: int, count: int) -> str:
    table = "holding" if function == 3 else "input"
    return f"{table} 0x{address:04X}..0x{address + count - 1:04X}"
