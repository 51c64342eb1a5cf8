"""The gates before an accusation, each by itself: what is asked where, and of whom."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reconciliation import analyse
from reconciliation.decide import (
    ACCUSE_MODEL,
    FEW_DAYS,
    OWN_COURSE,
    VOTE,
    WITHIN_NOISE,
    alone,
    placed_elsewhere,
    resembles,
    unfounded,
)
from reconciliation.noise import ENOUGH
from reconciliation.shapes import FAMILIES
from reconciliation.suspects import Suspect

FIELD: Any = object()
"""Voltages of some meters: these gates only ask whether there are any."""


def suspect(family: str = "scaled", **told: Any) -> Suspect:
    """A suspect on whose days nothing but noise is left, with other places' evidence of zero."""
    way = next(f for f in FAMILIES if f.name == family)
    return Suspect(meter=1, family=way, active=np.ones(28), mode=0, evidence=50.0, load_evidence=0.0, **told)


def area(days: int = 28, *, from_voltage: bool = True) -> Any:
    """Three meters, the middle one on the first stream."""
    share = np.array([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    return SimpleNamespace(
        share=share, area=SimpleNamespace(n_days=days), loss=SimpleNamespace(from_voltage=from_voltage)
    )


def found(ratio: float = 1.0, own: float = 500.0) -> Any:
    """A search that left the first stream at so much of its floor, and the second far from it."""
    return SimpleNamespace(fit=SimpleNamespace(ratio=np.array([ratio, 3.0])), own_evidence=np.array([own]))


def test_days_explained_to_within_the_noise_do_not_stand_alone() -> None:
    assert not alone(area(), found(), suspect(), over=False, field=FIELD)


@pytest.mark.parametrize(
    ("model", "search", "one", "over", "field"),
    [
        (area(), found(), suspect(), False, None),
        (area(), found(), suspect(), True, FIELD),
        (area(), found(), suspect(scale=1.01 * WITHIN_NOISE), False, FIELD),
        (area(), found(ratio=1.01 * ENOUGH), suspect(), False, FIELD),
        (area(days=FEW_DAYS - 1), found(), suspect(), False, FIELD),
    ],
    ids=["no voltages", "counts too much", "days scatter", "a load is left on its stream", "few days"],
)
def test_more_is_asked_of_days_that_stand_alone(model: Any, search: Any, one: Suspect, over: bool, field: Any) -> None:
    assert alone(model, search, one, over=over, field=field)


def test_voltages_that_speak_for_it_are_enough_company() -> None:
    assert not alone(area(days=5), found(ratio=9.0), suspect(scale=9.0, place=VOTE), over=True, field=FIELD)


def test_voltages_acquit_unless_they_place_it_there_too() -> None:
    assert placed_elsewhere(suspect(elsewhere=True, place=-3.0, other_places=9.0))
    assert not placed_elsewhere(suspect(elsewhere=True, place=9.0, other_places=30.0))
    assert not placed_elsewhere(suspect(elsewhere=False, place=-3.0))


def test_an_intermittent_bypass_that_voltages_do_not_speak_for_may_be_a_likeness() -> None:
    assert resembles(suspect("random", scale=2 * OWN_COURSE), FIELD)
    assert not resembles(suspect("random", place=VOTE), FIELD)
    assert not resembles(suspect("scaled"), FIELD)
    assert not resembles(suspect("random"), None)


def test_modelled_losses_take_evidence_given_all_others() -> None:
    assert unfounded(area(from_voltage=False), found(own=ACCUSE_MODEL - 1), 0)
    assert not unfounded(area(from_voltage=False), found(own=ACCUSE_MODEL), 0)
    assert not unfounded(area(), found(own=0.0), 0)


@pytest.mark.parametrize(
    "closed",
    [
        {"unfounded": True},
        {"placed_elsewhere": True},
        {"resembles": True, "OWN_COURSE": 0.0},
        {"alone": True, "VOLTAGE_MOST": 1e6},
    ],
    ids=lambda closed: next(iter(closed)),
)
def test_a_closed_gate_lets_nobody_be_accused(street: Any, monkeypatch: pytest.MonkeyPatch, closed: Any) -> None:
    s = street(n=24, days=14, seed=21)
    s.read[2] *= 0.4
    window = s.window()
    assert analyse([window])["A"].accused == ("A-2",)
    for name, value in closed.items():
        gate = value if isinstance(value, float) else lambda *_, **__: True
        monkeypatch.setattr(f"reconciliation.decide.{name}", gate)
    assert analyse([window])["A"].accused == ()
