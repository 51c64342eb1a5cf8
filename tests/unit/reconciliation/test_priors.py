"""Priors: shrinkage of the precision, bounds, and what the engine makes of them; no kind gets beyond reach."""

import math
from dataclasses import fields

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciliation import AreaWindow, Cause, FindingKind, Priors, analyse
from reconciliation.priors import CEILING, DEFAULT_PRECISION, FLOOR, PRIOR_WEIGHT, learnt

TAP = FindingKind.DIRECT_TAP


def probability(log_odds):
    return 1 / (1 + math.exp(-log_odds))


def test_nothing_judged_changes_nothing():
    assert learnt({}, {}) == Priors() == learnt({TAP: 0}, {TAP: 0})
    assert all(Priors().shift(kind) == 0.0 for kind in FindingKind)
    assert Priors().stated(TAP, 0.999) == 0.999


def test_the_default_is_worth_twenty_inspections():
    assert (DEFAULT_PRECISION[TAP], PRIOR_WEIGHT) == (0.8, 20.0)
    found = learnt({TAP: 4}, {TAP: 16})
    assert probability(found.log_odds[TAP]) == pytest.approx((16 + 4) / 40)
    assert found.shift(TAP) == pytest.approx(-math.log(4))
    assert all(found.shift(kind) == 0.0 for kind in FindingKind if kind is not TAP)


def test_confidence_is_stated_with_its_log_odds_moved():
    found = learnt({TAP: 4}, {TAP: 16})
    assert found.stated(TAP, 0.8) == pytest.approx(0.5)
    assert found.stated(FindingKind.STUCK, 0.8) == 0.8


counts = st.integers(0, 100_000)


@given(st.sampled_from(list(FindingKind)), counts, counts, st.floats(0, 1))
def test_whatever_was_judged_no_kind_leaves_its_bounds(kind, confirmed, rejected, confidence):
    found = learnt({kind: confirmed}, {kind: rejected})
    assert FLOOR - 1e-12 <= found.log_odds[kind] <= CEILING + 1e-12
    assert 0.01 <= found.stated(kind, confidence) <= 0.99 or found.shift(kind) == 0.0


@given(st.sampled_from(list(FindingKind)), counts, counts)
def test_a_confirmation_never_lowers_and_a_rejection_never_raises(kind, confirmed, rejected):
    now = learnt({kind: confirmed}, {kind: rejected}).log_odds[kind]
    assert learnt({kind: confirmed + 1}, {kind: rejected}).log_odds[kind] >= now - 1e-12
    assert learnt({kind: confirmed}, {kind: rejected + 1}).log_odds[kind] <= now + 1e-12


def test_another_floor_and_other_defaults_hold():
    base = Priors(dict.fromkeys(FindingKind, 0.0))
    assert learnt({}, {TAP: 10_000}, base, floor=-1.0).log_odds[TAP] == -1.0
    assert learnt({}, {TAP: 10_000}, Priors(base.log_odds | {TAP: -4.0}), floor=-1.0).log_odds[TAP] == -4.0


def test_priors_are_whole_and_finite():
    with pytest.raises(ValueError, match="no prior for stuck"):
        Priors({kind: 0.0 for kind in FindingKind if kind is not FindingKind.STUCK})
    with pytest.raises(ValueError, match="stuck is not finite"):
        Priors(dict.fromkeys(FindingKind, 0.0) | {FindingKind.STUCK: math.inf})
    with pytest.raises(ValueError, match="direct_tap: -1"):
        learnt({TAP: -1}, {})


def test_a_kind_that_was_rejected_a_thousand_times_is_still_found_when_the_evidence_is_overwhelming(street):
    s = street()
    s.read[4, 4 * 96 :] *= 0.4
    kind = FindingKind.UNDER_REGISTERING
    before = analyse([s.window()])[s.name]
    after = analyse([s.window()], priors=learnt({}, {kind: 1000}))[s.name]
    (found,), (was,) = after.findings, before.findings
    assert (found.kind, found.meter, after.accused, after.cause) == (kind, "A-4", ("A-4",), Cause.METER)
    assert (found.energy_wh, found.evidence.numbers) == (was.energy_wh, was.evidence.numbers)
    assert 0.4 < found.confidence < was.confidence
    assert found.confidence == pytest.approx(learnt({}, {kind: 1000}).stated(kind, was.confidence))


def test_confirmed_cases_do_not_make_an_honest_area_suspect(street):
    s = street(seed=7)
    report = analyse([s.window()], priors=learnt(dict.fromkeys(FindingKind, 100_000), {}))[s.name]
    assert (report.cause, report.alarm, report.findings) == (Cause.CLEAN, False, ())


def test_neither_names_nor_addresses_nor_arrears_reach_the_engine():
    """All that it is given: codes, energies, voltages, and what was learnt of kinds."""
    assert [f.name for f in fields(Priors)] == ["log_odds"]
    words = {word for f in fields(AreaWindow) for word in f.name.split("_")}
    assert not words & {"name", "address", "customer", "category", "arrears", "debt", "payment", "tariff"}
