"""The demo's verdict: planted faults found, named or missed, who was accused wrongly, and readings that are missing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from headend.demo.verdict import Heard, Truth, judge, missing_readings


def fault(kind: str, meter: str | None, area: str = "TA-01", **more: Any) -> dict[str, Any]:
    plain = {"fault": kind, "area": area, "meter": meter, "correct_area": None, "onset": None, "energy_wh": 5000.0}
    return plain | {"counted": True} | more


def finding(kind: str, meter: str | None, area: str = "TA-01", confidence: float = 0.9, **more: Any) -> dict[str, Any]:
    plain = {"kind": kind, "meter": meter, "area": area, "confidence": confidence, "energy_wh": 4800.4}
    return plain | {"correct_area": None} | more


def truth(*planted: dict[str, Any]) -> Truth:
    return Truth(tuple(planted), datetime(2026, 11, 23, tzinfo=UTC), {"A/1": 96, "A/2": 96}, frozenset(), 1)


def verdict(planted: dict[str, Any], *findings: dict[str, Any]) -> tuple[bool, bool]:
    (only,) = judge(truth(planted), findings)["planted"]
    return only["found"], only["named"]


STUCK = fault("stuck", "A/1")
MOVED = fault("wrong_area", "A/1", correct_area="TA-02")
TAP = fault("direct_tap", None)


@pytest.mark.parametrize(
    ("planted", "findings", "wanted"),
    [
        (STUCK, [], (False, False)),
        (STUCK, [finding("stuck", "A/1")], (True, True)),
        (STUCK, [finding("under_registering", "A/1")], (True, False)),
        (STUCK, [finding("under_registering", "A/1"), finding("stuck", "A/1", confidence=0.1)], (True, True)),
        (STUCK, [finding("stuck", "A/2")], (False, False)),
        (STUCK, [finding("stuck", None)], (False, False)),
        (STUCK, [finding("stuck", "A/1", area="TA-09")], (True, True)),
        (MOVED, [finding("wrong_area", "A/1", correct_area="TA-02")], (True, True)),
        (MOVED, [finding("wrong_area", "A/1", correct_area="TA-03")], (True, False)),
        (MOVED, [finding("wrong_area", "A/1")], (True, False)),
        (TAP, [finding("direct_tap", None)], (True, True)),
        (TAP, [finding("area_meter_ratio", None)], (True, False)),
        (TAP, [finding("direct_tap", None, area="TA-02")], (False, False)),
        (TAP, [finding("direct_tap", "A/1")], (False, False)),
    ],
)
def test_found_and_named(planted: dict[str, Any], findings: list[dict[str, Any]], wanted: tuple[bool, bool]) -> None:
    assert verdict(planted, *findings) == wanted


def test_counts_are_of_what_the_balance_can_show() -> None:
    lost = fault("missing_data", "A/7", counted=False)
    told = judge(truth(STUCK, TAP, MOVED, lost), [finding("stuck", "A/1"), finding("missing_data", "A/7")])
    assert (told["found"], told["named"], told["of"]) == (2, 1, 3)
    assert told["planted"][3]["found"]


OPENED = fault("cover_opened", "A/3", counted=False, events=["cover_opened"], begins="2026-11-20T00:00:00Z", sign=None)
FAILED = fault("power_failure", "A/4", counted=False, events=["power_failed", "power_restored"], sign=None)
SILENT = fault("silent_meter", "A/5", counted=False, events=[], sign="not_read")
STRANGE = fault("stranger", "Shelly/x", counted=False, events=[], sign="discovered")


@pytest.mark.parametrize(
    ("planted", "heard", "wanted"),
    [
        (STUCK, Heard(events={("A/1", "cover_opened")}), (None, [])),
        (OPENED, Heard(), (False, [])),
        (OPENED, Heard(events={("A/3", "cover_opened")}), (True, ["cover_opened"])),
        (OPENED, Heard(events={("A/4", "cover_opened"), ("A/3", "magnet_detected")}), (False, [])),
        (FAILED, Heard(events={("A/4", "power_failed")}), (True, ["power_failed"])),
        (SILENT, Heard(not_read={"A/5"}), (True, ["not_read"])),
        (SILENT, Heard(discovered={"A/5"}, not_read={"A/6"}), (False, [])),
        (STRANGE, Heard(discovered={"Shelly/x"}), (True, ["discovered"])),
    ],
)
def test_what_tells_of_itself_is_seen(
    planted: dict[str, Any], heard: Heard, wanted: tuple[bool | None, list[str]]
) -> None:
    told = judge(truth(planted), [], heard)
    assert (told["planted"][0]["seen"], told["planted"][0]["seen_as"]) == wanted
    assert (told["seen"], told["to_see"]) == (int(wanted[0] or False), int(wanted[0] is not None))
    assert told["of"] == (planted is STUCK)


def test_what_has_not_happened_yet_is_not_looked_for() -> None:
    before, after = datetime(2026, 11, 19, tzinfo=UTC), datetime(2026, 11, 21, tzinfo=UTC)
    assert judge(truth(OPENED), [], Heard(), before)["to_see"] == 0
    assert judge(truth(OPENED), [], Heard(), after)["to_see"] == 1


def test_a_meter_that_only_tells_something_is_honest() -> None:
    told = judge(truth(STUCK, OPENED, SILENT), [finding("stuck", "A/3"), finding("stuck", "A/5")])
    assert told["wrongly_accused"] == ["A/3", "A/5"]


def test_an_honest_meter_that_is_accused_is_named() -> None:
    told = judge(truth(STUCK), [finding("stuck", "A/1"), finding("under_registering", "A/2")])
    assert told["wrongly_accused"] == ["A/2"]


def test_a_remark_on_data_is_no_accusation() -> None:
    assert judge(truth(STUCK), [finding("missing_data", "A/2")])["wrongly_accused"] == []


def test_a_finding_for_an_area_where_nothing_is_wrong_is_a_false_alarm() -> None:
    findings = [finding("direct_tap", None, area=area) for area in ("TA-01", "TA-02", "TA-03")]
    assert judge(truth(MOVED), findings)["false_alarms"] == ["TA-03: direct_tap"]


def test_the_best_finding_is_shown_with_its_numbers() -> None:
    findings = [finding("stuck", "A/1", confidence=0.51234, energy_wh=1.6), finding("stuck", "A/1", confidence=0.2)]
    (only,) = judge(truth(STUCK), findings)["planted"]
    assert (only["as"], only["confidence"], only["estimated_wh"], only["energy_wh"]) == ("stuck", 0.512, 2, 5000.0)
    (missed,) = judge(truth(STUCK), [])["planted"]
    assert (missed["as"], missed["confidence"], missed["estimated_wh"]) == (None, None, None)


def test_missing_readings_are_counted_per_meter() -> None:
    assert missing_readings(truth(), {"A/1": 96, "A/2": 90, "A/3": 5}) == {"A/2": 6}
    assert missing_readings(truth(), {"A/1": 100}) == {"A/2": 96}
    assert missing_readings(truth(), {"A/1": 96, "A/2": 96}) == {}


def test_truth_is_read_from_the_simulators_file(tmp_path: Path) -> None:
    history = {"until": "2026-11-23T04:00:00+00:00", "readings": {"A/1": 5}}
    content = {"seed": 7, "planted": [STUCK], "history": history, "modbus_meters": ["A/1"], "line_loss_wh": {}}
    (tmp_path / "truth.json").write_text(json.dumps(content))
    loaded = Truth.load(tmp_path / "truth.json")
    assert loaded.planted == (STUCK,)
    assert loaded.history_until == datetime(2026, 11, 23, 4, tzinfo=UTC)
    assert (loaded.history_readings, loaded.modbus_meters, loaded.seed) == ({"A/1": 5}, {"A/1"}, 7)
