"""A Shelly Pro 3EM says what its payload map understands, and its registers are those of its place."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest

from drivers.mqtt.decoded import MeterReadings
from drivers.mqtt.map_file import load_maps
from drivers.mqtt.router import Router
from drivers.simulator.days import US
from drivers.simulator.faults import Stranger
from drivers.simulator.live import LiveMeters
from drivers.simulator.planted import beside
from drivers.simulator.stranger import StrangerDevice
from drivers.simulator.world import World

Make = Callable[..., World]
STRANGER = Stranger(area="B", device="shellypro3em-08f9e0e5c790")


@pytest.fixture
def device(make_world: Make) -> StrangerDevice:
    """One of area B."""
    world = make_world()
    return StrangerDevice(world, LiveMeters(world), STRANGER)


def test_its_payload_map_reads_its_registers(make_world: Make, device: StrangerDevice) -> None:
    world = make_world()
    now = world.epoch_us + 7200 * US
    topic, payload = device.messages(now)[0]
    router = Router("headend/v1", load_maps())
    decoded = router.decode(topic, payload, now)
    assert isinstance(decoded, MeterReadings)
    (meter,) = decoded.batch.meters
    assert str(meter) == "Shelly/shellypro3em-08f9e0e5c790"
    row, phases = decoded.batch.rows[0], decoded.batch.phases[0]
    assert row["ts_us"] == pytest.approx(now, abs=10_000)
    beside_it = beside(world.fleet, 1)
    since, until = (world.true_phase_cumulative(beside_it, np.array([t]))[0] for t in (world.epoch_us, now))
    assert row["import_wh"] == pytest.approx(float((until - since).sum()), abs=1)
    assert phases["import_wh"].tolist() == pytest.approx((until - since)[:, 0].tolist(), abs=1)


def test_registers_begin_at_zero_and_only_rise(make_world: Make, device: StrangerDevice) -> None:
    epoch = make_world().epoch_us
    totals = [
        json.loads(device.messages(epoch + k * 600 * US)[0][1])["params"]["emdata:0"]["total_act"] for k in range(5)
    ]
    assert totals[0] == 0
    assert totals == sorted(totals)
    assert totals[-1] > 0


def test_what_it_measures_is_there_too(make_world: Make, device: StrangerDevice) -> None:
    topic, payload = device.messages(make_world().epoch_us)[1]
    body = json.loads(payload)
    assert topic == "shellypro3em-08f9e0e5c790/events/rpc"
    assert (body["src"], body["method"]) == ("shellypro3em-08f9e0e5c790", "NotifyStatus")
    measured = body["params"]["em:0"]
    assert 200 < measured["b_voltage"] < 250
    assert measured["total_act_power"] == pytest.approx(sum(measured[f"{p}_act_power"] for p in "abc"), abs=0.2)
