"""Every input may lack: the engine runs, accuses nobody honest, and says in codes what it could not tell."""

from dataclasses import replace

import numpy as np
import pytest

from reconciliation import Cause, LimitCode, analyse
from reconciliation.limits import _WORDS, in_words
from reconciliation.report import Limit


def coarser(window, per):
    """The same in intervals ``per`` times as long."""

    def many(x, how):
        if x is None:
            return None
        x = x[..., : x.shape[-1] // per * per]
        return how(x.reshape(*x.shape[:-1], -1, per), axis=-1)

    energies = ("household_import_wh", "household_export_wh", "area_import_wh", "area_export_wh", "area_phase_wh")
    volts = ("household_voltage_v", "area_voltage_v")
    return replace(
        window,
        interval_s=window.interval_s * per,
        **{f: many(getattr(window, f), np.sum) for f in energies},
        **{f: many(getattr(window, f), np.mean) for f in volts},
    )


def first(window, intervals):
    return replace(
        window,
        **{
            f: getattr(window, f)[..., :intervals]
            for f in (
                "household_import_wh",
                "household_export_wh",
                "household_voltage_v",
                "area_import_wh",
                "area_export_wh",
                "area_phase_wh",
                "area_voltage_v",
            )
        },
    )


def without_phases(window, gone):
    phases = window.area_phase_wh.copy()
    phases[list(gone)] = np.nan
    return replace(window, area_phase_wh=phases)


def some_voltages(window):
    volt = window.household_voltage_v.copy()
    volt[4:] = np.nan
    return replace(window, household_voltage_v=volt)


def with_gaps(window, rate):
    holes = np.random.default_rng(5).random(window.household_import_wh.shape) < rate
    return replace(window, household_import_wh=np.where(holes, np.nan, window.household_import_wh))


def area_gaps(window, rate):
    holes = np.random.default_rng(5).random(window.n_intervals) < rate
    return replace(window, area_import_wh=np.where(holes, np.nan, window.area_import_wh))


MODES = {
    "no voltage": (
        lambda w: replace(w, household_voltage_v=None, area_voltage_v=None),
        {LimitCode.NO_HOUSEHOLD_VOLTAGE: {}},
    ),
    "no busbar voltage": (lambda w: replace(w, area_voltage_v=None), {LimitCode.NO_BUSBAR_VOLTAGE: {}}),
    "few voltages": (
        some_voltages,
        {LimitCode.VOLTAGE_HARDLY_READ: {"meters_with_voltage": 4.0, "meters": 24.0, "busbar_share": 1.0}},
    ),
    "no phases": (lambda w: replace(w, area_phase_wh=None), {LimitCode.NO_PHASE_ENERGY: {}}),
    "one phase only": (lambda w: without_phases(w, (1, 2)), {LimitCode.PHASE_MISSING: {"phases_missing": 2.0}}),
    "two phases only": (lambda w: without_phases(w, (0,)), {LimitCode.PHASE_MISSING: {"phases_missing": 1.0}}),
    "hourly": (
        lambda w: coarser(w, 4),
        {LimitCode.LONG_INTERVALS: {"interval_s": 3600.0}, LimitCode.MISSING_READINGS: {}},
    ),
    "five days": (lambda w: first(w, 5 * 96), {LimitCode.FEW_DAYS: {"days": 5.0, "days_wanted": 14.0}}),
    "30 % gaps": (lambda w: with_gaps(w, 0.3), {LimitCode.MISSING_READINGS: {"meters_hardly_read": 0.0}}),
    "area meter 30 % gaps": (lambda w: area_gaps(w, 0.3), {LimitCode.AREA_METER_GAPS: {}}),
}


@pytest.mark.parametrize("mode", sorted(MODES))
def test_what_lacks_is_said_in_codes_and_nobody_honest_is_accused(street, mode):
    change, wanted = MODES[mode]
    s = street(days=28 if mode == "hourly" else 21)
    clean = analyse([change(s.window())])["A"]
    assert clean.accused == ()
    assert not clean.alarm
    said = {limit.code: limit.numbers for limit in clean.limits}
    assert set(said) == set(wanted) | {LimitCode.NO_NEIGHBOURS}
    for code, numbers in wanted.items():
        assert numbers.items() <= said[code].items()
    assert clean.reason == in_words([x for x in clean.limits if x.code is not LimitCode.NO_NEIGHBOURS])
    assert np.isfinite(clean.technical_loss_wh)
    assert 0.0 <= clean.technical_loss_wh < 0.05 * s.supplied.sum()
    s.read[4] *= 0.3
    assert set(analyse([change(s.window())])["A"].accused) <= {"A-4"}


def test_with_everything_there_nothing_lacks(street):
    reports = analyse([street("A", seed=7).window(), street("B", seed=21).window()])
    assert all(r.limits == () and r.reason is None for r in reports.values())


def test_daily_energy_is_computed_or_refused_but_accuses_nobody(street):
    s = street(days=60)
    s.read[4] *= 0.3
    report = analyse([coarser(s.window(), 96)])["A"]
    assert report.cause in (Cause.CLEAN, Cause.METER, Cause.UNMETERED)
    assert report.accused == ()
    assert LimitCode.LONG_INTERVALS in {limit.code for limit in report.limits}


def test_three_meters(street):
    s = street(n=3)
    report = analyse([s.window()])["A"]
    assert (report.accused, report.alarm) == ((), False)
    assert {limit.code: limit.numbers for limit in report.limits}[LimitCode.FEW_METERS] == {"meters": 3.0}


def test_six_hundred_meters_in_three_days(street):
    s = street(n=600, days=3)
    report = analyse([s.window()])["A"]
    assert report.accused == ()
    assert len(report.suspicion) == 600
    assert LimitCode.FEW_DAYS in {limit.code for limit in report.limits}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda w: first(w, 96), LimitCode.TOO_FEW_DAYS),
        (lambda w: replace(w, area_import_wh=np.full(w.n_intervals, np.nan)), LimitCode.AREA_METER_HARDLY_READ),
        (
            lambda w: replace(
                w, household_import_wh=np.where(np.arange(24)[:, None] < 9, np.nan, w.household_import_wh)
            ),
            LimitCode.METERS_HARDLY_READ,
        ),
        (
            lambda w: replace(
                w, household_import_wh=np.where(np.arange(w.n_intervals) % 4 > 0, np.nan, w.household_import_wh)
            ),
            LimitCode.METERS_HARDLY_READ,
        ),
    ],
)
def test_not_computable_says_why_and_nothing_else(street, change, code):
    report = analyse([change(street().window())])["A"]
    assert report.cause is Cause.NOT_COMPUTABLE
    assert [limit.code for limit in report.limits] == [code]
    assert report.reason == in_words(report.limits)


def test_every_code_has_words():
    assert set(_WORDS) == set(LimitCode)
    assert in_words([]) is None
    assert in_words([Limit(code=LimitCode.NO_METERS)]) == "no meter is listed in this area"
