"""Gateways that listen, Modbus TCP and transparent RTU, in front of the meters of one area each.

Frames are read without a library: a fleet of 10,000 meters is answered from arrays, not from one object each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from typing import Final

from drivers.simulator.devices import Devices
from drivers.simulator.meter_bus import MeterBus, meter_buses
from drivers.simulator.questions import NotModbus, Questions, RtuQuestions, TcpQuestions
from drivers.simulator.refusal import TARGET_SILENT
from drivers.simulator.scenario import ModemGateway, RtuGateway
from drivers.simulator.world import World

_READ_BYTES: Final = 4096
_log = logging.getLogger(__name__)


class Gateway:
    """One TCP port with the meters of one area behind it."""

    def __init__(self, bus: MeterBus, *, rtu: bool, silent_s: float) -> None:
        """`silent_s`: how long a gateway that speaks Modbus TCP waits for a meter before it says that it is silent."""
        self._bus, self._rtu, self._silent_s = bus, rtu, silent_s
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    @property
    def requests(self) -> int:
        """Questions that came to its line."""
        return self._bus.requests

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError when it is taken."""
        self._server = await asyncio.start_server(self._serve, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            serving = list(self._serving)
            for writer in self._serving.values():
                writer.close()
            await asyncio.gather(*serving)  # each ends by itself once its connection is closed
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        me = asyncio.current_task()
        assert me is not None
        self._serving[me] = writer
        questions = RtuQuestions() if self._rtu else TcpQuestions()
        try:
            await converse(reader, writer, questions, self._bus, silent_s=None if self._rtu else self._silent_s)
        except NotModbus as error:
            _log.warning("connection closed: %s is not Modbus", error)
        except ConnectionError:
            pass  # the other end hung up: that is how a connection ends
        finally:
            del self._serving[me]
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()


async def converse(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, questions: Questions, bus: MeterBus, *,
    silent_s: float | None,
) -> None:  # fmt: skip
    """Answer what comes until the other end hangs up.

    `silent_s`: after how long it is said that a meter is silent; None: silence is passed on as it is. Raises
    `NotModbus` and ConnectionError.
    """
    while data := await reader.read(_READ_BYTES):
        for asked in questions.feed(data):
            answer = await bus.ask(asked.unit, asked.pdu, patience_s=silent_s or 0.0)
            if answer is None and silent_s is not None:
                answer = bytes((asked.pdu[0] | 0x80, TARGET_SILENT))
            if answer is not None:
                writer.write(questions.answer(asked, answer))
                await writer.drain()


async def start_gateways(
    world: World,
    host: str,
    ports: Sequence[int],
    now_us: Callable[[], int],
    buses: Sequence[MeterBus] | None = None,
) -> tuple[tuple[Gateway, int], ...]:
    """A gateway for each area that has one which listens, on the area's port (0 = any free one).

    Without `buses` they get lines of their own, and nothing that is changed outlives them. Raises OSError when a port
    is taken.
    """
    if buses is None:
        buses = meter_buses(Devices(world, {}, lambda _: None), now_us)
    silent_s = world.scenario.modbus.gateway_timeout_ms / 1000
    started: list[tuple[Gateway, int]] = []
    try:
        for area, bus, port in zip(world.scenario.areas, buses, ports, strict=True):
            if not isinstance(area.gateway, ModemGateway):
                gateway = Gateway(bus, rtu=isinstance(area.gateway, RtuGateway), silent_s=silent_s)
                started.append((gateway, await gateway.start(host, port)))
    except OSError:
        for gateway, _ in started:
            await gateway.stop()
        raise
    return tuple(started)
