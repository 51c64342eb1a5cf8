"""Rules over many meters at once: in any order, one by one, with others beside them, in one stretch or day by day."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from headend.domain.topology import CATEGORIES
from headend.settlement.inputs import Inputs
from headend.settlement.intervals import PointIntervals, point_intervals
from headend.store.vectors import ABSENT
from reconciliation import validation
from support.judged import DAY0, SLOTS, House, Judge, uneven

DAYS = 10


def _houses(rng: np.random.Generator, count: int) -> list[House]:
    """Homes with every kind of oddity."""
    found = []
    for _ in range(count):
        energy = rng.gamma(1.2, 80, DAYS * SLOTS).astype(np.int64)
        for _ in range(rng.integers(0, 4)):
            at = int(rng.integers(0, energy.size - 60))
            energy[at : at + int(rng.integers(1, 60))] = int(rng.choice([0, 50, 900, 5000]))
        if rng.random() < 0.4:
            energy[int(rng.integers(0, 3)) * SLOTS :] = 0
        volts = rng.normal(2300, 90, energy.size).astype(np.int64)
        volts[rng.random(energy.size) < 0.3] = ABSENT
        found.append(
            House(
                energy_wh=energy,
                export_wh=(rng.random(energy.size) < 0.02) * rng.integers(0, 400, energy.size),
                voltage_dv=volts,
                flags={int(slot): int(rng.integers(1, 8)) for slot in rng.integers(0, energy.size, 3)},
                lacking=sorted(set(rng.integers(0, energy.size, int(rng.integers(0, 30))).tolist())),
                before=[timedelta(hours=float(rng.uniform(0, 40)))] if rng.random() < 0.3 else (),
                category=[str(rng.choice(CATEGORIES))] * 4 + [str(rng.choice(CATEGORIES))] * (DAYS - 4),
                rated_current_a=int(rng.choice([10, 60])) if rng.random() < 0.8 else None,
                installed={"phases": int(rng.choice([1, 3]))},
            )
        )
    return found


STRICT: dict[str, Any] = {"zero_days": {"days": 3}, "category": {"none": {"zero_days": {"days": 5}}}}
JUDGE = Judge(days=DAYS, validation=STRICT)


@pytest.mark.parametrize("number", range(4))
def test_meters_do_not_look_at_each_other(number: int) -> None:
    rng = np.random.default_rng(number)
    houses = _houses(rng, 12)
    together = JUDGE.settle(*houses).flags
    assert len({int(f) for f in np.unique(together)}) > 8, "something to compare"
    order = rng.permutation(len(houses))
    assert np.array_equal(JUDGE.settle(*(houses[i] for i in order)).flags, together[order])
    clean = House(energy_wh=uneven(DAYS * SLOTS), voltage_dv=2300)
    beside = JUDGE.settle(*houses[:5], clean, *houses[5:]).flags
    assert np.array_equal(np.delete(beside, 5, axis=0), together)
    assert not beside[5].any()
    for i, house in enumerate(houses):
        assert np.array_equal(JUDGE.settle(house).flags[0], together[i]), i


def _day(whole: Inputs, settled: PointIntervals, first: int, last: int) -> PointIntervals:
    """Some days of the stretch alone, with those before them as they were settled."""
    judge = replace(JUDGE, first=DAY0 + timedelta(days=first), days=last - first + 1)
    category = whole.observed.category
    assert category is not None
    observed = replace(whole.observed, category=category[:, first : last + 1])
    span = JUDGE.span

    def past(points: Any, begin: Any, end: Any) -> list[dict[str, Any]]:
        return [
            {
                "usage_point_id": point, "day": day, "import_wh": settled.import_wh[point, span.day_slice(d)],
                "export_wh": settled.export_wh[point, span.day_slice(d)],
                "quality": settled.quality[point, span.day_slice(d)], "flags": settled.flags[point, span.day_slice(d)],
            }
            for point in points for d, day in enumerate(span.days) if begin <= day <= end
        ]  # fmt: skip

    return point_intervals(replace(whole, observed=observed), judge.span, judge.rules, past)


@pytest.mark.parametrize("number", range(3))
def test_a_day_is_judged_the_same_whichever_stretch_it_is_settled_in(number: int) -> None:
    houses = _houses(np.random.default_rng(100 + number), 8)
    inputs = JUDGE.inputs(*houses)
    whole = JUDGE.settle(*houses)
    span = JUDGE.span
    for first, last in [(d, d) for d in range(DAYS)] + [(0, 3), (4, 9), (2, 7)]:
        alone = _day(inputs, whole, first, last)
        here = slice(span.day_slice(first).start, span.day_slice(last).stop)
        assert np.array_equal(alone.flags, whole.flags[:, here]), (first, last)


@st.composite
def _rows(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, k = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    cell = st.tuples(st.sampled_from([0, 0, 5, 5, 5, 40, 200, 900]), st.booleans())
    cells = draw(st.lists(cell, min_size=n * k, max_size=n * k))
    energy = np.array([c[0] for c in cells], dtype=np.int64).reshape(n, k)
    present = np.array([c[1] for c in cells], dtype=np.bool_).reshape(n, k)
    energy[~present] = np.iinfo(np.int64).min
    return energy, present


@seed(20260302)
@settings(max_examples=300, deadline=None, derandomize=True)
@given(_rows(), st.data())
def test_bulk_says_what_plain_loops_say(rows: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    """Against the definitions, written out."""
    energy, present = rows
    n = len(energy)
    column = st.lists(st.sampled_from([1.0, 2.0, 3.0, 4.5]), min_size=n, max_size=n)
    factor, floor, least = (np.array(data.draw(column)) for _ in range(3))
    floor *= 10

    def above(row: int, k: int) -> bool:
        known = sorted(int(e) for e, p in zip(energy[row], present[row], strict=True) if p)
        padded = sorted([0] * (energy.shape[1] - len(known)) + known)
        if not present[row, k] or len(known) < 3 or energy.shape[1] <= 3:
            return False
        return bool(energy[row, k] > max(factor[row] * padded[-3], floor[row]))

    def even(row: int, k: int) -> bool:
        if not present[row, k] or energy[row, k] == 0:
            return False
        low = high = k
        while low > 0 and present[row, low - 1] and energy[row, low - 1] == energy[row, k]:
            low -= 1
        while high + 1 < energy.shape[1] and present[row, high + 1] and energy[row, high + 1] == energy[row, k]:
            high += 1
        return high - low + 1 >= max(2, np.ceil(least[row]))

    def idle(row: int, k: int) -> bool:
        wanted = int(np.ceil(least[row]))
        return k + 1 >= wanted and all(present[row, i] and energy[row, i] == 0 for i in range(k - wanted + 1, k + 1))

    spikes = validation.spike(energy, present, factor=factor, floor_wh=floor)
    same = validation.constant(energy, present, intervals=least)
    zero = validation.zero_days(energy, present, days=least)
    most = validation.above_capacity(energy, present, floor, 1.0, factor=factor)
    for row, k in np.ndindex(*energy.shape):
        assert spikes[row, k] == above(row, k), ("spike", row, k)
        assert same[row, k] == even(row, k), ("constant", row, k)
        assert zero[row, k] == idle(row, k), ("zero_days", row, k)
        assert most[row, k] == (present[row, k] and energy[row, k] > floor[row] * factor[row]), ("capacity", row, k)
