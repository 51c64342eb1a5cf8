"""Long gaps: the register difference spread by the shape of reference days."""

from __future__ import annotations

import numpy as np
import pytest

from headend.domain.quality import ValidationFlag
from reconciliation.estimation import BY_METHOD, METHODS, cumulative_share, has_energy, reference_profiles
from reconciliation.outages import outages


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


def test_nothing_is_used_in_the_dark() -> None:
    # four intervals of 900 s with weights 1, 3, 0, 4; dark from 1,350 to 2,700 s: 1 + 1.5 of the 3 + 0 + 4 = 6.5
    edges = np.arange(5, dtype=np.int64) * 900
    weight = np.array([1.0, 3.0, 0.0, 4.0])
    dark = np.array([[1350, 2700]], dtype=np.int64)
    share = cumulative_share(edges, weight, 0, 3600, np.array([900, 1350, 2000, 2700, 3150]), dark_us=dark)
    assert share == pytest.approx([1 / 6.5, 2.5 / 6.5, 2.5 / 6.5, 2.5 / 6.5, 4.5 / 6.5])
    assert share[1] == share[2] == share[3], "not a Wh, however it is rounded"


def test_two_outages_and_a_shape_that_has_energy_in_them_only() -> None:
    edges = np.arange(5, dtype=np.int64) * 900
    weight = np.array([0.0, 7.0, 0.0, 0.0])
    dark = np.array([[900, 1800], [2700, 3600]], dtype=np.int64)
    assert not has_energy(edges, weight, 0, 3600, dark_us=dark)
    assert has_energy(edges, weight, 0, 3600)
    share = cumulative_share(edges, weight, 0, 3600, np.array([450, 900, 1800, 2250, 2700, 3600]), dark_us=dark)
    assert share == pytest.approx([0.25, 0.5, 0.5, 0.75, 1.0, 1.0]), "the line over the half hour with power"


def test_a_gap_without_any_power_is_a_straight_line() -> None:
    edges = np.arange(5, dtype=np.int64) * 900
    dark = np.array([[0, 3600]], dtype=np.int64)
    assert cumulative_share(edges, np.ones(4), 0, 3600, np.array([900, 1800]), dark_us=dark) == pytest.approx(
        [0.25, 0.5]
    )


def test_every_method_has_a_code_of_its_own_and_a_flag_that_the_domain_knows() -> None:
    assert len({m.code for m in METHODS}) == len(METHODS)
    flags = [m.flag for m in METHODS if m.flag]
    assert len(set(flags)) == len(flags)
    joint = 0
    for flag in flags:
        assert ValidationFlag(flag.value).name == flag.name
        joint |= flag
    assert joint == BY_METHOD
    assert all(m.version >= 1 and m.says for m in METHODS)


def test_outages_are_a_failure_and_the_return_right_after_it() -> None:
    def spans(*events: tuple[int, bool, int]) -> list[list[int]]:
        columns = (
            np.array(c, dtype=t) for c, t in zip(zip(*events, strict=True), (np.int64, bool, np.int64), strict=True)
        )
        found: list[list[int]] = outages(*columns).tolist()
        return found

    failed, back = True, False
    assert spans((10, failed, 0), (20, back, 0)) == [[10, 20]]
    assert spans((5, back, 0), (10, failed, 0), (12, failed, 0), (20, back, 0), (22, back, 0)) == [[12, 20]]
    assert spans((10, failed, 3), (20, back, 2), (30, failed, 0), (40, back, 0)) == [[13, 18], [30, 40]]
    assert spans((10, failed, 6), (20, back, 4)) == [], "not a moment is certain"
    assert spans((10, failed, 0)) == []
