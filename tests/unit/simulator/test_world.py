"""Conservation, determinism over restarts, registers as meters show them, and what each fault does."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from drivers.simulator.days import STEP_US, US, to_us
from drivers.simulator.fleet import AREA, INSTALLED, SHARED, STOCK
from drivers.simulator.profile import Profiles, freezes
from drivers.simulator.world import World

Make = Callable[..., World]
FAULT = '[[faults]]\nkind = "{}"\narea = "A"\n'


def history(world: World, what: Callable[[object], np.ndarray]) -> np.ndarray:
    """An array of every full day of history, one after the other along the last axis."""
    days = range(world.scenario.history_days)
    return np.concatenate([what(world.day(world.first_day + timedelta(days=i))) for i in days], axis=-1)


def used(world: World, area: int) -> np.ndarray:
    """(n,) true energy of all that hangs on an area."""
    users = history(world, lambda d: d.truth.user_wh)[world.fleet.user_area == area].sum(axis=0)
    for k, fault in enumerate(world.scenario.faults):
        if fault.area == world.scenario.areas[area].code and k in world.day(world.first_day).truth.tap_wh:
            users = users + history(world, lambda d, k=k: d.truth.tap_wh[k])
    return users


def test_energy_is_conserved_in_every_interval(make_world: Make) -> None:
    tap = FAULT.format("direct_tap") + "base_w = 200\nevening_w = 600\nonset_day = 1\n"
    moved = FAULT.format("wrong_area") + 'household = 4\ntrue_area = "B"\n'
    world = make_world(tap + moved)
    for area in (0, 1):
        supplied = history(world, lambda d, a=area: d.truth.supplied_wh[a].sum(axis=0))
        loss = history(world, lambda d, a=area: d.truth.line_loss_wh[a])
        own = world.day(world.first_day).truth.own_use_wh[area]
        assert supplied == pytest.approx(used(world, area) + loss + own, abs=1e-6)
        assert np.all(loss > 0)


def test_a_day_alone_is_the_day_in_sequence(make_world: Make) -> None:
    world, other = make_world(), make_world()
    last = world.today
    in_sequence = world.day(last)
    alone = other.compute(last)
    assert np.array_equal(in_sequence.metered.import_wh, alone.metered.import_wh)
    assert np.array_equal(in_sequence.metered.voltage_v, alone.metered.voltage_v)
    assert np.array_equal(in_sequence.metered.gap, alone.metered.gap)


def test_a_restart_in_the_middle_goes_on_with_the_same_registers(make_world: Make) -> None:
    world, meters = make_world(), np.arange(20)
    at = np.full((20, 1), world.epoch_us + 7 * 3600 * US)
    before = world.true_cumulative(meters, at)
    again = World(world.scenario, world.epoch_us, dict([world.known_prefix()]))
    assert all(np.array_equal(a, b) for a, b in zip(before, again.true_cumulative(meters, at), strict=True))
    early = np.full((20, 1), world.start_us + 11 * 3600 * US)  # and what lies before the kept day too
    assert np.array_equal(world.true_cumulative(meters, early)[0], again.true_cumulative(meters, early)[0])


def test_another_seed_is_another_world(make_world: Make) -> None:
    import msgspec

    world = make_world()
    other = World(msgspec.structs.replace(world.scenario, seed=12), world.epoch_us)
    assert not np.array_equal(world.day(world.today).metered.import_wh, other.day(world.today).metered.import_wh)


def test_registers_never_fall_and_run_straight_between_freezes(make_world: Make) -> None:
    world = make_world()
    meters = np.arange(len(world.fleet.meters))
    midnight = world.days.start_us(world.today)
    at = np.arange(midnight - 3600 * US, midnight + 3600 * US, 60 * US)
    imported, exported = world.true_cumulative(meters, np.broadcast_to(at, (meters.size, at.size)))
    assert np.all(np.diff(imported) >= 0)
    assert np.all(np.diff(exported) >= 0)
    third = imported[:, 5] - imported[:, 4], imported[:, 6] - imported[:, 5]
    assert third[0] == pytest.approx(third[1], abs=1e-6), "the same minute within one interval"


def test_the_shared_meter_measures_what_lies_behind_it(make_world: Make) -> None:
    world = make_world()
    shared = next(i for i, m in enumerate(world.fleet.meters) if m.role == SHARED)
    behind = [m.user for m in world.fleet.meters if m.role == STOCK]
    assert len(behind) == 3
    measured = history(world, lambda d: d.metered.import_wh[shared])
    true = history(world, lambda d: d.truth.user_wh)[behind].sum(axis=0)
    assert measured == pytest.approx(true, rel=0.015)


def test_the_area_meter_is_secondary_and_by_phase(make_world: Make) -> None:
    world = make_world()
    meter = world.fleet.area_meter[0]
    place = world.instruments.place3[meter]
    net = history(world, lambda d: d.metered.import_wh[meter] - d.metered.export_wh[meter])
    true = history(world, lambda d: d.truth.supplied_wh[0].sum(axis=0))
    assert net.sum() * 60 == pytest.approx(true.sum(), rel=0.01)
    phases = history(world, lambda d: (d.metered.phase_import_wh - d.metered.phase_export_wh)[place])
    assert phases.sum(axis=0) == pytest.approx(net, abs=1e-9)


def test_rollover(make_world: Make) -> None:
    world = make_world()
    one = np.array([5])
    top = world.modulus_wh[5]
    assert top == 10**7 * 10
    assert world.shown(one, np.array([[top - 0.5, top, top + 25.0]])).tolist() == [[top - 10, 0, 20]]


def test_meters_of_a_fleet_that_start_close_to_their_end(make_world: Make) -> None:
    from drivers.simulator.scenario import demo_scenario, load_scenario

    world = World(load_scenario(demo_scenario()), to_us(datetime(2026, 11, 23, 5, 41, tzinfo=UTC)))
    meters = np.arange(len(world.fleet.meters))
    ends = np.array([world.start_us, world.until_us])
    shown = freezes(world, meters, ends).import_wh
    assert np.sum(shown[:, 1] < shown[:, 0]) == 1


def test_rate_faults_touch_one_meter_only_and_never_the_physics(make_world: Make) -> None:
    # Planting the same faults without effect keeps the draw of users the same.
    text = (
        FAULT.format("under_registering") + "household = 2\nfactor = {}\nonset_day = 1\n"
        + FAULT.format("wrong_multiplier") + "household = 3\ntrue_multiplier = {}\n"
        + FAULT.format("area_meter_ratio") + "factor = {}\nonset_day = 2\n"
    )  # fmt: skip
    faulty, sound = make_world(text.format(0.45, 2, 0.8)), make_world(text.format(0.9999999, 1, 1))
    with np.errstate(invalid="ignore"):  # panels: nothing drawn in either world
        ratio = history(faulty, lambda d: d.metered.import_wh) / history(sound, lambda d: d.metered.import_wh)
    assert np.array_equal(
        history(faulty, lambda d: d.truth.supplied_wh[0]), history(sound, lambda d: d.truth.supplied_wh[0])
    )
    a, b, area = faulty.fleet.household(0, 2), faulty.fleet.household(0, 3), faulty.fleet.area_meter[0]
    assert ratio[a, :96] == pytest.approx(1, rel=1e-6)
    assert ratio[a, 96:] == pytest.approx(0.45, rel=1e-6)
    assert ratio[b] == pytest.approx(0.5, rel=1e-6)
    assert np.nanmax(abs(ratio[area, :192] - 1)) < 1e-9
    assert np.nanmax(abs(ratio[area, 192:] - 0.8)) < 1e-9
    others = np.delete(ratio, [a, b, area], axis=0)
    assert others[np.isfinite(others)] == pytest.approx(1)


def test_a_stuck_register_stands(make_world: Make) -> None:
    world = make_world(FAULT.format("stuck") + "household = 2\nonset_day = 1\n")
    meter = world.fleet.household(0, 2)
    grid = np.concatenate([world.days.grid_us(world.first_day + timedelta(days=i))[1:] for i in range(3)])
    shown = freezes(world, np.array([meter]), grid).import_wh[0]
    assert len(set(shown[96:].tolist())) == 1
    assert shown[80] > shown[10]


def test_a_moved_meter_feels_the_voltage_of_where_it_hangs(make_world: Make) -> None:
    world = make_world(FAULT.format("wrong_area") + 'household = 4\ntrue_area = "B"\n', days=6)
    meter = world.fleet.household(0, 4)
    assert world.fleet.meters[meter].area == 0
    assert world.fleet.user_area[world.fleet.meters[meter].user] == 1
    volts = history(world, lambda d: d.metered.voltage_v)
    busbars = [
        history(world, lambda d, m=m: d.metered.phase_voltage_v[world.instruments.place3[m]])
        for m in world.fleet.area_meter
    ]
    best = [max(np.corrcoef(volts[meter], phase)[0, 1] for phase in busbar) for busbar in busbars]
    assert best[1] > best[0]


def test_a_tap_is_seen_by_the_area_meter_alone(make_world: Make) -> None:
    text = FAULT.format("direct_tap") + "base_w = {0}\nevening_w = {0}\nphase = 3\n"
    tapped, sound = make_world(text.format(500)), make_world(text.format(0))
    more = history(tapped, lambda d: d.truth.supplied_wh[0]) - history(sound, lambda d: d.truth.supplied_wh[0])
    assert more[2].sum() > 500 * 24 * 3 * 0.8
    assert abs(more[:2].sum()) < 0.05 * more[2].sum()
    energy = [history(w, lambda d: d.metered.import_wh) for w in (tapped, sound)]
    users = [i for i, m in enumerate(sound.fleet.meters) if m.role in (INSTALLED, STOCK)]
    assert energy[0][users] == pytest.approx(energy[1][users])


def test_packet_loss_and_ordinary_gaps(make_world: Make) -> None:
    world = make_world(FAULT.format("packet_loss") + "household = 2\nrate = 0.15\n", days=20)
    gaps = history(world, lambda d: d.metered.gap).mean(axis=1)
    meter = world.fleet.household(0, 2)
    assert 0.12 < gaps[meter] < 0.2
    others = [i for i, m in enumerate(world.fleet.meters) if m.role == INSTALLED and i != meter]
    assert 0.007 < gaps[others].mean() < 0.013
    assert gaps[[world.fleet.area_meter[0], world.fleet.area_meter[1]]].mean() < 0.005


def test_a_fast_clock_freezes_too_early(make_world: Make) -> None:
    world = make_world(FAULT.format("clock_drift") + "household = 2\nlead_s = 450\nlead_s_per_day = 0\n")
    meter = np.array([world.fleet.household(0, 2)])
    ts = np.array([world.start_us + 40 * STEP_US])
    early = world.true_cumulative(meter, (ts - 450 * US)[None])[0]
    assert freezes(world, meter, ts).import_wh[0, 0] == world.shown(meter, early)[0, 0]
    assert world.fleet.meters[int(meter[0])].unit is None, "the bus would set its clock"
    assert not world.fleet.meters[int(meter[0])].single_mqtt


def test_clocks_on_the_bus_are_right_and_others_within_a_minute(make_world: Make) -> None:
    world = make_world()
    lead = world.instruments.lead_s
    on_bus = np.array([m.unit is not None or m.role in (AREA, SHARED) for m in world.fleet.meters])
    assert np.all(lead[on_bus] == 0)
    assert np.all(np.abs(lead) <= 60)
    assert np.any(lead != 0)


def test_a_dead_concentrator_has_nothing_of_later_days(make_world: Make) -> None:
    world = make_world(FAULT.format("dead_concentrator") + "onset_day = 2\n")
    assert Profiles(world, 0).last_due(world.epoch_us) == 2
    assert Profiles(world, 1).last_due(world.epoch_us) == 4


def test_before_history_there_is_nothing(make_world: Make) -> None:
    world = make_world()
    with pytest.raises(ValueError, match="before the start of history"):
        world.registers_at_start(world.first_day - timedelta(days=1))
