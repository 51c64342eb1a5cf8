"""What can be changed in a meter: how its clock runs, what its relay does meanwhile, and what is remembered of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.simulator.days import US
from drivers.simulator.devices import Changed, ClockCourse, Devices, Setting
from drivers.simulator.state import StateDir
from drivers.simulator.world import World

Make = Callable[..., World]
DAY_US = 86_400 * US
CLOCK = '[[faults]]\nkind = "meter_clock"\narea = "B"\nmodel = "schneider-iem3155"\noffset_s = 2\ndrift_ppm = 100\n'


def test_a_clock_drifts_by_its_ppm() -> None:
    course = ClockCourse((Setting(0, 2 * US),), 100e-6)
    assert course.lead_us(0) == 2 * US
    assert course.lead_us(DAY_US) == 2 * US + 8_640_000


def test_a_clock_that_is_set_runs_on_no_better() -> None:
    course = ClockCourse((Setting(0, 50 * US), Setting(DAY_US, 0)), 100e-6)
    assert course.lead_us(DAY_US - 1) == pytest.approx(58_640_000, abs=1)
    assert course.lead_us(DAY_US) == 0
    assert course.lead_us(2 * DAY_US) == 8_640_000


@given(
    st.lists(st.tuples(st.integers(1, 10**12), st.integers(-(10**9), 10**9)), max_size=4),
    st.floats(-5e-4, 5e-4),
    st.integers(0, 2 * 10**12),
)
def test_when_a_clock_showed_something(changes: list[tuple[int, int]], drift: float, at: int) -> None:
    course = ClockCourse(tuple(Setting(us, lead) for us, lead in sorted({0: 0, **dict(changes)}.items())), drift)
    shown = at + course.lead_us(at)
    found = course.when_us(shown)
    assert found <= at + 1, "the first time that it was shown"
    if found + course.lead_us(found) != pytest.approx(shown, abs=2):
        assert any(found == s.from_us for s in course.settings[1:]), "it was set across"


def test_ordinary_clocks_stay_within_the_scenarios_bounds(make_world: Make) -> None:
    world = make_world("[clocks]\noffset_s = 3\ndrift_ppm = 2\n")
    devices = Devices(world, {}, lambda _: None)
    leads = [devices.clock(i).lead_us(world.start_us) for i in range(len(world.fleet.meters))]
    assert 1 * US < max(leads) <= 3 * US
    assert -3 * US <= min(leads) < -1 * US
    assert max(abs(devices.clock(i).drift) for i in range(len(leads))) <= 2e-6


def test_the_planted_clock_is_far_off(make_world: Make) -> None:
    world = make_world(CLOCK, days=10)
    meter = world.fleet.planted[0]
    course = Devices(world, {}, lambda _: None).clock(meter)
    assert course.lead_us(world.start_us) == 2 * US
    assert course.lead_us(world.start_us + 10 * DAY_US) == pytest.approx(2 * US + 86_400_000, abs=2)
    other = Devices(make_world(), {}, lambda _: None)
    untouched = next(i for i in range(len(world.fleet.meters)) if i != meter)
    same = Devices(world, {}, lambda _: None).clock(untouched)
    assert same.settings[0].lead_us == other.clock(untouched).settings[0].lead_us


def test_the_relays_motor_takes_its_time(make_world: Make) -> None:
    world = make_world("[modbus]\nrelay_ms = 400\n")
    devices, now = Devices(world, {}, lambda _: None), world.epoch_us
    assert devices.relay(0, now) == "closed"
    devices.switch_relay(0, "open", now)
    assert devices.relay(0, now + 399_999) == "closed"
    assert devices.relay(0, now + 400_000) == "open"
    devices.switch_relay(0, "closed", now + 500_000)
    assert devices.relay(0, now + 500_001) == "open"
    assert devices.relay(1, now + 10**9) == "closed"


def test_what_was_changed_outlives_the_process(make_world: Make, tmp_path: Path) -> None:
    world, state = make_world(), StateDir(tmp_path)
    devices = Devices(world, state.changed(), state.keep_changed)
    devices.set_clock(3, world.epoch_us + 7 * US, world.epoch_us)
    devices.switch_relay(3, "open", world.epoch_us)
    devices.switch_tariff(4, "2")
    again = Devices(make_world(), StateDir(tmp_path).changed(), lambda _: None)
    assert again.clock(3).lead_us(world.epoch_us) == 7 * US
    assert again.relay(3, world.epoch_us + US) == "open"
    assert (again.tariff(4), again.tariff(3)) == ("2", "1")


def test_only_so_many_settings_are_remembered(make_world: Make) -> None:
    kept: list[dict[str, Changed]] = []
    world = make_world()
    devices = Devices(world, {}, kept.append)
    for k in range(70):
        devices.set_clock(0, world.epoch_us + k * US, world.epoch_us + k * US)
    assert len(kept[-1][world.fleet.meters[0].name].clock) == 50
    assert msgspec.json.decode(msgspec.json.encode(kept[-1]), type=dict[str, Changed]) == kept[-1]
