"""Changes that cannot be, that come twice or at once, in the future, or where the clocks change."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from headend.domain.changes import (
    ChangeCategory,
    ChangeMultiplier,
    ChangeSign,
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
)
from headend.store import changes, topology
from headend.store.changes import ChangeIdTaken, ChangeRefused
from headend.store.errors import StoreConflict
from headend.upkeep import categories
from support.field import DAY, HOUR, T0
from support.waiting import until
from support.yard import Yard

AT = T0 + 6 * DAY
SHANGHAI = timezone(timedelta(hours=8))


def test_the_same_change_twice_is_one(yard: Yard) -> None:
    change_id = uuid4()
    what = ChangeCategory(usage_point="U1", at=AT, category="commercial")
    first, did = yard.change(what, change_id=change_id)
    assert did is not None
    yard.settle()
    before = yard.everything()
    same = ChangeCategory(usage_point="U1", at=AT.astimezone(SHANGHAI), category="commercial")
    again, did_again = yard.change(same, change_id=change_id)
    assert (again, did_again) == (first, None)
    assert yard.everything() == before
    with pytest.raises(ChangeIdTaken):
        yard.change(ChangeCategory(usage_point="U2", at=AT, category="commercial"), change_id=change_id)
    with pytest.raises(ChangeIdTaken):
        yard.change(what, change_id=change_id, reason="another one")


def _at_once(yard: Yard, *what: Any, change_id: Any = None) -> list[str]:
    ready, outcomes = threading.Barrier(len(what)), []

    def act(one: Any) -> None:
        ready.wait()
        try:
            _, did = yard.change(one, change_id=change_id)
            outcomes.append("repeated" if did is None else "made")
        except StoreConflict as refused:
            outcomes.append(str(refused))

    threads = [threading.Thread(target=act, args=(one,)) for one in what]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_the_same_change_at_once_is_one(yard: Yard) -> None:
    what = ChangeCategory(usage_point="U1", at=AT, category="commercial")
    assert sorted(_at_once(yard, what, what, what, change_id=uuid4())) == ["made", "repeated", "repeated"]


def test_two_engineers_at_one_usage_point_go_one_after_the_other(yard: Yard) -> None:
    yard.meter("NEW")
    swaps = [SwapMeter(usage_point="U1", at=AT + k * HOUR, manufacturer="Acme", serial="NEW") for k in range(2)]
    outcomes = _at_once(yard, *swaps)
    assert outcomes.count("made") == 1
    assert any("serves U1 already" in said or "no meter serves" in said or "serving until" in said for said in outcomes)
    assert yard.one("select count(*) from installation where valid_to is null and usage_point_id = 2") == 1


def test_two_engineers_take_one_meter_from_stock(yard: Yard) -> None:
    yard.meter("NEW")
    outcomes = _at_once(
        yard, *(SwapMeter(usage_point=code, at=AT, manufacturer="Acme", serial="NEW") for code in ("U1", "U2"))
    )
    assert outcomes.count("made") == 1
    assert any("stands in the way" in said for said in outcomes)


def test_a_crew_and_an_engineer_do_not_wait_for_each_other_for_ever(yard: Yard) -> None:
    meter = yard.meter("NEW")
    with yard.store.transaction() as crew:
        topology.remove_meter(crew, usage_point_id=2, at=AT, calendar=yard.calendar, now=yard.now)
        outcomes: list[str] = []
        engineer = threading.Thread(
            target=lambda: outcomes.extend(
                _at_once(yard, SwapMeter(usage_point="U1", at=AT + HOUR, manufacturer="Acme", serial="NEW"))
            )
        )
        engineer.start()
        until(yard.waiting, "the engineer waits for the crew")
        topology.install_meter(crew, usage_point_id=2, meter_id=meter, at=AT, calendar=yard.calendar, now=yard.now)
    engineer.join()
    assert outcomes == ["Acme/NEW serves U1 already"]


@pytest.mark.parametrize(
    ("what", "field", "says"),
    [
        (Move(usage_point="U9", at=AT, area="A1"), "usage_point", "there is no usage point 'U9'"),
        (Move(usage_point="U1", at=AT, area="A9"), "area", "there is no area 'A9'"),
        (Move(usage_point="U1", at=AT, area="A2", behind="S9"), "behind", "there is no usage point 'S9'"),
        (Move(usage_point="U1", at=AT, area="A2", behind="U3"), "behind", "U3 is no shared usage point"),
        (Move(usage_point="U1", at=AT, area="A1"), "area", "it hangs there already"),
        (Move(usage_point="U1", at=T0, area="A2"), "at", "begins at that very instant: correct it instead"),
        (Move(usage_point="U1", at=T0 - DAY, area="A2"), "at", "there is no membership of U1 at"),
        (Move(usage_point="A1-T", at=AT, area="A2"), "usage_point", "does not move"),
        (ChangeCategory(usage_point="A1-T", at=AT, category="commercial"), "usage_point", "it has no category"),
        (ChangeMultiplier(usage_point="U1", at=AT, multiplier=Decimal(1)), "multiplier", "is that already"),
        (ChangeSign(usage_point="U1", at=AT, sign=1), "sign", "is that already"),
        (
            ChangeMultiplier(usage_point="U1", at=AT, multiplier=Decimal(2), import_wh=10**9),
            "end_import_wh", "rolls over at 100000000 Wh",
        ),
        (SwapMeter(usage_point="U1", at=AT, manufacturer="Acme", serial="X"), "serial", "there is no meter Acme/X"),
        (SwapMeter(usage_point="U1", at=AT, manufacturer="Acme", serial="M-U1"), "serial", "serves U1 already"),
        (SwapMeter(usage_point="U1", at=T0, manufacturer="Acme", serial="M-U3"), "at", "no meter serves U1 before"),
        (RemoveSharedMeter(usage_point="U1", at=AT), "usage_point", "U1 is no shared usage point"),
        (CorrectMeter(manufacturer="Acme", serial="X", digits=7), "serial", "there is no meter Acme/X"),
        (WithdrawInstallation(usage_point="U1", since=AT), "since", "there are: Acme/M-U1 at U1 from 2026-03-01T16"),
        (WithdrawCategory(usage_point="U1", since=None), "valid_to", "without a category"),
        (
            CorrectCategory(usage_point="U1", since=None, given={"valid_to": AT}),
            "valid_to", "without a category",
        ),
        (
            CorrectMembership(usage_point="U1", since=T0, given={"valid_to": T0 - DAY}),
            None, "not after it begins",
        ),
        (CorrectInstallation(usage_point="U1", since=T0, given={"multiplier": Decimal(1)}), None, "stored already"),
        (
            CorrectInstallation(usage_point="U1", since=T0, given={"manufacturer": "Acme", "serial": "M-U3"}),
            None, "stands in the way",
        ),
        (Undo(undoes=uuid4()), "undoes", "there is no change"),
    ],
)  # fmt: skip
def test_what_contradicts_what_is_stored_is_refused_in_words(yard: Yard, what: Any, field: str, says: str) -> None:
    told = yard.refused(what)
    assert says in told.reason
    assert told.field == field


def test_a_shared_usage_point_moves_with_those_behind_it(yard: Yard) -> None:
    area = yard.area_id("A1")
    shared = yard.point(area, "S1", "shared")
    yard.install(shared, yard.meter("M-S1"), start=0)
    for code in ("H1", "H2"):
        yard.point(area, code, behind=shared)
    told = yard.refused(RemoveSharedMeter(usage_point="S1", at=AT))
    assert told.reason.endswith("at H1, H2")
    told = yard.refused(CorrectMembership(usage_point="H1", since=T0, given={"area": "A2"}))
    assert "H1 would be supplied behind S1 on A2" in told.reason
    yard.change(Move(usage_point="S1", at=AT, area="A2"))
    moved = yard.rows(
        "select u.code, b.code as behind from area_membership m join usage_point u using (usage_point_id) "
        "join area a using (area_id) left join usage_point b on b.usage_point_id = m.behind_usage_point_id "
        "where a.code = 'A2' and m.valid_from = %s order by 1",
        [AT],
    )
    assert [(r["code"], r["behind"]) for r in moved] == [("H1", "S1"), ("H2", "S1"), ("S1", None)]
    yard.change(CorrectMembership(usage_point="S1", since=AT, given={"valid_from": AT + DAY}))
    assert yard.one("select count(*) from area_membership where valid_from = %s", [AT + DAY]) == 3


def test_a_change_in_the_future_is_told_and_begins_by_itself(yard: Yard) -> None:
    first = yard.now + 20 * DAY
    _, did = yard.change(ChangeCategory(usage_point="U1", at=first, category="commercial"))
    assert did is not None
    assert did.area_days == 0
    assert [w for w in did.warnings if "is in the future" in w]
    assert yard.dirty() == {}
    assert yard.one("select category from usage_point where code = 'U1'") == "residential"
    yard.settle()
    assert yard.bill() == []
    for at, category in ((first - timedelta(seconds=1), "residential"), (first, "commercial")):
        categories.chore(yard.store, lambda at=at: at).do()
        assert yard.one("select category from usage_point where code = 'U1'") == category


def test_a_future_swap_is_settled_when_it_comes(yard: Yard) -> None:
    new = yard.meter("NEW")
    at = yard.now + 12 * HOUR
    yard.change(SwapMeter(usage_point="U1", at=at, manufacturer="Acme", serial="NEW", start_import_wh=0))
    yard.readings(
        yard.one("select meter_id from meter where serial = 'M-U1'"),
        yard.hourly(10, 10.5, wh=1000, start=240_000),
        export=0,
    )
    yard.readings(new, yard.hourly(10.5, 11, wh=3000), export=0)
    yard.now += DAY
    yard.mark(yard.area_id("A1"), [yard.calendar.day_of(at)])
    yard.settle()
    assert yard.days_wh("U1")[12] == 12_000 + 36_000


def test_days_of_23_and_25_hours(yard: Yard) -> None:
    yard.settings = yard.settings.model_copy(
        update={"settlement": yard.settings.settlement.model_copy(update={"zone": "Europe/Berlin"})}
    )
    yard.now = datetime(2026, 4, 1, 12, tzinfo=UTC)
    spring = datetime(2026, 3, 29, 1, 30, tzinfo=UTC)  # 03:30 local: 02:30 does not exist on this day
    yard.change(ChangeMultiplier(usage_point="U1", at=spring, multiplier=Decimal(2)))
    assert yard.dirty() == {"A1": [29, 30, 31, 1]}
    yard.run("delete from dirty_day")
    midnight = datetime(2026, 3, 29, 22, tzinfo=UTC)  # local midnight that ends the day of 23 hours
    yard.change(Move(usage_point="U2", at=midnight, area="A2"))
    assert yard.dirty() == {"A1": [30, 31, 1], "A2": [30, 31, 1]}


def test_areas_that_nobody_has_seen_are_not_marked_since_the_middle_ages(yard: Yard) -> None:
    long_ago = datetime(1980, 1, 1, tzinfo=UTC)
    area = yard.area("A3")
    yard.point(area, "U5", since=long_ago)
    _, did = yard.change(ChangeCategory(usage_point="U5", at=long_ago + DAY, category="commercial"))
    assert did is not None
    assert (did.area_days, yard.dirty()) == (0, {})


def test_what_was_changed_since_cannot_be_taken_back(yard: Yard) -> None:
    first, _ = yard.change(ChangeMultiplier(usage_point="U1", at=AT, multiplier=Decimal(2)))
    yard.change(CorrectInstallation(usage_point="U1", since=AT, given={"multiplier": Decimal(3)}))
    told = yard.refused(Undo(undoes=first.change_id))
    assert told.reason.startswith("it was changed since")
    assert told.field == "undoes"


def test_a_change_is_kept_for_good(yard: Yard) -> None:
    yard.change(ChangeCategory(usage_point="U1", at=AT, category="commercial"))
    for spoil in ("update topology_change set reason = 'x'", "delete from topology_change"):
        with pytest.raises(StoreConflict, match="never deleted or rewritten"):
            yard.run(spoil)


def test_a_look_takes_nothing_and_says_the_same(yard: Yard) -> None:
    what = Move(usage_point="U2", at=AT, area="A2")
    before = yard.everything()
    looked = yard.preview(what)
    assert yard.everything() == before
    _, did = yard.change(what)
    assert did is not None
    assert (looked.areas, looked.billed_days, looked.warnings) == (did.areas, did.billed_days, did.warnings)
    with pytest.raises(ChangeRefused):
        yard.preview(what)


def test_superseded_rows_are_kept_with_the_instants_at_which_they_were_known(yard: Yard) -> None:
    yard.now = (
        yard.one("select max(known_from) from installation") + 30 * DAY
    )  # the field was written by the server's clock
    later = yard.now + 21 * DAY
    yard.change(ChangeMultiplier(usage_point="U1", at=AT, multiplier=Decimal(2)))
    told = yard.now
    yard.now = later
    yard.change(CorrectInstallation(usage_point="U1", since=AT, given={"valid_from": AT + DAY}))
    found = yard.rows(
        "select valid_from, valid_to, known_from, known_to from installation_past "
        "where usage_point_id = 2 order by known_to, valid_from"
    )
    assert [(r["valid_from"], r["valid_to"], r["known_from"], r["known_to"]) for r in found][-2:] == [
        (T0, AT, told, later), (AT, None, told, later),
    ]  # fmt: skip


def test_two_changes_within_one_transaction_are_both_made(yard: Yard) -> None:
    with yard.store.transaction() as connection:
        for k, category in enumerate(("commercial", "irrigation")):
            what = ChangeCategory(usage_point="U1", at=AT + k * DAY, category=category)
            changes.apply(connection, yard.order(what), calendar=yard.calendar, now=yard.now)
    assert [r["category"] for r in yard.rows("select category from usage_point_category where usage_point_id = 2")] == [
        "residential", "commercial", "irrigation",
    ]  # fmt: skip
