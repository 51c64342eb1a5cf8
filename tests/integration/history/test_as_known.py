"""Past days as they were known: every kind of change noted late, and the numbers before and after, to the Wh."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from headend.settlement.differences import Difference
from headend.settlement.grid import DayRange
from support.chronicle import Chronicle, vectors_of
from support.field import DAY, DAY0, QUARTER, T0
from support.village import Village

_REMOVED = "update installation set valid_to = %s, end_import_wh = %s where usage_point_id = %s"


@pytest.fixture
def village(chronicle: Chronicle) -> Village:
    return Village(chronicle)


def _of(found: list[Difference], usage_point: str | None) -> dict[tuple[date, str], tuple[int | None, int | None]]:
    return {(d.day, d.quantity): (d.then_wh, d.now_wh) for d in found if d.usage_point == usage_point}


def test_nothing_new_is_no_difference(village: Village) -> None:
    field = village.field
    then = field.now
    field.now += 3 * DAY
    found = field.as_known(then, last=DAY0 + DAY)
    assert (list(found.differences), found.days, list(found.closed), found.unknown) == ([], 2, [], False)


def test_a_swap_at_a_wrong_instant_corrected_three_weeks_later(village: Village) -> None:
    field = village.field
    new = field.meter("three")
    # The crew notes the swap at 12:00; in truth it was at 06:00 of the same day, at the same registers.
    swap, truth = T0 + 2 * DAY + timedelta(hours=12), T0 + 2 * DAY + timedelta(hours=6)
    field.now = swap
    point = village.points[0]
    field.change(
        (_REMOVED, [swap, 200 * 216, point]),
        (
            "insert into installation (usage_point_id, meter_id, valid_from, start_import_wh) values (%s, %s, %s, 0)",
            [point, new, swap],
        ),
    )
    field.now = T0 + 3 * DAY + timedelta(hours=1)
    field.receive([("one", T0 + 2 * DAY + k * QUARTER, 200 * (192 + k)) for k in range(25)])
    field.receive([("three", T0 + 2 * DAY + k * QUARTER, 200 * (k - 24)) for k in range(25, 97)])
    for serial, wh in (("sum", 11), ("two", 230)):
        field.receive([(serial, T0 + 2 * DAY + k * QUARTER, wh * (192 + k)) for k in range(97)])
    field.settle()
    noted, before = field.now, field.settled()[point, DAY0 + 2 * DAY]
    field.now += 21 * DAY
    field.change(
        (
            "update installation set valid_to = %s, end_import_wh = %s where usage_point_id = %s and meter_id = %s",
            [truth, 200 * 216, point, village.meters[0]],
        ),
        ("update installation set valid_from = %s where usage_point_id = %s and meter_id = %s", [truth, point, new]),
    )
    field.settle()
    after = field.settled()[point, DAY0 + 2 * DAY]
    assert sum(after["import_wh"]) == 200 * 96
    assert before != after
    days = DayRange(field.rules.calendar, DAY0, DAY0 + 2 * DAY)
    recalled = vectors_of(field.recalled(village.area, noted, DAY0 + 2 * DAY), days)
    assert recalled[point, DAY0 + 2 * DAY] == before
    (found,) = [d for d in field.as_known(noted, last=DAY0 + 2 * DAY).differences if d.usage_point]
    assert (found.usage_point, found.day, found.now_wh) == ("one", DAY0 + 2 * DAY, 200 * 96)
    assert any("removed 2026-03-04 12:00 → 2026-03-04 06:00" in why for why in found.why), found.why
    assert any("installed 2026-03-04 12:00 → 2026-03-04 06:00" in why for why in found.why), found.why


def test_a_ct_ratio_noted_wrongly_is_corrected_for_the_past(village: Village) -> None:
    field = village.field
    then, before = field.now, field.balanced()
    field.now += 90 * DAY
    field.change(("update installation set multiplier = 80 where usage_point_id = %s", [village.top]))
    field.settle()
    assert field.balanced()[village.area, DAY0]["supplied_wh"] == 2 * before[village.area, DAY0]["supplied_wh"]
    found = field.as_known(then, last=DAY0 + DAY).differences
    assert _of(found, "top") == {(DAY0 + d * DAY, "import"): (42_240, 84_480) for d in range(2)}
    assert {d.why for d in found if d.usage_point} == {("multiplier 40 → 80",)}
    assert _of(found, None)[DAY0, "loss"] == (960, 960 + 42_240)
    assert [d.why for d in found if d.quantity == "loss"] == [("state normal → high",)] * 2
    assert {
        name: row
        for name, row in field.recalled(village.area, then, DAY0 + DAY).computed.balances[0].items()
        if name in before[village.area, DAY0]
    } == before[village.area, DAY0]


def test_a_move_to_another_area_noted_later(village: Village) -> None:
    field = village.field
    then = field.now
    field.now += DAY
    other = field.area("A2")
    point, moved = village.points[1], T0 + DAY
    field.change(
        ("update area_membership set valid_to = %s where usage_point_id = %s", [moved, point]),
        (
            "insert into area_membership (usage_point_id, area_id, valid_from) values (%s, %s, %s)",
            [point, other, moved],
        ),
    )
    field.settle()
    found = field.as_known(then, last=DAY0 + DAY).differences
    assert _of(found, "two") == {(DAY0 + DAY, "import"): (230 * 96, None)}
    assert [d.why for d in found if d.usage_point == "two"] == [("not on this area after all",)]
    assert _of(found, None)[DAY0 + DAY, "delivered"] == (41_280, 41_280 - 230 * 96)
    new = field.as_known(then, last=DAY0 + DAY, area="A2")
    assert new.unknown
    assert _of(new.differences, "two") == {(DAY0 + DAY, "import"): (None, 230 * 96)}


def test_a_move_corrected_back(village: Village) -> None:
    """Both ways: the correction of a correction is a new knowledge, too."""
    field = village.field
    first = field.now
    for behind in (village.points[0], None):
        field.now += DAY
        field.change(
            (
                "update area_membership set behind_usage_point_id = %s where usage_point_id = %s",
                [behind, village.points[1]],
            )
        )
        field.settle()
    assert list(field.as_known(first, last=DAY0).differences) == []
    between = field.as_known(field.now - timedelta(hours=1), last=DAY0).differences
    assert _of(between, None)[DAY0, "delivered"] == (19_200, 41_280)


def test_a_shared_meter_removed_and_the_removal_corrected(chronicle: Chronicle) -> None:
    field = chronicle
    village = Village(field)
    shared, _ = field.metered(village.area, "shared", "shared", serial="old")
    field.change(
        (
            "update area_membership set behind_usage_point_id = %s where usage_point_id = any(%s)",
            [shared, village.points],
        )
    )
    field.receive(("old", T0 + k * QUARTER, 430 * k) for k in range(193))
    field.settle()
    while_shared, delivered = field.now, field.balanced()[village.area, DAY0 + DAY]["delivered_wh"]
    assert delivered == 430 * 96
    field.now += DAY
    removed = T0 + DAY  # noted a day late
    field.change(
        (_REMOVED, [removed, 430 * 96, shared]),
        (
            "update area_membership set valid_to = %s where usage_point_id = any(%s)",
            [removed, [shared, *village.points]],
        ),
        (
            "insert into area_membership (usage_point_id, area_id, valid_from) select p, %s, %s from unnest(%s) p",
            [village.area, removed, village.points],
        ),
    )
    field.settle()
    found = field.as_known(while_shared, last=DAY0 + DAY).differences
    assert _of(found, "shared") == {(DAY0 + DAY, "import"): (430 * 96, None)}
    assert (DAY0 + DAY, "delivered") not in _of(found, None), "counted at the houses now, and just as much"
    # It was not removed after all.
    wrong = field.now
    field.now += DAY
    field.change(
        ("delete from area_membership where usage_point_id = any(%s) and valid_from = %s", [village.points, removed]),
        ("update area_membership set valid_to = null where usage_point_id = any(%s)", [[shared, *village.points]]),
        ("update installation set valid_to = null, end_import_wh = null where usage_point_id = %s", [shared]),
    )
    field.settle()
    assert list(field.as_known(while_shared, last=DAY0 + DAY).differences) == []
    assert _of(field.as_known(wrong, last=DAY0 + DAY).differences, "shared") == {
        (DAY0 + DAY, "import"): (None, 430 * 96)
    }


def test_a_category_corrected_is_listed_with_the_energy_unchanged(village: Village) -> None:
    field = village.field
    then = field.now
    field.now += DAY
    field.change(
        ("update usage_point_category set category = 'commercial' where usage_point_id = %s", [village.points[0]])
    )
    found = [d for d in field.as_known(then, last=DAY0).differences if d.usage_point]
    assert [(d.usage_point, d.then_wh, d.now_wh, d.intervals) for d in found] == [("one", 19_200, 19_200, 0)]
    assert found[0].why == ("category residential → commercial",)


def test_a_polarity_mended_for_the_past(village: Village) -> None:
    field = village.field
    then = field.now
    field.now += DAY
    field.change(("update installation set sign = -1 where usage_point_id = %s", [village.points[0]]))
    field.settle()
    found = field.as_known(then, last=DAY0).differences
    assert _of(found, "one")[DAY0, "export"] == (None, 19_200)
    assert all("sign 1 → -1" in d.why for d in found if d.usage_point)


def test_late_readings(chronicle: Chronicle) -> None:
    """One house's second day comes a week late; then its gap was absent, now it is measured."""
    village = Village(chronicle, days=1)
    field = village.field
    field.now = T0 + 2 * DAY + timedelta(hours=1)
    for serial, wh in (("sum", 11), ("one", 200)):
        field.receive((serial, T0 + DAY + k * QUARTER, wh * (96 + k)) for k in range(97))
    field.settle()
    then, before = field.now, field.settled()
    field.now += 7 * DAY
    village.field.receive(("two", T0 + DAY + k * QUARTER, 230 * (96 + k)) for k in range(97))
    field.settle()
    (found,) = [d for d in field.as_known(then, last=DAY0 + DAY).differences if d.usage_point]
    assert (found.usage_point, found.then_wh, found.now_wh, found.intervals) == ("two", None, 22_080, 96)
    assert found.why == ("96 readings known later",)
    days = DayRange(field.rules.calendar, DAY0, DAY0 + DAY)
    recalled = vectors_of(field.recalled(village.area, then, DAY0 + DAY), days)
    assert recalled == {key: row for key, row in before.items() if key[1] <= DAY0 + DAY}


def test_registers_added_to_a_reading_later(chronicle: Chronicle) -> None:
    """A reading came without its register, which was added to it later."""
    village = Village(chronicle, days=1)
    field = village.field
    field.now = at = T0 + DAY + timedelta(hours=6)
    field.receive([("one", at, None)])
    field.receive([("one", at - QUARTER, 200 * 119)])
    field.settle()
    then, before = field.now + timedelta(minutes=20), field.settled()
    field.now += timedelta(hours=2)
    field.receive([("one", at, 200 * 120)])
    field.settle()
    key = village.points[0], DAY0 + DAY
    assert field.settled()[key] != before[key]
    days = DayRange(field.rules.calendar, DAY0, DAY0 + DAY)
    assert vectors_of(field.recalled(village.area, then, DAY0 + DAY), days)[key] == before[key]
