"""Evidence that counts days: what repeats itself convinces, two lucky days or a free choice do not."""

import numpy as np
import pytest

from reconciliation.evidence_of_days import ALWAYS, ONSET, SOME_DAYS
from reconciliation.model import build
from reconciliation.replication import DayScores, DayTests, best_days, cost_of_choice, replicated_evidence, roughly

DAYS = 28
ALL = np.ones(DAYS, bool)
NONE = np.zeros(DAYS, bool)


def scores(coefficient: np.ndarray, information: float = 25.0, noise: float = 1.0, seed: int = 3) -> DayScores:
    """Scores against a fit without the fault: each day's coefficient, seen with its information and noise."""
    h = np.full(DAYS, information)
    rng = np.random.default_rng(seed)
    return DayScores(rest=coefficient * h + noise * rng.normal(0, 1, DAYS) * np.sqrt(h), information=h)


def test_a_fault_of_every_day_convinces():
    assert replicated_evidence(scores(np.ones(DAYS)), NONE, ALL) > 25


def test_honest_days_do_not():
    assert replicated_evidence(scores(np.zeros(DAYS)), NONE, ALL) < 0


def test_as_much_energy_on_two_days_is_no_habit():
    lucky = np.zeros(DAYS)
    lucky[[5, 19]] = DAYS / 2
    some = lucky > 0
    value = replicated_evidence(scores(lucky), NONE, some) - cost_of_choice(SOME_DAYS, some, 1)
    assert value < 0


def test_days_that_scatter_more_than_registers_allow_say_less():
    wild = replicated_evidence(scores(np.ones(DAYS), noise=6.0), NONE, ALL)
    assert wild < 0.4 * replicated_evidence(scores(np.ones(DAYS)), NONE, ALL)


def test_evidence_grows_with_days_not_with_what_a_day_weighs():
    """A hundred times the rows' evidence of the same days adds the logarithm of it only."""
    one, hundred = (replicated_evidence(scores(np.ones(DAYS), information=x), NONE, ALL) for x in (25.0, 2500.0))
    assert hundred < one + 0.5 * DAYS * np.log(100.0) + 10
    assert hundred < 5 * one


@pytest.mark.parametrize(
    ("acts", "mode"),
    [
        (ALL, ALWAYS),
        (np.arange(DAYS) >= 11, ONSET),
        (np.isin(np.arange(DAYS), [0, 2, 3, 7, 8, 9, 12, 15, 16, 20, 21, 23, 26, 27]), SOME_DAYS),
    ],
)
def test_the_days_it_acts_are_found(acts, mode):
    found_mode, days, evidence = best_days(scores(acts.astype(float), information=64.0), NONE, 1)
    assert (found_mode, days.tolist()) == (mode, acts.tolist())
    assert evidence > 5


def test_scores_from_a_fit_with_the_fault_say_the_same():
    acts = np.arange(DAYS) >= 11
    bare = scores(acts.astype(float))
    fitted = DayScores(rest=bare.rest - acts * bare.information, information=bare.information)
    assert replicated_evidence(fitted, acts, acts) == pytest.approx(replicated_evidence(bare, NONE, acts))


def test_choosing_days_costs_more_than_an_onset_and_that_more_than_always():
    half = np.arange(DAYS) < 14
    costs = [cost_of_choice(mode, days, 1) for mode, days in ((ALWAYS, ALL), (ONSET, half), (SOME_DAYS, half))]
    assert costs == sorted(costs)
    assert costs[2] - costs[0] == pytest.approx(np.log(40_116_600) + np.log(29))
    assert cost_of_choice(ALWAYS, ALL, 3) - costs[0] == pytest.approx(np.log(DAYS))


def test_many_are_scored_at_once_as_each_alone(street):
    """Three-phase meters too; faults of nobody in the fit."""
    s = street(n=12, days=14, seed=8)
    s.read[4] *= 0.5
    model = build(s.window(three_phase=np.arange(12) == 7))
    tests = DayTests(model, model.fit)
    meters = np.array([4, 4, 7, 1])
    hidden = np.stack([model.area.net[4], np.sin(np.arange(14.0 * 96)), model.area.net[7], -0.3 * model.area.net[1]])
    together = tests.scores_of_many(meters, hidden)
    never = np.zeros(14, bool)
    for k, (meter, course) in enumerate(zip(meters.tolist(), hidden, strict=True)):
        alone = tests.scores(meter, course, never)
        np.testing.assert_allclose(together.rest[k], alone.rest, rtol=2e-3, atol=2e-3 * np.abs(alone.rest).max())
        np.testing.assert_allclose(
            together.information[k], alone.information, rtol=2e-3, atol=1e-3 * alone.information.max()
        )


@pytest.mark.parametrize("coefficients", [1, 3])
def test_a_rough_look_at_many_finds_what_a_close_one_does(coefficients):
    acts = [ALL, NONE, np.arange(DAYS) >= 11, np.isin(np.arange(DAYS), [0, 2, 3, 7, 8, 9, 12, 15, 16, 20, 21, 23])]
    each = [
        scores(a.astype(float) * size, information=h, noise=noise, seed=seed)
        for seed, a in enumerate(acts)
        for size, h, noise in ((1.0, 25.0, 1.0), (1.0, 2500.0, 4.0), (0.4, 9.0, 1.5), (1.0, 0.0, 1.0))
    ]
    each[2].information[5] = 0.0  # a day on which nothing was read
    together = DayScores(rest=np.stack([x.rest for x in each]), information=np.stack([x.information for x in each]))
    found = roughly(together, np.full(len(each), coefficients))
    for x, rough in zip(each, found, strict=True):
        if x.information.any():
            assert rough == pytest.approx(best_days(x, NONE, coefficients)[2], abs=0.4)
        else:
            assert rough == -np.inf
