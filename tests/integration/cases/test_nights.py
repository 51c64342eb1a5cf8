"""One cause on one meter is one case over all its nights; what nobody sees any more closes, what was judged stays."""

from __future__ import annotations

import pytest

from headend.domain import cases
from headend.domain.cases import CaseState, Move
from support.nights import Nights

KINDS = (
    "under_registering", "stuck", "wrong_multiplier", "wrong_area", "direct_tap", "area_meter_ratio",
    "area_meter_phase", "reversed_polarity", "missing_data", "clock_skew", "prolonged_estimation", "something_new",
)  # fmt: skip


def test_thirty_nights_are_one_case_that_strengthens_fades_and_changes_its_kind(nights: Nights) -> None:
    opened = []
    for n in range(30):
        if n in (12, 13):  # too weak to be told
            nights.night(n)
        elif n == 20:  # nothing could be computed
            nights.night(n, kinds=("missing_data", "prolonged_estimation"))
        else:
            kind = "stuck" if n < 10 else "under_registering"
            opened += nights.seen(n, kind=kind, confidence=0.5 + 0.015 * n, wh=100.0 * (n + 1))
    assert opened == ["stuck"]
    case = nights.case()
    assert (case["kind"], case["state"], case["concern"]) == ("under_registering", "open", "reading")
    assert (case["confidence"], case["energy_wh"]) == (pytest.approx(0.935), 3000.0)
    assert (case["window_to"], case["seen_at"], case["opened_at"]) == (nights.day(29), nights.at(29), nights.at(0))
    assert case["evidence"]["numbers"] == {"night": 29}
    assert nights.life(case["finding_id"]) == ["opened", "kind_changed", "closed", "returned"]
    runs = {run["window_to"]: run for run in nights.runs(case["finding_id"])}
    told = [nights.day(n) for n in range(30) if n != 20]
    assert sorted(runs) == told, "of a night that could tell nothing there is no row"
    assert [day for day in told if not runs[day]["seen"]] == [nights.day(12), nights.day(13)]
    assert [runs[day]["confidence"] for day in (told[0], told[12], told[-1])] == [0.5, None, pytest.approx(0.935)]
    assert {runs[nights.day(n)]["kind"] for n in range(10)} == {"stuck"}
    event = nights.field.rows("select * from finding_event where move = 'kind_changed'")[0]
    assert event["detail"] == {"from": "stuck", "to": "under_registering"}
    assert (event["made_at"], event["made_by"]) == (nights.at(10), None)


def test_a_second_run_on_the_same_window_has_the_last_word(nights: Nights) -> None:
    nights.seen(0, confidence=0.6)
    nights.night(0)
    nights.seen(0, confidence=0.7)
    (run,) = nights.runs(nights.case()["finding_id"])
    assert (run["seen"], run["confidence"]) == (True, 0.7)
    nights.night(0)
    (run,) = nights.runs(nights.case()["finding_id"])
    assert (run["seen"], run["confidence"]) == (False, None)


def test_other_meters_and_other_concerns_are_other_cases(nights: Nights) -> None:
    found = [
        nights.finding(0, kind, meter)
        for kind, meter in (
            ("stuck", "m1"), ("stuck", "m2"), ("wrong_area", "m1"), ("clock_skew", "m1"), ("missing_data", "m1"),
            ("direct_tap", None), ("area_meter_ratio", None), ("reversed_polarity", None), ("under_registering", None),
        )
    ]  # fmt: skip
    assert nights.night(0, *found) == [row["kind"] for row in found]
    assert nights.night(1, *(row | {"last": nights.day(1)} for row in found)) == []
    assert len(nights.cases()) == 9


def test_of_two_findings_of_one_concern_in_one_run_the_stronger_is_kept(nights: Nights) -> None:
    assert nights.night(0, nights.finding(0, "stuck"), nights.finding(0, "wrong_multiplier")) == ["stuck"]
    assert nights.case()["kind"] == "stuck"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("meter", ["m1", None])
def test_the_database_and_the_domain_name_the_same_concern(nights: Nights, kind: str, meter: str | None) -> None:
    nights.seen(0, kind=kind, meter=meter)
    assert nights.case()["concern"] == cases.concern(kind, of_a_meter=meter is not None)


def test_what_was_inspected_is_not_closed_by_the_engine(nights: Nights) -> None:
    nights.seen(0)
    finding = nights.case()["finding_id"]
    nights.move(finding, Move.INSPECT)
    for n in range(1, 60):
        nights.night(n)
    assert nights.case()["state"] == "inspected"
    assert [run["seen"] for run in nights.runs(finding)] == [True] + [False] * 59


def test_an_assigned_case_that_returns_is_with_whom_it_was(nights: Nights) -> None:
    nights.seen(0)
    finding = nights.case()["finding_id"]
    nights.move(finding, Move.ASSIGN, assigned_to="crew 7")
    nights.night(1)
    assert (nights.case()["state"], nights.case()["closed_at"]) == ("closed", nights.at(1))
    nights.seen(2)
    case = nights.case()
    assert (case["state"], case["assigned_to"], case["closed_at"]) == ("assigned", "crew 7", None)


def test_what_was_closed_and_is_seen_in_other_days_only_is_a_new_case(nights: Nights) -> None:
    nights.seen(0)
    nights.night(1)
    nights.seen(28)
    first, second = nights.cases()
    assert (first["state"], second["state"], second["follows"]) == ("closed", "open", first["finding_id"])
    detail = nights.field.rows("select detail from finding_event where finding_id = %s", [second["finding_id"]])
    assert detail[0]["detail"]["why"] == "returned"


def test_what_was_rejected_stays_so_while_its_window_is_looked_at(nights: Nights) -> None:
    nights.seen(0, confidence=0.8)
    nights.judge(nights.case()["finding_id"], Move.REJECT)
    for n in range(1, 28):
        assert nights.seen(n, confidence=0.9) == []
    case = nights.case()
    assert (case["state"], case["verdict"], case["kind"], case["confidence"]) == ("rejected", "rejected", "stuck", 0.8)
    assert len(nights.runs(case["finding_id"])) == 28, "how it went on is kept"
    assert nights.seen(28) == ["stuck"]
    after = nights.cases()[1]
    assert after["follows"] == case["finding_id"]
    assert nights.field.one("select detail ->> 'why' from finding_event where finding_id = %s", [2]) == "later"


@pytest.mark.parametrize("more", [{"confidence": 0.98}, {"confidence": 0.8, "wh": 2500.0}])
def test_what_was_rejected_comes_back_with_clearly_stronger_evidence_and_says_so(
    nights: Nights, more: dict[str, float]
) -> None:
    nights.seen(0, confidence=0.8)
    nights.judge(nights.case()["finding_id"], Move.REJECT)
    assert nights.seen(1, confidence=0.97, wh=2400.0) == []
    assert nights.seen(2, kind="under_registering", **more) == ["under_registering"]
    old, new = nights.cases()
    assert (old["state"], new["state"], new["follows"]) == ("rejected", "open", old["finding_id"])
    (event,) = nights.field.rows("select detail from finding_event where finding_id = %s", [new["finding_id"]])
    assert event["detail"] == {
        "kind": "under_registering", "confidence": more["confidence"], "why": "stronger", "follows": old["finding_id"],
        "confidence_then": 0.8,
    }  # fmt: skip
    assert nights.seen(3, kind="under_registering", **more) == []


def test_a_confirmed_case_closes_when_a_window_after_its_repair_is_without_it_and_returns_as_a_new_one(
    nights: Nights,
) -> None:
    nights.seen(0)
    finding = nights.case()["finding_id"]
    nights.judge(finding, Move.CONFIRM)
    for n in range(1, 20):
        nights.seen(n, kind="under_registering", confidence=0.6)
        if n == 6:
            nights.move(finding, Move.REPAIR, repaired_on=nights.day(5))
    case = nights.case()
    assert (case["state"], case["kind"], case["confidence"]) == ("confirmed", "stuck", 0.6)
    assert case["evidence"]["numbers"] == {"night": 0}, "what was confirmed keeps the evidence for it"
    for n in range(20, 33):
        nights.night(n)
        assert nights.case()["state"] == "confirmed", "days from before the repair are still looked at"
    nights.night(33)
    case = nights.case()
    assert (case["state"], case["verdict"], case["closed_at"]) == ("closed", "confirmed", nights.at(33))
    assert nights.seen(34) == ["stuck"]
    assert [c["state"] for c in nights.cases()] == ["closed", "open"]
    assert nights.cases()[1]["follows"] == finding


def test_what_goes_on_after_its_repair_is_a_new_case_once_only_later_days_are_looked_at(nights: Nights) -> None:
    nights.seen(0)
    finding = nights.case()["finding_id"]
    nights.judge(finding, Move.CONFIRM)
    nights.move(finding, Move.REPAIR, repaired_on=nights.day(0))
    for n in range(1, 28):
        assert nights.seen(n) == []
    assert nights.seen(28) == ["stuck"]
    assert [(c["state"], c["follows"]) for c in nights.cases()] == [("closed", None), ("open", finding)]
    assert nights.life(finding)[-1] == "closed"


def test_without_a_noted_repair_a_confirmed_case_closes_when_all_days_it_was_seen_in_are_gone(nights: Nights) -> None:
    nights.seen(0)
    nights.judge(nights.case()["finding_id"], Move.CONFIRM)
    nights.seen(3)
    for n in range(4, 31):
        nights.night(n)
        assert nights.case()["state"] == "confirmed"
    nights.night(31)
    assert nights.case()["state"] == CaseState.CLOSED


def test_a_run_that_could_judge_some_kinds_leaves_the_others(nights: Nights) -> None:
    nights.night(0, nights.finding(0, "stuck"), nights.finding(0, "missing_data", "m2"))
    nights.night(1, kinds=("missing_data", "prolonged_estimation"))
    assert [(c["kind"], c["state"]) for c in nights.cases()] == [("stuck", "open"), ("missing_data", "closed")]
    assert len(nights.runs(nights.cases()[0]["finding_id"])) == 1
