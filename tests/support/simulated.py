"""The first area of a small neighbourhood behind one transport, with a meter that can do everything."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np

from drivers.modbus.bus import BusSettings, ModbusAddress, ModbusBus
from drivers.modbus.dialin import DialInServer
from drivers.modbus.dialin import Modem as Registered
from drivers.modbus.dialin_settings import DialInSettings
from drivers.modbus.heartbeats import Heartbeats
from drivers.modbus.map_file import load_models
from drivers.modbus.registration import IdForm, RegistrationRule
from drivers.registry import open_bus
from drivers.simulator.days import to_us
from drivers.simulator.devices import Devices
from drivers.simulator.meter_bus import MeterBus, meter_buses
from drivers.simulator.modbus_server import Gateway, start_gateways
from drivers.simulator.modem import HEARTBEAT, Modem
from drivers.simulator.scenario import Gateway as GatewayTable
from drivers.simulator.scenario import ModemGateway, RtuGateway, TcpGateway, parse_scenario
from drivers.simulator.world import World
from support.featured import ALL, hang

NOW = datetime(2026, 11, 23, 5, 41, tzinfo=UTC)
IMEI = "861234050012348"
MODELS: Final = {**load_models(), ALL.id: ALL}
SOON = BusSettings(timeout_s=0.3, late_s=0.3, retries=0)
TRANSPORTS: dict[str, GatewayTable] = {
    "tcp": TcpGateway(),
    "rtu+tcp": RtuGateway(),
    "dialin": ModemGateway(imei=IMEI, beat_s=0.05, again_s=0.05, again_most_s=0.4),
}


@dataclass
class Field:
    """The first area's meters behind one transport, and a clock that stands still unless told to go on."""

    world: World
    kind: str
    meter: int
    """Index of the meter that can do everything."""
    devices: Devices
    buses: tuple[MeterBus, ...]
    now_us: int = to_us(NOW)
    port: int = 0
    dialin: DialInServer | None = None
    registered: list[Registered] = field(default_factory=list)

    @property
    def unit(self) -> int:
        """Of the meter that can do everything."""
        unit = self.world.fleet.meters[self.meter].unit
        assert unit is not None
        return unit

    @property
    def address(self) -> ModbusAddress:
        """The same for a bus."""
        return ModbusAddress(self.unit, ALL)

    def bus(self) -> ModbusBus:
        """Our own."""
        uri = f"modbus+dialin://{IMEI}" if self.kind == "dialin" else f"modbus+{self.kind}://127.0.0.1:{self.port}"
        return open_bus(uri, SOON, dialin=self.dialin)


def small(scenario_file: Path, gateway: GatewayTable, faults: str = "") -> World:
    """The small neighbourhood, its first area behind this gateway."""
    scenario = parse_scenario(scenario_file.read_text() + faults, file="small.toml")
    first, *others = scenario.areas
    areas = (msgspec.structs.replace(first, gateway=gateway), *others)
    return World(msgspec.structs.replace(scenario, areas=areas), to_us(NOW))


@asynccontextmanager
async def started(world: World, kind: str) -> AsyncIterator[Field]:
    """Gateways that listen, or a listener and the modem that comes to it."""
    meter = hang(world)
    devices = Devices(world, {}, lambda _: None)
    made = Field(world, kind, meter, devices, ())
    made.buses = meter_buses(devices, lambda: made.now_us, MODELS)
    gateways = await start_gateways(world, "127.0.0.1", [0, 0], lambda: made.now_us, made.buses)
    stop, modem = asyncio.Event(), None
    gateway = world.scenario.areas[0].gateway
    if isinstance(gateway, ModemGateway):
        made.dialin = DialInServer(
            DialInSettings(
                host="127.0.0.1",
                port=0,
                registration=(RegistrationRule(form=IdForm.IMEI),),
                heartbeats=Heartbeats(literals=(HEARTBEAT,)),
            ),
            on_registered=lambda registered, _: made.registered.append(registered),
        )
        await made.dialin.start()
        modem = asyncio.create_task(Modem(gateway, made.buses[0], "127.0.0.1", made.dialin.port).run(stop))
    else:
        made.port = gateways[0][1]
    try:
        yield made
    finally:
        stop.set()
        if modem is not None and made.dialin is not None:
            await modem
            await made.dialin.stop()
        await stopped(gateways)


async def stopped(gateways: tuple[tuple[Gateway, int], ...]) -> None:
    """Close all ports."""
    for gateway, _ in gateways:
        await gateway.stop()


def truth(world: World, meter: int, at_us: int) -> tuple[Any, Any]:
    """What a register has counted, as `World.shown` takes it."""
    one = np.array([meter])
    return one, world.true_cumulative(one, np.array([[at_us]]))[0]
