"""What a reading or a change touches is settled again, and only that; what comes out the same is not written."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from headend.store import dirty, topology
from support.arrivals import HOUR, NOW, Sample, World
from support.field import DAY0, T0, Field


@pytest.fixture
def world(make_field: Callable[..., Field]) -> World:
    """Settled, with the reading of the point `plain` of 06:00 on the third day still to come."""
    made = World(make_field(interval_s=3600, tolerance_s=4500), 11, wild=False)
    made.begin()
    made.samples = [s for s in made.samples if not (s.meter == "plain" and _near(s))]
    made.write(made.samples)
    made.settle()
    return made


def _near(sample: Sample) -> bool:
    """So near the late reading that it would be in doubt what that changes."""
    return timedelta(days=2, hours=4) < sample.at - T0 < timedelta(days=2, hours=8)


def _rows(world: World, table: str) -> dict[tuple[int, date], str]:
    """Which version of each row stands there."""
    key = "area_id" if table == "balance_day" else "usage_point_id"
    found = world.field.rows(f"select {key} as id, day, xmin::text as version from {table}")
    return {(row["id"], row["day"]): row["version"] for row in found}


def _changed(before: dict[Any, str], after: dict[Any, str]) -> set[Any]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def _area_of(world: World, point: str) -> int:
    return world.areas[next(area for name, area, _, _ in world.initial if name == point)]


def test_a_late_reading_within_a_day_touches_that_day_of_its_point_and_its_area(world: World) -> None:
    """And the days of the long gap that begins after it, whose shape this day gave."""
    assert _dense(world, "plain", 2), "the day has readings on both sides of the late one"
    rows, balances = _rows(world, "interval_day"), _rows(world, "balance_day")
    before = T0 + timedelta(days=2, hours=5)
    register = max(s.import_wh or 0 for s in world.samples if s.meter == "plain" and s.at < before)
    day, point = DAY0 + timedelta(days=2), world.points["plain"]
    resting = world.field.rows(
        "select day from shaped_day where usage_point_id = %s and day > %s and gap_day between %s and %s",
        [point, day, day + timedelta(days=1), day + timedelta(days=28)],
    )
    assert 30 < len(resting) < len(rows) / 8
    world.write([Sample("plain", T0 + timedelta(days=2, hours=6), register + 7, 0)])
    assert world.field.rows("select area_id, day from dirty_day") == [{"area_id": _area_of(world, "plain"), "day": day}]
    world.settle()
    reached = {day} | {row["day"] for row in resting}
    changed = _changed(rows, _rows(world, "interval_day"))
    assert (point, day) in changed
    assert changed <= {(point, d) for d in reached}
    settled = _changed(balances, _rows(world, "balance_day"))
    assert settled == {(_area_of(world, "plain"), d) for d in reached}


def _dense(world: World, meter: str, day: int) -> bool:
    hours = {int((s.at - T0) / HOUR) - 24 * day for s in world.samples if s.meter == meter}
    return bool(hours & {0, 1, 2, 3, 4}) and bool(hours & set(range(8, 24)))


def test_the_same_reading_again_touches_nothing(world: World) -> None:
    world.write(world.samples[:500])
    assert world.field.rows("select * from dirty_day") == []


def test_settling_again_writes_no_row(world: World) -> None:
    rows, shaped = _rows(world, "interval_day"), _rows(world, "shaped_day")
    content = world.field.balances()
    with world.field.store.transaction() as c:
        for area in world.areas.values():
            of_area = [row["day"] for row in content if row["area_id"] == area]
            dirty.mark_area(c, area, min(of_area), max(of_area), NOW)
    assert world.settle() == 2 * 2, "31 days a pass, and nothing is passed on"
    assert _changed(rows, _rows(world, "interval_day")) == set()
    assert _changed(shaped, _rows(world, "shaped_day")) == set()
    assert world.field.balances() == content


def test_another_ratio_touches_the_days_since_on_that_area_alone(world: World) -> None:
    rows = _rows(world, "interval_day")
    at = T0 + timedelta(days=46)
    with world.field.store.transaction() as c:
        more = {"usage_point_id": world.points["B-sum"], "at": at, "calendar": world.calendar, "now": NOW}
        topology.remove_meter(c, **more)  # type: ignore[arg-type]
        topology.install_meter(c, meter_id=world.meters["B-sum"], multiplier=Decimal(60), **more)  # type: ignore[arg-type]
    marked = world.field.rows("select distinct area_id, min(day) as first from dirty_day group by 1")
    assert marked == [{"area_id": world.areas["B"], "first": DAY0 + timedelta(days=45)}]
    world.settle()
    changed = _changed(rows, _rows(world, "interval_day")) & rows.keys()  # days that nobody had asked for are new
    assert {point for point, _ in changed} == {world.points["B-sum"]}
    assert min(day for _, day in changed) >= DAY0 + timedelta(days=45)
