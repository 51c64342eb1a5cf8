"""Gateways that speak Modbus TCP for the meters behind them: one question at a time, as on a real RS-485 bus.

The frame (Modbus Messaging on TCP/IP Implementation Guide V1.0b, section 3.1) is read here without a library: a fleet
of 10,000 meters is answered from arrays, not from one object each.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from drivers.modbus.map_file import load_models
from drivers.simulator.live import LiveMeters
from drivers.simulator.register_image import ILLEGAL_FUNCTION, TARGET_SILENT, ModbusException, RegisterImage
from drivers.simulator.world import World

_HEADER: Final = struct.Struct(">HHHB")
_MOST_BYTES: Final = 254
"""Longest unit + PDU."""
_log = logging.getLogger(__name__)


class Gateway:
    """One TCP port with the meters of one area behind it."""

    def __init__(
        self, world: World, area: int, images: Mapping[str, RegisterImage], live: LiveMeters, now_us: Callable[[], int]
    ) -> None:
        self._world, self._images, self._live, self._now_us = world, images, live, now_us
        self._meter_of = {m.unit: i for i, m in enumerate(world.fleet.meters) if m.unit is not None and m.area == area}
        low, high = world.scenario.modbus.delay_ms
        self._delay_s = (low / 1000, high / 1000)
        self._silent_s = world.scenario.modbus.gateway_timeout_ms / 1000
        self._bus = asyncio.Lock()
        self._random = random.Random(area)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self.requests = 0
        """Questions answered."""

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port. Raises OSError when it is taken."""
        self._server = await asyncio.start_server(self._serve, host, port)
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Close the port and every connection."""
        if self._server is not None:
            self._server.close()
            for writer in list(self._writers):
                writer.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            while True:
                transaction, protocol, length, unit = _HEADER.unpack(await reader.readexactly(_HEADER.size))
                if protocol != 0 or not 2 <= length <= _MOST_BYTES:
                    _log.warning("connection closed: protocol %d, length %d is not Modbus", protocol, length)
                    return
                pdu = await reader.readexactly(length - 1)
                async with self._bus:
                    answer = await self._exchange(unit, pdu)
                writer.write(_HEADER.pack(transaction, 0, len(answer) + 1, unit) + answer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the other end hung up: that is how a connection ends
        finally:
            self._writers.discard(writer)
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _exchange(self, unit: int, pdu: bytes) -> bytes:
        self.requests += 1
        meter = self._meter_of.get(unit)
        await asyncio.sleep(self._silent_s if meter is None else self._random.uniform(*self._delay_s))
        try:
            if meter is None:
                raise ModbusException(TARGET_SILENT)
            return self._answer(meter, pdu)
        except ModbusException as refusal:
            return bytes((pdu[0] | 0x80, refusal.code))

    def _answer(self, meter: int, pdu: bytes) -> bytes:
        if pdu[0] not in (3, 4) or len(pdu) != 5:
            raise ModbusException(ILLEGAL_FUNCTION)
        address, count = struct.unpack(">HH", pdu[1:])
        image = self._images[self._world.fleet.meters[meter].model]
        specs = image.request(pdu[0], address, count)
        values = self._live.values(meter, self._now_us(), frozenset(s.quantity for s in specs))
        return bytes((pdu[0], 2 * count)) + image.words(specs, values, address, count)


async def start_gateways(
    world: World, host: str, ports: Sequence[int], now_us: Callable[[], int]
) -> tuple[tuple[Gateway, int], ...]:
    """One gateway for each area, on the given ports (0 = any free one). Raises OSError when one is taken."""
    models = load_models()
    images = {m.model: RegisterImage(models[m.model]) for m in world.fleet.meters if m.unit is not None}
    live = LiveMeters(world)
    started: list[tuple[Gateway, int]] = []
    try:
        for area, port in zip(range(len(world.scenario.areas)), ports, strict=True):
            gateway = Gateway(world, area, images, live, now_us)
            started.append((gateway, await gateway.start(host, port)))
    except OSError:
        for gateway, _ in started:
            await gateway.stop()
        raise
    return tuple(started)
