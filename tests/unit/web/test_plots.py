"""What plots and sparklines are made of: gaps stay gaps, instants are local, odd evidence is survived."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from headend.web import plots
from headend.web.render import embedded_json
from headend.web.sparkline import sparkline

ZONE = ZoneInfo("Asia/Shanghai")
DAYS = [date(2026, 11, 1) + timedelta(days=k) for k in range(4)]


def _balance(day: date, state: str = "normal") -> dict[str, Any]:
    return {
        "day": day, "state": state, "supplied_wh": 10_000, "delivered_wh": 9_000, "loss_wh": 1_000,
        "technical_wh": 400, "uncertainty_wh": 50,
    }  # fmt: skip


def test_unsettled_and_not_computable_days_are_gaps() -> None:
    plot = plots.area_days([_balance(DAYS[0]), _balance(DAYS[2], "not_computable"), _balance(DAYS[3])], DAYS)
    assert plot is not None
    supplied, _, loss, _ = plot["series"]
    assert plot["x"] == ["2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04"]
    assert supplied["values"] == [10.0, None, None, 10.0]
    assert loss["low"] == [0.9, None, None, 0.9]
    assert loss["high"] == [1.1, None, None, 1.1]
    assert plots.area_days([_balance(DAYS[0], "not_computable")], DAYS) is None


def test_intervals_are_mean_power_at_local_instants() -> None:
    row = {
        "starts_at": datetime(2026, 11, 1, 16, tzinfo=UTC), "interval_s": 900, "supplied_interval_wh": [250, None, 0],
        "delivered_interval_wh": [200, 100, 0], "technical_interval_wh": [None, None, None],
    }  # fmt: skip
    plot = plots.area_intervals(row, ZONE)
    assert plot is not None
    assert plot["x"][0] == "2026-11-02T00:00:00"
    supplied, _, loss, technical = (series["values"] for series in plot["series"])
    assert supplied == [1.0, None, 0.0]
    assert loss == [0.2, None, 0.0]
    assert technical == [None, None, None]
    nothing = row | {"supplied_interval_wh": [None] * 3, "delivered_interval_wh": [None] * 3}
    assert plots.area_intervals(nothing, ZONE) is None


def _finding(evidence: Any, onset: datetime | None = None) -> dict[str, Any]:
    return {"evidence": evidence, "window_from": DAYS[0], "onset_at": onset}


def test_evidence_gets_a_panel_for_each_unit() -> None:
    series = [
        {"name": "loss_before", "unit": "Wh", "values": [1000, None, float("nan")]},
        {"name": "odd_curve", "unit": "V", "values": [230.0]},
    ]
    evidence = {"resolution": "day", "series": series, "starts_at": "2026-10-31T16:00:00+00:00"}
    plot = plots.evidence(_finding(evidence, datetime(2026, 11, 1, 17, tzinfo=UTC)), ZONE)
    assert plot is not None
    assert [panel["unit"] for panel in plot["panels"]] == ["kWh a day", "V"]
    assert plot["x"] == ["2026-11-01", "2026-11-02", "2026-11-03"]
    assert plot["series"][0]["values"] == [1.0, None, None]
    assert [one["name"] for one in plot["series"]] == ["Loss as measured", "Odd curve"]
    assert plot["marks"] == [{"x": "2026-11-02", "label": "onset"}]


def test_shares_are_per_cent_and_ratios_say_what_they_are() -> None:
    series = [
        {"name": "measured_share", "unit": "1", "values": [0.5, None, 1.0]},
        {"name": "coefficient", "unit": "1", "values": [0.0, 1.0, 1.1]},
    ]
    plot = plots.evidence(_finding({"resolution": "day", "series": series}), ZONE)
    assert plot is not None
    assert [(panel["title"], panel["unit"]) for panel in plot["panels"]] == [
        ("Measured", "%"), ("Missing over claimed", ""),
    ]  # fmt: skip
    assert plot["series"][0]["values"] == [50.0, None, 100.0]
    assert plot["series"][1]["name"].endswith("(1: as claimed)")


def test_evidence_of_another_shape_is_survived() -> None:
    for odd in (None, [], {}, {"series": None}, {"series": [1, {"name": "x"}, {"values": []}]}):
        assert plots.evidence(_finding(odd), ZONE) is None
    plot = plots.evidence(_finding({"starts_at": "nonsense", "series": [{"values": ["a", True, 2]}]}), ZONE)
    assert plot is not None
    assert plot["series"][0]["values"] == [None, None, 2.0]
    assert plot["x"][0] == "2026-11-01"


def test_embedded_json_cannot_end_its_block() -> None:
    nasty = {"name": "</script><script>alert(1)</script>&<!--", "v": None}
    written = str(embedded_json(nasty))
    assert "<" not in written
    assert ">" not in written
    assert json.loads(written) == nasty


def test_sparkline_breaks_at_gaps_and_says_when_there_is_nothing() -> None:
    drawn = sparkline([0.05, 0.06, None, 0.08, None, 0.04, 0.05], 0.07, "loss <rate>")
    assert drawn.count("<polyline") == 2
    assert drawn.count("spark-dot") == 1
    assert "loss &lt;rate&gt;" in drawn
    assert "no balance yet" in sparkline([None, None], 0.07, "x")


def test_sparkline_marks_a_last_value_above_the_limit() -> None:
    assert "spark-over" in sparkline([0.01, 0.09], 0.07, "x")
    assert "spark-under" in sparkline([0.01, -0.02], 0.07, "x")
    assert "spark-over" not in sparkline([0.09, 0.01], 0.07, "x")
