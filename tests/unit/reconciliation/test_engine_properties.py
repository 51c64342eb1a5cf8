"""What must hold whatever the readings: order, units, neighbours, honest company, missing inputs, broken inputs."""

from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from reconciliation import AreaWindow, Cause, analyse
from reconciliation.prepare import dequantised, fill, register_step


def only(window):
    return analyse([window])[window.area]


def reorder(window, order):
    return replace(
        window,
        meters=tuple(window.meters[i] for i in order),
        three_phase=window.three_phase[order],
        household_import_wh=window.household_import_wh[order],
        household_export_wh=window.household_export_wh[order],
        household_voltage_v=window.household_voltage_v[order],
    )


def test_order_of_meters_changes_nothing(street):
    s = street()
    s.read[4] *= 0.5
    window = s.window()
    order = np.random.default_rng(3).permutation(s.n)
    one, two = only(window), only(reorder(window, order))
    assert one.accused == two.accused == ("A-4",)
    assert one.cause is two.cause
    assert one.anomaly_score == pytest.approx(two.anomaly_score, rel=1e-6)
    assert one.technical_loss_wh == pytest.approx(two.technical_loss_wh, rel=1e-6)
    for meter in window.meters:
        assert one.suspicion[meter] == pytest.approx(two.suspicion[meter], rel=1e-4, abs=1e-4)


def test_same_input_same_answer(street):
    s = street()
    s.read[4] *= 0.5
    one, two = only(s.window()), only(s.window())
    assert dict(one.suspicion) == dict(two.suspicion)
    assert one.findings[0].energy_wh == two.findings[0].energy_wh


def test_scaling_all_energies_scales_the_answer(street):
    s = street()
    s.read[4] *= 0.5
    window = s.window()
    names = ("household_import_wh", "household_export_wh", "area_import_wh", "area_export_wh", "area_phase_wh")
    tenfold = replace(window, **{k: getattr(window, k) * 10 for k in names})
    one, two = only(window), only(tenfold)
    assert one.accused == two.accused
    assert two.technical_loss_wh == pytest.approx(10 * one.technical_loss_wh, rel=0.01)
    assert two.findings[0].energy_wh == pytest.approx(10 * one.findings[0].energy_wh, rel=0.05)


def test_a_clean_neighbour_changes_nothing(street):
    a, b = street("A"), street("B", seed=40)
    a.read[4] *= 0.5
    alone = only(a.window())
    both = analyse([b.window(), a.window()])
    assert list(both) == ["B", "A"]
    assert both["B"].cause is Cause.CLEAN
    assert dict(both["A"].suspicion) == dict(alone.suspicion)


def test_an_honest_meter_more_does_not_take_the_blame(street):
    s = street(n=25)
    s.read[4] *= 0.5
    more = s.window()
    # an added meter that uses nothing changes no balance
    quiet = replace(
        more,
        meters=(*more.meters, "quiet"),
        three_phase=np.append(more.three_phase, False),
        household_import_wh=np.concatenate([more.household_import_wh, np.zeros((1, more.n_intervals))]),
        household_export_wh=np.concatenate([more.household_export_wh, np.zeros((1, more.n_intervals))]),
        household_voltage_v=np.concatenate([more.household_voltage_v, np.full((1, more.n_intervals), np.nan)]),
    )
    assert only(more).accused == only(quiet).accused == ("A-4",)


def part(window, first, last):
    """Days ``first`` to ``last`` of a window of quarter-hours."""
    t = slice(first * 96, last * 96)
    of_time = (
        f.name for f in fields(window) if getattr(getattr(window, f.name), "shape", (0,))[-1] == window.n_intervals
    )
    changes = {name: getattr(window, name)[..., t] for name in of_time}
    return replace(window, start=window.start + timedelta(days=first), **changes)


def test_a_window_cut_in_two_says_the_same_of_each_half(street):
    s = street(days=42)
    window = s.window()
    assert [only(part(window, *days)).cause for days in ((0, 42), (0, 21), (21, 42))] == [Cause.CLEAN] * 3
    s.read[4] *= 0.5
    whole, *halves = (only(part(s.window(), *days)) for days in ((0, 42), (0, 21), (21, 42)))
    assert [report.accused for report in (whole, *halves)] == [("A-4",)] * 3
    assert sum(r.findings[0].energy_wh for r in halves) == pytest.approx(whole.findings[0].energy_wh, rel=0.02)
    assert sum(r.technical_loss_wh for r in halves) == pytest.approx(whole.technical_loss_wh, rel=0.02)


def test_an_honest_household_more_leaves_the_thief(street):
    """One that uses energy, and its own of the area meter's, too."""
    s = street(n=25)
    s.read[4] *= 0.5
    all_of_them = s.window()
    s.supplied[s.phase[24]] -= s.true[24]
    without = only(s.window(keep=np.arange(24)))
    together = only(all_of_them)
    assert without.accused == together.accused == ("A-4",)
    assert together.findings[0].energy_wh == pytest.approx(without.findings[0].energy_wh, rel=0.05)


def test_loss_is_split_without_remainder(street):
    """supplied = delivered + technical + hidden + rest, and the rest is small once the thief is known."""
    s = street()
    s.read[4] *= 0.5
    report = only(s.window())
    supplied, delivered = float(s.supplied.sum()), float(s.read.sum())
    rest = supplied - delivered - report.technical_loss_wh - report.findings[0].energy_wh
    assert abs(rest) < 0.005 * supplied
    assert float(report.technical_interval_wh.sum()) == pytest.approx(report.technical_loss_wh)
    predicted = report.technical_model.predict(s.supplied.sum(axis=0)).sum()
    assert predicted == pytest.approx(report.technical_loss_wh, rel=0.1)
    assert report.technical_model.constant_wh >= 0
    assert report.technical_model.quadratic_per_wh >= 0


LACK = {
    "voltages": {"household_voltage_v": None, "area_voltage_v": None},
    "busbar voltage": {"area_voltage_v": None},
    "phases": {"area_phase_wh": None},
    "all": {"household_voltage_v": None, "area_voltage_v": None, "area_phase_wh": None},
}


@pytest.mark.parametrize("lack", sorted(LACK))
def test_missing_inputs_accuse_no_honest_meter_and_say_so(street, lack):
    s = street()
    report = only(replace(s.window(), **LACK[lack]))
    assert report.accused == ()
    assert report.reason
    s.read[4] *= 0.4
    assert set(only(replace(s.window(), **LACK[lack])).accused) <= {"A-4"}


def test_one_phase_energy_missing_falls_back_to_the_total(street):
    s = street()
    window = s.window()
    phases = window.area_phase_wh.copy()
    phases[2] = np.nan
    report = only(replace(window, area_phase_wh=phases))
    assert "no phase energies" in (report.reason or "")
    assert report.accused == ()


def test_thirty_per_cent_gaps_accuse_nobody(street):
    s = street()
    window = s.window()
    gone = np.random.default_rng(5).random(window.household_import_wh.shape) < 0.3
    report = only(replace(window, household_import_wh=np.where(gone, np.nan, window.household_import_wh)))
    assert report.accused == ()
    assert not report.alarm


def cut(window, t, n=None):
    n = window.n_meters if n is None else n
    return replace(
        window,
        meters=window.meters[:n],
        three_phase=window.three_phase[:n],
        household_import_wh=window.household_import_wh[:n, :t],
        household_export_wh=window.household_export_wh[:n, :t],
        household_voltage_v=window.household_voltage_v[:n, :t],
        area_import_wh=window.area_import_wh[:t],
        area_export_wh=window.area_export_wh[:t],
        area_phase_wh=window.area_phase_wh[:, :t],
        area_voltage_v=window.area_voltage_v[:, :t],
    )


@pytest.mark.parametrize(
    ("t", "n", "word"), [(0, 24, "days"), (1, 24, "days"), (96, 24, "days"), (0, 0, "meter"), (2016, 0, "meter")]
)
def test_too_little_is_not_computable_with_a_reason(street, t, n, word):
    report = only(cut(street().window(), t, n))
    assert report.cause is Cause.NOT_COMPUTABLE
    assert word in (report.reason or "")
    assert not report.alarm
    assert np.isnan(report.technical_loss_wh)
    assert report.technical_interval_wh.shape == (t,)


def test_dead_area_meter_is_not_computable(street):
    window = street().window()
    report = only(replace(window, area_import_wh=np.full(window.n_intervals, np.nan)))
    assert report.cause is Cause.NOT_COMPUTABLE
    assert "area meter" in (report.reason or "")


@pytest.mark.parametrize(("t", "n"), [(2 * 96, 24), (5 * 96, 3), (5 * 96 + 13, 1), (7 * 96, 2)])
def test_short_windows_and_few_meters_do_not_raise(street, t, n):
    s = street()
    keep = np.arange(n)
    s.supplied = np.stack([s.true[keep][s.phase[keep] == k].sum(axis=0) for k in range(3)])
    report = only(cut(s.window(), t, n))
    assert report.cause in set(Cause)
    assert report.technical_interval_wh.shape == (t,)


def test_all_zero_readings_do_not_raise(street):
    window = street().window()
    zero = np.zeros_like(window.household_import_wh)
    report = only(replace(window, household_import_wh=zero, household_export_wh=zero))
    assert report.accused == ()


@pytest.mark.parametrize("interval_s", [300, 1800, 3600, 86400])
def test_any_interval_length(street, interval_s):
    window = replace(street().window(), interval_s=interval_s)
    assert only(window).technical_interval_wh.shape == (window.n_intervals,)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("household_import_wh", np.zeros((3, 5))),
        ("household_voltage_v", np.zeros((24, 7))),
        ("area_phase_wh", np.zeros((2, 2016))),
        ("three_phase", np.zeros(5, bool)),
        ("area_export_wh", np.zeros(9)),
        ("area_import_wh", np.full(2016, np.inf)),
        ("start", datetime(2026, 1, 1)),  # noqa: DTZ001 - naive on purpose
        ("interval_s", 0),
        ("meters", ("x",) * 24),
        ("day_start", np.array([0, 96, 96])),
        ("household_export_wh", np.full((24, 2016), "a")),
    ],
)
def test_wrong_input_is_refused_by_name(street, field, value):
    with pytest.raises(ValueError, match=field):
        replace(street().window(), **{field: value})


def test_an_area_twice_is_refused(street):
    window = street().window()
    with pytest.raises(ValueError, match="twice"):
        analyse([window, window])


def test_nothing_in_nothing_out():
    assert dict(analyse([])) == {}


def test_local_days_of_unequal_length(street):
    window = street().window()
    starts = np.concatenate([[0], 92 + 96 * np.arange(20)])
    assert window.n_intervals == 2016
    report = only(replace(window, day_start=starts))
    assert report.cause is Cause.CLEAN


def test_step_is_read_off_the_values():
    assert register_step(np.array([np.nan, 20, 0, 50, 30, 10, 70, 80, 90, 20.0]), 1.0) == 10.0
    assert register_step(np.array([np.nan, 0.0, 0.0]), 3.0) == 3.0


def test_filling_keeps_what_was_read_and_carries_variance():
    rng = np.random.default_rng(0)
    x = rng.normal(100, 5, (2, 960))
    holes = rng.random(x.shape) < 0.05
    y = np.where(holes, np.nan, x)
    filled, var = fill(y, np.arange(960) % 96)
    assert np.array_equal(filled[~holes], x[~holes])
    assert (var[~holes] == 0).all()
    assert (var[holes] > 0).all()


def test_dequantising_conserves_energy():
    rng = np.random.default_rng(1)
    true = 6.0 + 3.0 * np.sin(np.arange(2000) / 30.0)[None] + rng.normal(0, 0.5, (1, 2000))
    shown = np.diff(np.floor(np.concatenate([[[0.0]], np.cumsum(true, axis=1)], axis=1) / 10) * 10, axis=1)
    smooth = dequantised(shown, np.array([10.0]))
    assert smooth.sum() == pytest.approx(shown.sum(), rel=0.01)
    assert np.square(smooth - true).mean() < np.square(shown - true).mean()


def test_window_is_a_value(street):
    window = street().window()
    assert isinstance(window, AreaWindow)
    assert window.start.tzinfo is UTC
