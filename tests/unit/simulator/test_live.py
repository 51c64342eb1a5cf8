"""What a meter shows now agrees with what it froze, whichever way it is read."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from drivers.base import Quantity
from drivers.modbus.map_file import load_models
from drivers.mqtt.payload import MeterReadings, decode
from drivers.simulator.days import STEP_US, US
from drivers.simulator.live import PHASED, LiveMeters
from drivers.simulator.profile import freezes
from drivers.simulator.self_publishing import SinglePublishers
from drivers.simulator.world import World

Make = Callable[..., World]


def test_bus_meters_show_at_a_freeze_what_they_froze(make_world: Make) -> None:
    world = make_world()
    live, models = LiveMeters(world), load_models()
    on_bus = np.array([i for i, m in enumerate(world.fleet.meters) if m.unit is not None])
    ts = world.until_us - 5 * STEP_US
    frozen = freezes(world, on_bus, np.array([ts]))
    for row, meter in enumerate(on_bus):
        wanted = models[world.fleet.meters[meter].model].quantities
        values = live.values(int(meter), ts, wanted)
        assert wanted <= set(values), "everything that the model has"
        assert values[Quantity.IMPORT_WH] == frozen.import_wh[row, 0]
        assert values[Quantity.EXPORT_WH] == frozen.export_wh[row, 0]
        earlier, later = (live.values(int(meter), ts + d * US, wanted)[Quantity.IMPORT_WH] for d in (-120, 120))
        assert earlier <= values[Quantity.IMPORT_WH] <= later


def test_phases_make_the_whole(make_world: Make) -> None:
    world = make_world()
    meter = world.fleet.area_meter[0]
    values = LiveMeters(world).values(meter, world.epoch_us, frozenset(Quantity))
    power = sum(float(values[q]) for q in PHASED["power"])
    assert power == pytest.approx(float(values[Quantity.POWER_W]))
    assert 0 < float(values[Quantity.POWER_FACTOR]) <= 1
    at = np.array([world.epoch_us])
    day = world.day(world.today)
    interval = (world.epoch_us - int(day.grid_us[0])) // STEP_US
    supplied = day.truth.supplied_wh[0, :, interval].sum() * 4 / 60
    assert power == pytest.approx(supplied, rel=0.01)
    assert world.true_phase_cumulative(meter, at)[0].shape == (3, 1)


def test_a_single_meter_stamps_with_its_own_clock(make_world: Make) -> None:
    world = make_world()
    singles = [i for i, m in enumerate(world.fleet.meters) if m.area == 0 and m.single_mqtt]
    assert singles

    async def readings() -> list[tuple[int, str, bytes]]:
        side = SinglePublishers(world, 0, host="127.0.0.1", port=1, prefix="p/q", now_us=lambda: 0)
        return [(i, *side.reading(i, world.epoch_us + 123_456)) for i in singles]

    for meter, topic, payload in asyncio.run(readings()):
        batch = decode(topic, payload, prefix="p/q", received_us=world.epoch_us)
        assert isinstance(batch, MeterReadings)
        row = batch.batch.rows[0]
        lead_s = world.instruments.lead_s[meter]
        assert row["ts_us"] == pytest.approx(world.epoch_us + lead_s * US, abs=1.2 * US)
        assert row["ts_us"] % US == 0
        assert row["import_wh"] == freezes_at(world, meter, int(row["ts_us"]))


def freezes_at(world: World, meter: int, ts_us: int) -> int:
    """The register when the meter's own clock shows `ts_us`."""
    one = np.array([meter])
    at = ts_us - world.instruments.clock_lead_us(one, np.array([ts_us]))
    return int(world.shown(one, world.true_cumulative(one, at)[0])[0, 0])
