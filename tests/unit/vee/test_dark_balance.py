"""What an outage means for an area's balance: its energy is known, and there is nothing in it to measure."""

from __future__ import annotations

import numpy as np
import pytest

from reconciliation.balance import MeteredEnergy, interval_balance
from reconciliation.registers import IntervalQuality as Q


def _metered(energy_wh: list[list[int]], quality: list[list[Q]]) -> MeteredEnergy:
    values = np.array(energy_wh, dtype=np.int64)
    every = np.ones(values.shape, dtype=np.bool_)
    return MeteredEnergy(
        import_wh=values, export_wh=values * 0, quality=np.array(quality, dtype=np.int8), counted=every, served=every
    )


def test_an_outage_of_the_whole_area_is_complete_and_wants_nothing_measured() -> None:
    # two households and the area meter; everything dark in the second of three intervals
    area = _metered([[210, 0, 330]], [[Q.MEASURED, Q.ZERO_BY_EVENT, Q.MEASURED]])
    homes = _metered(
        [[100, 0, 120], [100, 0, 200]],
        [[Q.MEASURED, Q.ZERO_BY_EVENT, Q.MEASURED], [Q.MEASURED, Q.ZERO_BY_EVENT, Q.ESTIMATED]],
    )
    found = interval_balance(area, homes)
    assert found.complete.tolist() == [True, True, True]
    assert (found.supplied_wh - found.delivered_wh).tolist() == [10, 0, 10]
    assert found.required.tolist() == [3, 0, 3]
    assert found.measured.tolist() == [3, 0, 2]


def test_a_household_that_says_it_is_dark_does_not_hide_what_the_area_lost() -> None:
    # 500 Wh went in while one of two households "had no power": the interval is computed, and 400 Wh are missing
    area = _metered([[500]], [[Q.MEASURED]])
    homes = _metered([[100], [0]], [[Q.MEASURED], [Q.ZERO_BY_EVENT]])
    found = interval_balance(area, homes)
    assert found.complete.tolist() == [True]
    assert (found.supplied_wh - found.delivered_wh).tolist() == [400]
    assert (found.measured / found.required).tolist() == [1.0]


@pytest.mark.parametrize("counted", [True, False])
def test_an_area_without_a_meter_still_wants_one(counted: bool) -> None:
    nobody = np.full((1, 1), counted)
    area = MeteredEnergy(
        import_wh=np.zeros((1, 1), dtype=np.int64), export_wh=np.zeros((1, 1), dtype=np.int64),
        quality=np.full((1, 1), Q.MEASURED, dtype=np.int8), counted=nobody, served=nobody,
    )  # fmt: skip
    assert interval_balance(area, _metered([[1]], [[Q.MEASURED]])).required.tolist() == [2]
