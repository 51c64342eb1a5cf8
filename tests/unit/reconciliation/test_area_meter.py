"""Faults of the area meter itself, with onset; a theft as large is none, and nobody is accused for one."""

import numpy as np
import pytest

from reconciliation import Cause, FindingKind, analyse

PER_DAY = 96


def only(window):
    return analyse([window])[window.area]


def small(street, seed=7):
    return street(n=12, days=14, seed=seed)


def area_meter(report):
    assert report.cause is Cause.AREA_METER
    assert report.accused == ()
    assert report.alarm
    return report.findings[0]


@pytest.mark.parametrize("stretch", [(0, 14), (5, 14), (4, 8), (9, 10)])
def test_a_phase_that_dies_is_told_with_its_onset_and_what_was_not_counted(street, stretch):
    s = small(street)
    first, last = (day * PER_DAY for day in stretch)
    lost = float(s.supplied[1, first:last].sum())
    s.supplied[1, first:last] = 0.0
    finding = area_meter(only(s.window()))
    assert finding.kind is FindingKind.AREA_METER_PHASE
    assert finding.evidence.numbers["phase"] == 2
    assert (finding.onset_interval or 0) == pytest.approx(first, abs=2)
    assert -finding.energy_wh == pytest.approx(lost, rel=0.02)


def test_a_phase_that_dies_twice_is_one_finding(street):
    s = small(street)
    s.supplied[0, 2 * PER_DAY : 4 * PER_DAY] = 0.0
    s.supplied[0, 8 * PER_DAY : 11 * PER_DAY] = 0.0
    report = only(s.window())
    finding = area_meter(report)
    assert len(report.findings) == 1
    assert finding.onset_interval == pytest.approx(2 * PER_DAY, abs=2)


def test_a_phase_whose_households_use_nothing_either_is_not_dead(street):
    s = small(street)
    out = slice(3 * PER_DAY, 4 * PER_DAY)
    s.true[s.phase == 1, out] = 0.0
    s.read[s.phase == 1, out] = 0.0
    s.supplied[1, out] = 0.0
    assert only(s.window()).cause is Cause.CLEAN


@pytest.mark.parametrize("factor", [0.5, 0.8, 4 / 3, 2.0])
@pytest.mark.parametrize(("stream", "onset"), [(None, 0), (None, 6), (2, 0), (2, 6)])
def test_a_wrong_ratio_is_told_with_its_size_and_onset(street, factor, stream, onset):
    s = small(street)
    rows = slice(None) if stream is None else slice(stream, stream + 1)
    s.supplied[rows, onset * PER_DAY :] *= factor
    finding = area_meter(only(s.window()))
    assert finding.kind is FindingKind.AREA_METER_RATIO
    assert finding.evidence.numbers["ratio_read_to_true"] == pytest.approx(factor, rel=0.01)
    assert finding.evidence.numbers["phase"] == (0 if stream is None else stream + 1)
    assert (finding.onset_interval or 0) == onset * PER_DAY


@pytest.mark.parametrize(("stream", "onset"), [(None, 0), (1, 0), (1, 6)])
def test_a_current_transformer_the_wrong_way_round_is_reversed_polarity(street, stream, onset):
    s = small(street)
    rows = slice(None) if stream is None else slice(stream, stream + 1)
    s.supplied[rows, onset * PER_DAY :] *= -1.0
    finding = area_meter(only(s.window()))
    assert finding.kind is FindingKind.REVERSED_POLARITY
    assert finding.evidence.numbers["phase"] == (0 if stream is None else stream + 1)
    assert (finding.onset_interval or 0) == onset * PER_DAY


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1)])
def test_phases_whose_currents_and_voltages_are_swapped_are_told(street, order):
    s = street(n=18, days=14)
    window = s.window()
    report = only(s.window(area_voltage_v=window.area_voltage_v[list(order)]))
    finding = area_meter(report)
    assert finding.kind is FindingKind.AREA_METER_PHASE
    told = finding.evidence.numbers
    for phase in range(3):
        assert told.get(f"voltage_of_phase_{phase + 1}", phase + 1) == order.index(phase) + 1
    assert report.technical_loss_wh == pytest.approx(s.loss_wh, abs=0.002 * s.supplied.sum())


@pytest.mark.parametrize("factor", [0.8, 2.0])
def test_a_wrong_ratio_is_told_without_phases(street, factor):
    s = small(street)
    s.supplied *= factor
    finding = area_meter(only(s.window(area_phase_wh=None)))
    assert finding.kind is FindingKind.AREA_METER_RATIO
    assert finding.evidence.numbers["ratio_read_to_true"] == pytest.approx(factor, rel=0.02)


def test_a_large_theft_is_no_fault_of_the_area_meter(street):
    s = small(street)
    thief = int(np.argmax(s.true.sum(axis=1)))
    s.read[thief] *= 0.2
    assert only(s.window()).cause is Cause.METER


@pytest.mark.parametrize("seed", [7, 8])
def test_a_dead_phase_that_nobody_sees_alone_accuses_nobody(street, seed):
    """Without phase energies its households all seem to count too much: many at once is never the households."""
    s = street(n=24, days=21, seed=seed)
    s.supplied[1] = 0.0
    report = only(s.window(area_phase_wh=None))
    assert report.alarm
    assert report.accused == ()


def test_voltages_on_the_wrong_phases_are_told_though_they_were_put_right_at_the_end(street):
    s = street(days=28)
    volts = s.window().area_voltage_v.copy()
    volts[:, : 20 * PER_DAY] = volts[[1, 0, 2], : 20 * PER_DAY]
    assert only(s.window(area_voltage_v=volts)).cause is Cause.AREA_METER


def test_meters_whose_voltages_say_nothing_do_not_speak_for_the_wiring(street):
    """Nine meters on one phase, the last week without voltages: no voltage is no sign that all is well."""
    s = street(n=24, days=28)
    s.volt[:, -7 * PER_DAY :] = np.nan
    volts = s.window().area_voltage_v[[1, 0, 2]]
    finding = area_meter(only(s.window(area_voltage_v=volts)))
    assert finding.kind is FindingKind.AREA_METER_PHASE
