"""Pictures without a script: gaps stay gaps, marks stand where they belong, names cannot break out."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest

from headend.web import plots
from headend.workbench.svg import nice_ticks, picture

DAYS = [date(2026, 3, 2) + timedelta(days=k) for k in range(6)]


def power(**changed: list[float | None]) -> plots.Plot:
    values: dict[str, list[float | None]] = {
        name: [1000.0] * 6 for name in ("supplied", "delivered", "loss", "technical", "unexplained")
    }
    made = plots.mean_power_by_day(DAYS, values | changed)
    assert made is not None
    return made


def paths(plot: plots.Plot, role: str) -> list[str]:
    screen, _ = str(picture(plot, "a picture")).split('<div class="on-phone">')
    return re.findall(rf'<path class="curve role-{role}" d="([^"]*)"', screen)


def test_a_gap_parts_the_curve() -> None:
    (path,) = paths(power(supplied=[1000.0, 2000.0, None, 1000.0, None, 500.0]), "supplied")
    assert path.count("M") == 3
    assert len(re.findall("[ML]", path)) == 4


def test_unknown_days_have_no_point_and_nothing_known_no_picture() -> None:
    drawn = str(picture(power(technical=[None] * 6), "a picture"))
    assert paths(power(technical=[None] * 6), "technical") == []
    assert "Technical loss, 2026-03-02" not in drawn
    assert "Supplied, 2026-03-02: 1 kW" in drawn
    assert plots.mean_power_by_day(DAYS, {name: [None] * 6 for name in ("supplied", "delivered", "loss")}) is None


def test_values_stand_at_their_height() -> None:
    (path,) = paths(power(supplied=[0.0, 500.0, 1000.0, 1000.0, 500.0, 0.0]), "supplied")
    points = [tuple(map(float, pair)) for pair in re.findall(r"[ML]([\d.]+) ([\d.]+)", path)]
    assert [round(y, 1) for _, y in points] == [round(y, 1) for _, y in reversed(points)]
    assert points[0][1] - points[1][1] == pytest.approx(points[1][1] - points[2][1], abs=0.11)
    gaps = [b[0] - a[0] for a, b in pairwise(points)]
    assert max(gaps) - min(gaps) < 0.21


def test_an_onset_is_marked_at_its_day() -> None:
    plot = power() | {"marks": [{"x": "2026-03-04", "label": "onset"}, {"x": "2027-01-01", "label": "elsewhere"}]}
    drawn = str(picture(plot, "a picture"))
    assert drawn.count('class="mark"') == 2, "on screen and on phone; what is not on the axis is not drawn"
    assert "elsewhere" not in drawn


def test_names_are_escaped() -> None:
    plot: dict[str, Any] = power()
    plot["series"][0]["name"] = "<script>"
    drawn = str(picture(plot, '"><script>'))
    assert "<script" not in drawn


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.2, 17), (0.001, 0.0042), (-9e6, 4e6), (230.1, 230.4)])
def test_ticks_are_round_and_inside(low: float, high: float) -> None:
    ticks = nice_ticks(low, high, 4)
    assert 2 <= len(ticks) <= 5
    assert all(low <= tick <= high for tick in ticks)
    assert all(len(f"{tick:g}") <= 7 for tick in ticks)
    assert 0 in ticks or low > 0


def test_one_day_has_hours_and_many_days_have_dates() -> None:
    day = datetime(2026, 3, 11)  # noqa: DTZ001 local, as plots have it
    hours = [(day + timedelta(minutes=15 * k)).isoformat() for k in range(96)]
    curve = {"name": "Loss", "role": "loss", "shape": "step", "panel": 0, "values": [0.5] * 96}
    plot = {
        "x": hours, "daily": False, "panels": [{"title": "", "unit": "kW", "weight": 3}], "series": [curve],
        "marks": [],
    }  # fmt: skip
    drawn = re.findall(r'text-anchor="middle">([^<]*)<', str(picture(plot, "a day", small=True)))
    assert drawn == ["11 Mar", "06:00", "12:00", "18:00"]
    assert re.findall(r'text-anchor="middle">([^<]*)<', str(picture(power(), "days", small=True)))[1] == "04 Mar"


def test_an_axis_of_numbers_says_what_it_measures() -> None:
    dots = {"name": "Missing", "role": "loss", "shape": "points", "panel": 0, "values": [0.1, 0.4], "x": [0.2, 1.0]}
    plot = {
        "x": [0.2, 1.0], "axis": {"title": "This meter", "unit": "kW"}, "daily": False,
        "panels": [{"title": "Missing", "unit": "kW", "weight": 3}], "series": [dots], "marks": [],
    }  # fmt: skip
    assert ">This meter, kW<" in str(picture(plot, "pairs", small=True))
