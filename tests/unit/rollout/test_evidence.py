"""Evidence is read strictly, and everything that is wrong is told at once."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.rollout.checklist import Refusal, Step, StepRefused
from headend.rollout.evidence import MeterInstalled, ProductionSeparated, SharedMeterRemoved, Survey, as_json, read

NOW = datetime(2026, 11, 23, 6, 0, tzinfo=UTC)
METER = {
    "serial": "310004",
    "seal": "S-20881",
    "start_import_wh": 1200,
    "installed_at": "2026-11-23T13:05:00+08:00",
}
GOOD: dict[Step, dict[str, Any]] = {
    Step.SURVEY: {"people": 4, "category": "residential", "phase": "L2"},
    Step.HOUSEHOLD_METER_INSTALLED: METER,
    Step.PRODUCTION_SEPARATED: {"note": "mill has its own cable"},
    Step.COMMISSIONED: {"noted_import_wh": 1250},
    Step.SHARED_METER_REMOVED: {"final_import_wh": 9, "removed_at": "2026-11-23T13:05:00+08:00", "seal": "S-1"},
}


def faults(step: Step, evidence: dict[str, Any]) -> tuple[str, ...]:
    with pytest.raises(StepRefused) as caught:
        read(step, evidence, NOW)
    assert caught.value.code is Refusal.EVIDENCE
    return caught.value.missing


@pytest.mark.parametrize("step", list(Step))
def test_good_evidence_is_read_and_kept_as_given(step: Step) -> None:
    kept = as_json(read(step, GOOD[step], NOW))
    instants = {"installed_at", "removed_at"} & kept.keys()
    assert {k: v for k, v in kept.items() if k not in instants} == {
        k: v for k, v in GOOD[step].items() if k not in instants
    }
    for key in instants:
        assert kept[key] == "2026-11-23T05:05:00+00:00"


@pytest.mark.parametrize("step", list(Step))
def test_nothing_given_names_every_required_key(step: Step) -> None:
    assert set(faults(step, {})) == {f"{key}: is missing" for key in GOOD[step]}


@pytest.mark.parametrize("step", list(Step))
@pytest.mark.parametrize("empty", [None, "", "   "])
def test_an_empty_value_is_a_missing_one(step: Step, empty: str | None) -> None:
    for key, value in GOOD[step].items():
        if isinstance(value, str) and key not in ("installed_at", "removed_at", "category", "phase"):
            assert f"{key}: is missing" in faults(step, GOOD[step] | {key: empty})


@pytest.mark.parametrize(
    ("step", "key", "value", "says"),
    [
        (Step.SURVEY, "people", -1, "people: -1 people is not between 0 and 1000"),
        (Step.SURVEY, "people", "4", "people: '4' is not a whole number of people"),
        (Step.SURVEY, "people", True, "people: True is not a whole number of people"),
        (Step.SURVEY, "category", "none", "category: 'none' is none of residential, production"),
        (Step.SURVEY, "phase", "L4", "phase: 'L4' is none of L1, L2, L3, L123"),
        (Step.SURVEY, "phase", ["L1"], "phase: ['L1'] is none of L1"),
        (Step.HOUSEHOLD_METER_INSTALLED, "start_import_wh", 12.5, "start_import_wh: 12.5 is not a whole number of Wh"),
        (Step.HOUSEHOLD_METER_INSTALLED, "start_import_wh", -1, "start_import_wh: -1 Wh is not between 0"),
        (Step.HOUSEHOLD_METER_INSTALLED, "start_import_wh", 10**30, "Wh is not between 0"),
        (Step.HOUSEHOLD_METER_INSTALLED, "serial", 310004, "serial: 310004 is not text"),
        (Step.HOUSEHOLD_METER_INSTALLED, "serial", "31\x000004", "serial: has characters that cannot be printed"),
        (Step.HOUSEHOLD_METER_INSTALLED, "seal", "S\ud800", "seal: has characters that cannot be printed"),
        (Step.HOUSEHOLD_METER_INSTALLED, "seal", "S" * 65, "seal: has 65 characters, more than 64"),
        (Step.HOUSEHOLD_METER_INSTALLED, "installed_at", "2026-11-23T13:05:00", "is not an instant with offset"),
        (Step.HOUSEHOLD_METER_INSTALLED, "installed_at", "yesterday", "installed_at: 'yesterday' is not an instant"),
        (Step.HOUSEHOLD_METER_INSTALLED, "installed_at", 1763877900, "installed_at: 1763877900 is not an instant"),
        (Step.HOUSEHOLD_METER_INSTALLED, "installed_at", "9999-12-31T23:59:59-23:00", "is not an instant"),
        (Step.HOUSEHOLD_METER_INSTALLED, "installed_at", "2026-11-23T14:00:01+08:00", "lies in the future"),
        (Step.HOUSEHOLD_METER_INSTALLED, "installed_at", "1026-11-23T14:00:01+08:00", "too far in the past"),
        (Step.PRODUCTION_SEPARATED, "note", "n" * 2001, "note: has 2001 characters, more than 2000"),
        (Step.COMMISSIONED, "noted_import_wh", float("nan"), "noted_import_wh: nan is not a whole number of Wh"),
        (
            Step.COMMISSIONED,
            "noted_at",
            "2026-11-23T06:00:01Z",
            "noted_at: 2026-11-23T06:00:01+00:00 lies in the future",
        ),
        (
            Step.SHARED_METER_REMOVED,
            "removed_at",
            "2026-11-24T00:00:00+08:00",
            "removed_at: 2026-11-23T16:00:00+00:00 lies",
        ),
        (
            Step.SHARED_METER_REMOVED,
            "final",
            3,
            "'final': is not known here; known are final_import_wh, removed_at, seal",
        ),
    ],
)
def test_a_wrong_value_is_named_with_what_would_be_right(step: Step, key: str, value: Any, says: str) -> None:
    (fault,) = faults(step, GOOD[step] | {key: value})
    assert says in fault


def test_all_faults_are_told_at_once() -> None:
    told = faults(Step.HOUSEHOLD_METER_INSTALLED, {"serial": 3, "start_import_wh": "x", "extra": 1})
    assert [fault.split(":")[0] for fault in told] == ["serial", "seal", "start_import_wh", "installed_at", "'extra'"]


def test_an_instant_of_now_is_not_in_the_future() -> None:
    found = read(Step.SHARED_METER_REMOVED, GOOD[Step.SHARED_METER_REMOVED] | {"removed_at": NOW.isoformat()}, NOW)
    assert isinstance(found, SharedMeterRemoved)
    assert found.removed_at == NOW


def test_a_production_meter_comes_whole_and_with_its_place() -> None:
    told = faults(Step.PRODUCTION_SEPARATED, {"note": "x", "serial": "310004"})
    assert {fault.split(":")[0] for fault in told} == {
        "seal",
        "start_import_wh",
        "installed_at",
        "production_usage_point",
    }
    found = read(Step.PRODUCTION_SEPARATED, {"note": "x", "production_usage_point": "U9"} | METER, NOW)
    assert isinstance(found, ProductionSeparated)
    assert found.meter == MeterInstalled(
        manufacturer=None,
        serial="310004",
        seal="S-20881",
        start_import_wh=1200,
        installed_at=datetime(2026, 11, 23, 5, 5, tzinfo=UTC),
        note="x",
    )


def test_a_time_alone_is_no_production_meter() -> None:
    evidence = {"note": "x", "production_usage_point": "U9", "installed_at": METER["installed_at"]}
    found = read(Step.PRODUCTION_SEPARATED, evidence, NOW)
    assert isinstance(found, ProductionSeparated)
    assert found.meter is None


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(
    step=st.sampled_from(Step),
    evidence=st.dictionaries(
        st.sampled_from(sorted({key for good in GOOD.values() for key in good})) | st.text(max_size=8), JSON, max_size=8
    ),
)
def test_whatever_a_phone_sends_is_read_or_refused(step: Step, evidence: dict[str, Any]) -> None:
    found, refused = None, None
    try:
        found = read(step, GOOD[step] | evidence, NOW)
    except StepRefused as refusal:
        refused = refusal
    assert refused is None or (refused.missing and all(fault.isprintable() for fault in refused.missing))
    assert not isinstance(found, Survey) or 0 <= found.people <= 1000
