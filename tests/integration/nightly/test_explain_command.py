"""`headend explain AREA` says in the terminal what the engine says of one area, and what it could not tell."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from headend.cli import explain as command
from headend.workbench import document
from headend.workbench.verdict import verdict
from reconciliation import Cause
from support.command import headend
from support.station import DAYS, Stations

Make = Callable[..., Stations]


@pytest.fixture
def made(make_stations: Make) -> Stations:
    return make_stations(stations=2, areas=2, bad=2)


def explain(made: Stations, *options: str) -> Any:
    return headend("explain", *options, dsn=made.field.store.dsn, **made.settings)


def test_it_says_what_the_report_says_and_writes_nothing(made: Stations) -> None:
    assert headend("nightly", "--area", "S1A0", dsn=made.field.store.dsn, **made.settings).returncode == 0
    kept = next(report for report in made.reports() if report["code"] == "S1A0")
    before = made.reports(), made.cases()
    done = explain(made, "S1A0")
    assert (done.returncode, done.stderr) == (0, ""), done
    assert (made.reports(), made.cases()) == before
    head, said, alarm, balance, *_ = done.stdout.splitlines()
    assert head == (
        f"S1A0  {made.last - timedelta(days=DAYS - 1)} to {made.last}: {DAYS} days of 15 min, 6 meters, beside S1A1"
    )
    assert alarm.startswith("alarm" if kept["alarm"] else "no alarm")
    assert f"clean area {kept['anomaly_score']:.1f} nat" in alarm
    assert balance.startswith("balance over 100")
    assert said
    for finding in made.cases():
        assert f"confidence {finding['confidence']:.0%}" in done.stdout
    told = done.stdout.partition("what could not be told, the gravest first:")[2].splitlines()[1:]
    assert len(told) == len(kept["limits"])
    assert "No usable voltages of households" in told[0]
    assert "无可用的用户电压" in told[0]


def test_findings_are_told_as_their_pages_tell_them(made: Stations) -> None:
    said = explain(made, "S1A0").stdout
    assert made.field.one("select count(*) from finding") == 0, "nothing is kept"
    assert "kWh a day" in said
    assert "explanations: this finding" in said
    assert "not told: " in said
    for raw in ("daily_loss_before_wh", "log_evidence", "other_meter", "this_finding", "None"):
        assert raw not in said, raw
    assert not re.search(r"\d\.?\d*e\+\d", said), "kWh, not powers of ten"


def test_json_is_the_workbenchs_document(made: Stations) -> None:
    done = explain(made, "S1A0", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["format"] == document.FORMAT
    assert found["neighbours"] == ["S1A1"]
    (area,) = found["areas"]
    assert area["area"] == "S1A0"
    assert len(area["meters"]) == 6
    assert area["report"]["limits"][0]["code"] == "no_household_voltage"
    assert sum(area["report"]["cause_probability"].values()) == pytest.approx(1.0)
    assert len(area["balance"]["days"]) == DAYS


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["X"], "there is no area 'X'"),
        (["S1A0", "--from", "2020-01-01", "--to", "2020-01-05"], "S1A0: no day from 2020-01-01 to 2020-01-05"),
        (["S1A0", "--from", "2020-01-05", "--to", "2020-01-01"], "the first day 2020-01-05 is after the last one"),
        (["S1A0", "--to", "0001-01-01"], "is beyond the calendar"),
    ],
)
def test_what_cannot_be_explained_is_said(made: Stations, options: list[str], said: str) -> None:
    done = explain(made, *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_meter_from_elsewhere_is_not_from_here() -> None:
    report = {"cause": Cause.MAPPING.value, "accused": [], "findings": [], "misplaced": [["M1", "B"], ["M2", None]]}
    english, chinese = verdict(report)
    assert "M1 → B, M2 (not from here)" in english
    assert "M1 → B、M2 (不属本台区)" in chinese
    assert "None" not in english + chinese


def test_causes_are_told_likeliest_first() -> None:
    told = command._causes({"clean": 0.1, "meter": 0.897, "mapping": 0.003, "unmetered": 0.0})
    assert told == "; a household meter 90\u00a0%, nothing stands out 10\u00a0%"
