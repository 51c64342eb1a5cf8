"""Each kind of finding brings all that a page needs: curves that fit, odds that sum to one, numbers that are known."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from headend.settlement.evidence_rows import evidence_json
from headend.web import finding_numbers, finding_says, finding_texts, finding_words, plots
from reconciliation import Explanation, FindingKind, Priors, Untold
from reconciliation.evidence_area import tap_finding
from reconciliation.evidence_odds import among, divided, restated
from reconciliation.evidence_series import evenly, peak_hours, significant
from reconciliation.model import build
from reconciliation.report import EvidencePicture, EvidenceSeries
from support.every_kind import FAULTS, case

MOST_BYTES = 50_000
UNITS = {"Wh", "V", "nat", "SD", "1"}
OWN = {"under_registering": "A-4", "stuck": "A-3", "wrong_multiplier": "A-11", "clock_skew": "A-4"}


@pytest.mark.parametrize("name", list(FAULTS))
def test_the_evidence_of_a_kind_is_complete(name):
    found = case(name).finding
    evidence, window = found.evidence, case(name).window
    days = int(window.day_index()[-1]) + 1
    assert evidence.series
    assert {len(one.values) for one in evidence.series} == {days}
    for picture in evidence.pictures:
        lengths = {len(s.values) for s in picture.series if not s.name.startswith("line_")}
        assert len(lengths) == 1
        (length,) = lengths
        assert length == {"interval": 96, "hour": 24, "meter": len(picture.meters)}.get(picture.resolution, length) > 0
        assert (picture.first_interval is not None) == (picture.resolution == "interval")
    drawn = [*evidence.series, *(s for p in evidence.pictures for s in p.series)]
    assert {one.unit for one in drawn} <= UNITS
    assert not any(np.isinf(one.values).any() for one in drawn)
    assert all(math.isfinite(value) for value in evidence.numbers.values())
    if found.kind is not FindingKind.MISSING_DATA:
        assert sum(evidence.alternatives.values()) == pytest.approx(1.0)
        assert evidence.alternatives[Explanation.THIS_FINDING] == found.confidence
        assert {p.name for p in evidence.pictures} & {"day", "voltages"}
    assert len(json.dumps(evidence_json(evidence), allow_nan=False)) < MOST_BYTES
    assert found.energy_low_wh <= found.energy_wh <= found.energy_high_wh
    if name in OWN:
        assert found.meter == OWN[name]


@pytest.mark.parametrize("name", list(FAULTS))
def test_everything_is_said_in_both_languages(name):
    found = case(name).finding
    seen = finding_words.Seen(
        kind=str(found.kind), evidence=evidence_json(found.evidence), energy_wh=found.energy_wh, meter=found.meter,
        area="A", correct_area=found.correct_area,
    )  # fmt: skip
    told = [*finding_says.because(seen), *finding_says.checks(seen), *finding_words.untold(seen)]
    told += [words for words, _ in finding_words.explanations(seen)]
    told += [words for words, _ in finding_numbers.rows(seen.numbers)]
    told += list(finding_texts.of(str(found.kind)).checks)
    assert finding_says.because(seen)
    for words in told:
        assert words.english
        assert any("\u4e00" <= letter <= "\u9fff" for letter in words.chinese), words
    assert set(seen.numbers) <= set(finding_numbers.NAMES) | finding_numbers.UNSAID
    named = [s.name for s in found.evidence.series if not s.name.endswith("_sd")]
    named += [s.name for p in found.evidence.pictures if p.resolution != "meter" for s in p.series]
    assert [n for n in named if not n.startswith("line_") and n not in plots.SERIES_NAMES] == []


def test_every_word_of_the_engine_is_known_to_the_pages():
    assert set(finding_words.UNTOLD) == {str(one) for one in Untold}
    assert set(finding_words.EXPLANATIONS) == {str(one) for one in Explanation}
    assert {str(kind) for kind in FindingKind} <= set(finding_texts.kinds())


def test_a_thief_since_a_day_is_told_by_his_days():
    evidence = case("under_registering").finding.evidence
    curves = {one.name: one.values for one in evidence.series}
    assert np.abs(curves["coefficient"][:9]).max() < 0.5 < curves["coefficient"][9:].min()
    assert (evidence.numbers["days_told"], evidence.numbers["days_following"]) == (12, 12)
    assert np.all(curves["coefficient_sd"] > 0)
    assert evidence.numbers["factor_true_to_read"] == pytest.approx(2.5, rel=0.1)
    after = next(p for p in evidence.pictures if p.name == "day").first_interval
    before = next(p for p in evidence.pictures if p.name == "day_before").first_interval
    assert before < 9 * 96 <= after


def test_a_phase_that_dies_twice_and_comes_back_is_told_so():
    numbers = case("area_meter_phase").finding.evidence.numbers
    assert (numbers["hours_dead"], numbers["times_dead"], numbers["back_again"]) == (96, 2, 1)


def test_a_meter_turned_round_is_put_right_by_exactly_minus_one():
    found = case("reversed_polarity").finding
    assert found.evidence.numbers["ratio_read_to_true"] == -1
    before, after = (one.values for one in found.evidence.series[:2])
    assert np.abs(after).max() < 0.01 * np.abs(before).max()


def test_hours_and_phase_of_a_tap_are_told(street):
    s = street()
    t = np.arange(s.days * 96) % 96
    s.supplied[2] += np.where((t >= 80) & (t < 88), 300.0, 0.0)
    found = tap_finding(build(s.window()), np.array([0.0, 0.0, 100.0]), 0.01)
    numbers = found.evidence.numbers
    assert found.kind is FindingKind.DIRECT_TAP
    assert numbers["phase"] == 3
    assert 20 <= numbers["peak_from_h"] < numbers["peak_to_h"] <= 22
    assert numbers["daily_missing_l3_wh"] == pytest.approx(2400, rel=0.2)


def test_where_no_energy_is_missing_nothing_is_called_a_tap(street):
    s = street()
    s.supplied[1] -= 5.0
    found = tap_finding(build(s.window()), np.array([0.0, 200.0, 0.0]), 0.01)
    assert found.kind is FindingKind.UNEXPLAINED
    assert found.energy_wh < 0
    assert found.confidence <= 0.5
    assert Untold.WHAT in found.evidence.untold
    assert sum(found.evidence.alternatives.values()) == pytest.approx(1.0)


def test_odds_sum_to_one_and_keep_their_proportions_when_restated():
    odds = divided(0.9, {Explanation.UNMETERED: 3.0, Explanation.NOTHING: 1.0})
    assert odds == pytest.approx({"this_finding": 0.9, "unmetered": 0.075, "nothing": 0.025})
    assert restated(odds, 0.9, 0.6) == pytest.approx({"this_finding": 0.6, "unmetered": 0.3, "nothing": 0.1})
    several = among({"x": 2.0, "y": 2.0}, 0.5, {Explanation.NOTHING: 1.0})
    assert several == pytest.approx({"meter:x": 0.25, "meter:y": 0.25, "nothing": 0.5})
    assert sum(restated(several, 0.5, 0.8).values()) == pytest.approx(1.0)


def test_what_inspections_taught_moves_the_odds_with_the_confidence():
    report = case("direct_tap").report
    priors = Priors(dict(Priors().log_odds) | {FindingKind.DIRECT_TAP: 0.0})
    (found,) = [f for f in priors.applied(report).findings if f.kind is FindingKind.DIRECT_TAP]
    assert found.confidence < case("direct_tap").finding.confidence
    assert found.evidence.alternatives[Explanation.THIS_FINDING] == pytest.approx(found.confidence)
    assert sum(found.evidence.alternatives.values()) == pytest.approx(1.0)


def test_peak_hours_reach_over_midnight_and_unknown_hours_tell_nothing():
    def hours(values):
        return EvidencePicture(
            name="hours", resolution="hour", series=(EvidenceSeries(name="x", unit="Wh", values=values),)
        )

    course = np.zeros(24)
    course[[22, 23, 0, 1]] = [2.0, 10.0, 10.0, 3.0]
    assert peak_hours(hours(course)) == {"peak_from_h": 23, "peak_to_h": 1, "peak_share": pytest.approx(0.8)}
    course[5] = np.nan
    assert peak_hours(hours(course)) == {}


def test_what_is_kept_is_rounded_and_bounded():
    assert significant(np.array([123456.7, 0.00123456, 0.0, -9.87654321])).tolist() == [
        123460.0,
        0.0012346,
        0.0,
        -9.8765,
    ]
    assert np.isnan(significant(np.array([np.nan]))).all()
    assert evenly(1000, 5).tolist() == [0, 250, 500, 749, 999]
    assert evenly(0, 5).size == 0


def test_a_day_that_was_not_read_is_not_drawn(street):
    s = street()
    w = s.window()
    blind = np.arange(w.n_intervals) // 96 == 3
    w = replace(
        w,
        area_import_wh=np.where(blind, np.nan, w.area_import_wh),
        area_phase_wh=np.where(blind, np.nan, w.area_phase_wh),
    )
    found = tap_finding(build(w), np.array([0.0, 0.0, 1.0]), 0.01)
    assert np.flatnonzero(np.isnan(found.evidence.series[0].values)).tolist() == [3]
