"""What was recorded wrongly, corrected for the past: neighbours move along, the past is settled anew."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from headend.domain.changes import (
    ChangeCategory,
    ChangeMultiplier,
    CorrectCategory,
    CorrectInstallation,
    CorrectMembership,
    CorrectMeter,
    Move,
    RemoveSharedMeter,
    SwapMeter,
    Undo,
    WithdrawCategory,
    WithdrawInstallation,
    WithdrawMembership,
)
from support.field import DAY, HOUR, T0
from support.yard import NOON_8, Yard


@pytest.fixture
def swapped(yard: Yard) -> Yard:
    """U1's meter was swapped at noon of 8 March, as it was noted: the new one counts twice as much."""
    new = yard.meter("NEW")
    yard.readings(new, yard.hourly(5.5, 10, wh=2000), export=0)
    yard.change(SwapMeter(usage_point="U1", at=NOON_8, manufacturer="Acme", serial="NEW"))
    yard.settle()
    yard.bill()
    return yard


@pytest.fixture
def removed(yard: Yard) -> Yard:
    """S1's meter on A1 was removed at noon of 8 March, H1 and H2 behind it count for themselves from then on."""
    yard.courtyard()
    yard.change(RemoveSharedMeter(usage_point="S1", at=NOON_8))
    yard.settle()
    yard.bill()
    return yard


def test_a_swap_was_a_day_earlier(swapped: Yard) -> None:
    swapped.change(CorrectInstallation(usage_point="U1", since=NOON_8, given={"valid_from": NOON_8 - DAY}))
    assert swapped.dirty() == {"A1": [7, 8]}
    assert swapped.rows("select valid_from, valid_to from installation where usage_point_id = 2 order by 1") == [
        {"valid_from": T0, "valid_to": NOON_8 - DAY}, {"valid_from": NOON_8 - DAY, "valid_to": None},
    ]  # fmt: skip
    swapped.settle()
    assert [swapped.days_wh("U1")[day] for day in (6, 7, 8, 9)] == [24_000, 36_000, 48_000, 48_000]
    assert [(t["day"], t["wh"]) for t in swapped.bill()] == [(7, 12_000), (8, 12_000)]


def test_the_end_of_the_meter_before_says_the_same(swapped: Yard) -> None:
    swapped.change(CorrectInstallation(usage_point="U1", since=T0, given={"valid_to": NOON_8 + HOUR}))
    assert swapped.dirty() == {"A1": [8]}
    swapped.settle()
    assert swapped.days_wh("U1")[8] == 13_000 + 22_000


def test_a_multiplier_was_noted_wrongly_for_the_whole_time(yard: Yard) -> None:
    yard.change(
        CorrectInstallation(usage_point="U2", since=T0, given={"multiplier": Decimal(10)}), reason="CT ratio 50/5"
    )
    assert yard.dirty() == {"A1": [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}
    yard.settle()
    assert yard.days_wh("U2") == dict.fromkeys(range(2, 12), 240_000)
    told = yard.bill()
    assert [t["wh"] for t in told] == [216_000] * 10
    assert told[0]["reason"].endswith("(correct installation by Wang Fang: CT ratio 50/5)")


def test_a_seal_touches_nothing(yard: Yard) -> None:
    yard.change(CorrectInstallation(usage_point="U1", since=T0, given={"seal": "X-17"}))
    assert yard.dirty() == {}


def test_a_register_touches_the_days_around_its_instant(swapped: Yard) -> None:
    swapped.change(CorrectInstallation(usage_point="U1", since=NOON_8, given={"start_import_wh": 48_000}))
    assert swapped.dirty() == {"A1": [8]}


def test_the_wrong_meter_was_scanned(swapped: Yard) -> None:
    other = swapped.meter("OTHER")
    swapped.readings(other, swapped.hourly(6.5, 10, wh=400), export=0)
    swapped.change(
        CorrectInstallation(usage_point="U1", since=NOON_8, given={"manufacturer": "Acme", "serial": "OTHER"})
    )
    assert swapped.dirty() == {"A1": [8, 9, 10, 11, 12]}
    swapped.settle()
    assert [swapped.days_wh("U1")[day] for day in (8, 9)] == [12_000 + 4_800, 9_600]


def test_a_swap_never_was(swapped: Yard) -> None:
    swapped.change(WithdrawInstallation(usage_point="U1", since=NOON_8))
    swapped.settle()
    assert swapped.days_wh("U1") == dict.fromkeys(range(2, 12), 24_000)
    assert [t["wh"] for t in swapped.bill()] == [-12_000, -24_000, -24_000, -24_000]


def test_a_multiplier_that_never_changed_leaves_the_later_registers(yard: Yard) -> None:
    yard.change(ChangeMultiplier(usage_point="U1", at=NOON_8, multiplier=Decimal(2)))
    yard.change(WithdrawInstallation(usage_point="U1", since=NOON_8))
    (row,) = yard.rows("select valid_from, valid_to, multiplier from installation where usage_point_id = 2")
    assert row == {"valid_from": T0, "valid_to": None, "multiplier": Decimal(1)}
    yard.settle()
    assert yard.days_wh("U1") == dict.fromkeys(range(2, 12), 24_000)
    assert yard.bill() == []


def test_a_move_was_at_another_instant(yard: Yard) -> None:
    yard.change(Move(usage_point="U2", at=T0 + 6 * DAY, area="A2"))
    yard.settle()
    yard.change(CorrectMembership(usage_point="U2", since=T0 + 6 * DAY, given={"valid_from": T0 + 4 * DAY}))
    assert yard.dirty() == {"A1": [6, 7], "A2": [6, 7]}
    yard.settle()
    delivered = "select delivered_wh from balance_day where area_id = %s and day = '2026-03-06'"
    assert yard.one(delivered, [yard.area_id("A1")]) == 24_000
    assert yard.one(delivered, [yard.area_id("A2")]) == 48_000


def test_a_move_went_to_another_area(yard: Yard) -> None:
    yard.area("A3")
    yard.change(Move(usage_point="U2", at=T0 + 6 * DAY, area="A3"))
    yard.settle()
    yard.change(CorrectMembership(usage_point="U2", since=T0 + 6 * DAY, given={"area": "A2"}))
    assert yard.dirty() == {"A2": [8, 9, 10, 11, 12], "A3": [8, 9, 10, 11, 12]}


def test_a_move_never_was(yard: Yard) -> None:
    yard.change(Move(usage_point="U2", at=T0 + 6 * DAY, area="A2"))
    yard.settle()
    yard.change(WithdrawMembership(usage_point="U2", since=T0 + 6 * DAY))
    assert yard.dirty() == {"A1": [8, 9, 10, 11, 12], "A2": [8, 9, 10, 11, 12]}
    (row,) = yard.rows("select area_id, valid_from, valid_to from area_membership where usage_point_id = 3")
    assert row == {"area_id": yard.area_id("A1"), "valid_from": T0, "valid_to": None}
    yard.settle()
    assert yard.bill() == []


def test_a_membership_that_never_was_takes_what_was_billed_back(yard: Yard) -> None:
    yard.change(WithdrawMembership(usage_point="U2", since=T0))
    yard.settle()
    assert yard.days_wh("U2") == {}
    told = yard.bill()
    assert [(t["usage_point"], t["wh"]) for t in told] == [("U2", -24_000)] * 10
    assert yard.bill() == []


def test_a_shared_meters_removal_was_a_day_later(removed: Yard) -> None:
    removed.change(
        CorrectInstallation(usage_point="S1", since=T0, given={"valid_to": NOON_8 + DAY, "end_import_wh": 180_000})
    )
    assert removed.dirty() == {"A1": [8, 9]}
    ends = removed.rows(
        "select u.code, m.valid_from, m.valid_to, m.behind_usage_point_id is not null as behind from area_membership m "
        "join usage_point u using (usage_point_id) where u.code in ('S1', 'H1', 'H2') order by 1, 2"
    )
    assert [(r["code"], r["valid_from"], r["valid_to"], r["behind"]) for r in ends] == [
        ("H1", T0, NOON_8 + DAY, True), ("H1", NOON_8 + DAY, None, False),
        ("H2", T0, NOON_8 + DAY, True), ("H2", NOON_8 + DAY, None, False),
        ("S1", T0, NOON_8 + DAY, False),
    ]  # fmt: skip
    removed.settle()
    told = {(t["usage_point"], t["day"]): t["wh"] for t in removed.bill()}
    assert told == {
        ("H1", 8): -6_000, ("H2", 8): -6_000, ("S1", 8): 12_000,
        ("H1", 9): -6_000, ("H2", 9): -6_000, ("S1", 9): 12_000,
    }  # fmt: skip


def test_a_shared_meter_was_not_removed_at_all(removed: Yard) -> None:
    removed.change(CorrectInstallation(usage_point="S1", since=T0, given={"valid_to": None}))
    assert removed.one("select count(*) from area_membership where valid_to is not null") == 0
    assert removed.one("select count(*) from area_membership where behind_usage_point_id is not null") == 2
    removed.settle()
    told: dict[str, int] = {}
    for one in removed.bill():
        told[one["usage_point"]] = told.get(one["usage_point"], 0) + one["wh"]
    assert told == {"H1": -42_000, "H2": -42_000, "S1": 84_000}


def test_categories_are_corrected_and_withdrawn(yard: Yard) -> None:
    yard.change(ChangeCategory(usage_point="U1", at=T0 + 8 * DAY, category="commercial"))
    yard.settle()
    yard.bill()
    yard.change(CorrectCategory(usage_point="U1", since=T0 + 8 * DAY, given={"valid_from": T0 + 9 * DAY}))
    assert yard.dirty() == {"A1": [10]}
    yard.settle()
    assert [(t["day"], t["category"], t["wh"]) for t in yard.bill()] == [
        (10, "commercial", -24_000), (10, "residential", 24_000),
    ]  # fmt: skip
    yard.change(CorrectCategory(usage_point="U1", since=T0 + 9 * DAY, given={"category": "production"}))
    yard.settle()
    assert [(t["day"], t["category"], t["wh"]) for t in yard.bill()] == [
        (11, "commercial", -24_000), (11, "production", 24_000),
    ]  # fmt: skip
    yard.change(WithdrawCategory(usage_point="U1", since=T0 + 9 * DAY))
    yard.settle()
    assert [(t["day"], t["category"], t["wh"]) for t in yard.bill()] == [
        (11, "production", -24_000), (11, "residential", 24_000),
    ]  # fmt: skip
    assert yard.one("select category from usage_point where code = 'U1'") == "residential"


def test_a_category_was_always_another(yard: Yard) -> None:
    yard.change(CorrectCategory(usage_point="U1", since=None, given={"category": "irrigation"}))
    assert yard.dirty() == {"A1": [2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]}
    yard.settle()
    assert sum(t["wh"] for t in yard.bill() if t["category"] == "irrigation") == 240_000


@pytest.mark.parametrize("kind", ["swap", "move", "multiplier", "category", "removal", "meter", "withdrawal"])
def test_every_change_can_be_taken_back_and_that_too(removed: Yard, kind: str) -> None:
    removed.meter("NEW")
    what: Any = {
        "swap": SwapMeter(usage_point="U1", at=NOON_8, manufacturer="Acme", serial="NEW", start_import_wh=7),
        "move": Move(usage_point="U1", at=NOON_8, area="A2"),
        "multiplier": ChangeMultiplier(usage_point="U1", at=NOON_8, multiplier=Decimal(3)),
        "category": ChangeCategory(usage_point="U1", at=NOON_8, category="commercial"),
        "removal": CorrectInstallation(usage_point="S1", since=T0, given={"valid_to": None}),
        "meter": CorrectMeter(manufacturer="Acme", serial="M-U1", digits=9, resolution_wh=10, phases=3),
        "withdrawal": WithdrawMembership(usage_point="U1", since=T0),
    }[kind]

    def stored() -> dict[str, Any]:
        found = removed.everything()
        kept = {table: rows for table, rows in found.items() if table not in ("dirty_day", "topology_change")}
        for rows in kept.values():
            for row in rows:
                row.pop("known_from", None)
        return {table: sorted(rows, key=repr) for table, rows in kept.items()}

    before = stored()
    first, _ = removed.change(what)
    changed = stored()
    assert changed != before
    marked = removed.dirty()
    removed.run("delete from dirty_day")
    back, _ = removed.change(Undo(undoes=first.change_id))
    assert stored() == before
    assert removed.dirty() == marked
    removed.change(Undo(undoes=back.change_id))
    assert stored() == changed
    told = removed.refused(Undo(undoes=first.change_id))
    assert told.reason.startswith("it was taken back already, by change")
