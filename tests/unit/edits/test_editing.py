"""Values fitted between registers that hold: what is shared, what is refused, what never changes. Pure."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciliation.editing import Edit, Fitted, cuts, fit, regrid, share
from reconciliation.registers import NO_VALUE
from reconciliation.registers import IntervalQuality as Q

LINE = [False, *[True] * 5, False]
"""Seven instants, registers read at both ends: six intervals of one gap."""


def _fit(
    energy: list[int | None],
    *edits: tuple[int, list[int]],
    estimated: list[bool] | None = None,
    quality: list[int] | None = None,
    served: list[bool] | None = None,
    on_grid: bool = True,
) -> Fitted:
    n = len(energy)
    return fit(
        np.array([NO_VALUE if e is None else e for e in energy], dtype=np.int64),
        np.array(quality or [Q.ESTIMATED] * n, dtype=np.int8),
        np.array(served or [True] * n),
        np.array(estimated if estimated is not None else [False, *[True] * (n - 1), False]),
        [Edit(first, np.array(values, dtype=np.int64), on_grid) for first, values in edits],
    )


def _values(found: Fitted) -> list[int | None]:
    return [None if v == NO_VALUE else v for v in found.energy_wh.tolist()]


def test_the_others_of_a_gap_share_what_is_left_by_their_shape() -> None:
    # S = 600; two intervals are set to 50 + 30; 520 is left for 100, 200, 100, 100 → 104, 208, 104, 104
    found = _fit([100, 100, 200, 100, 100, 0], (0, [50]), (5, [30]))
    assert _values(found) == [50, 104, 208, 104, 104, 30]
    assert found.edited_by.tolist() == [0, -1, -1, -1, -1, 1]
    assert not found.refused.any()


def test_the_wh_that_rounding_leaves_go_to_the_largest_remainders_the_earlier_first() -> None:
    # 100 over 1 : 1 : 1 is 33⅓ each: one Wh is left, for the first; 101 leaves two
    assert share(100, np.array([7, 7, 7])).tolist() == [34, 33, 33]
    assert share(101, np.array([7, 7, 7])).tolist() == [34, 34, 33]
    # 10 over 1 : 2 : 4 is 1.43, 2.86, 5.71: two are left, for .86 and .71
    assert share(10, np.array([1, 2, 4])).tolist() == [1, 3, 6]
    assert share(10, np.array([0, 0, 0])).tolist() == [4, 3, 3], "a flat zero is no shape: evenly"
    assert share(7, np.array([NO_VALUE, 5])).tolist() == [0, 7]
    huge = share(10**15, np.array([10**15, 1, 10**15]))
    assert huge.sum() == 10**15, "products of registers do not fit 64 bits"


def test_one_interval_between_two_registers_is_not_for_editing() -> None:
    found = _fit([100, 100, 100], (1, [90]), estimated=[False] * 4)
    assert _values(found) == [100, 100, 100]
    assert found.refused.tolist() == [False, True, False]
    (block,) = found.verdicts[0].blocks
    assert (block.low, block.high, block.known_wh, block.edited_wh, block.places) == (1, 2, 100, 90, 0)


def test_a_longer_stretch_overrules_the_registers_inside_and_must_sum_to_the_ones_at_its_ends() -> None:
    measured = [False] * 4
    assert _values(_fit([100, 100, 100], (0, [10, 10, 280]), estimated=measured)) == [10, 10, 280]
    short = _fit([100, 100, 100], (0, [10, 10, 279]), estimated=measured)
    assert _values(short) == [100, 100, 100]
    assert short.refused.all()
    assert not short.verdicts[0].holds


def test_more_than_the_registers_say_is_refused() -> None:
    found = _fit([100] * 6, (2, [601]))
    assert _values(found) == [100] * 6
    assert found.refused.tolist() == [False, False, True, False, False, False]


def test_what_is_zero_by_event_takes_no_share() -> None:
    dark = [Q.ESTIMATED, Q.ZERO_BY_EVENT, Q.ESTIMATED]
    assert _values(_fit([50, 0, 50], (0, [20]), quality=dark)) == [20, 0, 80]
    alone = _fit([0, 100], (1, [60]), quality=[Q.ZERO_BY_EVENT, Q.ESTIMATED])
    assert alone.refused.tolist() == [False, True], "no place for the rest"


def test_where_no_register_closes_the_gap_values_stand() -> None:
    open_end = [False, False, False, False]
    found = _fit([100, None, None], (1, [70, 80]), estimated=open_end)
    assert _values(found) == [100, 70, 80]
    assert found.verdicts[0].holds


def test_the_last_register_before_an_open_gap_holds_although_an_edit_covers_it() -> None:
    """Else whoever edits one interval more than is known could change what was measured."""
    measured = [False, False, False, False]
    found = _fit([100, 100, None], (1, [5, 70]), estimated=measured)
    assert _values(found) == [100, 100, None]
    assert found.refused.tolist() == [False, True, True]
    assert _values(_fit([100, 100, None], (1, [100, 70]), estimated=measured)) == [100, 100, 70]


def test_the_newest_counts_and_without_it_the_one_before() -> None:
    first, second = (1, [10, 20]), (2, [5])
    assert _values(_fit([100] * 6, first, second))[1:3] == [10, 5]
    assert _values(_fit([100] * 6, first))[1:3] == [10, 20]
    assert _values(_fit([100] * 6, second))[1:3] != [10, 5]


def test_one_that_cannot_hold_leaves_those_before_it_alone() -> None:
    found = _fit([100] * 6, (1, [10, 20]), (2, [700]))
    assert _values(found) == [143, 10, 20, 143, 142, 142]
    assert found.refused.tolist() == [False, False, True, False, False, False]


def test_a_newer_one_that_holds_hides_that_an_older_one_does_not() -> None:
    found = _fit([100] * 6, (2, [700]), (2, [50]))
    assert not found.refused.any()
    assert [v.holds for v in found.verdicts] == [False, True]


def test_off_the_grid_or_without_a_meter_nothing_can_be_set() -> None:
    assert _fit([100] * 6, (2, [50]), on_grid=False).refused[2]
    found = _fit([None, 100, 100], (0, [50, 50]), served=[False, True, True], estimated=[False, False, True, False])
    assert found.refused.tolist() == [True, True, False]
    assert _values(found) == [None, 100, 100]


def test_another_grid_keeps_the_sum() -> None:
    shape = np.array([1, 3, 0, 0])
    assert regrid(np.array([8, 5]), 1800, 900, shape).tolist() == [2, 6, 3, 2]
    assert regrid(np.array([8, 5, 1, 2]), 900, 1800, np.array([0, 0])).tolist() == [13, 3]
    assert regrid(np.array([8, 5]), 900, 900, shape).tolist() == [8, 5]
    with pytest.raises(ValueError, match="not whole"):
        regrid(np.array([8, 5, 1]), 900, 1800, np.array([0, 0]))


def _knowledge(draw: st.DrawFn) -> dict[str, Any]:
    n = draw(st.integers(1, 24))
    known = draw(st.lists(st.sampled_from([True, True, True, False]), min_size=n, max_size=n))
    energy = [draw(st.integers(0, 500)) if k else None for k in known]
    estimated = [False, *draw(st.lists(st.booleans(), min_size=n - 1, max_size=n - 1)), False]
    quality = draw(st.lists(st.sampled_from([Q.ESTIMATED, Q.ZERO_BY_EVENT]), min_size=n, max_size=n))
    edits = []
    for _ in range(draw(st.integers(0, 5))):
        first = draw(st.integers(0, n - 1))
        size = draw(st.integers(1, n - first))
        edits.append((first, draw(st.lists(st.integers(0, 400), min_size=size, max_size=size))))
    return {"energy": energy, "estimated": estimated, "quality": quality, "edits": edits}


@settings(max_examples=400, deadline=None, derandomize=True)
@given(st.composite(_knowledge)())
def test_whatever_is_edited_energy_between_registers_that_hold_stays(case: dict[str, Any]) -> None:
    estimated, quality = case["estimated"], case["quality"]
    plain = _fit(case["energy"], estimated=estimated, quality=quality)
    found = _fit(case["energy"], *case["edits"], estimated=estimated, quality=quality)
    accepted = [Edit(f, np.array(v)) for (f, v), said in zip(case["edits"], found.verdicts, strict=True) if said.holds]
    before = plain.energy_wh
    cut = cuts(before, np.array(estimated), accepted)
    for low, high in pairwise(cut):
        if before[low] != NO_VALUE:
            assert found.energy_wh[low:high].sum() == before[low:high].sum()
            assert (found.energy_wh[low:high] >= 0).all()
    untouched = (found.edited_by < 0) & (before == NO_VALUE)
    assert (found.energy_wh[untouched] == NO_VALUE).all(), "an edit makes nothing known that it does not cover"
    for k, (first, values) in enumerate(case["edits"]):
        mine = np.flatnonzero(found.edited_by == k)
        assert (found.energy_wh[mine] == np.array(values)[mine - first]).all()
        assert not mine.size or found.verdicts[k].holds
    again = _fit(case["energy"], *case["edits"], estimated=estimated, quality=quality)
    assert (again.energy_wh == found.energy_wh).all()
    without = [e for e, said in zip(case["edits"], found.verdicts, strict=True) if said.holds]
    assert (_fit(case["energy"], *without, estimated=estimated, quality=quality).energy_wh == found.energy_wh).all()
