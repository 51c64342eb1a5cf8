"""Order, number and delay of arrivals never change what is settled."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from headend.settlement.service import SettlementService
from support.field import DAY0, QUARTER, T0, Field, assert_same_rows

DAYS = 9


def _world(field: Field) -> tuple[int, list[tuple[int, datetime, int]]]:
    """An area with five households whose readings have gaps: single, of hours, over midnight, of days, and a meter
    read once a day.
    """
    area = field.area()
    meters = {"sum": field.meter("sum", phases=3)}
    field.install(field.point(area, "sum", "area", rated=None), meters["sum"], multiplier="40", start=0)
    for name in ("whole", "holes", "midnight", "days", "daily"):
        meters[name] = field.meter(name)
        field.install(field.point(area, name), meters[name], start=0)
    choose = random.Random(20260302)
    readings: list[tuple[int, datetime, int]] = []
    total = 0
    registers = dict.fromkeys(meters, 0)
    for k in range(DAYS * 96 + 1):
        at = T0 + k * QUARTER
        if k:
            for name in meters:
                if name != "sum":
                    registers[name] += choose.randint(0, 40) + (200 if k % 96 in (72, 73, 74) else 0)
            total = sum(v for n, v in registers.items() if n != "sum")
            registers["sum"] = (total + total // 30) // 40
        kept = {
            "sum": True,
            "whole": True,
            "holes": choose.random() > 0.2,
            "midnight": not (k % 96 > 90 or k % 96 < 5) or k == 0,
            "days": not 5 * 96 + 20 < k < 7 * 96 + 51,
            "daily": k % 96 == 40,
        }
        readings += [
            (meters[n], at + timedelta(seconds=2 if n == "holes" else 0), registers[n]) for n in meters if kept[n]
        ]
    return area, readings


def _settle_all(field: Field, now: datetime) -> int:
    return field.settle_all(now, most=200)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_any_order_of_arrivals_settles_to_the_same_rows(make_field: Callable[..., Field], seed: int) -> None:
    field = make_field()
    area, readings = _world(field)
    now = T0 + timedelta(days=DAYS + 2)
    field.store_readings(readings)
    field.mark_reading(area, [at for _, at, _ in readings])
    _settle_all(field, now)
    wanted_intervals, wanted_balances = field.intervals(), field.balances()
    assert len(wanted_balances) == DAYS + 1

    field.run("truncate register_reading, interval_day, balance_day, dirty_day")
    shuffled = readings + random.Random(seed).sample(readings, len(readings) // 5)
    random.Random(seed).shuffle(shuffled)
    size = len(shuffled) // 7 + 1
    for start in range(0, len(shuffled), size):
        batch = shuffled[start : start + size]
        field.store_readings(batch)
        field.mark_reading(area, [at for _, at, _ in batch])
        _settle_all(field, now)
    assert_same_rows(field.intervals(), wanted_intervals)
    assert_same_rows(field.balances(), wanted_balances)


def test_days_in_order_settle_to_the_same_rows_as_all_at_once(make_field: Callable[..., Field]) -> None:
    field = make_field()
    area, readings = _world(field)
    now = T0 + timedelta(days=DAYS + 2)
    readings.sort(key=lambda r: r[1])
    field.store_readings(readings)
    field.mark_reading(area, [at for _, at, _ in readings])
    _settle_all(field, now)
    wanted_intervals, wanted_balances = field.intervals(), field.balances()
    field.run("truncate register_reading, interval_day, balance_day, dirty_day")
    for day in range(DAYS + 1):
        batch = [r for r in readings if T0 + timedelta(days=day) <= r[1] < T0 + timedelta(days=day + 1)]
        field.store_readings(batch)
        field.mark_reading(area, [at for _, at, _ in batch])
        _settle_all(field, T0 + timedelta(days=day, hours=23))
    field.mark(area, [DAY0 + timedelta(days=d) for d in range(DAYS + 1)])
    _settle_all(field, now)
    assert_same_rows(field.intervals(), wanted_intervals)
    assert_same_rows(field.balances(), wanted_balances)


def test_settling_again_changes_nothing(make_field: Callable[..., Field]) -> None:
    field = make_field()
    area, readings = _world(field)
    now = T0 + timedelta(days=DAYS + 2)
    field.store_readings(readings)
    field.mark_reading(area, [at for _, at, _ in readings])
    _settle_all(field, now)
    before = field.rows("select usage_point_id, day, settled_at from interval_day order by 1, 2")
    changed = field.rows("select area_id, day, changed_at from balance_day order by 1, 2")
    field.mark_reading(area, [at for _, at, _ in readings])
    assert _settle_all(field, now + timedelta(hours=1)) == 1
    assert field.rows("select usage_point_id, day, settled_at from interval_day order by 1, 2") == before
    assert field.rows("select area_id, day, changed_at from balance_day order by 1, 2") == changed


def test_every_meter_keeps_its_register_difference(make_field: Callable[..., Field]) -> None:
    field = make_field()
    area, readings = _world(field)
    field.store_readings(readings)
    field.mark_reading(area, [at for _, at, _ in readings])
    _settle_all(field, T0 + timedelta(days=DAYS + 2))
    last: dict[int, int] = {}
    for meter, _, value in readings:
        last[meter] = max(value, last.get(meter, 0))
    sums = field.rows(
        "select meters[1] as meter, sum((select sum(e) from unnest(import_wh) e)) as wh, max(multiplier) as "
        "multiplier from interval_day group by 1"
    )
    daily = field.one("select meter_id from meter where serial = 'daily'")
    for row in sums:
        if row["meter"] != daily:
            assert row["wh"] == last[row["meter"]] * row["multiplier"], row
    # the meter that is read once a day at 10:00 has numbers up to its last reading: start register 0 at T0, 9
    # readings since
    assert next(r["wh"] for r in sums if r["meter"] == daily) == last[daily]


def test_a_reference_day_that_comes_last_reshapes_the_gap_after_it(make_field: Callable[..., Field]) -> None:
    field = make_field()
    _, readings = _world(field)
    now = T0 + timedelta(days=DAYS + 2)
    area = field.one("select area_id from area")
    field.store_readings(readings)
    field.mark_reading(area, [at for _, at, _ in readings])
    _settle_all(field, now)
    wanted = field.intervals()
    field.run("truncate register_reading, interval_day, balance_day, dirty_day")
    meter = field.one("select meter_id from meter where serial = 'days'")
    reference = T0 + timedelta(days=4)
    late = [r for r in readings if r[0] == meter and reference < r[1] < reference + timedelta(days=1)]
    early = [r for r in readings if r not in late]
    field.store_readings(early)
    field.mark_reading(area, [at for _, at, _ in early])
    _settle_all(field, now)
    assert field.intervals() != wanted
    field.store_readings(late)
    field.mark_reading(area, [at for _, at, _ in late])
    _settle_all(field, now)
    assert_same_rows(field.intervals(), wanted)


def test_a_day_that_is_passed_on_is_ripe_at_once_and_no_older_than_it_is(make_field: Callable[..., Field]) -> None:
    """The age of the oldest mark tells operators whether settlement is stuck."""
    field = make_field()
    area, readings = _world(field)
    now = T0 + timedelta(days=DAYS + 2)
    field.store_readings(readings)
    field.mark_reading(area, [at for _, at, _ in readings])
    _settle_all(field, now)
    field.run("update register_reading set import_wh = import_wh + 40 where ts >= %s", [T0 + timedelta(days=4)])
    field.mark(area, [DAY0 + timedelta(days=4)])
    service = SettlementService(field.store, field.settings, lambda: now)
    assert service.settle_next() is not None
    passed_on = field.rows("select day, marked_at from dirty_day")
    assert DAY0 + timedelta(days=3) in {row["day"] for row in passed_on}
    assert all(now - row["marked_at"] < timedelta(minutes=5) for row in passed_on)
    assert service.settle_next() is not None
