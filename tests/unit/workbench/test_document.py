"""The document holds everything the engine says, whatever it comes to say; null is what is not known."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import jsonschema
import numpy as np
import pytest

from headend.web import cause_texts
from headend.workbench.document import Frame, document, plain
from headend.workbench.html import html
from headend.workbench.notes import TEXTS, Note
from headend.workbench.verdict import verdict
from reconciliation import (
    AreaReport,
    AreaWindow,
    Cause,
    Evidence,
    EvidenceSeries,
    Finding,
    FindingKind,
    TechnicalLossModel,
)
from support.workbench import SHANGHAI, random_window

SCHEMA = json.loads(files("headend.workbench").joinpath("schema", "report.schema.json").read_text())
FRAME = Frame(made_at=datetime(2026, 4, 1, tzinfo=UTC), program="9", zone=SHANGHAI, price_per_kwh=0.5, currency="EUR")


@dataclass(frozen=True, kw_only=True, eq=False)
class LaterReport(AreaReport):
    """What an engine of later may say besides."""

    told_later: float = 7.5
    limits_of_later: tuple[str, ...] = ("no_voltage",)
    odds: Mapping[str, float] = field(default_factory=lambda: {"meter": 0.75, "clean": float("nan")})


def finding(**changed: Any) -> Finding:
    values: dict[str, Any] = {
        "kind": FindingKind.UNDER_REGISTERING, "meter": "A-1", "confidence": 0.9, "energy_wh": 12_000.0,
        "energy_low_wh": 10_000.0, "energy_high_wh": float("nan"), "onset_interval": 96,
        "evidence": Evidence(
            series=(
                EvidenceSeries(name="loss_before", unit="Wh", values=np.array([1.0, np.nan, 3.0])),
                EvidenceSeries(name="curve_of_later", unit="nat", values=np.array([1.0, 2.0, 3.0])),
            ),
            numbers={"log_evidence": 3.0, "share": float("nan")}, alternatives={"unmetered": 0.05},
        ),
    }  # fmt: skip
    return Finding(**(values | changed))


def report(window: AreaWindow, kind: type[AreaReport] = AreaReport, **changed: Any) -> AreaReport:
    values: dict[str, Any] = {
        "anomaly_score": 12.0, "alarm": True, "cause": Cause.METER, "suspicion": {"A-1": 9.0, "A-0": -1.0},
        "accused": ("A-1",), "misplaced": (("A-2", "B"),), "technical_loss_wh": 500.0, "findings": (finding(),),
        "technical_interval_wh": np.full(window.n_intervals, 2.0),
        "technical_model": TechnicalLossModel(constant_wh=1.0, quadratic_per_wh=0.0),
        "reason": "half a reason; another",
    }  # fmt: skip
    return kind(**(values | changed))


def made(window: AreaWindow, *args: Any, **changed: Any) -> dict[str, Any]:
    found = document([window], {window.area: report(window, *args, **changed)}, FRAME, notes=[Note("repeated", 3)])
    jsonschema.Draft202012Validator(SCHEMA, format_checker=jsonschema.FormatChecker()).validate(found)
    json.dumps(found, allow_nan=False)
    return found


def test_every_field_of_report_and_finding_is_there() -> None:
    window = random_window("A", 1)
    (area,) = made(window)["areas"]
    assert set(area["report"]) == {f.name for f in fields(AreaReport)} - {"findings"}
    assert {f.name for f in fields(Finding)} <= set(area["findings"][0])
    assert area["findings"][0]["energy_high_wh"] is None
    assert area["findings"][0]["money"] == {"amount": 6.0, "low": 5.0, "high": None}
    assert area["findings"][0]["onset_at"] == "2026-03-03T00:00:00+08:00"
    assert area["findings"][0]["evidence"]["series"][0]["values"] == [1.0, None, 3.0]


def test_what_a_later_engine_says_is_in_the_document_and_on_the_page() -> None:
    window = random_window("A", 1)
    found = made(window, LaterReport, limits_of_later=("no_voltage",))
    told = found["areas"][0]["report"]
    assert (told["told_later"], told["limits_of_later"]) == (7.5, ["no_voltage"])
    assert told["odds"] == {"meter": 0.75, "clean": None}
    assert "Told later" in html(found)


@pytest.mark.parametrize(
    ("limits", "shown"),
    [
        (["no voltage was measured"], ["no voltage was measured"]),
        (["no_voltage"], ["No voltage"]),
        ([{"what": "phase", "why": "no_area_phases"}], ["What: Phase, Why: No area phases"]),
        ([], ["half a reason", "another"]),
    ],
)
def test_limits_are_listed_in_whatever_shape_they_come(limits: list[Any], shown: list[str]) -> None:
    found = made(random_window("A", 1))
    found["areas"][0]["report"]["limits"] = limits
    page = html(found)
    for one in shown:
        assert f"<li>{one}</li>" in page


def test_the_balance_is_of_intervals_that_are_complete() -> None:
    window = random_window("A", 3)
    (area,) = made(window)["areas"]
    whole = np.isfinite(window.household_import_wh).all(axis=0) & np.isfinite(window.area_import_wh)
    assert area["balance"]["complete_intervals"] == [
        int(whole[:96].sum()),
        int(whole[96:192].sum()),
        int(whole[192:].sum()),
    ]
    delivered = (window.household_import_wh - window.household_export_wh)[:, whole].sum()
    assert area["totals"]["delivered_wh"] == pytest.approx(delivered)
    assert area["totals"]["supplied_wh"] == pytest.approx(window.area_import_wh[whole].sum())
    assert area["totals"]["technical_wh"] == 2.0 * whole.sum()
    assert area["balance"]["days"] == ["2026-03-02", "2026-03-03", "2026-03-04"]


def test_where_nothing_was_read_there_is_no_zero() -> None:
    window = random_window("A", 3)
    blind = AreaWindow(**{name: getattr(window, name) for name in window.__dataclass_fields__} | {
        "area_import_wh": np.full(window.n_intervals, np.nan), "household_voltage_v": None, "area_phase_wh": None,
    })  # fmt: skip
    found = made(
        blind, cause=Cause.NOT_COMPUTABLE, technical_interval_wh=np.full(blind.n_intervals, np.nan),
        technical_loss_wh=float("nan"), accused=(), findings=(), misplaced=(),
    )  # fmt: skip
    totals = found["areas"][0]["totals"]
    assert {name: value for name, value in totals.items() if value is not None} == {"complete_share": 0.0}
    assert set(found["areas"][0]["balance"]["supplied_wh"]) == {None}
    page = html(found)
    assert "Not computable: half a reason; another." in page
    assert "no household voltages in the files" in page


@pytest.mark.parametrize("cause", list(Cause))
@pytest.mark.parametrize("accused", [(), ("A-1",)])
def test_every_verdict_is_said_in_both_languages(cause: Cause, accused: tuple[str, ...]) -> None:
    told = plain(report(random_window("A", 1), cause=cause, accused=accused, misplaced=()))
    english, chinese = verdict(told)
    assert english.endswith(".")
    assert any("\u4e00" <= letter <= "\u9fff" for letter in chinese)
    assert bool(accused) == ("A-1" in english) == ("A-1" in chinese) or cause is Cause.NOT_COMPUTABLE
    assert cause_texts.of(str(cause)).chinese


def test_nobody_is_named_where_nobody_is_accused() -> None:
    window = random_window("A", 1)
    english, _ = verdict(plain(report(window, accused=(), findings=(finding(meter=None),))))
    assert english == "Some meter’s reading is wrong, but not clearly enough whose: nobody is accused."


def test_a_verdict_leaves_no_finding_out() -> None:
    window = random_window("A", 1)
    tap = finding(kind=FindingKind.DIRECT_TAP, meter=None)
    english, chinese = verdict(plain(report(window, cause=Cause.MAPPING, accused=(), misplaced=(), findings=(tap,))))
    assert "hangs here" in english
    assert english.endswith("Found besides: unmetered consumption (direct tap) (90.0\u00a0%).")
    assert chinese.endswith("另发现：无表用电（90.0\u00a0%）。")
    moved = finding(kind=FindingKind.WRONG_AREA, meter="A-2", correct_area="B")
    english, chinese = verdict(plain(report(window, findings=(finding(), moved))))
    assert english == "One meter explains the loss: A-1. Listed here, but hanging elsewhere: A-2 → B."
    assert "A-2 → B" in chinese
    assert "besides" not in verdict(plain(report(window, cause=Cause.UNMETERED, accused=(), findings=(tap,))))[0]


def test_an_area_that_was_hardly_read_is_no_meter() -> None:
    window = random_window("A", 1)
    lack = [finding(kind=FindingKind.MISSING_DATA, meter=meter) for meter in (None, "A-0")]
    assert "1 meter was hardly read." in verdict(plain(report(window, findings=tuple(lack))))[0]


def test_causes_are_told_in_both_languages_and_a_lack_has_no_energy() -> None:
    window = random_window("A", 1)
    nothing = finding(kind=FindingKind.MISSING_DATA, energy_wh=0.0, energy_low_wh=0.0, energy_high_wh=0.0)
    page = html(made(window, cause_probability={Cause.METER: 0.9, Cause.CLEAN: 0.1}, findings=(nothing,)))
    assert "Nothing stands out" in page
    assert "未见异常" in page
    assert "not known: what nobody read is not zero" in page
    assert "0 kWh</strong>" not in page


def test_every_note_is_said_in_both_languages() -> None:
    for code in TEXTS:
        note = Note(code, 1234, None, ("m1", "m2"))
        assert "m1, m2 …" in note.english
        assert any("\u4e00" <= letter <= "\u9fff" for letter in note.chinese)


def test_a_report_is_refused_what_json_does_not_know() -> None:
    with pytest.raises(TypeError, match="object is not for a report"):
        plain({"a": object()})
