"""The role: marks and workers, changes of topology, days that end, the store being away, settling by request."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from datetime import date, timedelta

import pytest

from headend.domain.quality import ValidationFlag as Flag
from headend.settlement.mass import settle_days
from headend.settlement.service import SettlementService
from headend.store import dirty
from headend.store.pool import Store
from support.field import DAY0, QUARTER, T0, Field


def _area(field: Field, code: str = "A1", houses: int = 2) -> tuple[int, int, list[int]]:
    """An area meter (x 40) and houses; returns the area, the area's meter, the houses' meters."""
    area = field.area(code)
    _, total = field.metered(area, f"{code}-sum", "area", phases=3, multiplier="40")
    return area, total, [field.metered(area, f"{code}-h{h}")[1] for h in range(houses)]


def _fill(field: Field, meter: int, wh: int, *, first: int = 0, last: int = 96, base: int = 0) -> None:
    field.store_readings([(meter, T0 + k * QUARTER, base + wh * k) for k in range(first, last + 1)])


def _settle(field: Field, after: timedelta = timedelta(days=1, hours=1)) -> int:
    return field.settle_all(T0 + after)


def test_a_day_worked_by_hand(field: Field) -> None:
    # area: 11 x 40 = 440 Wh a quarter; houses 200 and 230: loss 10 Wh a quarter, 960 Wh a day, rate 960 / 42,240
    area, total, (one, two) = _area(field)
    for meter, wh in ((total, 11), (one, 200), (two, 230)):
        _fill(field, meter, wh)
    field.mark(area, [DAY0])
    _settle(field)
    (day,) = field.balances(DAY0)
    assert (day["supplied_wh"], day["delivered_wh"], day["loss_wh"], day["gross_wh"]) == (42_240, 41_280, 960, 42_240)
    assert day["loss_rate"] == pytest.approx(960 / 42_240)
    assert (day["state"], day["reason"], day["technical_wh"]) == ("normal", None, None)
    assert (day["intervals"], day["intervals_complete"], day["coverage_intervals"]) == (96, 96, 1.0)
    assert (day["households"], day["households_measured"], day["coverage_households"]) == (2, 2, 1.0)
    assert day["supplied_interval_wh"] == [440] * 96
    assert day["starts_at"] == T0
    # gain: meter and transformers of class 0.5S, each 0.5 % / 2.576, of 42,240: 115.9; 1 % / 2.576 of 19,200 and
    # 22,080: 74.5 and 85.7; a step of 40 Wh at both ends: 16.3
    assert day["uncertainty_wh"] == pytest.approx((115.9**2 + 74.5**2 + 85.7**2 + 40**2 / 6) ** 0.5, abs=1)
    house = field.rows("select * from interval_day where %s = any(meters) order by day", [one])[0]
    assert house["import_wh"] == [200] * 96
    assert house["quality"] == [1], "the same all day"
    assert (house["start_import_wh"], house["end_import_wh"], house["measured"], house["estimated"]) == (
        0,
        19_200,
        96,
        0,
    )
    assert house["multiplier"] == 1
    assert field.one("select count(*) from dirty_day") == 0


@pytest.mark.parametrize("since", [96, 91, 0])
def test_a_meter_that_sends_nonsense_takes_no_other_one_of_its_area_down(field: Field, since: int) -> None:
    area, total, (one, two) = _area(field)
    for meter, wh in ((total, 11), (two, 230)):
        _fill(field, meter, wh)
    if since:
        _fill(field, one, 200, last=since - 1)
    field.store_readings([(one, T0 + k * QUARTER, 10**15) for k in range(since, 97)])  # the most that MQTT lets through
    field.mark(area, [DAY0])
    _settle(field)
    assert field.one("select count(*) from dirty_day") == 0
    days = {row["meters"][0]: row for row in field.rows("select * from interval_day where day = %s", [DAY0])}
    assert days[two]["import_wh"] == [230] * 96
    assert days[one]["import_wh"] == [200] * max(since - 1, 0) + [None] * (97 - max(since, 1))
    assert all(flags & Flag.ABOVE_CAPACITY for flags in days[one]["flags"][max(since - 1, 0) :])
    (day,) = field.balances(DAY0)
    assert day["intervals_complete"] == max(since - 1, 0)
    assert day["state"] == ("normal" if since > 90 else "not_computable")


def test_a_mark_is_settled_only_when_it_is_quiet(field: Field) -> None:
    area, *_ = _area(field)
    now = T0 + timedelta(days=1)
    field.mark(area, [DAY0], at=now)
    service = SettlementService(field.store, field.settings, lambda: now)
    assert service.settle_next() is None
    later = SettlementService(field.store, field.settings, lambda: now + timedelta(seconds=2))
    assert later.settle_next() is not None


def test_a_day_that_readings_keep_touching_is_settled_all_the_same(field: Field) -> None:
    area, *_ = _area(field)
    times = [T0 + timedelta(days=1)]
    service = SettlementService(field.store, field.settings, lambda: times[-1])
    for second in range(40):
        times.append(T0 + timedelta(days=1, seconds=second))
        field.mark(area, [DAY0], at=times[-1])
        if service.settle_next() is not None:
            assert second >= 30
            return
    pytest.fail("never settled")


def test_days_of_an_area_that_is_loading_wait_for_the_next_upload(field: Field) -> None:
    area, *_ = _area(field)
    now = T0 + timedelta(days=1)
    field.run(
        "insert into concentrator (code, area_id, backlog, last_seen_at) values ('C1', %s, 3, %s)",
        [area, now],
    )
    times = [now]
    service = SettlementService(field.store, field.settings, lambda: times[-1])
    field.mark(area, [DAY0], at=now)
    times.append(now + timedelta(seconds=5))
    assert service.settle_next() is None
    times.append(now + timedelta(seconds=12))
    assert service.settle_next() is not None
    field.mark(area, [DAY0], at=times[-1])
    field.run("update concentrator set backlog = 0")
    times.append(now + timedelta(seconds=14))
    assert service.settle_next() is not None


def test_a_mark_renewed_while_it_is_settled_survives(field: Field) -> None:
    area, *_ = _area(field)
    field.mark(area, [DAY0, DAY0 + timedelta(days=1)])
    with field.store.transaction() as connection:
        now = T0 + timedelta(days=3)
        ripe = dirty.Ripe.now(now)
        assert dirty.take_area(connection, ripe) == (area, "A1")
        taken = dirty.marks(connection, area, ripe, 31)
        assert [m.day for m in taken] == [DAY0, DAY0 + timedelta(days=1)]
        field.mark(area, [DAY0])  # a reading comes, on a connection of its own, and does not wait for the settling
        assert dirty.clear(connection, area, taken) == 1
    assert field.rows("select day from dirty_day") == [{"day": DAY0}]


def test_two_workers_take_different_areas(make_field: Callable[..., Field]) -> None:
    field = make_field()
    for code in ("A1", "A2"):
        area, total, meters = _area(field, code)
        _fill(field, total, 11)
        _fill(field, meters[0], 200)
        field.mark(area, [DAY0])
    now = T0 + timedelta(days=3)
    ripe = dirty.Ripe.now(now)
    with field.store.transaction() as first, field.store.transaction() as second:
        a, b = dirty.take_area(first, ripe), dirty.take_area(second, ripe)
        assert a is not None
        assert b is not None
        assert {a[1], b[1]} == {"A1", "A2"}
        with field.store.transaction() as third:
            assert dirty.take_area(third, ripe) is None
    threads = [threading.Thread(target=_settle, args=(field,)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(field.balances(DAY0)) == 2
    assert field.one("select count(*) from dirty_day") == 0


def test_a_removed_shared_meter_hands_over_to_the_households_behind_it(field: Field) -> None:
    # behind the shared meter: two houses of 100 Wh a quarter each; at noon it goes and they count themselves
    noon = T0 + timedelta(hours=12)
    area, total, _ = _area(field, houses=0)
    shared_meter = field.meter("shared")
    shared = field.point(area, "shared", "shared", until=noon)
    field.install(shared, shared_meter, until=noon, start=0, end=9600)
    houses = []
    for h in range(2):
        house = field.point(area, f"h{h}", behind=shared, until=noon)
        field.run(
            "insert into area_membership (usage_point_id, area_id, valid_from) values (%s, %s, %s)", [house, area, noon]
        )
        houses.append(field.meter(f"h{h}"))
        field.install(house, houses[-1], start=0)
        _fill(field, houses[-1], 100)
    _fill(field, total, 5)
    _fill(field, shared_meter, 200, last=47)
    field.mark(area, [DAY0])
    _settle(field)
    (day,) = field.balances(DAY0)
    assert (day["supplied_wh"], day["delivered_wh"], day["intervals_complete"]) == (19_200, 19_200, 96)
    assert (day["households"], day["households_measured"]) == (2, 2)


def test_a_point_that_moves_counts_for_each_area_in_its_own_time(field: Field) -> None:
    noon = T0 + timedelta(hours=12)
    one, total_one, _ = _area(field, "A1")
    two, total_two, _ = _area(field, "A2")
    moved = field.point(one, "moved", until=noon)
    field.run(
        "insert into area_membership (usage_point_id, area_id, valid_from) values (%s, %s, %s)", [moved, two, noon]
    )
    meter = field.meter("moved")
    field.install(moved, meter, start=0)
    for m in (total_one, total_two):
        _fill(field, m, 10)
    for m in field.rows("select meter_id from meter where serial like '%%-h%%'"):
        _fill(field, m["meter_id"], 100)
    _fill(field, meter, 50)
    field.mark(one, [DAY0])
    field.mark(two, [DAY0])
    _settle(field)
    found = {r["area_id"]: r["delivered_interval_wh"] for r in field.balances(DAY0)}
    assert found[one] == [250] * 48 + [200] * 48
    assert found[two] == [200] * 48 + [250] * 48
    rows = field.rows("select day from interval_day join usage_point using (usage_point_id) where code = 'moved'")
    assert [r["day"] for r in rows].count(DAY0) == 1


def test_a_multiplier_corrected_later_recomputes_the_past(field: Field) -> None:
    _, total, (one, two) = _area(field)
    for meter, wh in ((total, 11), (one, 200), (two, 230)):
        _fill(field, meter, wh)
    assert settle_days(field.store, field.settings, lambda: T0 + timedelta(days=2), DAY0, DAY0) >= 1
    field.run("update installation set multiplier = 20 where meter_id = %s", [total])
    assert settle_days(field.store, field.settings, lambda: T0 + timedelta(days=2), DAY0, DAY0, "A1") == 1, (
        "nothing touches other days"
    )
    (day,) = field.balances(DAY0)
    assert (day["supplied_wh"], day["state"]) == (21_120, "negative")


def test_settling_by_request_says_what_is_wrong(field: Field) -> None:
    _area(field)
    with pytest.raises(LookupError, match="no area 'A9'"):
        settle_days(field.store, field.settings, lambda: T0, DAY0, DAY0, "A9")
    with pytest.raises(ValueError, match="before the first"):
        settle_days(field.store, field.settings, lambda: T0, DAY0, DAY0 - timedelta(days=1))


def test_an_installation_taken_back_leaves_no_rows_behind(field: Field) -> None:
    area, total, (one, two) = _area(field)
    for meter, wh in ((total, 11), (one, 200), (two, 230)):
        _fill(field, meter, wh)
    field.mark(area, [DAY0])
    _settle(field)
    field.run("delete from installation where meter_id = %s", [two])
    field.mark(area, [DAY0])
    _settle(field)
    assert field.one("select count(*) from interval_day where day = %s", [DAY0]) == 2
    (day,) = field.balances(DAY0)
    assert (day["delivered_wh"], day["households_measured"]) == (19_200, 1)


def test_a_day_without_any_reading_gets_its_last_word_too(field: Field) -> None:
    area, total, (one, two) = _area(field)
    for meter, wh in ((total, 11), (one, 200), (two, 230)):
        _fill(field, meter, wh)
    field.mark(area, [DAY0])
    _settle(field)
    service = SettlementService(field.store, field.settings, lambda: T0 + timedelta(days=3, seconds=5))
    service.step()
    field.settle_all(T0 + timedelta(days=3, seconds=8))
    days = field.rows("select day, state, reason from balance_day order by day")
    assert [(d["day"], d["reason"]) for d in days[1:]] == [
        (DAY0 + timedelta(days=1), "area_meter_missing"),
        (DAY0 + timedelta(days=2), "area_meter_missing"),
    ]


def test_a_day_is_final_when_complete_or_after_the_grace(make_field: Callable[..., Field]) -> None:
    field = make_field(grace_days=3)
    area, total, (one, two) = _area(field)
    _fill(field, total, 11, last=192)
    _fill(field, one, 200, last=192)
    _fill(field, two, 230, last=96)
    _fill(field, two, 230, first=100, last=192)
    field.mark(area, [DAY0, DAY0 + timedelta(days=1)])
    _settle(field, timedelta(days=2, hours=1))

    def final(after: timedelta) -> list[date]:
        SettlementService(field.store, field.settings, lambda: T0 + after)._finalise()
        return [r["day"] for r in field.rows("select day from balance_day where final order by day")]

    assert final(timedelta(hours=23)) == [], "not over"
    assert final(timedelta(days=2, hours=1)) == [DAY0], "the second day has four estimated intervals"
    field.mark(area, [DAY0 + timedelta(days=1)])
    assert final(timedelta(days=5, hours=1)) == [DAY0], "a day that waits to be settled is not final"
    field.run("delete from dirty_day")
    assert final(timedelta(days=5, hours=1)) == [DAY0, DAY0 + timedelta(days=1)]


def test_the_role_waits_for_the_store_and_goes_on(field: Field) -> None:
    area, total, (one, two) = _area(field)
    for meter, wh in ((total, 11), (one, 200), (two, 230)):
        _fill(field, meter, wh)
    field.mark(area, [DAY0])

    class Flaky(Store):
        """Away at first."""

        failures = 2

        def transaction(self):  # type: ignore[no-untyped-def]
            from headend.store.errors import StoreUnavailable

            if self.failures > 0:
                self.failures -= 1
                raise StoreUnavailable("away")
            return field.store.transaction()

    async def work() -> None:
        stop = asyncio.Event()
        service = SettlementService(Flaky(field.store.dsn), field.settings, lambda: T0 + timedelta(days=2))
        task = asyncio.create_task(service.run(stop))
        async with asyncio.timeout(30):
            while not await asyncio.to_thread(field.balances, DAY0):
                await asyncio.sleep(0.05)
            stop.set()
            await task

    asyncio.run(work())
    assert field.balances(DAY0)[0]["loss_wh"] == 960
