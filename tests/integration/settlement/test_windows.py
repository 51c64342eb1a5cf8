"""The window that the engine is given: what was measured, and of gaps what registers say of them as a whole."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import numpy as np
import pytest

from reconciliation import analyse
from support.accuser import DAYS, HOUSES, INTERVALS, Accuser, World
from support.field import DAY0, T0, Field


@pytest.fixture
def world(make_field: Callable[..., Field]) -> World:
    return World(make_field(window_days=DAYS))


def test_the_window_holds_what_was_measured_and_the_real_engine_takes_it(world: World) -> None:
    engine = Accuser(None)
    world.engine = engine
    world.field.run(
        "delete from register_reading where meter_id = %s and ts > %s and ts < %s",
        [world.meters[5], T0 + timedelta(days=4), T0 + timedelta(days=4, hours=3)],
    )
    world.work()
    (window,) = engine.windows
    assert window.meters == tuple(f"Acme/h{h}" for h in range(HOUSES))
    assert window.start == T0
    assert window.n_intervals == INTERVALS
    hidden = np.isnan(window.household_import_wh[5])
    assert np.flatnonzero(hidden).tolist() == list(range(4 * 96, 4 * 96 + 12)), "estimates do not enter"
    assert not np.isnan(np.delete(window.household_import_wh, 5, axis=0)).any()
    assert window.household_voltage_v is not None
    assert np.nanmax(window.household_voltage_v) <= 230.0
    total = np.floor(np.cumsum(window.area_import_wh[:96]) / 40)
    assert window.area_import_wh.sum() % 40 == 0, "primary side: registers x 40"
    assert window.area_phase_wh is not None
    assert np.abs(window.area_phase_wh.sum(axis=0) - window.area_import_wh).max() <= 240
    assert total[-1] > 0
    reports = analyse([window])
    assert set(reports) == {"A1"}


def test_readings_that_are_set_aside_are_left_out_of_the_phases_too(world: World) -> None:
    """The area meter's readings of an hour are not believed: neither its energy nor its voltages are looked at."""
    gone = T0 + timedelta(days=4)
    spoilt = "ts between %s and %s"
    world.field.run(
        f"update phase_reading set import_l1_wh = import_l1_wh + 9000, voltage_l1_dv = 900 where {spoilt}",
        [gone, gone + timedelta(hours=1)],
    )
    world.field.run(
        "insert into edit (edit_id, kind, usage_point_id, meter_id, from_ts, to_ts, set_aside, first_day, last_day, "
        "made_at, made_by, reason) "
        "values (gen_random_uuid(), 'readings', %s, %s, %s, %s, 5, %s, %s, %s, 'Wang', 'spoilt')",
        [world.area_point, world.area_meter, gone, gone + timedelta(hours=1), DAY0, DAY0, T0],
    )
    engine = Accuser(None)
    world.engine = engine
    world.work()
    (window,) = engine.windows
    assert window.area_phase_wh is not None
    assert window.area_voltage_v is not None
    assert np.nanmin(window.area_voltage_v) == 230.0
    # without the five readings there is nothing to say of the six intervals between those around them
    there = np.isfinite(window.area_phase_wh).all(axis=0)
    assert np.flatnonzero(~there).tolist() == list(range(4 * 96 - 1, 4 * 96 + 5))
    assert np.abs(window.area_phase_wh.sum(axis=0) - window.area_import_wh)[there].max() <= 240


def _whole(world: World, meter: int, first: int, last: int) -> int:
    """What a meter's register counted over the intervals first to last."""
    at = [T0 + k * timedelta(minutes=15) for k in (first, last + 1)]
    return int(
        world.field.one(
            "select max(import_wh) - min(import_wh) from register_reading where meter_id = %s and ts = any (%s)",
            [meter, at],
        )
    )


def _lacking(world: World, meter: int, first: int, last: int) -> None:
    """As if the registers within the intervals first to last had never been read."""
    world.field.run(
        "delete from register_reading where meter_id = %s and ts > %s and ts < %s",
        [meter, *(T0 + k * timedelta(minutes=15) for k in (first, last + 1))],
    )


def test_a_gap_is_given_with_what_the_registers_say_of_it_as_a_whole(world: World) -> None:
    """Three hours of a household, thirty of another, two of the area meter, and one that no register closes."""
    world.engine = engine = Accuser(None)
    short, long, total = (400, 411), (500, 619), (700, 707)
    wanted = {
        4: {short[1]: _whole(world, world.meters[4], *short)},
        5: {long[1]: _whole(world, world.meters[5], *long)},
    }
    into = 40 * _whole(world, world.area_meter, *total)
    for meter, gap in ((world.meters[4], short), (world.meters[5], long), (world.area_meter, total)):
        _lacking(world, meter, *gap)
    _lacking(world, world.meters[6], INTERVALS - 8, INTERVALS + 8)
    world.work()
    (window,) = engine.windows
    assert window.household_gap_wh is not None
    found = {
        int(m): {int(k): window.household_gap_wh[m, k] for k in np.flatnonzero(np.isfinite(window.household_gap_wh[m]))}
        for m in np.flatnonzero(np.isfinite(window.household_gap_wh).any(axis=1))
    }
    assert found == wanted
    assert np.isnan(window.household_import_wh[6, INTERVALS - 8 :]).all()
    assert window.area_gap_wh is not None
    assert np.flatnonzero(np.isfinite(window.area_gap_wh)).tolist() == [total[1]]
    assert window.area_gap_wh[total[1]] == into
    assert set(analyse([window])) == {"A1"}


def test_an_areas_gap_is_given_without_its_known_loads(world: World) -> None:
    world.engine = engine = Accuser(None)
    gap = (700, 707)
    into = 40 * _whole(world, world.area_meter, *gap)
    _lacking(world, world.area_meter, *gap)
    world.field.run(
        "insert into unmetered_load (area_id, code, name, kind, power_w, schedule, tolerance, valid_from, noted_by) "
        "values (%s, 'L1', 'lamps', 'street_light', 20, '24/7', 0.1, %s, 'Li')",
        [world.area, T0],
    )
    world.work()
    (window,) = engine.windows
    assert window.area_gap_wh is not None
    assert window.area_gap_wh[gap[1]] == into - 20 * 2


def test_a_gap_across_a_move_or_another_multiplier_is_nobodys(world: World) -> None:
    """One household joins the area, and another one's transformers change, within a gap: no register was read there."""
    world.engine = engine = Accuser(None)
    joined, changed = T0 + timedelta(minutes=15 * 406), T0 + timedelta(minutes=15 * 506)
    world.field.run(
        "update area_membership set valid_from = %s where usage_point_id = (select usage_point_id from usage_point "
        "where code = 'h4')",
        [joined],
    )
    point = world.field.one("select usage_point_id from usage_point where code = 'h5'")
    world.field.run("update installation set valid_to = %s where usage_point_id = %s", [changed, point])
    world.field.install(point, world.meters[5], since=changed, multiplier="2")
    _lacking(world, world.meters[4], 400, 411)
    _lacking(world, world.meters[5], 500, 511)
    world.work()
    (window,) = engine.windows
    assert np.isnan(window.household_import_wh[5, 500:512]).any()
    assert window.household_gap_wh is None or np.isnan(window.household_gap_wh[[4, 5]]).all()
