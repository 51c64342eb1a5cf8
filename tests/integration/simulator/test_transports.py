"""One area's meters over every transport, asked by our own bus and by pymodbus; what is changed is read back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pymodbus import FramerType
from pymodbus.client import AsyncModbusTcpClient

from drivers.base import Quantity
from drivers.errors import DeviceException, IllegalAddress, ResponseTimeout
from drivers.modbus.feature_codec import decode_clock, encode_clock
from drivers.simulator.days import US, to_us
from drivers.simulator.devices import Devices
from drivers.simulator.meter_bus import meter_buses
from drivers.simulator.modem import Modem
from drivers.simulator.scenario import ModemGateway, RtuGateway
from support.featured import ALL
from support.simulated import IMEI, MODELS, NOW, TRANSPORTS, Field, small, started, truth


@pytest.fixture(params=TRANSPORTS)
def on_field(request: pytest.FixtureRequest, scenario_file: Path) -> Callable[..., None]:
    """Runs a coroutine function against the field, over each transport in turn."""

    def run(use: Callable[[Field], Awaitable[None]], faults: str = "") -> None:
        world = small(scenario_file, TRANSPORTS[request.param], faults)

        async def with_field() -> None:
            async with started(world, request.param) as made:
                await use(made)

        asyncio.run(asyncio.wait_for(with_field(), 30))

    return run


def test_all_its_meters_answer(on_field: Callable[..., None]) -> None:
    async def use(field: Field) -> None:
        bus, models = field.bus(), MODELS
        for i, m in enumerate(field.world.fleet.meters):
            if m.unit is not None and m.area == 0:
                reading = await bus.read_meter(m.unit, models[m.model], frozenset({Quantity.IMPORT_WH}))
                wanted = field.world.shown(*truth(field.world, i, field.now_us))[0, 0]
                assert reading.import_wh == wanted
        await bus.close()

    on_field(use)


def test_the_clock_is_set_and_read_back(on_field: Callable[..., None]) -> None:
    clock = ALL.features.clock
    assert clock is not None
    assert clock.write is not None

    async def use(field: Field) -> None:
        assert clock is not None
        assert clock.write is not None
        bus, zone = field.bus(), field.world.days.zone
        wanted = NOW + timedelta(minutes=5)
        async with bus.turn(field.address) as turn:
            before = decode_clock(clock.format, (await turn.read(clock.range)).words, zone)
            await turn.write(clock.write, encode_clock(clock.format, wanted, zone))
            after = decode_clock(clock.format, (await turn.read(clock.range)).words, zone)
        assert before is not None
        assert abs(before - NOW) <= timedelta(seconds=2)
        assert after == wanted
        field.now_us += 60 * US
        async with bus.turn(field.address) as turn:
            later = decode_clock(clock.format, (await turn.read(clock.range)).words, zone)
        assert later == wanted + timedelta(seconds=60)
        await bus.close()

    on_field(use)


def test_the_relay_moves_in_its_own_time(on_field: Callable[..., None]) -> None:
    relay = ALL.features.relay
    assert relay is not None

    async def use(field: Field) -> None:
        assert relay is not None
        bus = field.bus()

        async def state() -> int:
            assert relay is not None
            async with bus.turn(field.address) as turn:
                return (await turn.read(relay.state.range)).words[0]

        assert await state() in relay.states["closed"]
        async with bus.turn(field.address) as turn:
            await turn.write(relay.write, relay.writes["open"])
        assert await state() in relay.states["closed"]
        field.now_us += 400_000
        assert await state() in relay.states["open"]
        await bus.close()

    on_field(use)


def test_the_tariff_is_unlocked_and_switched(on_field: Callable[..., None]) -> None:
    tariff = ALL.features.tariff
    assert tariff is not None

    async def use(field: Field) -> None:
        assert tariff is not None
        bus = field.bus()
        async with bus.turn(field.address) as turn:
            await turn.write(tariff.write, tariff.writes["2"])
            assert (await turn.read(tariff.state.range)).words[0] in tariff.states["2"]
        assert field.devices.tariff(field.meter) == "2"
        await bus.close()

    on_field(use)


def test_status_bits_and_stored_freezes(on_field: Callable[..., None]) -> None:
    profile, (status,) = ALL.features.profile, ALL.features.status
    assert profile is not None

    async def use(field: Field) -> None:
        assert profile is not None
        bus, world = field.bus(), field.world
        # What happens is planted on a meter that publishes for itself; here it stands in a register.
        (incident,) = world.incidents.planted.values()
        world.incidents.of = {field.meter: (replace(incident, meter=field.meter),)}
        async with bus.turn(field.address) as turn:
            assert (await turn.read(status.range)).words == (1,)
            first = type(status.range)(profile.table, profile.address, profile.address + profile.stride - 1)
            record = (await turn.read(first)).words
        stamp = decode_clock(profile.stamp, record[:2], world.days.zone) if profile.stamp else None
        assert stamp == datetime(2026, 11, 22, 16, tzinfo=UTC), "local midnight"
        lead_us = field.devices.clock(field.meter).lead_us(field.now_us)
        at = to_us(stamp) - lead_us
        assert record[4] << 16 | record[5] == world.shown(*truth(world, field.meter, at))[0, 0]
        await bus.close()

    on_field(use, '[[faults]]\nkind = "cover_opened"\narea = "A"\n')


def test_what_a_meter_refuses(on_field: Callable[..., None]) -> None:
    async def use(field: Field) -> None:
        bus = field.bus()
        clock = ALL.features.clock
        assert clock is not None
        async with bus.turn(field.address) as turn:
            with pytest.raises(IllegalAddress):
                await turn.read(type(clock.range)(clock.table, 0x900, 0x901))
            assert clock.write is not None
            with pytest.raises(DeviceException) as refusal:
                await turn.write(clock.write, (0, 0, 0))
            assert refusal.value.exception_code == 3
        await bus.close()

    on_field(use)


def test_a_silent_meter_is_silence_or_the_gateways_word(on_field: Callable[..., None]) -> None:
    async def use(field: Field) -> None:
        (silent,) = field.world.fleet.planted.values()
        meter = field.world.fleet.meters[silent]
        assert meter.unit is not None
        bus, model = field.bus(), MODELS[meter.model]
        error = DeviceException if field.kind == "tcp" else ResponseTimeout
        with pytest.raises(error) as raised:
            await bus.read_meter(meter.unit, model, frozenset({Quantity.IMPORT_WH}))
        if isinstance(raised.value, DeviceException):
            assert raised.value.exception_code == 11
        neighbour = await bus.read_meter(1, MODELS["eastron-sdm630"], frozenset({Quantity.IMPORT_WH}))
        assert neighbour.import_wh is not None
        await bus.close()

    on_field(use, '[[faults]]\nkind = "silent_meter"\narea = "A"\n')


def test_pymodbus_talks_rtu_to_a_transparent_gateway(scenario_file: Path) -> None:
    async def run() -> None:
        async with started(small(scenario_file, RtuGateway()), "rtu+tcp") as field:
            client = AsyncModbusTcpClient("127.0.0.1", port=field.port, framer=FramerType.RTU, timeout=2)
            assert await client.connect()
            clock = ALL.features.clock
            assert clock is not None
            words = list(encode_clock(clock.format, NOW, field.world.days.zone))
            written = await client.write_registers(0x3C, words, device_id=field.unit)
            assert not written.isError()
            read = await client.read_holding_registers(0x3C, count=3, device_id=field.unit)
            assert read.registers == words
            coil = await client.write_coil(0x41, False, device_id=field.unit)
            assert not coil.isError()
            field.now_us += US
            assert (await client.read_holding_registers(0x40, count=1, device_id=field.unit)).registers == [1]
            unknown = await client.read_coils(0, count=8, device_id=field.unit)
            assert unknown.isError()
            assert unknown.exception_code == 1
            client.close()

    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_modem_that_is_cut_comes_back(scenario_file: Path) -> None:
    async def run() -> None:
        async with started(small(scenario_file, TRANSPORTS["dialin"]), "dialin") as field:
            assert field.dialin is not None
            bus = field.bus()
            for times in (1, 2, 3):
                reading = await bus.read_meter(field.unit, ALL, frozenset({Quantity.IMPORT_WH}))
                assert reading.import_wh is not None
                assert len(field.registered) == times
                await bus.close()  # our side hangs up
            (modem,) = field.dialin.modems()
            assert (modem.id, modem.registrations) == (IMEI, 3)

    asyncio.run(asyncio.wait_for(run(), 30))


def test_heartbeats_keep_coming_and_hurt_no_answer(scenario_file: Path) -> None:
    async def run() -> None:
        async with started(small(scenario_file, TRANSPORTS["dialin"]), "dialin") as field:
            assert field.dialin is not None
            bus = field.bus()
            for _ in range(40):
                await bus.read_meter(field.unit, ALL, frozenset({Quantity.IMPORT_WH, Quantity.VOLTAGE_L1_V}))
                await asyncio.sleep(0.01)
            assert bus.stats.malformed == 0
            assert bus.stats.timeouts == 0
            await bus.close()

    asyncio.run(asyncio.wait_for(run(), 30))


def test_a_modem_that_is_turned_away_rests_longer_and_longer(scenario_file: Path) -> None:
    async def run() -> None:
        gateway = ModemGateway(imei=IMEI, again_s=1.0, again_most_s=10.0)
        world = small(scenario_file, gateway)
        bus = meter_buses(Devices(world, {}, lambda _: None), lambda: to_us(NOW))[0]
        said: list[bytes] = []

        async def turn_away(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            said.append(await reader.read(100))
            writer.close()

        server = await asyncio.start_server(turn_away, "127.0.0.1", 0)
        rests: list[float] = []
        enough = asyncio.Event()

        async def sleep(seconds: float) -> None:
            if seconds != gateway.beat_s:
                rests.append(seconds)
            if len(rests) >= 8:
                enough.set()
            await asyncio.sleep(0 if len(rests) < 8 and seconds != gateway.beat_s else 3600)

        modem = Modem(gateway, bus, "127.0.0.1", server.sockets[0].getsockname()[1], sleep=sleep)
        await modem.run(enough)
        server.close()
        await server.wait_closed()
        assert set(said) == {IMEI.encode()}
        assert modem.connections == 8
        for k, rest in enumerate(rests):
            assert min(10.0, 2.0**k) / 2 <= rest <= min(10.0, 2.0**k)

    asyncio.run(asyncio.wait_for(run(), 30))
