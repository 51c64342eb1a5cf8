"""One bus = one connection = one question at a time: reads whole meters, whatever the field does to single answers.

The rules it keeps: a silent meter costs its own time-outs and nobody else's, and in the end one question now and then;
an address that a meter refuses is found by halving, remembered, and the rest is still read in the same visit; a value
is taken only from an answer that fits its question and no other.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from drivers.base import Quantity, RegisterReading
from drivers.modbus.address import ModbusAddress
from drivers.modbus.bus_settings import BusSettings, BusStats
from drivers.modbus.clock import Clock, SystemClock
from drivers.modbus.gate import Priority, PriorityGate
from drivers.modbus.health import MeterHealth
from drivers.modbus.link import Link
from drivers.modbus.meters import KnownMeters
from drivers.modbus.model import MeterModel
from drivers.modbus.plan_book import PlanBook
from drivers.modbus.refusals import RefusalMemory, RefusalsInMemory
from drivers.modbus.snapshot import Snapshot, to_reading
from drivers.modbus.turn import Turn
from drivers.modbus.wire import Wire

__all__ = ["BusSettings", "BusStats", "ModbusAddress", "ModbusBus", "Turn"]


class ModbusBus:
    """A `MeterDriver` for all meters behind one link."""

    def __init__(
        self,
        link: Link,
        settings: BusSettings | None = None,
        *,
        clock: Clock | None = None,
        refusals: RefusalMemory | None = None,
        jitter: random.Random | None = None,
    ) -> None:
        self._settings = settings or BusSettings()
        self._clock = clock or SystemClock()
        self.stats = BusStats()
        jitter = jitter or random.Random()
        self._gate = PriorityGate()
        self._wire = Wire(link, self._settings, self._clock, jitter, self.stats)
        self._meters = KnownMeters(self._settings, self._clock, jitter, self.stats)
        self._plans = PlanBook(link.peer, refusals or RefusalsInMemory())

    @property
    def peer(self) -> str:
        """The gateway, as a person would look for it."""
        return self._wire.peer

    @property
    def ill(self) -> bool:
        """Whether all meters that used to answer are silent: the gateway or the line, rather than they."""
        return self._meters.ill

    def health(self, unit: int) -> MeterHealth | None:
        """What was learnt of the meter with this unit id; None for one that was never asked."""
        return self._meters.health(unit)

    async def read_meter(
        self,
        unit: int,
        model: MeterModel,
        quantities: frozenset[Quantity] | None = None,
        *,
        priority: Priority = Priority.HOUSEHOLD,
    ) -> RegisterReading:
        """Read one meter now: the wanted quantities that its model has, all of them for None.

        Raises `PeerError` when nothing at all could be read (`MeterResting`: it was not even asked); what is missing
        otherwise stands in `refused`.
        """
        return await self.read(ModbusAddress(unit, model, priority), quantities)

    async def read(self, address: ModbusAddress, quantities: frozenset[Quantity] | None = None) -> RegisterReading:
        """`read_meter` as the `MeterDriver` protocol has it."""
        return to_reading(await self.visit(address, quantities))

    async def visit(self, address: ModbusAddress, quantities: frozenset[Quantity] | None = None) -> Snapshot:
        """Read one meter now and give every answer as it came, with its times; errors as in `read_meter`."""
        async with self.turn(address) as turn:
            return await turn.visit(quantities)

    @asynccontextmanager
    async def turn(self, address: ModbusAddress) -> AsyncIterator[Turn]:
        """Hold the bus for one meter for the length of the `async with` block, once `address.priority` has its turn.

        Raises `MeterResting` at once when the meter may not be asked now.
        """
        self._meters.refuse_resting(address, self._wire.peer)
        async with self._gate.turn(address.priority) as hold:
            turn = Turn(
                address,
                wire=self._wire,
                hold=hold,
                meters=self._meters,
                plans=self._plans,
                settings=self._settings,
                clock=self._clock,
                stats=self.stats,
            )
            try:
                yield turn
            finally:
                await turn.ended()

    async def close(self) -> None:
        """Close the connection once nobody uses it; a later reading opens it again."""
        async with self._gate.turn(Priority.COMMAND):
            await self._wire.close()
