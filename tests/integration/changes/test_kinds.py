"""Each kind of change: which area-days it marks and no others, and what is settled and billed after it, to the Wh."""

from __future__ import annotations

from decimal import Decimal

from headend.domain.changes import (
    ChangeCategory,
    ChangeMultiplier,
    ChangeSign,
    CorrectMeter,
    Move,
    RemoveSharedMeter,
    SwapMeter,
)
from support.field import DAY, T0
from support.yard import NOON_8, Yard

MIDNIGHT_8 = T0 + 6 * DAY


def test_before_anything_changes(yard: Yard) -> None:
    assert yard.days_wh("U1") == dict.fromkeys(range(2, 12), 24_000)
    assert yard.bill() == []


def test_a_meter_is_swapped(yard: Yard) -> None:
    new = yard.meter("NEW")
    yard.readings(new, yard.hourly(6.5, 10, wh=2000, start=500), export=0)
    swap = SwapMeter(
        usage_point="U1", at=NOON_8, manufacturer="Acme", serial="NEW", end_import_wh=156_000, start_import_wh=500
    )
    _, did = yard.change(swap, reason="display dead")
    assert did is not None
    assert yard.dirty() == {"A1": [8, 9, 10, 11, 12]}
    assert (did.area_days, did.billed_days, did.billed_wh) == (5, 4, 96_000)
    assert did.warnings == [
        "Acme/M-U1 was read until 2026-03-11T16:00:00+00:00, after it was removed at 2026-03-08T04:00:00+00:00"
    ]
    yard.settle()
    assert yard.days_wh("U1") == dict.fromkeys(range(2, 8), 24_000) | {8: 36_000} | dict.fromkeys((9, 10, 11), 48_000)
    told = yard.bill()
    assert [(t["day"], t["wh"]) for t in told] == [(8, 12_000), (9, 24_000), (10, 24_000), (11, 24_000)]
    assert told[0]["reason"] == (
        "settled again: 24000 Wh were billed, 36000 Wh are right (swap meter by Wang Fang: display dead)"
    )


def test_a_swap_at_midnight_touches_the_day_that_it_ends(yard: Yard) -> None:
    yard.meter("NEW")
    yard.change(SwapMeter(usage_point="U1", at=MIDNIGHT_8, manufacturer="Acme", serial="NEW"))
    assert yard.dirty() == {"A1": [7, 8, 9, 10, 11, 12]}


def test_a_usage_point_moves_to_another_area(yard: Yard) -> None:
    yard.change(Move(usage_point="U2", at=MIDNIGHT_8, area="A2"))
    assert yard.dirty() == {"A1": [8, 9, 10, 11, 12], "A2": [8, 9, 10, 11, 12]}
    yard.settle()
    delivered = {
        (row["code"], row["day"].day): row["delivered_wh"]
        for row in yard.rows("select a.code, b.day, b.delivered_wh from balance_day b join area a using (area_id)")
    }
    assert [delivered["A1", day] for day in (7, 8, 11)] == [48_000, 24_000, 24_000]
    assert [delivered["A2", day] for day in (7, 8, 11)] == [24_000, 48_000, 48_000]
    assert yard.bill() == []


def test_a_usage_point_moves_behind_a_shared_meter_and_is_billed_no_more(yard: Yard) -> None:
    shared = yard.point(yard.area_id("A1"), "S1", "shared")
    yard.change(Move(usage_point="U2", at=NOON_8, area="A1", behind="S1"))
    assert yard.dirty() == {"A1": [8, 9, 10, 11, 12]}
    yard.settle()
    told = yard.bill()
    assert [(t["usage_point"], t["day"], t["wh"]) for t in told] == [
        ("U2", 8, -12_000), ("U2", 9, -24_000), ("U2", 10, -24_000), ("U2", 11, -24_000),
    ]  # fmt: skip
    assert "nobody was supplied there directly" in told[1]["reason"]
    assert "(move by Wang Fang: a test)" in told[1]["reason"]
    assert yard.bill() == []
    assert yard.one("select behind_usage_point_id from area_membership where valid_from = %s", [NOON_8]) == shared


def test_current_transformers_are_exchanged(yard: Yard) -> None:
    yard.change(ChangeMultiplier(usage_point="A1-T", at=NOON_8, multiplier=Decimal("2.5"), import_wh=468_000))
    assert yard.dirty() == {"A1": [8, 9, 10, 11, 12]}
    yard.settle()
    assert yard.days_wh("A1-T") == dict.fromkeys(range(2, 8), 72_000) | {8: 126_000} | dict.fromkeys(
        (9, 10, 11), 180_000
    )
    assert yard.bill() == []


def test_polarity_is_mended(yard: Yard) -> None:
    yard.run("update installation set sign = -1 where meter_id = (select meter_id from meter where serial = 'M-U1')")
    yard.mark_settled(yard.area_id("A1"))
    yard.settle()
    yard.bill()
    yard.change(ChangeSign(usage_point="U1", at=MIDNIGHT_8, sign=1))
    assert yard.dirty() == {"A1": [7, 8, 9, 10, 11, 12]}
    yard.settle()
    assert yard.days_wh("U1") == dict.fromkeys(range(2, 8), 0) | dict.fromkeys(range(8, 12), 24_000)
    assert sum(t["wh"] for t in yard.bill()) == 0  # as much more import as less export


def test_a_category_changes_and_what_was_billed_is_taken_back_in_the_old_one(yard: Yard) -> None:
    _, did = yard.change(ChangeCategory(usage_point="U1", at=T0 + 8 * DAY, category="commercial"))
    assert did is not None
    assert (did.billed_days, did.warnings) == (2, [])
    assert yard.dirty() == {"A1": [10, 11, 12]}
    yard.settle()
    told = yard.bill()
    assert [(t["day"], t["category"], t["wh"]) for t in told] == [
        (10, "residential", -24_000), (10, "commercial", 24_000),
        (11, "residential", -24_000), (11, "commercial", 24_000),
    ]  # fmt: skip
    assert told[0]["reason"] == (
        "billed in another category: commercial is right, not residential (change category by Wang Fang: a test)"
    )
    assert yard.bill() == []
    assert yard.one("select category from usage_point where code = 'U1'") == "commercial"


def test_a_category_that_changes_during_a_day_is_billed_from_the_next_one_on(yard: Yard) -> None:
    _, did = yard.change(ChangeCategory(usage_point="U1", at=NOON_8 + 2 * DAY, category="commercial"))
    assert did is not None
    assert [w.split(": ")[0] for w in did.warnings] == ["2026-03-10T04:00:00+00:00 is no midnight"]
    yard.settle()
    assert {t["day"] for t in yard.bill()} == {11}


def test_a_shared_meter_is_removed(yard: Yard) -> None:
    area = yard.courtyard()
    yard.settle()
    assert {t["usage_point"] for t in yard.bill()} == {"S1"}
    yard.change(RemoveSharedMeter(usage_point="S1", at=NOON_8, end_import_wh=156_000))
    assert yard.dirty() == {"A1": [8, 9, 10, 11, 12]}
    yard.settle()
    told = yard.bill()
    assert [(t["usage_point"], t["day"], t["wh"]) for t in told if t["day"] < 10] == [
        ("H1", 8, 6_000), ("H2", 8, 6_000), ("S1", 8, -12_000),
        ("H1", 9, 12_000), ("H2", 9, 12_000), ("S1", 9, -24_000),
    ]  # fmt: skip
    assert yard.one("select delivered_wh from balance_day where area_id = %s and day = '2026-03-09'", [area]) == 72_000


def test_a_meters_digits_were_noted_wrongly(yard: Yard) -> None:
    meter = yard.meter("OLD", digits=6)
    point = yard.point(yard.area_id("A2"), "U4")
    yard.install(point, meter, since=T0 + 2 * DAY, start=900_000)
    yard.readings(meter, [(ts, (wh or 0) % 10**6) for ts, wh in yard.hourly(2, 10, wh=1000, start=900_000)], export=0)
    yard.change(CorrectMeter(manufacturer="Acme", serial="OLD", digits=7))
    assert yard.dirty() == {"A2": [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}
    assert yard.one("select digits from meter where serial = 'OLD'") == 7
