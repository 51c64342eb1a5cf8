"""Intervals that were not read: estimates, whether their stated variance is true, and registers' sums."""

from dataclasses import replace

import numpy as np
import pytest

from reconciliation import Cause, analyse
from reconciliation.filling import UNKNOWN, fill
from reconciliation.kriging import autocovariance
from reconciliation.places import Places
from reconciliation.prepare import prepare
from reconciliation.whole_gaps import LONGEST

SLOT = np.arange(28 * 96) % 96


def households(n=12, seed=3):
    """(n, T) [Wh]: quiet nights, busy evenings, appliances that stay on for a while."""
    rng = np.random.default_rng(seed)
    t = SLOT.size
    evening = np.exp(-np.square((SLOT / 4 - 19.0) / 3.0))
    on = rng.random((n, t)) < 0.01 + 0.05 * evening
    appliance = np.stack([np.convolve(x, np.ones(4))[:t] for x in on.astype(float)])
    slow = np.stack([np.convolve(x, np.ones(8) / 8, "same") for x in rng.normal(0, 1, (n, t))])
    return 20.0 + 80.0 * evening * (1.0 + 0.5 * slow) + 250.0 * np.minimum(appliance, 1) + rng.normal(0, 3, (n, t))


def gaps(shape, rate, seed=5, outages=4, length=24):
    rng = np.random.default_rng(seed)
    out = rng.random(shape) < rate
    for i in rng.choice(shape[0], outages, replace=False):
        start = int(rng.integers(0, shape[1] - length))
        out[i, start : start + length] = True
    return out


def sums(true, holes):
    """What registers tell of each gap: its sum, at its last interval."""
    out = np.full(true.shape, np.nan)
    for i, k in zip(*np.nonzero(holes), strict=True):
        if k + 1 == holes.shape[1] or not holes[i, k + 1]:
            start = k
            while start > 0 and holes[i, start - 1]:
                start -= 1
            out[i, k] = true[i, start : k + 1].sum()
    return out


@pytest.mark.parametrize("rate", [0.01, 0.07, 0.3])
def test_the_stated_variance_is_true_of_single_gaps_in_quiet_and_in_busy_hours(rate):
    true = households()
    holes = gaps(true.shape, rate, outages=0)
    single = holes & ~np.roll(holes, 1, axis=1) & ~np.roll(holes, -1, axis=1)
    filled, var = fill(np.where(holes, np.nan, true), SLOT)
    z = (filled - true)[single] / np.sqrt(var[single])
    assert np.sqrt(np.mean(np.square(z))) == pytest.approx(1.0, abs=0.2)
    order = np.argsort(var[single])
    for part in np.array_split(order, 3):
        assert 0.6 < np.sqrt(np.mean(np.square(z[part]))) < 1.5
    assert np.quantile(var[single], 0.9) > 5 * np.quantile(var[single], 0.1)


def test_the_variance_of_longer_gaps_covers_their_sum():
    true = households()
    holes = gaps(true.shape, 0.0, outages=12)
    filled, var = fill(np.where(holes, np.nan, true), SLOT)
    z = (filled - true).sum(axis=1) / np.sqrt(var.sum(axis=1))
    assert np.sqrt(np.mean(np.square(z))) < 1.3


def test_estimates_of_hours_are_better_than_a_straight_line():
    true = households()
    holes = gaps(true.shape, 0.0, outages=12)
    filled, _ = fill(np.where(holes, np.nan, true), SLOT)
    where = np.arange(true.shape[1])
    line = np.stack([np.interp(where, where[~h], x[~h]) for x, h in zip(true, holes, strict=True)])
    assert np.square(filled - true).sum() < 0.9 * np.square(line - true).sum()


@pytest.mark.parametrize("length", [2, 7, LONGEST + 40])
def test_registers_energy_across_a_gap_is_kept_and_narrows_it(length):
    true = households()
    holes = gaps(true.shape, 0.0, outages=6, length=length)
    read = np.where(holes, np.nan, true)
    free, _ = fill(read, SLOT)
    kept, var = fill(read, SLOT, sums(true, holes))
    assert np.allclose(kept.sum(axis=1), true.sum(axis=1), rtol=0, atol=1e-6)
    assert np.square(kept - true).sum() < np.square(free - true).sum()
    assert (var[~holes] == 0).all()
    assert np.array_equal(kept[~holes], true[~holes])


def test_a_single_interval_between_two_registers_is_known():
    true = households()
    holes = np.zeros(true.shape, bool)
    holes[:, 100::50] = True
    kept, var = fill(np.where(holes, np.nan, true), SLOT, sums(true, holes))
    assert np.allclose(kept, true)
    assert (var < 1e-6).all()


def test_what_was_never_read_is_unknown_not_zero():
    true = households()
    holes = np.zeros(true.shape, bool)
    holes[2] = True
    _, var = fill(np.where(holes, np.nan, true), SLOT)
    assert (var[2] == UNKNOWN).all()
    assert (np.delete(var, 2, axis=0) == 0).all()


@pytest.mark.parametrize("slot", [np.arange(300) % 24, np.arange(60), np.zeros(30, np.int64), np.arange(3)])
def test_any_grid_can_be_filled(slot):
    rng = np.random.default_rng(2)
    true = rng.gamma(2.0, 50.0, (4, slot.size))
    holes = rng.random(true.shape) < 0.3
    holes[:, 0] = False
    filled, var = fill(np.where(holes, np.nan, true), slot)
    assert np.isfinite(filled).all()
    assert np.isfinite(var).all()
    assert (var[holes] > 0).all()


def test_an_autocovariance_with_holes_is_one():
    true = households(2)
    holes = gaps(true.shape, 0.3, outages=1)
    u = np.where(holes, 0.0, true - true.mean())
    gamma = autocovariance(u, Places.of(~holes), 60)
    for row in gamma:
        lags = np.abs(np.arange(61)[:, None] - np.arange(61)[None])
        assert np.linalg.eigvalsh(row[lags]).min() > 0


@pytest.mark.parametrize("rate", [0.08, 0.3])
@pytest.mark.parametrize("seed", [7, 8])
def test_a_clean_area_with_gaps_is_clean(street, rate, seed):
    window = street(seed=seed, days=28).window()
    holes = gaps(window.household_import_wh.shape, rate, seed=seed)
    report = analyse([replace(window, household_import_wh=np.where(holes, np.nan, window.household_import_wh))])["A"]
    assert (report.cause, report.alarm, report.accused) == (Cause.CLEAN, False, ())
    assert "missing_readings" in {limit.code for limit in report.limits}


def test_a_thief_is_found_between_gaps(street):
    s = street(days=28)
    s.read[4, 9 * 96 :] *= 0.4
    window = s.window()
    holes = gaps(window.household_import_wh.shape, 0.08)
    report = analyse([replace(window, household_import_wh=np.where(holes, np.nan, window.household_import_wh))])["A"]
    assert report.accused == ("A-4",)


def test_registers_make_a_gappy_area_tell_more(street):
    s = street(days=28)
    s.read[4, 9 * 96 :] *= 0.7
    window = s.window()
    holes = gaps(window.household_import_wh.shape, 0.25)
    full = np.nan_to_num(window.household_import_wh)
    without = replace(
        window, household_import_wh=np.where(holes, np.nan, full), household_export_wh=np.zeros(full.shape)
    )
    given = replace(without, household_gap_wh=sums(full, holes))
    assert np.allclose(prepare(given).net.sum(axis=1), full.sum(axis=1))
    blind, told = (analyse([w])["A"].suspicion["A-4"] for w in (without, given))
    assert told > blind


@pytest.mark.parametrize("field", ["household_gap_wh", "area_gap_wh"])
def test_gap_energies_of_another_shape_are_refused_by_name(street, field):
    with pytest.raises(ValueError, match=field):
        replace(street().window(), **{field: np.zeros((3, 5))})
