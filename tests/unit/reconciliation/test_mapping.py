"""Meters in the wrong area: found by energy and voltage, also across windows that only overlap, and without the right
area; the prior counts the neighbours."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from reconciliation import Cause, FindingKind, analyse, not_from_here
from reconciliation.mapping import find_moves, prior_nats
from reconciliation.mapping_energy import overlap, removal
from reconciliation.model import build, gain
from reconciliation.not_from_here import leaves_nothing_behind, strangers
from reconciliation.rehang import transfer, without

DAYS = 14


def pair(street):
    return street("A", n=14, days=DAYS, seed=3).window(), street("B", n=14, days=DAYS, seed=4).window()


def cut(window, first_day, last_day):
    part = slice(first_day * 96, last_day * 96)
    series = {
        name: getattr(window, name)[..., part]
        for name in (
            "household_import_wh",
            "household_export_wh",
            "household_voltage_v",
            "area_import_wh",
            "area_export_wh",
            "area_phase_wh",
            "area_voltage_v",
        )
    }
    return replace(window, start=window.start + timedelta(days=first_day), **series)


def test_removal_is_what_the_balance_itself_gains(street):
    listed, other = transfer(*pair(street), "A-5")
    model = build(other)
    evidence = removal(model, -np.inf)
    gained = build(without(other, "A-5")).fit.log_likelihood - model.fit.log_likelihood
    assert np.argmax(evidence) == other.meters.index("A-5")
    assert 0.3 * gained < evidence.max() < 3 * gained
    assert np.delete(evidence, other.meters.index("A-5")).max() < 0.1 * evidence.max()
    assert removal(build(listed), 20.0).max() == -np.inf


@pytest.mark.parametrize(
    "lack", [(), ("household_voltage_v", "area_voltage_v"), ("area_voltage_v",), ("area_phase_wh",)]
)
def test_several_meters_are_moved_back(street, lack):
    a, b = pair(street)
    for meter in ("A-5", "A-9"):
        a, b = transfer(a, b, meter)
    b, a = transfer(b, a, "B-2")
    windows = [replace(w, **dict.fromkeys(lack)) for w in (a, b)]
    moves, after = find_moves({w.area: build(w) for w in windows}, build)
    assert {(m.meter, m.correct) for m in moves} == {("A-5", "A"), ("A-9", "A"), ("B-2", "B")}
    assert set(after["A"].area.meters) == {f"A-{i}" for i in range(14)}


def test_windows_that_only_overlap_are_neighbours_too(street):
    a, b = transfer(*pair(street), "A-5")
    a, b = cut(a, 0, 10), cut(b, 3, DAYS)
    shared = overlap(b, a)
    assert shared is not None
    assert (shared.length, shared.first.start, shared.second.start) == (7 * 96, 0, 3 * 96)
    moves, _ = find_moves({"A": build(a), "B": build(b)}, build)
    assert [(m.meter, m.correct) for m in moves] == [("A-5", "A")]


def test_windows_of_other_grids_or_other_times_are_no_neighbours(street):
    a, b = pair(street)
    assert overlap(a, replace(b, interval_s=1800)) is None
    assert overlap(a, replace(b, start=b.start + timedelta(days=DAYS))) is None
    assert overlap(a, replace(b, start=b.start + timedelta(seconds=60))) is None


def test_a_moved_meter_that_steals_is_moved_first(street):
    s = street("A", n=14, days=DAYS, seed=3)
    s.read[5] *= 0.5
    a, b = transfer(s.window(), street("B", n=14, days=DAYS, seed=4).window(), "A-5")
    reports = analyse([a, b])
    assert reports["B"].misplaced == (("A-5", "A"),)
    assert reports["B"].accused == ()


def test_a_meter_from_an_area_that_is_not_here_is_told_and_not_accused(street):
    _, b = transfer(*pair(street), "A-5")
    report = analyse([b])["B"]
    assert report.cause is Cause.MAPPING
    assert report.misplaced == (("A-5", None),)
    assert report.accused == ()
    (finding,) = report.findings
    assert finding.kind is FindingKind.WRONG_AREA
    assert (finding.meter, finding.correct_area) == ("A-5", None)
    assert finding.confidence > 0.9
    after = next(s.values for s in finding.evidence.series if s.name == "loss_after")
    before = next(s.values for s in finding.evidence.series if s.name == "loss_before")
    assert np.abs(after).sum() < np.abs(before).sum()


def test_energy_alone_says_nothing_of_a_stranger(street):
    _, b = transfer(*pair(street), "A-5")
    report = analyse([replace(b, household_voltage_v=None, area_voltage_v=None)])["B"]
    assert report.misplaced == ()
    assert "A-5" not in report.accused


def test_a_reading_that_says_nothing_of_its_load_is_no_stranger(street):
    s = street("B", n=14, days=DAYS, seed=4)
    s.read[5] = s.true[5].mean() * np.random.default_rng(11).uniform(0.0, 2.0, s.read.shape[1])
    model = build(s.window())
    assert strangers(model, build).moves == []
    assert leaves_nothing_behind(model, 5, build, real=True) is not None  # energy would have it gone
    assert leaves_nothing_behind(model, 5, build, real=False) is None  # but its load stays


def test_days_stored_in_reverse_are_no_stranger_whatever_the_voltage_says(street, monkeypatch):
    monkeypatch.setattr(not_from_here, "stands_apart", lambda *_: True)

    def gone(model, i, rebuild, *, real=True):
        return leaves_nothing_behind(model, i, rebuild, real=True)

    monkeypatch.setattr(not_from_here, "leaves_nothing_behind", gone)
    s = street("B", n=14, days=21, seed=7)
    s.read[5] = s.read[5].reshape(-1, 96)[:, ::-1].ravel()
    model = build(s.window())
    assert gone(model, 5, build) is not None  # energy would have it gone
    assert strangers(model, build).moves == []


def test_the_prior_grows_with_the_neighbours_and_falls_with_the_rate():
    assert prior_nats(0.002, 20) - prior_nats(0.002, 5) == pytest.approx(np.log(4))
    assert prior_nats(0.05, 5) < prior_nats(0.002, 5)
    with pytest.raises(ValueError, match="wrong_area_rate"):
        analyse([], wrong_area_rate=0.0)


def test_balances_of_other_rows_are_not_compared(street):
    """An area whose meter is put right by phase in one of two fits only: their likelihoods are of other things."""
    s = street(n=45, days=7, seed=4)
    by_phase, total = build(s.window()), build(s.window(area_phase_wh=None))
    assert gain(by_phase, by_phase) == 0.0
    assert gain(by_phase, total) == gain(total, by_phase) == -np.inf
