"""Every cause on a small area whose physics the test computes itself; nobody honest is accused in any of them."""

from dataclasses import replace

import numpy as np
import pytest

from reconciliation import Cause, FindingKind, analyse
from reconciliation.mapping import transfer


def only(window):
    return analyse([window])[window.area]


@pytest.mark.parametrize("seed", [7, 8, 9, 10])
def test_clean_area_is_clean(street, seed):
    s = street(seed=seed)
    report = only(s.window())
    assert (report.cause, report.alarm, report.accused, report.misplaced) == (Cause.CLEAN, False, (), ())
    assert report.technical_loss_wh == pytest.approx(s.loss_wh, abs=0.0015 * s.supplied.sum())
    assert set(report.suspicion) == set(s.window().meters)


@pytest.mark.parametrize(("factor", "onset"), [(0.5, 0), (0.4, 9), (0.3, 12)])
def test_under_registering_meter_is_accused_with_onset_and_energy(street, factor, onset):
    s = street()
    s.read[4, onset * 96 :] *= factor
    lost = float((s.true - s.read).sum())
    report = only(s.window())
    assert report.cause is Cause.METER
    assert report.accused == ("A-4",)
    assert max(report.suspicion, key=lambda m: report.suspicion[m]) == "A-4"
    (finding,) = report.findings
    assert finding.kind is FindingKind.UNDER_REGISTERING
    assert (finding.onset_interval or 0) == onset * 96
    assert finding.energy_low_wh <= finding.energy_wh <= finding.energy_high_wh
    assert finding.energy_wh == pytest.approx(lost, rel=0.15)
    before, after = (x.values for x in finding.evidence.series[:2])
    assert np.abs(after[onset:]).sum() < 0.5 * np.abs(before[onset:]).sum()


def test_over_registering_multiplier_is_a_wrong_multiplier(street):
    s = street()
    s.read[11] *= 2.0
    report = only(s.window())
    assert report.accused == ("A-11",)
    assert report.findings[0].kind is FindingKind.WRONG_MULTIPLIER
    assert report.findings[0].energy_wh < 0


def test_register_that_stops_is_stuck(street):
    s = street()
    s.read[3, 8 * 96 :] = 0.0
    report = only(s.window())
    assert report.cause is Cause.METER
    assert report.accused == ("A-3",)
    assert report.findings[0].kind is FindingKind.STUCK


def test_two_faults_in_one_area_are_both_named(street):
    s = street(n=50, days=28, seed=114)
    s.read[3, 10 * 96 :] *= 0.45
    s.read[17, 14 * 96 :] = 0.0
    report = only(s.window())
    assert report.cause is Cause.METER
    assert set(report.accused) == {"A-3", "A-17"}
    assert {f.meter: f.kind for f in report.findings} == {
        "A-3": FindingKind.UNDER_REGISTERING,
        "A-17": FindingKind.STUCK,
    }


def test_direct_tap_accuses_nobody(street):
    s = street()
    listed = np.delete(np.arange(s.n), 6)
    report = only(s.window(keep=listed))
    assert report.alarm
    assert report.accused == ()
    assert report.cause is Cause.UNMETERED
    assert [f.kind for f in report.findings] == [FindingKind.DIRECT_TAP]
    assert report.findings[0].energy_wh == pytest.approx(float(s.true[6].sum()), rel=0.2)


def test_wrong_ct_ratio_is_the_area_meters(street):
    s = street()
    s.supplied[:, 10 * 96 :] *= 0.8
    report = only(s.window())
    assert report.cause is Cause.AREA_METER
    assert report.accused == ()
    (finding,) = report.findings
    assert finding.kind is FindingKind.AREA_METER_RATIO
    assert finding.onset_interval == 10 * 96
    assert finding.evidence.numbers["ratio_read_to_true"] == pytest.approx(0.8, abs=0.02)


def test_dead_phase_of_the_area_meter(street):
    s = street()
    s.supplied[1, 9 * 96 :] = 0.0
    report = only(s.window())
    assert report.cause is Cause.AREA_METER
    assert report.accused == ()
    assert report.findings[0].kind is FindingKind.AREA_METER_PHASE
    assert report.findings[0].evidence.numbers["phase"] == 2


@pytest.mark.parametrize("with_voltage", [True, False])
def test_meter_on_the_wrong_area_is_found_and_nothing_else(street, with_voltage):
    a, b, c = street("A", seed=7), street("B", seed=21), street("C", seed=33)
    # the household A-5 is listed in B
    wa, wb, wc = a.window(), b.window(), c.window()
    wa, wb = transfer(wa, wb, "A-5")
    if not with_voltage:
        wa, wb, wc = (replace(w, household_voltage_v=None, area_voltage_v=None) for w in (wa, wb, wc))
    reports = analyse([wa, wb, wc])
    assert reports["B"].misplaced == (("A-5", "A"),)
    assert reports["A"].misplaced == reports["C"].misplaced == ()
    assert reports["A"].cause is reports["B"].cause is Cause.MAPPING
    assert reports["C"].cause is Cause.CLEAN
    assert all(r.accused == () for r in reports.values())
    (finding,) = [f for f in reports["B"].findings if f.kind is FindingKind.WRONG_AREA]
    assert (finding.meter, finding.correct_area) == ("A-5", "A")
