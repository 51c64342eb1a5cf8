"""Registers that do not simply rise, swaps, multipliers and signs, worked by hand.

As in test_golden.py: registers in Wh at local times on a 15-min grid, Monday 2 March 2026, 4 intervals to an hour.
"""

from __future__ import annotations

from reconciliation.validation import Flag
from support.vee import Bench

# --- registers that do not simply rise ----------------------------------------------------------------------------


def test_a_rollover_at_midday() -> None:
    # six digits of 10 Wh: back to zero at 10,000,000 Wh. 11:45 9,999,940; 12:00 30: 10,000,030 - 9,999,940 = 90
    meter = Bench().installed(digits=6, resolution_wh=10)
    found = Bench().settle([("11:30", 9_999_860), ("11:45", 9_999_940), ("12:00", 30), ("12:15", 120)], meter)
    assert found.between(46, 49) == ([80, 90, 90], "MMM")
    assert found.flags[47] & Flag.ROLLOVER


def test_a_rollover_inside_a_gap() -> None:
    # 11:00 9,999,970, 12:00 30: 60 Wh in 4 quarters, 15 each
    meter = Bench().installed(digits=6, resolution_wh=10)
    found = Bench().settle([("11:00", 9_999_970), ("12:00", 30)], meter)
    assert found.between(44, 48) == ([15] * 4, "EEEE")


def test_a_meter_of_four_digits_that_rolls_over_three_times_a_day() -> None:
    # back to zero at 10,000 Wh; 400 Wh a quarter: 96 x 400 = 38,400 Wh in the day, and 38,400 = 3 x 10,000 + 8,400.
    # A fall is believed to be a rollover while it means no more than a tenth of the span, 1,000 Wh.
    meter = Bench().installed(digits=4)
    found = Bench().settle([(f"{k // 4:02}:{k % 4 * 15:02}", 400 * k % 10_000) for k in range(97)], meter)
    assert found.energy == [400] * 96
    assert sum(bool(flags & Flag.ROLLOVER) for flags in found.flags) == 3


def test_a_reset_has_no_number_and_what_follows_has() -> None:
    # 5,100 -> 20 is no rollover of an eight-digit meter: what was used between is not known
    found = Bench().settle([("09:45", 5_000), ("10:00", 5_100), ("10:15", 20), ("10:30", 60)])
    assert found.between(39, 42) == ([100, None, 40], "M-M")
    assert found.flags[40] & Flag.RESET
    assert found.flags[40] & Flag.MISSING


def test_a_reset_inside_a_gap_leaves_the_gap_open() -> None:
    # 09:00 5,000, then nothing until 11:00, when the register shows 20
    found = Bench().settle([("08:45", 4_900), ("09:00", 5_000), ("11:00", 20), ("11:15", 60)])
    assert found.between(35, 45) == ([100] + [None] * 8 + [40], "M" + "-" * 8 + "M")
    assert found.flags[43] & Flag.RESET, "told where the reading that shows it ends the gap"


def test_a_reading_that_cannot_be_is_left_out() -> None:
    # 10:15 says 900,000: 60 A x 230 V carry 3,450 Wh in a quarter, and at 10:30 it is 5,200 again. Without it: a line
    # from 5,000 to 5,200, 5,100 at 10:15
    found = Bench().settle([("10:00", 5_000), ("10:15", 900_000), ("10:30", 5_200)])
    assert found.between(40, 42) == ([100, 100], "II")
    assert found.flags[40] & Flag.REGISTER_DECREASED, "said of the interval in which it ended"


def test_a_fall_within_resolution_and_skew_is_smoothed_within_the_day() -> None:
    # two sources, one in steps of 1 Wh, one cut to 10: 1,000, 1,004, 1,000, 1,020. The fall of 4 Wh is no decrease;
    # 4 + 0 + 16 = 20 = 1,020 - 1,000
    found = Bench().settle([("00:00", 1_000), ("00:15", 1_004), ("00:30", 1_000), ("00:45", 1_020)])
    assert found.between(0, 3) == ([4, 0, 16], "MMM")
    assert found.flags[1] & Flag.REGISTER_DECREASED


def test_a_day_whose_registers_fall_says_so_and_the_next_day_makes_it_good() -> None:
    # 23:30 2,000, 23:45 2,003, 24:00 2,001; 00:15 2,004. On the first day 3 - 2 = 1: smoothed to 1 and 0.
    # If the day began at 2,003 (23:45 only): 2,001 - 2,003 = -2; the next day counts 2,004 - 2,001 = 3, and both
    # together 2,004 - 2,003 = 1. Clipping the -2 to 0 would make 2 Wh out of nothing.
    bench = Bench()
    whole = bench.settle([("23:30", 2_000), ("23:45", 2_003), ("24:00", 2_001), ("+1 00:15", 2_004)], days=2)
    assert whole.energy[94:97] == [1, 0, 3]
    late = bench.settle([("23:45", 2_003), ("24:00", 2_001), ("+1 00:15", 2_004)], days=2)
    assert late.energy[95:97] == [-2, 3]
    assert late.flags[95] & Flag.REGISTER_DECREASED


def test_a_register_in_steps_of_a_kilowatt_hour_is_exact_in_sum() -> None:
    # about 300 Wh a quarter, shown in whole kWh: 5,000 5,000 5,000 6,000 6,000 6,000 7,000: jumps of 1,000, Σ 2,000
    meter = Bench().installed(resolution_wh=1000, digits=6)
    readings = [("00:00", 5_000), ("00:15", 5_000), ("00:30", 5_000), ("00:45", 6_000), ("01:00", 6_000)]
    found = Bench().settle([*readings, ("01:15", 6_000), ("01:30", 7_000)], meter)
    assert found.between(0, 6) == ([0, 0, 1_000, 0, 0, 1_000], "MMMMMM")
    # and where 00:30 to 01:15 are missing: 5,000 -> 7,000 in 5 quarters, 400 each
    sparse = Bench().settle([("00:00", 5_000), ("00:15", 5_000), ("01:30", 7_000)], meter)
    assert sparse.energy[:6] == [0, 400, 400, 400, 400, 400]


# --- swaps, multipliers, signs ------------------------------------------------------------------------------------


def test_a_swap_in_mid_interval_with_noted_registers() -> None:
    # 10:00 old 7,000; 10:05 old out at 7,040, new in at 3; 10:15 new 33: 40 + 30 = 70; 10:30 new 83: 50
    bench = Bench()
    old = bench.installed(1, until="10:05", end_import_wh=7_040)
    new = bench.installed(2, "10:05", start_import_wh=3)
    readings = {1: bench.readings([("10:00", 7_000)]), 2: bench.readings([("10:15", 33), ("10:30", 83)])}
    found = bench.settle(readings, old, new)
    assert found.between(40, 42) == ([70, 50], "MM")
    assert found.flags[40] & Flag.METER_SWAP


def test_two_swaps_in_one_interval() -> None:
    # 10:00 A 7,000; 10:05 A out 7,020, B in 0; 10:10 B out 9 (it was broken), C in 100; 10:15 C 111: 20 + 9 + 11 = 40
    bench = Bench()
    meters = (
        bench.installed(1, until="10:05", end_import_wh=7_020),
        bench.installed(2, "10:05", "10:10", start_import_wh=0, end_import_wh=9),
        bench.installed(3, "10:10", start_import_wh=100),
    )
    found = bench.settle({1: bench.readings([("10:00", 7_000)]), 3: bench.readings([("10:15", 111)])}, *meters)
    assert found.between(40, 41) == ([40], "M")
    # the broken one's registers were not noted: what it measured is not known, so the interval has no number
    unknown = (meters[0], bench.installed(2, "10:05", "10:10"), meters[2])
    assert (
        bench.settle({1: bench.readings([("10:00", 7_000)]), 3: bench.readings([("10:15", 111)])}, *unknown).energy[40]
        is None
    )


def test_readings_at_the_very_instant_of_a_swap() -> None:
    # the crew read both at 10:05: those readings count, not what was noted (7,039 and 4) on paper
    bench = Bench()
    old = bench.installed(1, until="10:05", end_import_wh=7_039)
    new = bench.installed(2, "10:05", start_import_wh=4)
    readings = {
        1: bench.readings([("10:00", 7_000), ("10:05", 7_040)]),
        2: bench.readings([("10:05", 3), ("10:15", 33)]),
    }
    assert bench.settle(readings, old, new).energy[40] == 40 + 30


def test_a_ct_of_40_that_holds_from_noon() -> None:
    # 100 Wh a quarter at the terminals. Until 12:00 x 30 (4 x 3,000 an hour), from 12:00 x 40 (4,000 a quarter)
    bench = Bench()
    before = bench.installed(until="12:00", multiplier_e4=300_000, scope_to_us=1 << 60)
    after = bench.installed(1, "12:00", multiplier_e4=400_000, scope_from_us=before.from_us)
    readings = [(f"{11 + k // 4}:{k % 4 * 15:02}", 100 * k) for k in range(9)]
    found = bench.settle(readings, before, after)
    assert found.between(44, 52) == ([3_000] * 4 + [4_000] * 4, "M" * 8)


def test_a_ct_of_40_that_holds_from_five_past_noon_in_a_gap() -> None:
    # Only 11:30 (10,000) and 12:30 (10,400) were read: 400 Wh in 60 min; at 12:05, after 35 min, 233.33 Wh
    # x 30 until then, x 40 after it; in 1/10,000 Wh, rounded at each instant:
    #   11:45 100 x 30 = 3,000   12:00 200 x 30 = 6,000   12:05 233.3333 x 30 = 7,000 (from 12:00: 1,000)
    #   from 12:05: (300 - 233.33) x 40 = 2,666.67 up to 12:15, 100 x 40 = 4,000 up to 12:30
    bench = Bench()
    before = bench.installed(until="12:05", multiplier_e4=300_000, scope_to_us=1 << 60)
    after = bench.installed(1, "12:05", multiplier_e4=400_000, scope_from_us=before.from_us)
    found = bench.settle([("11:30", 10_000), ("12:30", 10_400)], before, after)
    assert found.between(46, 50) == ([3_000, 3_000, 1_000 + 2_667, 4_000], "EEEE")


def test_a_meter_wired_the_other_way_round() -> None:
    # polarity -1: what its export register counts is the point's import: 160 - 100 = 60; 8 - 7 = 1 Wh fed in
    bench = Bench()
    readings = {1: bench.readings([("00:00", 7), ("00:15", 8)], [100, 160])}
    found = bench.settle(readings, bench.installed(sign=-1))
    assert (found.energy[0], found.export[0], found.quality[0]) == (60, 1, "M")


def test_a_roof_at_noon_that_feeds_in_and_lacks_three_hours() -> None:
    # Import 500 -> 506, export 900 -> 1,500 from 11:00 to 14:00. The last working day imported 1 Wh in the first
    # quarter only, and fed in 10 a quarter from 12:00 to 13:00. So all 6 Wh are in 11:00-11:15, and 600 Wh of export
    # in the four quarters from 12:00, 150 each.
    bench = Bench()
    past = [bench.reference(3, {44: 1}, export_wh=dict.fromkeys(range(48, 52), 10))]
    found = bench.settle({1: bench.readings([("11:00", 500), ("14:00", 506)], [900, 1_500])}, past=past)
    assert found.energy[44:56] == [6] + [0] * 11
    assert found.export[44:56] == [0] * 4 + [150] * 4 + [0] * 4
    assert found.quality[44:56] == "E" * 12


def test_a_polarity_set_right_within_a_long_gap_leaves_no_energy_behind() -> None:
    # Wired the other way round until 09:30, set right then, and only 08:00 (0) and 11:00 (240) were read. Import and
    # export of the past have other shapes, but the register at 09:30 is one: what was used up to it counts as export,
    # what was used after it as import, 240 Wh together.
    bench = Bench()
    wrong = bench.installed(until="09:30", sign=-1, scope_to_us=1 << 60)
    right = bench.installed(1, "09:30", scope_from_us=wrong.from_us)
    past = [bench.reference(3, dict.fromkeys(range(32, 44), 10), export_wh={43: 5})]
    found = bench.settle([("08:00", 0), ("11:00", 240)], wrong, right, past=past)
    assert found.export[32:44] == [20] * 6 + [0] * 6
    assert found.energy[32:44] == [0] * 6 + [20] * 6
