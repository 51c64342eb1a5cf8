"""Sums by time of day and what rests on them: days of any length, fills with and without a variance, small readings."""

import numpy as np

from reconciliation.by_slot import known_by_slot, sums_by_slot
from reconciliation.filling import fill, filled
from reconciliation.kriging import autocovariance, complete, fill_holes, weights
from reconciliation.places import Places
from reconciliation.prepare import dequantised
from reconciliation.technical_loss import OFFSET_SD_V, _ridge_with_offset


def test_a_day_may_be_shorter_or_longer_than_the_others() -> None:
    slot = np.concatenate([np.arange(2, 6), np.arange(8), np.arange(7), np.arange(9), np.arange(3)])
    x = np.random.default_rng(1).normal(size=(3, slot.size))
    expected = np.stack([np.bincount(slot, weights=row, minlength=9) for row in x])
    np.testing.assert_allclose(sums_by_slot(x, slot, 9), expected)
    np.testing.assert_array_equal(sums_by_slot(x > 0, slot, 9)[0], np.bincount(slot, weights=x[0] > 0, minlength=9))
    assert sums_by_slot(x[:, :0], slot[:0], 9).shape == (3, 9)


def test_what_is_known_of_each_time_of_day_is_what_is_no_hole() -> None:
    slot = np.concatenate([np.arange(2, 6), np.arange(8), np.arange(7)])
    known = np.random.default_rng(6).random((4, slot.size)) < 0.7
    known[1], known[2] = True, False
    np.testing.assert_array_equal(known_by_slot(Places.of(known), slot, 9), sums_by_slot(known, slot, 9))


def test_places_of_holes_and_what_lies_before_them() -> None:
    known = np.array([[True, False, True, False], [False, False, True, True]])
    where = Places.of(known)
    assert (where.row.tolist(), where.at.tolist()) == ([0, 0, 1, 1], [1, 3, 0, 1])
    assert where.good.tolist() == [0, 2, 6, 7]
    assert where.rank.tolist() == [1, 2, 2, 2]


def test_a_hole_between_known_values_is_estimated_as_if_alone() -> None:
    """The weights that are made once per series are those that each hole would get of its own."""
    rng = np.random.default_rng(7)
    u = np.cumsum(rng.normal(size=(3, 300)), axis=1)
    known = rng.random(u.shape) > 0.1
    where = Places.of(known)
    u[where.row, where.at] = 0.0
    gamma = autocovariance(u, where, 60)
    found = fill_holes(u, where, gamma, complete(gamma, 300, 24))
    weight, variance = weights(gamma, found.row, found.at, found.near)
    np.testing.assert_allclose(found.estimate, np.sum(weight * found.value, axis=1), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.variance, variance, rtol=1e-9)


def test_filled_is_what_fill_fills_where_no_register_tells_a_gap() -> None:
    rng = np.random.default_rng(2)
    slot = np.arange(96 * 6) % 96
    x = rng.gamma(1.5, 80.0, (4, slot.size)) + 50.0 * np.sin(slot / 96 * 2 * np.pi)
    x[rng.random(x.shape) < 0.05] = np.nan
    x[2], x[3, 100:150] = np.nan, np.nan
    np.testing.assert_array_equal(filled(x, slot), fill(x, slot)[0])


def test_readings_of_few_steps_are_averaged_until_they_span_ten() -> None:
    rng = np.random.default_rng(3)
    step, x = np.array([10.0, 1.0]), np.rint(rng.gamma(0.5, 60.0, (2, 200)) / 10.0) * 10.0
    expected = x.copy()
    for i in range(2):
        for t in range(200):
            if x[i, t] >= 10.0 * step[i]:
                continue
            for half in (1, 2, 4):
                near = x[i, max(t - half, 0) : t + half + 1]
                low = near[near < 10.0 * step[i]]
                if low.sum() * (2 * half + 1) / near.size >= 10.0 * step[i] - 1e-9 or half == 4:
                    expected[i, t] = low.mean()
                    break
    np.testing.assert_allclose(dequantised(x, step), expected, rtol=1e-5)


def test_offset_of_the_ridge_is_that_of_the_written_out_equations_with_blind_intervals_left_out() -> None:
    rng = np.random.default_rng(4)
    load = np.abs(rng.normal(1.0, 0.5, (5, 400)))
    blind = np.zeros(400, bool)
    blind[50:60] = True
    load[:, blind] = 0.0
    drop = rng.uniform(0.0, 0.1, (3, 5)) @ load + np.array([[0.4], [-0.3], [0.0]]) + rng.normal(0.0, 0.05, (3, 400))
    drop[:, blind] = 0.0
    none = np.zeros(0, np.int64)
    found = _ridge_with_offset(load.astype(np.float32), drop.copy(), none, none, 390)
    z = np.concatenate([load, (~blind).astype(float)[None]])
    near = []
    for scale in (0.03, 0.1, 0.3, 1.0):
        prior = np.diag(np.append(np.full(5, 0.35**2 / scale**2), 0.35**2 / OFFSET_SD_V**2))
        near.append(np.linalg.solve(z @ z.T + prior, z @ drop.T)[5])
    assert min(np.abs(found - expected).max() for expected in near) < 1e-5
