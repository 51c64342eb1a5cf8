"""A 4G modem in front of one area's meters: it connects to the head-end, says who it is and passes RTU frames through.

The rule it keeps: whatever cuts the connection, it comes back by itself, after a rest that grows and has an end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final

from drivers.simulator.meter_bus import MeterBus
from drivers.simulator.modbus_server import converse
from drivers.simulator.questions import RtuQuestions
from drivers.simulator.scenario import ModemGateway

HEARTBEAT: Final = b"\xfe"
_CONNECT_S: Final = 5.0
_MOST_DOUBLINGS: Final = 16
_log = logging.getLogger(__name__)


class Modem:
    """One modem, for ever on its way to the head-end."""

    def __init__(
        self,
        gateway: ModemGateway,
        bus: MeterBus,
        host: str,
        port: int,
        *,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._gateway, self._bus, self._address, self._sleep = gateway, bus, (host, port), sleep
        self._random = random.Random(gateway.imei)
        self.connections = 0
        """How often it got through."""

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop."""
        stopping = asyncio.ensure_future(stop.wait())
        calling = asyncio.ensure_future(self._call_for_ever())
        try:
            await asyncio.wait({stopping, calling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            calling.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await calling  # whatever went wrong comes out here

    async def _call_for_ever(self) -> None:
        failures = 0
        while True:
            asked = self._bus.requests
            try:
                await self._call()
            except (OSError, TimeoutError) as error:
                _log.info("modem %s: not connected to %s:%d: %s", self._gateway.imei, *self._address, error)
            failures = 0 if self._bus.requests > asked else failures + 1  # let in and never asked: as good as refused
            await self._sleep(self._rest_s(failures))

    def _rest_s(self, failures: int) -> float:
        rest_s = self._gateway.again_s * 2.0 ** min(max(0, failures - 1), _MOST_DOUBLINGS)
        return min(self._gateway.again_most_s, rest_s) * self._random.uniform(0.5, 1.0)

    async def _call(self) -> None:
        """One connection, from registration to its end. Raises OSError or TimeoutError where there is none."""
        async with asyncio.timeout(_CONNECT_S):
            reader, writer = await asyncio.open_connection(*self._address)
        self.connections += 1
        beating = asyncio.ensure_future(self._beat(writer))
        try:
            writer.write(self._gateway.imei.encode("ascii"))
            await converse(reader, writer, RtuQuestions(), self._bus, silent_s=None)
        except ConnectionError:
            pass  # cut: that is how a connection ends
        finally:
            beating.cancel()
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _beat(self, writer: asyncio.StreamWriter) -> None:
        while True:
            await self._sleep(self._gateway.beat_s)
            writer.write(HEARTBEAT)
