"""What must hold for any registers: energy is conserved to the Wh, and nothing depends on how the days were asked for.

The worlds are made from a number that hypothesis chooses (derandomised) and that a failure prints.
"""

from __future__ import annotations

import random
from dataclasses import fields, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.domain.calendar import from_us, to_us
from headend.settings import Settlement
from headend.settlement.grid import DayRange
from headend.settlement.intervals import PointIntervals
from headend.settlement.rules import Rules
from headend.settlement.topology import FOREVER_US
from headend.store.intervals import MeterReadings
from headend.store.vectors import ABSENT
from reconciliation.registers import NO_VALUE, IntervalQuality
from reconciliation.validation import Flag
from support.installed import installed
from support.worlds import SECOND, Meter, World, world

SEEDS = st.integers(0, 2**32 - 1)
many = settings(max_examples=150, deadline=None, derandomize=True)
some = settings(max_examples=60, deadline=None, derandomize=True)


def _sums(found: PointIntervals) -> dict[str, list[int | None]]:
    return {
        name: [None if v == NO_VALUE else v for v in getattr(found, f"{name}_wh")[0].tolist()]
        for name in ("import", "export")
    }


def _registers(meter: Meter) -> dict[str, list[int]]:
    """By the direction that they count for the point."""
    own = {"import": meter.true_import, "export": meter.true_export}
    return own if meter.installed.sign > 0 else {"import": own["export"], "export": own["import"]}


@many
@given(SEEDS, st.sampled_from([1, 40, 300]))
def test_between_any_two_registers_that_were_read_energy_is_their_difference(seed: int, multiplier: int) -> None:
    w = world(seed, multipliers=(multiplier,))
    found = w.settle()
    (meter,) = w.meters
    grid = w.days.grid_us
    stamps = np.array(meter.ts_us)
    for name, energy in _sums(found).items():
        assert None not in energy
        assert all(e is not None and e >= 0 for e in energy), "registers rise: no interval is below zero"
        total = np.cumsum([0, *energy])  # type: ignore[list-item]
        # every grid instant with a reading within 5 s has the register of the nearest one
        near = [int(np.argmin(np.abs(stamps - at))) for at in grid]
        read = [k for k, at in enumerate(grid) if abs(meter.ts_us[near[k]] - at) <= 5 * SECOND]
        register = _registers(meter)[name]
        for a, b in pairwise(read):
            assert total[b] - total[a] == (register[near[b]] - register[near[a]]) * multiplier, (name, a, b)


@many
@given(SEEDS)
def test_across_swaps_multipliers_and_signs_the_sum_is_that_of_all_registers(seed: int) -> None:
    w = world(seed, swaps=True, multipliers=(1, 10, 40))
    wanted = {
        name: sum(
            (_registers(m)[name][-1] - _registers(m)[name][0]) * m.installed.multiplier_e4 // 10_000 for m in w.meters
        )
        for name in ("import", "export")
    }
    for name, energy in _sums(w.settle()).items():
        assert None not in energy
        assert sum(e or 0 for e in energy) == wanted[name]


@many
@given(SEEDS, st.integers(2, 60), st.integers(1, 9_999))
def test_a_multiplier_that_changes_unread_leaves_no_wh_behind(seed: int, times: int, at_e4: int) -> None:
    """The same meter goes on with another multiplier at an instant at which nobody read it: the share of a gap before
    that instant counts with the one, the rest with the other; the raw energy of both is that of the registers.
    """
    w = world(seed, days=1)
    (meter,) = w.meters
    start, end = int(w.days.grid_us[0]), int(w.days.grid_us[-1])
    change = start + (end - start) * at_e4 // 10_000
    own = replace(meter.installed, multiplier_e4=10_000)
    first = replace(own, to_us=change, scope_to_us=FOREVER_US)
    then = replace(own, from_us=change, scope_from_us=own.from_us, multiplier_e4=times * 10_000)
    changed = World(w.days, w.rules, [replace(meter, installed=i) for i in (first, then)], w.outages).settle()
    plain = World(w.days, w.rules, [replace(meter, installed=own)], w.outages).settle()
    k = int(np.searchsorted(w.days.grid_us, change, side="right")) - 1
    for name, energy in _sums(changed).items():
        once = _sums(plain)[name]
        before, after = (sum(e or 0 for e in once[:k]), sum(e or 0 for e in once[k + 1 :]))
        assert energy[:k] == once[:k]
        # within the interval of the change: a of its energy x 1, the rest x times, for some 0 <= a <= all
        assert sum(e or 0 for e in energy[:k]) == before
        assert abs(sum(e or 0 for e in energy[k + 1 :]) - after * times) <= times, "each end rounded within half a Wh"
        low, high = once[k] or 0, (once[k] or 0) * times
        assert low - 1 <= (energy[k] or 0) <= high + times


@some
@given(SEEDS, st.booleans())
def test_days_settled_one_by_one_are_the_days_settled_together(seed: int, spoilt: bool) -> None:
    w = world(seed, swaps=seed % 2 == 0, spoilt=spoilt, days=4)
    together = w.settle(few=True)
    rows = _rows(w.days, together)
    for d, day in enumerate(w.days.days):
        one = DayRange(w.rules.calendar, day, day)
        alone = w.settle(one, few=True, past=lambda _, first, last: [r for r in rows if first <= r["day"] <= last])
        here = w.days.day_slice(d)
        for name in ("import_wh", "export_wh", "quality", "flags", "served"):
            assert getattr(alone, name)[0].tolist() == getattr(together, name)[0, here].tolist(), (name, day)
        assert alone.marks[0].tolist() == together.marks[0, d : d + 2].tolist()


def _rows(days: DayRange, found: PointIntervals) -> list[dict[str, Any]]:
    """As the store would give them."""
    return [
        {
            "usage_point_id": 1, "day": day,
            **{n: getattr(found, n)[0, days.day_slice(d)] for n in ("import_wh", "export_wh", "quality", "flags")},
        }
        for d, day in enumerate(days.days)
    ]  # fmt: skip


@some
@given(SEEDS)
def test_settling_again_from_what_was_settled_changes_nothing(seed: int) -> None:
    w = world(seed, swaps=True, days=2)
    first = w.settle()
    rows = _rows(w.days, first)
    again = w.settle(past=lambda _, a, b: [r for r in rows if a <= r["day"] <= b])
    for f in fields(first):
        one, other = getattr(first, f.name), getattr(again, f.name)
        if isinstance(one, np.ndarray):
            assert one.tolist() == other.tolist(), f.name


@some
@given(SEEDS, st.randoms(use_true_random=False))
def test_order_and_number_of_arrivals_change_nothing(seed: int, shuffle: random.Random) -> None:
    """The store keeps one row a meter and instant; whatever the order, it hands them out in order of time."""
    w = world(seed)
    (meter,) = w.meters
    own = meter.readings()
    rows = list(zip(own.ts_us.tolist(), own.import_wh.tolist(), own.export_wh.tolist(), strict=True))
    arrived = rows + shuffle.sample(rows, len(rows) // 3)
    shuffle.shuffle(arrived)
    kept = sorted({ts: (ts, a, b) for ts, a, b in arrived}.values())
    columns = [np.array(column, dtype=np.int64) for column in zip(*kept, strict=True)]
    rest = [np.full(len(kept), ABSENT), np.zeros(len(kept), dtype=np.int64), np.zeros(len(kept), dtype=np.int64)]
    again = w.settle(readings={1: MeterReadings(*columns, *rest)})
    assert _sums(again) == _sums(w.settle())


@some
@given(SEEDS, st.integers(0, 10_000))
def test_a_reading_inside_a_gap_changes_the_intervals_of_that_gap_only(seed: int, which: int) -> None:
    # one day: no other gap has its shape from it
    w = world(seed, days=1)
    (meter,) = w.meters
    count = len(meter.ts_us)
    left_out = which % (count - 2) + 1 if count > 2 else None
    if left_out is None:
        return
    keep = [i != left_out for i in range(count)]
    with_it, without = w.settle(), w.settle(readings={1: meter.readings(keep)})
    grid = w.days.grid_us
    before, after = meter.ts_us[left_out - 1] - 5 * SECOND, meter.ts_us[left_out + 1] + 5 * SECOND
    outside = (grid[1:] <= before) | (grid[:-1] >= after)
    for name in ("import_wh", "export_wh", "quality"):
        a, b = getattr(with_it, name)[0], getattr(without, name)[0]
        assert a[outside].tolist() == b[outside].tolist(), name
    assert _total(with_it) == _total(without)


def _total(found: PointIntervals) -> list[int]:
    return [sum(e or 0 for e in energy) for energy in _sums(found).values()]


@some
@given(SEEDS, st.integers(2, 400))
def test_a_multiplier_scales_and_no_interval_is_off_by_a_wh(seed: int, times: int) -> None:
    w = world(seed)
    (meter,) = w.meters
    scaled = World(
        w.days, w.rules, [replace(meter, installed=replace(meter.installed, multiplier_e4=times * 10_000))], w.outages
    )
    once, often = _sums(w.settle()), _sums(scaled.settle())
    for name in once:
        low, high = np.array(once[name], dtype=np.int64), np.array(often[name], dtype=np.int64)
        assert high.sum() == low.sum() * times
        # each end of any stretch is rounded within half a Wh: so is every sum of neighbouring intervals within one
        drift = np.cumsum(high) - np.cumsum(low) * times
        assert drift.max(initial=0) - drift.min(initial=0) <= times + 1


@some
@given(SEEDS)
def test_every_interval_says_how_it_came_to_be(seed: int) -> None:
    w = world(seed, swaps=seed % 2 == 0)
    found = w.settle()
    quality, flags = found.quality[0], found.flags[0]
    method = flags & int(Flag.BY_LINE | Flag.BY_REFERENCE_DAYS | Flag.EVENLY)
    assert found.import_wh.dtype == found.export_wh.dtype == np.int64
    assert (quality != IntervalQuality.ABSENT).all(), "every gap is closed"
    estimated = quality == IntervalQuality.ESTIMATED
    assert (method[~estimated] == 0).all()
    assert ((method[estimated] != 0) | ((flags[estimated] & Flag.METER_SWAP) != 0)).all()
    assert (flags[estimated] & Flag.MISSING).all()
    zero = quality == IntervalQuality.ZERO_BY_EVENT
    assert not found.import_wh[0, zero].any()
    assert not np.where(found.export_wh[0, zero] == NO_VALUE, 0, found.export_wh[0, zero]).any()


@some
@given(SEEDS)
def test_nothing_is_used_while_power_had_failed(seed: int) -> None:
    w = world(seed)
    found = w.settle()
    grid, stamps = w.days.grid_us, np.array(w.meters[0].ts_us)
    for begin, end in w.outages.get(1, np.empty((0, 2), dtype=np.int64)).tolist():
        after = int(np.searchsorted(stamps, begin, side="right"))
        if 2 * (end - begin) > stamps[after] - stamps[after - 1]:
            continue  # what is left may be too short for what was used
        inside = (grid[:-1] >= begin) & (grid[1:] <= end)
        assert set(found.quality[0, inside].tolist()) <= {IntervalQuality.ZERO_BY_EVENT}
        assert not found.import_wh[0, inside].any()
        assert not found.export_wh[0, inside].any()


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Shanghai"])
@some
@given(st.integers(0, 364), st.sampled_from([300, 900, 1800, 3600]), SEEDS)
def test_any_day_of_the_year_is_covered_once(zone: str, day: int, interval_s: int, seed: int) -> None:
    """A day of 23, 23.5, 24, 24.5 or 25 hours: one reading at each of its ends, and its intervals sum to them."""
    rules = Rules.of(Settlement.model_validate({"zone": zone, "interval_s": interval_s}))
    first = date(2026, 1, 1) + timedelta(days=day)
    span = DayRange(rules.calendar, first, first)
    start, end = (int(span.grid_us[i]) for i in (0, -1))
    energy = seed % 50_000
    meter = Meter(installed(1, start - 86_400 * SECOND), [start, end], [0, energy], [0, 0])
    found = World(span, rules, [meter], {}).settle()
    assert sum(e or 0 for e in _sums(found)["import"]) == energy
    assert _midnight(rules, start) == _midnight(rules, end) == datetime.min.time()


def _midnight(rules: Rules, at_us: int) -> Any:
    assert to_us(from_us(at_us)) == at_us
    return from_us(at_us).astimezone(rules.calendar.zone).time()
