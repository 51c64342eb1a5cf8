"""Sentences say no more than the numbers: a phase is named for certain only where the other ones come out even."""

from __future__ import annotations

from typing import Any

import pytest

from headend.web import finding_money, finding_says, finding_texts
from headend.web.finding_words import Seen


def seen(
    kind: str = "direct_tap", *, meter: str | None = None, places: list[str] | None = None, **numbers: float
) -> Seen:
    evidence: dict[str, Any] = {"numbers": numbers}
    if places:
        evidence["pictures"] = [{"name": "place", "meters": places}]
    return Seen(kind=kind, evidence=evidence, energy_wh=1000.0, meter=meter)


@pytest.mark.parametrize(
    ("l1", "l2", "l3", "certain"),
    [(300, 13_000, -200, True), (5_400, 13_000, -9_000, False), (0, 13_000, 6_600, False)],
)
def test_a_phase_is_certain_only_where_the_others_come_out_even(l1: float, l2: float, l3: float, certain: bool) -> None:
    told = seen(phase=2.0, daily_missing_l1_wh=l1, daily_missing_l2_wh=l2, daily_missing_l3_wh=l3)
    english = " ".join(one.english for one in finding_says.because(told))
    assert ("It is on phase L2." in english) == certain
    assert ("no proof of the phase" in english) == (not certain)
    assert "L2" in " ".join(one.english for one in finding_says.checks(told))


def test_a_phase_alone_is_told_as_it_is() -> None:
    assert any("It is on phase L1." in one.english for one in finding_says.because(seen(phase=1.0)))


def test_voltages_that_speak_for_another_place_send_nobody_there_first() -> None:
    numbers = {"place_margin_nat": 20.0, "place_meters": 9.0}
    of_a_meter = finding_says.checks(seen("under_registering", meter="M1", places=["M7", "M1"], **numbers))
    assert [one.english for one in of_a_meter] == [
        "Look at the line near M7 too: the voltages speak rather for that place."
    ]
    assert "Begin with the line near M7." in [o.english for o in finding_says.checks(seen(places=["M7"], **numbers))]


@pytest.mark.parametrize("kind", ["under_registering", "wrong_area"])
def test_how_to_read_a_picture_allows_for_other_faults_beside(kind: str) -> None:
    words = finding_texts.of(kind)
    assert "has another cause" in words.evidence
    assert "另有原因" in words.evidence_chinese


def test_of_what_nobody_read_nothing_is_not_known_to_be_zero() -> None:
    assert not finding_money.is_known("missing_data", 0.0)
    assert finding_money.is_known("missing_data", 12.0)
    assert finding_money.is_known("area_meter_phase", 0.0)
    assert not finding_money.is_known("stuck", None)
