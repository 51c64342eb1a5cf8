"""Every cause on a small area whose physics the test computes itself; nobody honest is accused in any of them."""

from dataclasses import replace

import numpy as np
import pytest

from reconciliation import Cause, FindingKind, analyse
from reconciliation.attribution import attribute, statistics
from reconciliation.columns import meter_columns
from reconciliation.decide import dead_registers
from reconciliation.levels import still_registers
from reconciliation.localise import localise
from reconciliation.mapping import transfer
from reconciliation.model import build


def only(window):
    return analyse([window])[window.area]


@pytest.mark.parametrize("seed", [7, 8, 9, 10])
def test_clean_area_is_clean(street, seed):
    s = street(seed=seed)
    report = only(s.window())
    assert (report.cause, report.alarm, report.accused, report.misplaced) == (Cause.CLEAN, False, (), ())
    assert report.technical_loss_wh == pytest.approx(s.loss_wh, abs=0.0015 * s.supplied.sum())
    assert set(report.suspicion) == set(s.window().meters)


@pytest.mark.parametrize(("factor", "onset"), [(0.57, 0), (0.4, 9), (0.3, 12)])
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


@pytest.mark.parametrize("factor", [0.25, 0.5])
def test_a_constant_factor_that_is_a_transformers_ratio_is_a_wrong_multiplier(street, factor):
    s = street()
    s.read[11] *= factor
    report = only(s.window())
    assert report.accused == ("A-11",)
    assert report.findings[0].kind is FindingKind.WRONG_MULTIPLIER
    assert report.findings[0].energy_wh == pytest.approx(float((s.true - s.read).sum()), rel=0.1)


def test_half_the_energy_from_a_day_on_is_no_multiplier(street):
    s = street()
    s.read[11, 9 * 96 :] *= 0.5
    (finding,) = only(s.window()).findings
    assert (finding.meter, finding.kind) == ("A-11", FindingKind.UNDER_REGISTERING)


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


def three_phase(window, trios):
    """The window with each trio of one-phase meters on phases 1, 2, 3 behind one three-phase meter."""
    gone = {i for trio in trios for i in trio}
    keep = [i for i in range(window.n_meters) if i not in gone]

    def merge(x, how):
        return np.concatenate([x[keep], np.stack([how(x[list(trio)], axis=0) for trio in trios])])

    return replace(
        window,
        meters=(*(window.meters[i] for i in keep), *(f"three-{k}" for k in range(len(trios)))),
        three_phase=np.concatenate([window.three_phase[keep], np.ones(len(trios), bool)]),
        household_import_wh=merge(window.household_import_wh, np.sum),
        household_export_wh=merge(window.household_export_wh, np.sum),
        household_voltage_v=merge(window.household_voltage_v, np.mean),
    )


TRIOS = ((3, 1, 2), (9, 7, 8), (12, 10, 14))


@pytest.mark.parametrize("seed", [7, 8, 9])
def test_phases_loaded_unequally_behind_a_three_phase_meter_are_no_loss(street, seed):
    s = street(seed=seed, n=30)
    scale = np.array([3.0, 1.0, 0.3])[s.phase]
    inside = [i for trio in TRIOS for i in trio]
    s.supplied += np.stack([sum(s.true[i] * (scale[i] - 1) for i in inside if s.phase[i] == k) for k in range(3)])
    for i in inside:
        s.read[i] *= scale[i]
    report = only(three_phase(s.window(), TRIOS))
    assert (report.cause, report.alarm, report.accused) == (Cause.CLEAN, False, ())


def test_beside_three_phase_meters_a_thief_is_still_found(street):
    s = street(n=30)
    s.read[20, 8 * 96 :] *= 0.3
    assert only(three_phase(s.window(), TRIOS)).accused == ("A-20",)


def test_what_the_meters_themselves_use_is_no_loss(street):
    s = street(n=36)
    s.supplied += 12 * 1.2 / 4  # 1.2 W in each of twelve meters on a phase, in 15 min
    report = only(s.window())
    assert (report.cause, report.alarm) == (Cause.CLEAN, False)


def test_two_faults_on_one_phase_are_both_named(street):
    s = street(n=50, days=28, seed=114)
    s.read[3, 10 * 96 :] *= 0.45
    s.read[18, 6 * 96 :] = 0.0
    report = only(s.window())
    assert {f.meter: f.kind for f in report.findings} == {
        "A-3": FindingKind.UNDER_REGISTERING,
        "A-18": FindingKind.STUCK,
    }
    energy = {f.meter: f.energy_wh for f in report.findings}
    lost = s.true - s.read
    assert energy["A-3"] == pytest.approx(lost[3].sum(), rel=0.2)
    assert energy["A-18"] == pytest.approx(lost[18].sum(), rel=0.2)


def test_a_moved_meter_does_not_hide_a_wrong_multiplier(street):
    a, b = street("A", seed=7), street("B", seed=21)
    b.read[11] *= 0.5
    wa, wb = transfer(a.window(), b.window(), "A-5")
    reports = analyse([wa, wb])
    assert reports["B"].misplaced == (("A-5", "A"),)
    assert reports["B"].accused == ("B-11",)
    kinds = {f.meter: f.kind for f in reports["B"].findings}
    assert kinds == {"A-5": FindingKind.WRONG_AREA, "B-11": FindingKind.WRONG_MULTIPLIER}
    assert reports["A"].accused == ()


def test_a_moved_meter_does_not_hide_a_direct_tap(street):
    a, b = street("A", seed=7), street("B", seed=21)
    wa, wb = transfer(a.window(keep=np.delete(np.arange(a.n), 6)), b.window(), "A-5")
    reports = analyse([wa, wb])
    assert reports["B"].misplaced == (("A-5", "A"),)
    assert [f.kind for f in reports["A"].findings] == [FindingKind.DIRECT_TAP]
    assert reports["A"].accused == reports["B"].accused == ()


def away(s, meter, first, last):
    """Nobody at home: nothing drawn, so nothing supplied either."""
    gone = slice(first * 96, last * 96)
    s.supplied[s.phase[meter], gone] -= s.true[meter, gone]
    s.true[meter, gone] = s.read[meter, gone] = 0.0


@pytest.mark.parametrize(("back", "dead"), [(12, ()), (3, (3,))])
def test_a_register_that_stood_as_long_before_is_not_called_dead_by_rule(street, back, dead):
    s = street(seed=9)
    away(s, 3, 1, back)
    s.read[3, 14 * 96 :] = 0.0  # shorter than the longer journey: what stops then may be a neighbour's doing
    model = build(s.window())
    columns = meter_columns(model.area)
    first = attribute(model.area, statistics(model.area, model.share, model.fit, columns))
    found = localise(model, columns, first)
    assert dead_registers(model, found, still_registers(model.area), None, {}) == dead
