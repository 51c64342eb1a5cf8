"""The meters of one area on their RS-485 line, whatever carries the questions there: one at a time."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from drivers.base import Quantity
from drivers.events import EventKind
from drivers.modbus.codec import Value
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from drivers.simulator.devices import Devices
from drivers.simulator.faults import SilentMeter
from drivers.simulator.feature_image import Entered
from drivers.simulator.live import LiveMeters
from drivers.simulator.refusal import ModbusException
from drivers.simulator.register_image import RegisterImage
from drivers.simulator.world import World

NowUs = Callable[[], int]


class MeterBus:
    """One line. A meter that is not there, is broken or has no power says nothing."""

    def __init__(
        self, area: int, images: Mapping[str, RegisterImage], live: LiveMeters, devices: Devices, now_us: NowUs
    ) -> None:
        world = devices.world
        self._world, self._images, self._live, self._devices, self._now_us = world, images, live, devices, now_us
        silent = {m for k, m in world.fleet.planted.items() if isinstance(world.scenario.faults[k], SilentMeter)}
        self._meter_of = {
            m.unit: i
            for i, m in enumerate(world.fleet.meters)
            if m.unit is not None and m.area == area and i not in silent
        }
        low, high = world.scenario.modbus.delay_ms
        self._delay_s = (low / 1000, high / 1000)
        self._entered: dict[int, Entered] = {}
        self._line = asyncio.Lock()
        self._random = random.Random(area)
        self.requests = 0
        """Questions that came."""

    async def ask(self, unit: int, pdu: bytes, *, patience_s: float) -> bytes | None:
        """The PDU that a meter answers; None: nobody answered, for which the line was held `patience_s`."""
        async with self._line:
            self.requests += 1
            meter = self._meter_of.get(unit)
            now_us = self._now_us()
            if meter is None or not self._world.incidents.powered(meter, now_us):
                await asyncio.sleep(patience_s)
                return None
            await asyncio.sleep(self._random.uniform(*self._delay_s))
            try:
                return self._answer(meter, pdu)
            except ModbusException as refusal:
                return bytes((pdu[0] | 0x80, refusal.code))

    def _answer(self, meter: int, pdu: bytes) -> bytes:
        now_us = self._now_us()
        image = self._images[self._world.fleet.meters[meter].model]

        def measured(wanted: frozenset[Quantity]) -> Mapping[Quantity, Value]:
            return self._live.values(meter, now_us, wanted)

        entered = self._entered.setdefault(meter, Entered())
        return image.answer(pdu, measured, _MeterNow(self._world, self._live, self._devices, meter, now_us, entered))


@dataclass(frozen=True, slots=True)
class _MeterNow:
    """See `feature_image.MeterNow`."""

    world: World
    live: LiveMeters
    devices: Devices
    meter: int
    now_us: int
    entered: Entered

    def clock_us(self) -> int:
        return self.now_us + self.devices.clock(self.meter).lead_us(self.now_us)

    def set_clock(self, shown_us: int) -> None:
        self.devices.set_clock(self.meter, shown_us, self.now_us)

    def relay(self) -> str:
        return self.devices.relay(self.meter, self.now_us)

    def switch_relay(self, state: str) -> None:
        self.devices.switch_relay(self.meter, state, self.now_us)

    def tariff(self) -> str:
        return self.devices.tariff(self.meter)

    def switch_tariff(self, tariff: str) -> None:
        self.devices.switch_tariff(self.meter, tariff)

    def noticed(self) -> frozenset[EventKind]:
        return self.world.incidents.holding(self.meter, self.now_us)

    def frozen(self, shown_us: int) -> Mapping[Quantity, Value] | None:
        at_us = self.devices.clock(self.meter).when_us(shown_us)
        if at_us < self.world.start_us:
            return None
        one = np.array([self.meter])
        imported, exported = self.world.true_cumulative(one, np.array([[at_us]]))
        return {
            Quantity.IMPORT_WH: int(self.world.shown(one, imported)[0, 0]),
            Quantity.EXPORT_WH: int(self.world.shown(one, exported)[0, 0]),
        }


def meter_buses(
    devices: Devices, now_us: NowUs, models: Mapping[str, MeterModel] | None = None
) -> tuple[MeterBus, ...]:
    """The line of each area; `models` in place of the shipped ones."""
    world = devices.world
    models = load_models() if models is None else models
    on_bus = {m.model for m in world.fleet.meters if m.unit is not None}
    images = {name: RegisterImage(models[name], world.days.zone) for name in on_bus}
    live = LiveMeters(world)
    return tuple(MeterBus(a, images, live, devices, now_us) for a in range(len(world.scenario.areas)))
