"""Long gaps: the register difference spread by the shape of reference days."""

from __future__ import annotations

import numpy as np
import pytest

from reconciliation.estimation import cumulative_share, reference_profiles


def test_reference_days_are_the_last_three_good_ones_of_the_type() -> None:
    energy = np.array([[1.0, 1], [2, 2], [3, 5], [4, 9], [100, 100], [6, 1]])
    good = np.array([True, True, True, True, False, True])
    weekend = np.array([False, False, False, False, False, True])
    working, free = reference_profiles(energy, good, weekend)
    assert working is not None
    assert working.tolist() == [3.0, pytest.approx(16 / 3)], "days 1, 2 and 3: the fourth is not good"
    assert free is not None
    assert free.tolist() == [6.0, 1.0]


def test_a_type_without_good_days_takes_the_others_and_none_is_none() -> None:
    energy = np.array([[1.0, 3.0]])
    working, free = reference_profiles(energy, np.array([True]), np.array([False]))
    assert working is not None
    assert free is not None
    assert free.tolist() == working.tolist() == [1.0, 3.0]
    assert reference_profiles(energy, np.array([False]), np.array([False])) == (None, None)


def test_share_follows_the_shape_between_the_ends_of_the_gap() -> None:
    # four intervals of 900 s with weights 1, 3, 0, 4; the gap from 450 s to 3600 s holds 0.5 + 3 + 0 + 4 = 7.5
    edges = np.arange(5, dtype=np.int64) * 900
    share = cumulative_share(edges, np.array([1.0, 3.0, 0.0, 4.0]), 450, 3600, np.array([900, 1800, 2700, 3150]))
    assert share == pytest.approx([0.5 / 7.5, 3.5 / 7.5, 3.5 / 7.5, 5.5 / 7.5])


@pytest.mark.parametrize("weight", [np.zeros(4), np.full(4, np.nan)])
def test_a_shape_without_energy_is_a_straight_line(weight: np.ndarray) -> None:
    edges = np.arange(5, dtype=np.int64) * 900
    assert cumulative_share(edges, weight, 0, 3600, np.array([900, 1800])) == pytest.approx([0.25, 0.5])
