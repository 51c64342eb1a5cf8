"""Screening first and explaining afterwards says what analyse says; an area can be explained alone among neighbours."""

from collections.abc import Callable
from typing import Any

import numpy as np

from reconciliation import analyse, explain, screen


def test_screen_then_explain_is_analyse(street: Callable[..., Any]) -> None:
    thief, clean = street("A"), street("B", seed=8)
    thief.read[3] *= 0.4
    windows = [thief.window(), clean.window()]
    whole = analyse(windows)
    screenings = [screen(w) for w in windows]
    assert [s.noteworthy for s in screenings] == [True, False]
    only = explain(screenings, {"A"})
    assert set(only) == {"A"}
    assert only["A"].accused == whole["A"].accused == ("A-3",)
    assert only["A"].suspicion == whole["A"].suspicion
    assert explain(screenings)["B"].anomaly_score == whole["B"].anomaly_score


def test_what_cannot_be_computed_is_screened_too(street: Callable[..., Any]) -> None:
    window = street().window(area_import_wh=np.full(21 * 96, np.nan))
    screening = screen(window)
    assert screening.nothing is not None
    assert not screening.noteworthy
    assert np.isnan(explain([screening])["A"].technical_loss_wh)
