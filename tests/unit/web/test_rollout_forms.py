"""What a crew enters becomes evidence in Wh and aware instants; what is empty is left for the rollout to miss."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from headend.rollout.checklist import Step
from headend.web.rollout_forms import FORMS, read, shown

ZONE = ZoneInfo("Asia/Shanghai")


def test_every_step_has_a_form() -> None:
    assert list(FORMS) == list(Step)


def test_registers_and_instants_are_converted() -> None:
    entered = {"serial": " 310004 ", "seal": "", "start_import_wh": "1.2", "installed_at": "2026-11-23T14:05"}
    evidence, faults = read(Step.HOUSEHOLD_METER_INSTALLED, entered, ZONE)
    assert evidence == {"serial": "310004", "start_import_wh": 1200, "installed_at": "2026-11-23T06:05:00+00:00"}
    assert faults == {}


@pytest.mark.parametrize(("text", "wh"), [("0", 0), ("1234.56", 1_234_560), ("12,5", 12_500), ("0.001", 1)])
def test_kwh_to_the_wh(text: str, wh: int) -> None:
    assert read(Step.COMMISSIONED, {"noted_import_wh": text}, ZONE) == ({"noted_import_wh": wh}, {})


@pytest.mark.parametrize("text", ["abc", "-1", "NaN", "Infinity", "1.0001", "1e30", "1,234,5", "1_000x"])
def test_what_is_no_register_is_named(text: str) -> None:
    evidence, faults = read(Step.COMMISSIONED, {"noted_import_wh": text}, ZONE)
    assert evidence == {}
    assert text in faults["noted_import_wh"]


def test_other_wrong_shapes_are_named() -> None:
    _, faults = read(Step.SURVEY, {"people": "4.5", "category": "royal", "phase": "L9"}, ZONE)
    assert set(faults) == {"people", "category", "phase"}
    _, faults = read(Step.SHARED_METER_REMOVED, {"removed_at": "yesterday"}, ZONE)
    assert set(faults) == {"removed_at"}


def test_stored_evidence_is_shown_exactly_and_locally() -> None:
    stored = {
        "serial": "310004",
        "start_import_wh": 12_345_678,
        "installed_at": "2026-11-23T06:05:00+00:00",
        "box": None,
    }
    assert shown(Step.HOUSEHOLD_METER_INSTALLED, stored, ZONE) == [
        ("Serial", "310004"),
        ("Start register", "12,345.678 kWh"),
        ("Installed at", "2026-11-23 14:05"),
    ]
    assert shown(Step.SURVEY, {"category": "residential", "dog": "bites"}, ZONE) == [
        ("Category", "Residential 居民"),
        ("Dog", "bites"),
    ]
