"""Survey, installation, separation: order, evidence against what is stored, and what changes in the topology."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from headend.metrics import ROLLOUT_REFUSED
from headend.rollout.checklist import Refusal, Step, UnknownPremises


def counted(reason: Refusal) -> float:
    return ROLLOUT_REFUSED.labels(reason.value)._value.get()


def test_a_survey_is_kept_and_fills_what_the_lists_do_not_know(yard: Any) -> None:
    result = yard.survey("P1", phase="L3")
    assert (result.state, result.detail, result.repeated) == ("closed", None, False)
    (row,) = yard.query("select * from rollout_step")
    assert row["evidence"] == {"people": 3, "category": "residential", "phase": "L3"}
    assert (row["closed_by"], row["closed_at"]) == ("Li Wei", yard.clock())
    assert yard.query("select phase from usage_point where code = 'A02-001'") == [{"phase": "L3"}]


def test_a_survey_that_contradicts_the_lists_says_so_and_leaves_them(yard: Any) -> None:
    result = yard.survey("P2", phase="L1", category="commercial")
    assert "A02-002 is listed with category residential, the survey says commercial" in result.detail
    assert "phase L2, the survey says L1" in result.detail
    (row,) = yard.query("select category, phase from usage_point where code = 'A02-002'")
    assert row == {"category": "residential", "phase": "L2"}


def test_unknown_premises_are_unknown(yard: Any) -> None:
    for code in ("P9", "P\x001", "P\ud800"):
        with pytest.raises(UnknownPremises):
            yard.survey(code)
        with pytest.raises(UnknownPremises):
            yard.close(code, Step.SHARED_METER_REMOVED, {})


@pytest.mark.parametrize("by", ["", "  ", "x" * 101, "Li\x00Wei"])
def test_somebody_has_to_have_done_it(yard: Any, by: str) -> None:
    refusal = yard.refused("P1", Step.SURVEY, {"people": 3, "category": "residential", "phase": "L1"}, by=by)
    assert refusal.code is Refusal.IDENTITY
    assert refusal.missing[0].startswith("by: ")


@pytest.mark.parametrize(
    ("step", "missing"),
    [
        (Step.HOUSEHOLD_METER_INSTALLED, ["survey"]),
        (Step.PRODUCTION_SEPARATED, ["survey", "household_meter_installed"]),
        (Step.COMMISSIONED, ["survey", "household_meter_installed", "production_separated"]),
    ],
)
def test_a_step_out_of_order_names_the_steps_before_it(yard: Any, step: Step, missing: list[str]) -> None:
    before = counted(Refusal.ORDER)
    refusal = yard.refused("P3", step, {})
    assert refusal.code is Refusal.ORDER
    assert refusal.missing == tuple(f"step {name} is not closed" for name in missing)
    assert counted(Refusal.ORDER) == before + 1


def test_an_installed_meter_serves_from_then_on_behind_the_shared_one(yard: Any) -> None:
    result = yard.install("P1")
    assert result.detail == f"Eastron/210001 serves A02-001 from {yard.installed_at.isoformat()}, 1200 Wh"
    (row,) = yard.query(
        "select i.* from installation i join usage_point u using (usage_point_id) where u.code = 'A02-001'"
    )
    assert row["valid_from"] == yard.installed_at
    assert (row["valid_to"], row["start_import_wh"], row["seal"], row["multiplier"], row["sign"]) == (
        None,
        1200,
        "S-P1",
        1,
        1,
    )
    assert yard.dirty() == ["2026-11-23"]
    assert "A02-001" not in yard.counted(yard.clock()), "the shared meter counts it until it is removed"


def test_an_installation_some_days_back_has_those_days_settled_again(yard: Any) -> None:
    yard.install("P1", installed_at=(yard.clock() - timedelta(days=3)).isoformat())
    assert yard.dirty() == ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"]
    assert yard.dirty("A01") == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"serial": "999"}, "serial: no meter Eastron/999 is listed"),
        ({"manufacturer": "Chint", "serial": "210002"}, "serial: no meter Chint/210002 is listed"),
        ({"manufacturer": None}, "manufacturer: is missing: serial 210001 is listed for Chint, Eastron"),
        ({"serial": "101"}, "serial: Eastron/101 is not in stock, it serves A02-101 from 2026-10-25T16:00:00+00:00"),
        (
            {"start_import_wh": 10**8},
            "start_import_wh: 100000000 Wh is more than Eastron/210001 can show (7 digits of 10 Wh",
        ),
        ({"seal": " "}, "seal: is missing"),
        ({"installed_at": "2026-11-23T14:00:01+08:00"}, "installed_at: 2026-11-23T06:00:01+00:00 lies in the future"),
    ],
)
def test_evidence_that_contradicts_what_is_stored_is_refused(yard: Any, change: dict[str, Any], says: str) -> None:
    yard.survey("P1")
    refusal = yard.refused("P1", Step.HOUSEHOLD_METER_INSTALLED, yard.meter("P1", **change))
    assert refusal.code is Refusal.EVIDENCE
    (fault,) = refusal.missing
    assert says in fault


def test_a_meter_cannot_be_older_than_the_shared_one_before_it(yard: Any) -> None:
    yard.survey("P1")
    early = yard.meter("P1", installed_at="2026-10-25T23:59:59+08:00")
    refusal = yard.refused("P1", Step.HOUSEHOLD_METER_INSTALLED, early)
    assert refusal.missing == (
        "installed_at: 2026-10-25T15:59:59+00:00 lies before the shared meter of A02-S1 was installed, "
        "2026-10-25T16:00:00+00:00",
        "installed_at: A02-001 hung on no area at 2026-10-25T15:59:59+00:00",
    )


def test_everything_wrong_with_a_meter_is_told_at_once(yard: Any) -> None:
    yard.survey("P1", phase="L123")
    wrong = yard.meter("P1", start_import_wh=10**9, installed_at="2026-10-01T00:00:00+08:00")
    refusal = yard.refused("P1", Step.HOUSEHOLD_METER_INSTALLED, wrong)
    assert [fault.split(":")[0] for fault in refusal.missing] == [
        "start_import_wh",
        "installed_at",
        "installed_at",
        "serial",
    ]
    assert "single-phase meter, the survey says that the supply has three phases" in refusal.missing[-1]


def test_a_three_phase_meter_fits_a_three_phase_supply(yard: Any) -> None:
    yard.survey("P1", phase="L123")
    assert yard.close("P1", Step.HOUSEHOLD_METER_INSTALLED, yard.meter("P1", serial="210010")).state == "closed"


def test_a_meter_goes_to_one_door_only(yard: Any) -> None:
    yard.install("P1")
    yard.survey("P2")
    refusal = yard.refused("P2", Step.HOUSEHOLD_METER_INSTALLED, yard.meter("P1"))
    assert refusal.missing[0].startswith("serial: Eastron/210001 is not in stock, it serves A02-001 from ")


def test_sending_twice_changes_nothing_and_tells_the_same(yard: Any) -> None:
    first = yard.install("P1")
    before = yard.snapshot()
    again = yard.close("P1", Step.HOUSEHOLD_METER_INSTALLED, yard.meter("P1"), client_id=yard.sent[-1])
    assert (again.state, again.detail, again.repeated) == (first.state, first.detail, True)
    other = yard.close("P1", Step.HOUSEHOLD_METER_INSTALLED, {}, client_id=yard.sent[-1], by="Someone else")
    assert other == again, "what stands beside a client id that was sent before is not looked at"
    assert yard.snapshot() == before


def test_a_second_crew_is_told_who_was_first(yard: Any) -> None:
    yard.install("P1")
    before = counted(Refusal.CONFLICT)
    refusal = yard.refused("P1", Step.HOUSEHOLD_METER_INSTALLED, yard.meter("P2"), by="Wang Fang")
    assert refusal.code is Refusal.CONFLICT
    assert refusal.reason == "household_meter_installed at P1 was closed by Li Wei at 2026-11-23T06:00:00+00:00"
    assert counted(Refusal.CONFLICT) == before + 1


def test_a_client_id_belongs_to_one_attempt(yard: Any) -> None:
    yard.survey("P1")
    refusal = yard.refused("P1", Step.HOUSEHOLD_METER_INSTALLED, yard.meter("P1"), client_id=yard.sent[-1])
    assert refusal.code is Refusal.IDENTITY
    assert "was sent with the step survey before" in refusal.reason


def test_a_refused_client_id_may_be_sent_again_with_better_evidence(yard: Any) -> None:
    yard.survey("P1")
    client_id = uuid4()
    yard.refused("P1", Step.HOUSEHOLD_METER_INSTALLED, yard.meter("P1", seal=""), client_id=client_id)
    assert yard.close("P1", Step.HOUSEHOLD_METER_INSTALLED, yard.meter("P1"), client_id=client_id).state == "closed"


def test_nothing_is_separated_where_there_is_no_production(yard: Any) -> None:
    yard.install("P1")
    assert yard.refused("P1", Step.PRODUCTION_SEPARATED, {"note": "x"}).code is Refusal.NOT_NEEDED


def test_production_gets_a_usage_point_and_a_meter_of_its_own(yard: Any) -> None:
    yard.install("P3")
    yard.settle_all()
    evidence = {"note": "workshop on its own cable", "production_usage_point": "A02-003-W"} | yard.meter(
        "P3", serial="210004"
    )
    result = yard.close("P3", Step.PRODUCTION_SEPARATED, evidence)
    assert result.detail.startswith("Eastron/210004 serves A02-003-W from ")
    (row,) = yard.query(
        "select u.kind, u.category, a.code as area, s.code as behind, m.valid_from, i.start_import_wh, i.seal "
        "from usage_point u join area_membership m using (usage_point_id) join area a using (area_id) "
        "join usage_point s on s.usage_point_id = m.behind_usage_point_id "
        "join installation i on i.usage_point_id = u.usage_point_id where u.code = 'A02-003-W'"
    )
    assert row == {
        "kind": "customer",
        "category": "production",
        "area": "A02",
        "behind": "A02-S1",
        "valid_from": yard.installed_at,
        "start_import_wh": 1200,
        "seal": "S-P3",
    }
    assert yard.dirty() == ["2026-11-23"]
    (step,) = yard.query("select evidence from rollout_step where step = 'production_separated'")
    assert step["evidence"]["serial"] == "210004"
    assert step["evidence"]["production_usage_point"] == "A02-003-W"


def test_production_that_is_listed_with_a_meter_is_taken_as_it_is(yard: Any) -> None:
    yard.install("P3")
    assert yard.separated().detail == "production is supplied at A02-900, which has its own meter"


def test_a_note_alone_closes_the_separation_and_says_so(yard: Any) -> None:
    yard.install("P3")
    result = yard.close("P3", Step.PRODUCTION_SEPARATED, {"note": "the mill has moved to the factory's transformer"})
    assert result.detail == "closed on the note alone: no usage point for production was named"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"production_usage_point": "A02-X"}, "serial: is missing: A02-X has no meter yet"),
        (
            {"production_usage_point": "A02-101"},
            "A02-101 is listed as customer, residential; wanted customer, production",
        ),
        ({"production_usage_point": "A02-003"}, "A02-003 is the living supply of these premises"),
        ({"production_usage_point": "A02-T"}, "A02-T is listed as area, none; wanted customer, production"),
        ({"production_usage_point": "A01-900"}, "A01-900 hangs on A01, not on A02"),
        ({"production_usage_point": "A02-900", "serial": "210004"}, "seal: is missing"),
        (
            {"production_usage_point": "A02-900", "serial": "210004", "seal": "S", "start_import_wh": 1}
            | {"installed_at": "2026-11-23T13:00:00+08:00"},
            "serial: A02-900 has a meter already, Eastron/210011",
        ),
        ({"production_usage_point": "A02-X", "note": ""}, "note: is missing"),
    ],
)
def test_production_evidence_that_does_not_hold_is_refused(yard: Any, change: dict[str, Any], says: str) -> None:
    yard.install("P3")
    refusal = yard.refused("P3", Step.PRODUCTION_SEPARATED, {"note": "x"} | change)
    assert any(says in fault for fault in refusal.missing), refusal.missing
