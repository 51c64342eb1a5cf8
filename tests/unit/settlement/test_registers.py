"""Registers → interval energy: golden days worked by hand, and what must hold for any readings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciliation.cleaning import Cleaned, SeriesMeta, clean
from reconciliation.registers import GridRules, interval_energy, registers_at
from reconciliation.registers import IntervalQuality as Q
from reconciliation.validation import Flag
from support.registers import FOREVER, meta, settle_series

QUARTER = 900


def test_registers_on_the_grid_are_measured() -> None:
    found = settle_series([(0, 1000), (900, 1100), (1800, 1100), (2700, 1350)], 3)
    assert found.energy == [100, 0, 250]
    assert found.quality == [Q.MEASURED] * 3
    assert found.flags == [0, 0, 0]


def test_registers_a_few_seconds_off_the_grid_are_the_registers_there() -> None:
    # 3 s late each: taken as they are, so that the intervals sum to the differences of the registers that a person
    # can look up
    found = settle_series([(3, 1000), (903, 1100), (1797, 1207)], 2)
    assert found.energy == [100, 107]
    assert found.quality == [Q.MEASURED] * 2


def test_registers_around_the_grid_are_interpolated() -> None:
    # readings at -300, 600, 1500, 2400 s: 0, 90, 180, 270 Wh, that is 0.1 Wh a second
    # at 0 s: 30 Wh, at 900 s: 120 Wh, at 1800 s: 210 Wh
    found = settle_series([(-300, 0), (600, 90), (1500, 180), (2400, 270)], 2)
    assert found.energy == [90, 90]
    assert found.quality == [Q.INTERPOLATED] * 2
    assert found.flags == [0, 0], "every reading is there, only not on the grid"


def test_one_missing_register_is_interpolated_and_two_are_estimated() -> None:
    # 900 s and 1800 s: neighbours at 0 s and 2700 s; each grid instant has only one of them within 900 s
    single = settle_series([(0, 0), (1800, 101)], 2)
    assert single.energy == [51, 50], "50.5 Wh at 900 s rounds half up to 51"
    assert single.quality == [Q.INTERPOLATED] * 2
    assert single.flags == [Flag.MISSING] * 2, "a reading is missing, though its place can be told"
    double = settle_series([(0, 0), (2700, 100)], 3)
    # 33.33 and 66.67 Wh: registers 0, 33, 67, 100
    assert double.energy == [33, 34, 33]
    assert double.quality == [Q.ESTIMATED] * 3
    assert double.gaps == 0, "45 min is no long gap"


def test_a_gap_longer_than_two_hours_is_reported_for_its_shape() -> None:
    found = settle_series([(0, 0), (9 * QUARTER, 900)], 9)
    assert found.gaps == 1
    assert sum(e or 0 for e in found.energy) == 900


def test_a_wide_tolerance_makes_no_long_gap_a_line() -> None:
    # 3 h of tolerance: the middle of a gap of three hours lies within it, but a line reaches two hours only
    wide = GridRules(tolerance_us=3 * 3_600_000_000)
    assert settle_series([(0, 0), (8 * QUARTER, 800)], 8, rules=wide).quality == [Q.INTERPOLATED] * 8
    found = settle_series([(0, 0), (12 * QUARTER, 1200)], 12, rules=wide)
    assert (found.quality, found.gaps) == ([Q.ESTIMATED] * 12, 1)


@pytest.mark.parametrize(("seconds", "gaps"), [(7200, 0), (7210, 0), (7211, 1)])
def test_a_line_reaches_two_hours_between_instants_that_readings_may_miss_by_five_seconds(
    seconds: int, gaps: int
) -> None:
    assert settle_series([(-5, 0), (seconds - 5, 900)], 9).gaps == gaps


def test_estimated_intervals_say_how_and_others_do_not() -> None:
    found = settle_series([(0, 0), (900, 50), (4500, 100), (6300, 120)], 7)
    method = [flags & Flag.BY_LINE for flags in found.flags]
    assert found.quality == [Q.MEASURED] + [Q.ESTIMATED] * 4 + [Q.INTERPOLATED] * 2
    assert [bool(m) for m in method] == [False, True, True, True, True, False, False]


def test_a_day_that_falls_keeps_its_fall_where_it_is_deepest() -> None:
    # three days of two intervals: 10 12 12, 12 9 8, 8 11 14; the second one is 4 Wh less than nothing
    found = settle_series([(0, 10), (900, 12), (1800, 12), (2700, 9), (3600, 8), (4500, 11), (5400, 14)], 6, day=2)
    assert found.energy == [2, 0, -4, 0, 3, 3]
    assert sum(e or 0 for e in found.energy) == 14 - 10


def test_after_the_last_register_there_is_no_number() -> None:
    found = settle_series([(0, 5), (900, 7)], 3)
    assert found.energy == [2, None, None]
    assert found.quality == [Q.MEASURED, Q.ABSENT, Q.ABSENT]


def test_before_the_first_register_there_is_no_number() -> None:
    assert settle_series([(900, 5), (1800, 7)], 2).energy == [None, 2]


def test_a_multiplier_with_decimals_keeps_the_sum() -> None:
    # x 1.5: registers 0, 1, 2, 3 Wh are 0, 1.5, 3.0, 4.5 Wh, rounded half up 0, 2, 3, 5
    found = settle_series([(0, 0), (900, 1), (1800, 2), (2700, 3)], 3, series=meta(multiplier=1.5))
    assert found.energy == [2, 1, 2]


def test_a_register_rolls_over_where_its_digits_allow_it() -> None:
    # six digits of 10 Wh: back to zero at 10,000,000 Wh; 9,999,950 -> 30 is 80 Wh
    series = meta(span=10**7)
    found = settle_series([(0, 9_999_900), (900, 9_999_950), (1800, 30), (2700, 130)], 3, series=series)
    assert found.energy == [50, 80, 100]
    assert found.quality == [Q.MEASURED] * 3


def test_a_rollover_inside_a_gap_is_spread_with_it() -> None:
    found = settle_series([(0, 9_999_950), (2700, 50)], 3, series=meta(span=10**7))
    assert found.energy == [33, 34, 33]


def test_a_fall_that_is_no_rollover_is_a_reset_and_its_interval_has_no_number() -> None:
    found = settle_series([(0, 5000), (900, 5100), (1800, 20), (2700, 60)], 3)
    assert found.energy == [100, None, 40]
    assert found.quality[1] == Q.ABSENT
    assert found.flags[1] & Flag.RESET


def test_a_single_impossible_register_is_not_believed() -> None:
    low = settle_series([(0, 5000), (900, 0), (1800, 5200)], 2)
    assert (low.energy, low.refused) == ([100, 100], [1])
    high = settle_series([(0, 5000), (900, 90_000_000), (1800, 5200)], 2)
    assert (high.energy, high.refused) == ([100, 100], [1])
    pair = settle_series([(0, 5000), (900, 0), (1800, 0), (2700, 5300)], 3)
    assert (pair.energy, pair.refused) == ([100, 100, 100], [1, 2])


def test_a_fall_within_resolution_and_skew_is_no_decrease() -> None:
    # two sources: 1004 Wh exactly, 1000 Wh in steps of 10; the day still sums to 1020 - 1000
    found = settle_series([(0, 1000), (900, 1004), (1800, 1000), (2700, 1020)], 3)
    assert found.energy == [4, 0, 16]
    assert found.flags == [0, Flag.REGISTER_DECREASED, 0]
    assert not found.refused


def test_a_swap_is_clipped_to_the_time_that_each_meter_served() -> None:
    # old meter out at 1200 s with 1130 Wh, new one in at 1200 s with 7 Wh
    old = settle_series([(0, 1000), (900, 1100), (1200, 1130)], 3, series=meta(end=1200))
    new = settle_series([(1200, 7), (1800, 57), (2700, 157)], 3, series=meta(start=1200))
    assert old.energy[:2] == [100, 30]
    assert new.energy[1:] == [50, 100]


@pytest.mark.parametrize("hours", [23, 24, 25])
def test_days_of_23_and_25_hours_are_longer_or_shorter_and_nothing_else(hours: int) -> None:
    count = hours * 4
    found = settle_series([(k * QUARTER, 10 * k) for k in range(count + 1)], count, day=count)
    assert found.energy == [10] * count


def test_registers_beyond_64_bits_are_refused_in_words() -> None:
    series, none = meta(multiplier=1000, span=10**16), np.zeros(2, dtype=np.int64)
    ts, value = np.array([0, 900_000_000]), np.array([10**15, 10**15 + 1])
    unchecked = Cleaned(np.array([0, 2]), ts, value, none, none.astype(np.int32), np.arange(2), none[:0])
    with pytest.raises(ValueError, match=r"1000000000000001 Wh x 1000\.0 is beyond 64 bits"):
        registers_at(unchecked, series, ts, GridRules())


BEYOND = 10**15
"""Wh; as much as the own MQTT format lets through, and x 1 more than 64 bits hold in 1e-4 Wh."""


@pytest.mark.parametrize("which", [range(5, 6), range(6), range(2, 8), range(9)], ids=str)
def test_a_register_beyond_64_bits_makes_no_energy_with_any_other(which: range) -> None:
    # 9 readings, 8 intervals of 100 Wh: what touches a register that cannot be has no energy
    readings = [(k * QUARTER, BEYOND + k if k in which else 100 * k) for k in range(9)]
    found = settle_series(readings, 8)
    spoilt = [k in which or k + 1 in which for k in range(8)]
    if list(which) == [5]:  # one alone, between registers that agree, is left out like any other that cannot be
        assert found.energy == [100] * 8
        assert found.refused == [5]
        return
    assert found.energy == [None if bad else 100 for bad in spoilt]
    assert [e is None for e in found.energy] == [q == Q.ABSENT for q in found.quality]
    assert all(bool(flags & Flag.RESET) == bad for flags, bad in zip(found.flags, spoilt, strict=True))


def test_the_largest_multiplier_of_an_area_does_not_judge_the_registers_of_others() -> None:
    # 2e10 Wh x 1 and 100 Wh x 40,000 are within the range; the one's register x the other's multiplier is not
    offsets, ts = np.array([0, 2, 4]), np.array([0, 900_000_000] * 2)
    value = np.array([2 * 10**10, 2 * 10**10 + 50, 100, 103])
    both = SeriesMeta(
        multiplier_e4=np.array([10_000, 400_000_000]), span_wh=np.array([10**12] * 2), slack_wh=np.array([40] * 2),
        capacity_w=np.array([13_800.0] * 2), from_us=np.zeros(2, dtype=np.int64), to_us=np.full(2, FOREVER),
    )  # fmt: skip
    registers = registers_at(clean(offsets, ts, value, both), both, ts[:2], GridRules())
    energy, *_ = interval_energy(registers, both, ts[:2], np.array([0]))
    assert energy.tolist() == [[50], [120_000]]


STEPS = st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 3000), st.booleans()), min_size=2, max_size=60)


def _world(steps: list[tuple[int, int, bool]], start: int) -> list[tuple[float, int]]:
    """Readings at irregular seconds whose register climbs by at most 3 kW."""
    at, register, readings = -QUARTER, start, []
    for seconds, watts, _ in steps:
        at += seconds
        register += seconds * watts // 3600
        readings.append((float(at), register))
    return readings


@settings(max_examples=200, deadline=None, derandomize=True)
@given(STEPS, st.sampled_from([1.0, 40.0, 1.5, 0.25]))
def test_energy_between_two_registers_that_were_read_is_their_difference(
    steps: list[tuple[int, int, bool]], multiplier: float
) -> None:
    readings = [(0.0, 123)] + [(t + QUARTER + 1, v + 123) for t, v in _world(steps, 0)]
    end = int(readings[-1][0] // QUARTER + 1) * QUARTER
    readings.append((float(end), readings[-1][1] + 1))
    found = settle_series(readings, end // QUARTER, series=meta(multiplier=multiplier))
    assert None not in found.energy
    assert min(e for e in found.energy if e is not None) >= 0
    exact = (readings[-1][1] - readings[0][1]) * multiplier
    assert abs(sum(e or 0 for e in found.energy) - exact) <= (0 if exact == int(exact) else 0.5)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(STEPS, st.integers(0, 9_999))
def test_a_rollover_changes_no_interval_and_makes_none_negative(
    steps: list[tuple[int, int, bool]], offset: int
) -> None:
    span = 10**6
    plain = _world(steps, span - offset)
    wrapped = [(t, v % span) for t, v in plain]
    count = 40
    a = settle_series(plain, count, series=meta(span=10**9))
    b = settle_series(wrapped, count, series=meta(span=span))
    assert a.energy == b.energy
    assert all(e is None or e >= 0 for e in b.energy)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(STEPS)
def test_leaving_readings_out_moves_energy_but_loses_none(steps: list[tuple[int, int, bool]]) -> None:
    readings = [(0.0, 0)] + [(t + QUARTER + 1, v) for t, v in _world(steps, 0)]
    end = int(readings[-1][0] // QUARTER + 1) * QUARTER
    readings.append((float(end), readings[-1][1]))
    kept = [readings[0]] + [r for r, (_, _, keep) in zip(readings[1:-1], steps, strict=True) if keep] + [readings[-1]]
    full, sparse = settle_series(readings, end // QUARTER), settle_series(kept, end // QUARTER)
    assert sum(e or 0 for e in full.energy) == sum(e or 0 for e in sparse.energy) == readings[-1][1]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.integers(1, 39))
def test_a_swap_anywhere_is_the_sum_of_both_meters(quarter: int) -> None:
    """One meter, or the same energy through two meters swapped at some second: the same total."""
    swap = quarter * QUARTER - 123
    whole = [(0.0, 0), (float(swap), 1000), (40.0 * QUARTER, 3000)]
    old = settle_series(whole[:2], 40, series=meta(end=swap))
    new = settle_series([(float(swap), 77), (40.0 * QUARTER, 2077)], 40, series=meta(start=swap))
    total = sum(e or 0 for e in old.energy) + sum(e or 0 for e in new.energy)
    assert total == 3000


def test_thousands_of_series_give_what_each_gives_alone() -> None:
    from reconciliation.cleaning import SeriesMeta, clean
    from reconciliation.registers import GridRules, interval_energy, registers_at

    rng = np.random.default_rng(7)
    print("seed 7")
    counts = rng.integers(0, 30, 300)
    offsets = np.concatenate([[0], np.cumsum(counts)])
    ts = np.concatenate([np.sort(rng.choice(40_000, n, replace=False)) for n in counts]).astype(np.int64) * 1_000_000
    value = np.concatenate([np.cumsum(rng.integers(0, 90, n)) for n in counts]).astype(np.int64)
    n = len(counts)
    ones = np.ones(n, dtype=np.int64)
    many = SeriesMeta(
        multiplier_e4=ones * 10_000, span_wh=ones * 10**8, slack_wh=ones * 40, capacity_w=np.full(n, 13_800.0),
        from_us=ones * 0, to_us=ones << 60,
    )  # fmt: skip
    grid = np.arange(41, dtype=np.int64) * 900_000_000
    cleaned = clean(offsets, ts, value, many)
    energy, quality, _, _ = interval_energy(registers_at(cleaned, many, grid, GridRules()), many, grid, np.array([0]))
    for s in range(0, n, 17):
        own = slice(offsets[s], offsets[s + 1])
        alone = settle_series(list(zip(ts[own] / 1e6, value[own].tolist(), strict=True)), 40)
        assert quality[s].tolist() == alone.quality
        assert [None if q == 0 else e for e, q in zip(energy[s].tolist(), alone.quality, strict=True)] == alone.energy
