"""The gates before an accusation, each by itself: what is asked where, and of whom."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from reconciliation import analyse
from reconciliation.decide import (
    ACCUSE_MODEL,
    OWN_COURSE,
    VOTE,
    placed_elsewhere,
    resembles,
    unfounded,
)
from reconciliation.shapes import FAMILIES
from reconciliation.suspects import Suspect

FIELD: Any = object()
"""Voltages of some meters: these gates only ask whether there are any."""


def suspect(family: str = "scaled", **told: Any) -> Suspect:
    """A suspect on whose days nothing but noise is left, with other places' evidence of zero."""
    way = next(f for f in FAMILIES if f.name == family)
    return Suspect(meter=1, family=way, active=np.ones(28), mode=0, evidence=50.0, load_evidence=0.0, **told)


def area(*, from_voltage: bool = True) -> Any:
    """An area whose technical loss is told by voltages, or by a load model."""
    return SimpleNamespace(loss=SimpleNamespace(from_voltage=from_voltage))


def found(own: float) -> Any:
    """A search whose one suspect has so much evidence given all others [nat]."""
    return SimpleNamespace(own_evidence=np.array([own]))


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
        {"voted": 0.0, "VOLTAGE_MOST": 1e6},
    ],
    ids=lambda closed: next(iter(closed)),
)
def test_a_closed_gate_lets_nobody_be_accused(street: Any, monkeypatch: pytest.MonkeyPatch, closed: Any) -> None:
    s = street(n=24, days=14, seed=21)
    s.read[2] *= 0.4
    window = s.window()
    assert analyse([window])["A"].accused == ("A-2",)
    for name, value in closed.items():
        constant = name.isupper()
        monkeypatch.setattr(f"reconciliation.decide.{name}", value if constant else lambda *_, told=value: told)
    assert analyse([window])["A"].accused == ()
