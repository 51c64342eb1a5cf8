"""Probabilities of causes: they sum to one and follow the evidence."""

import pytest

from reconciliation.cause_probability import BOUNDS, COINCIDENCE, ESCAPES, cause_probability, posterior, stated
from reconciliation.report import Cause


def causes(**changes):
    fields = {"beyond_alarm": 50.0, "suspect_log_odds": (), "dead": 0, "found": None, "found_evidence": 0.0}
    return cause_probability(**(fields | changes))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"beyond_alarm": -9.0},
        {"suspect_log_odds": (3.0, -2.0)},
        {"dead": 1},
        {"found": Cause.AREA_METER, "found_evidence": 9.0},
    ],
)
def test_they_sum_to_one(changes):
    assert sum(causes(**changes).values()) == pytest.approx(1.0)


def test_the_most_probable_cause_follows_the_evidence():
    best = [
        max(p, key=lambda c: p[c])
        for p in (
            causes(beyond_alarm=-9.0),
            causes(),
            causes(suspect_log_odds=(4.0,)),
            causes(dead=1),
            causes(found=Cause.MAPPING, found_evidence=20.0),
            causes(found=Cause.AREA_METER, found_evidence=40.0, suspect_log_odds=(4.0,)),
        )
    ]
    assert best == [Cause.CLEAN, Cause.UNMETERED, Cause.METER, Cause.METER, Cause.MAPPING, Cause.AREA_METER]


def test_several_doubtful_suspects_make_somebody_probable():
    assert causes(suspect_log_odds=(0.0, 0.0, 0.0))[Cause.METER] == pytest.approx(1 - 0.8 / 8, abs=0.01)
    assert causes()[Cause.METER] == pytest.approx(ESCAPES, abs=0.01)


def test_what_is_stated_grows_with_the_odds_between_what_escapes_and_what_coincides():
    values = [stated(x) for x in (-1e9, -4.0, 0.0, 3.0, 1e9)]
    assert values == sorted(values)
    assert values[0] == pytest.approx(ESCAPES * 0.02, rel=0.05)
    assert values[-1] == 1 - COINCIDENCE


def test_nothing_is_certain():
    assert (posterior(-1e9), posterior(1e9)) == BOUNDS
