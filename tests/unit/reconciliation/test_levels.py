"""Levels a register comes back to, and stretches over which it stands: drawn here, so that the answer is known."""

from dataclasses import replace

import numpy as np
import pytest

from reconciliation.columns import meter_columns
from reconciliation.levels import _may_stand_still, plateaus, still_registers
from reconciliation.prepare import prepare
from reconciliation.shapes import CONSTANT, IDLE, OFF, ON

STEP = np.array([10.0])
DAYS, PER_DAY = 28, 96


def household(seed: int, shape: float = 3.0, mean: float = 200.0) -> np.ndarray:
    """(1, T) energies of a household [Wh], in register steps."""
    rng = np.random.default_rng(seed)
    drawn = np.cumsum(rng.gamma(shape, mean / shape, (1, DAYS * PER_DAY)), axis=1)
    return np.diff(np.floor(drawn / STEP) * STEP, axis=1, prepend=0.0)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("shape", [1.0, 3.0, 12.0])  # from a bursty household to one of a narrow distribution
def test_a_household_that_is_not_cut_off_has_no_level(seed, shape):
    assert plateaus(household(seed, shape), STEP).tolist() == [-1]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("cap", [23, 27, 40])  # near the middle, and far out
def test_a_cap_is_found_to_the_step(seed, cap):
    (level,) = plateaus(np.minimum(household(seed), cap * 10.0), STEP)
    assert abs(level - cap) <= 1


def test_of_two_levels_the_highest_is_told():
    x = np.minimum(household(3), 400.0)
    x[0, ::20] = 300.0  # an appliance that runs by itself
    (level,) = plateaus(x, STEP)
    assert abs(level - 40) <= 1


def test_each_meter_has_a_level_of_its_own_whatever_the_others_read():
    x = np.concatenate([household(1), np.minimum(household(2), 350.0), household(4, mean=200_000.0)])
    step = np.full(3, 10.0)
    alone = [int(plateaus(x[i : i + 1], STEP)[0]) for i in range(3)]
    assert plateaus(x, step).tolist() == alone
    assert alone[0] == alone[2] == -1
    assert abs(alone[1] - 35) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_a_level_is_the_meters_own(seed):
    rng = np.random.default_rng(seed)
    capped = np.minimum(np.rint(rng.gamma(2, 20, (1, 96))), 50.0)
    large = np.minimum(np.rint(rng.gamma(2, 300, (1, 96))), 900.0)
    alone = plateaus(capped, np.ones(1))
    assert plateaus(np.concatenate([capped, large]), np.ones(2))[0] == alone[0]


@pytest.fixture
def solar(street):
    """A street whose meter 4 gives what its roof makes over noon."""
    s = street()
    window = s.window()
    noon = np.abs(np.arange(s.read.shape[1]) % PER_DAY - 48) < 12
    taken, given = window.household_import_wh.copy(), window.household_export_wh.copy()
    given[4, noon] = 300.0
    taken[4, noon] = 0.0
    return replace(window, household_import_wh=taken, household_export_wh=given), noon


def test_who_exports_is_neither_on_nor_off_nor_idle(solar):
    window, noon = solar
    columns = meter_columns(prepare(window))
    read = np.isfinite(window.household_import_wh[4])
    on, off, idle = columns[4, (ON, OFF, IDLE)]
    assert not on[noon].any()
    assert not off[noon].any()
    assert not idle[noon].any()
    evening = ~noon & read & (window.household_import_wh[4] > 0)
    assert on[evening].all()
    assert columns.where[4, ON] != columns.where[4, CONSTANT]


def test_an_import_register_that_stands_at_a_value_stands_whatever_the_roof_makes(solar):
    window, _ = solar
    assert not still_registers(prepare(window))[4].any()  # nothing taken at noon is the roof's doing
    taken = window.household_import_wh.copy()
    taken[4, PER_DAY * 10 :] = 60.0
    still = still_registers(prepare(replace(window, household_import_wh=taken)))
    assert still[4, PER_DAY * 10 + 1 :].all()
    assert not still[4, : PER_DAY * 10 - 1].any()


def test_a_slow_registers_ticks_are_no_on_and_off(street):
    s = street()
    s.read[4] = 4.7  # of a step of 10: 0, 1, 0, 1 …
    s.read[4, PER_DAY * 9 : PER_DAY * 10] = 0.0
    columns = meter_columns(prepare(s.window()))
    on, off = columns[4, (ON, OFF)]
    away = np.zeros(on.size, bool)
    away[PER_DAY * 9 : PER_DAY * 10] = True
    edge = np.zeros(on.size, bool)  # what lies within an hour of a change is either
    edge[PER_DAY * 9 - 6 : PER_DAY * 9 + 6] = edge[PER_DAY * 10 - 6 : PER_DAY * 10 + 6] = True
    read = np.isfinite(s.window().household_import_wh[4])
    assert on[~away & ~edge & read].all()
    assert not off[~away & ~edge].any()
    assert not on[away & ~edge].any()
    assert off[away & ~edge & read].all()


def test_a_household_that_switches_off_is_off_at_once(street):
    s = street()
    hour = np.arange(s.read.shape[1]) % PER_DAY // 4
    s.read[4] = np.where(hour % 2 == 0, 100.0, 0.0)
    on, off = meter_columns(prepare(s.window()))[4, (ON, OFF)]
    read = np.isfinite(s.window().household_import_wh[4])
    assert np.array_equal(on[read] > 0, (s.window().household_import_wh[4] > 0)[read])
    assert np.array_equal(off[read] > 0, (s.window().household_import_wh[4] == 0)[read])


@pytest.mark.parametrize("per_day", [24, 48, 96, 288])
def test_no_stretch_is_missed_for_looking_at_a_few_intervals_first(per_day):
    rng = np.random.default_rng(per_day)
    n, t = 200, 9 * per_day
    x = rng.integers(2, 60, (n, t)) * 10.0
    begin = rng.integers(0, t - per_day + 1, n)
    for i, at in enumerate(begin):
        x[i, at : at + per_day] = 0.0 if i % 2 else rng.integers(20, 22, per_day) * 10.0
    measured = rng.random((n, t)) > 0.05
    x[~measured] = 555.0
    assert _may_stand_still(x, measured, np.full(n, 10.0), per_day).all()
