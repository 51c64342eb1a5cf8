"""What publishes for itself over MQTT: meters with readings and events, and a stranger that nobody has imported."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np

from drivers.base import Quantity
from drivers.events import DeviceEvent
from drivers.simulator.days import US, iso
from drivers.simulator.live import PHASED, LiveMeters
from drivers.simulator.mqtt_publisher import Connection
from drivers.simulator.stranger import StrangerDevice
from drivers.simulator.tellings import Tellings, event_payload
from drivers.simulator.world import World

_WANTED: Final = frozenset({Quantity.IMPORT_WH, Quantity.EXPORT_WH})
_IDLE_S: Final = 60.0
_AGAIN_S: Final = 0.5
"""How soon it is tried again where the broker is away, or the power."""


class SinglePublishers:
    """The meters of one area that publish for themselves, each at its own second of the period, by its own clock.

    What happened to them they tell at once, and again after each start.
    """

    def __init__(
        self, world: World, area: int, *, host: str, port: int, prefix: str, now_us: Callable[[], int]
    ) -> None:
        self._world, self._now_us, self._prefix = world, now_us, prefix
        self._live = LiveMeters(world)
        self._meters = [i for i, m in enumerate(world.fleet.meters) if m.area == area and m.single_mqtt]
        live, incidents = world.scenario.live, world.incidents
        self._tellings = Tellings(
            [(i, event) for i in self._meters for incident in incidents.of.get(i, ()) for event in incident.events],
            tellings=live.event_tellings,
            again_s=live.event_again_s,
            powered=incidents.powered,
        )
        self._connection = Connection(f"simulated-meters-{area + 1:02d}", host, port, on_connect=lambda: None)

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop."""
        if not self._meters:
            return
        self._connection.start()
        try:
            async with asyncio.TaskGroup() as loops:
                loops.create_task(self._publish(stop))
                loops.create_task(self._tell(stop))
        finally:
            await self._connection.stop()

    async def _publish(self, stop: asyncio.Event) -> None:
        period_s = self._world.scenario.live.single_publish_s
        turns = [(k * period_s / len(self._meters), i) for k, i in enumerate(self._meters)]
        began = time.monotonic()
        while not stop.is_set():
            for offset_s, meter in turns:
                await rest(stop, began + offset_s - time.monotonic())
                if stop.is_set():
                    break
                now_us = self._now_us()
                if self._world.incidents.powered(meter, now_us):
                    self._connection.publish(*self.reading(meter, now_us))
            began = max(began + period_s, time.monotonic() - period_s)  # what was slept through is not made up for

    async def _tell(self, stop: asyncio.Event) -> None:
        while not stop.is_set() and (next_us := self._tellings.next_us()) is not None:
            now_us = self._now_us()
            for telling in self._tellings.due(now_us):
                if self._connection.publish(*self.event(telling.meter, telling.event)):
                    self._tellings.told(telling, now_us)
            wait_s = (next_us - now_us) / US
            await rest(stop, _AGAIN_S if wait_s <= 0 else min(wait_s, _IDLE_S))

    def event(self, meter: int, event: DeviceEvent) -> tuple[str, bytes]:
        """Topic and payload of one event; the stamp is the meter's own clock, in whole seconds."""
        lead_us = self._world.instruments.clock_lead_us(np.array([meter]), np.array([event.instant_us]))
        return self._topic(meter, "event"), event_payload(event, int(lead_us[0, 0]))

    def reading(self, meter: int, now_us: int) -> tuple[str, bytes]:
        """Topic and payload of one reading; the stamp is the meter's own clock, in whole seconds."""
        one = np.array([meter])
        lead_us = int(self._world.instruments.clock_lead_us(one, np.array([now_us]))[0, 0])
        ts_us = (now_us + lead_us) // US * US
        at_us = ts_us - int(self._world.instruments.clock_lead_us(one, np.array([ts_us]))[0, 0])
        values = self._live.values(meter, at_us, _WANTED)
        volts = [values[q] for q in PHASED["voltage"] if q in values]
        amps = [values[q] for q in PHASED["current"] if q in values]
        body = {
            "ts": iso(ts_us),
            "import_wh": values[Quantity.IMPORT_WH],
            "export_wh": values[Quantity.EXPORT_WH],
            "voltage_v": [round(float(v), 1) for v in volts] if len(volts) > 1 else round(float(volts[0]), 1),
            "current_a": [round(float(a), 2) for a in amps] if len(amps) > 1 else round(float(amps[0]), 2),
            "power_w": round(float(values[Quantity.POWER_W])),
        }
        return self._topic(meter, "reading"), msgspec.json.encode(body)

    def _topic(self, meter: int, kind: str) -> str:
        device = self._world.fleet.meters[meter]
        return f"{self._prefix}/meter/{device.manufacturer}/{device.serial}/{kind}"


class StrangerPublisher:
    """A device with topics of its own, at its own pace."""

    def __init__(self, device: StrangerDevice, *, host: str, port: int, now_us: Callable[[], int]) -> None:
        self._device, self._now_us = device, now_us
        self._connection = Connection(
            device.stranger.device, host, port, on_connect=self._online, will=(device.online_topic, b"false")
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop."""
        self._connection.start()
        try:
            while not stop.is_set():
                if self._connection.up:
                    for topic, payload in self._device.messages(self._now_us()):
                        self._connection.publish(topic, payload)
                await rest(stop, self._device.stranger.period_s if self._connection.up else _AGAIN_S)
        finally:
            await self._connection.stop((self._device.online_topic, b"false"))

    def _online(self) -> None:
        self._connection.publish(self._device.online_topic, b"true", retain=True)


async def rest(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until told to stop."""
    if seconds > 0:
        waiting = asyncio.ensure_future(stop.wait())
        await asyncio.wait({waiting}, timeout=seconds)
        waiting.cancel()
