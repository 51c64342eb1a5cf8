"""The rules in force and what they found: by the API and at the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from typer.testing import CliRunner, Result

from headend.cli import app
from headend.settings import Settings
from headend.web.app import create_app
from reconciliation.validation import RULES
from support.field import DAY0, T0
from support.ward import Ward

NOW = T0 + timedelta(days=1, hours=8)


@pytest.fixture
def ward(make_ward: Callable[..., Ward]) -> Ward:
    """A day with two homes, one of them spiky, and another day that is not settled."""
    made = make_ward()
    made.read(made.total, lambda k: 11 + k % 3)
    made.read(made.house("CALM"), {})
    made.read(made.house("WILD"), {40: 600, 60: 4000})
    made.settle()
    return made


def _client(ward: Ward, settings: Settings | None = None) -> TestClient:
    return TestClient(create_app(ward.store, settings or ward.field.settings, lambda: NOW))


def test_rules_in_force(ward: Ward) -> None:
    client = _client(ward)
    told = client.get("/api/v1/validation/rules").json()
    assert [rule["code"] for rule in told["rules"]] == list(RULES)
    (spike,) = (rule for rule in told["rules"] if rule["code"] == "spike")
    assert (spike["version"], spike["flag"], spike["enabled"]) == (1, 1024, True)
    assert spike["of_category"] == {"irrigation": False}
    factor, floor = spike["thresholds"]
    assert (factor["name"], factor["value"], factor["of_category"]) == ("factor", 3.0, {"production": 6.0})
    assert (floor["name"], floor["unit"], floor["default"]) == ("floor_wh", "Wh", 500.0)
    assert {"by_line", "by_reference_days"} <= {method["code"] for method in told["estimation"]}
    assert told["rule_set"] == ward.row("WILD")["rules"]
    kept = client.get(f"/api/v1/validation/rule-sets/{told['rule_set']}").json()
    assert kept["rules"]["rules"]["spike"]["factor"] == 3.0
    ward.configure(spike={"factor": 9.0})
    other = _client(ward).get("/api/v1/validation/rules").json()
    assert other["rule_set"] is None, "nothing was settled by them yet"
    assert [t["value"] for rule in other["rules"] if rule["code"] == "spike" for t in rule["thresholds"]] == [
        9.0,
        500.0,
    ]


def test_a_rule_set_that_is_not_there(ward: Ward) -> None:
    client = _client(ward)
    assert client.get("/api/v1/validation/rule-sets/1").json()["first_used_at"] is None
    assert client.get("/api/v1/validation/rule-sets/999").json()["type"].endswith("unknown-rule-set")
    assert client.get("/api/v1/validation/rule-sets/99999").status_code == 422


def test_what_they_found(ward: Ward) -> None:
    client = _client(ward)
    told = client.get("/api/v1/areas/A1/validation").json()
    assert (told["day"], told["usage_points"], told["intervals"], told["flagged"]) == (str(DAY0), 3, 288, 2)
    by_code = {found["code"]: found for found in told["found"]}
    assert by_code["above_capacity"] == {
        "code": "above_capacity", "intervals": 1, "usage_points": 1, "worst": {"WILD": 1},
    }  # fmt: skip
    assert told["worst"] == {"WILD": 2}
    assert told["rule_sets"] == [ward.row("WILD")["rules"]]
    empty = client.get("/api/v1/areas/A1/validation", params={"day": "2026-03-09"}).json()
    assert (empty["usage_points"], empty["found"]) == (0, [])
    assert client.get("/api/v1/areas/A9/validation").json()["type"].endswith("unknown-area")
    assert client.get("/api/v1/areas/A1/validation", params={"day": "20260309"}).status_code == 422


@pytest.fixture
def run(ward: Ward, tmp_path: Path) -> Callable[..., Result]:
    config = tmp_path / "headend.toml"

    def call(*words: str, **validation: Any) -> Result:
        tables = "".join(f"[validation.{rule}]\n{table}\n" for rule, table in validation.items())
        config.write_text(f"[database]\ndsn = {json.dumps(ward.store.dsn)}\n{tables}", encoding="utf-8")
        return CliRunner().invoke(app, ["rules", *words, "--config", str(config)])

    return call


def test_the_command_lists_the_rules(run: Callable[..., Result], ward: Ward) -> None:
    shown = run()
    assert shown.exit_code == 0, shown.output
    assert f"in force (rule set {ward.row('WILD')['rules']})" in shown.output
    for code in RULES:
        assert code in shown.output
    assert "factor = 3" in shown.output
    assert "factor = 3; production 6" in shown.output
    assert "irrigation off" in shown.output
    other = run(spike="enabled = false")
    assert "spike (off)" in other.output
    assert "not used yet" in other.output
    told = json.loads(run("--json").output)
    assert [rule["code"] for rule in told["rules"]] == list(RULES)


def test_the_command_tells_what_they_found(run: Callable[..., Result]) -> None:
    shown = run("A1", str(DAY0))
    assert shown.exit_code == 0, shown.output
    assert "A1 on 2026-03-02: 2 of 288 intervals of 3 metering points have something wrong" in shown.output
    assert "worst: WILD 2" in shown.output
    assert "not settled" in run("A1", "2026-03-09").output
    assert json.loads(run("A1", str(DAY0), "--json").output)["worst"] == {"WILD": 2}
    missing = run("A9")
    assert missing.exit_code == 1
    assert "no area 'A9'" in missing.output
    wrong = run("A1", spike="factr = 3")
    assert wrong.exit_code == 1
    assert "validation.spike.factr: unknown key" in wrong.output
