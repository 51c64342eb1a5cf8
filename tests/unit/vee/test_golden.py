"""Days worked by hand: what a metering engineer would write down from the registers, with the arithmetic beside it.

Registers in Wh at local times; where nothing else is said the grid is 15 min, Asia/Shanghai, Monday 2 March 2026, one
meter with multiplier 1. Intervals are counted from 00:00: 4 to an hour, 08:00 is number 32.
"""

from __future__ import annotations

from datetime import date

import pytest

from reconciliation.validation import Flag
from support.vee import Bench, Found

GRID = Flag.BY_LINE | Flag.BY_REFERENCE_DAYS | Flag.EVENLY


def _methods(found: Found, first: int, end: int) -> set[int]:
    return {flags & int(GRID) for flags in found.flags[first:end]}


# --- the plain day, on every grid ---------------------------------------------------------------------------------


def test_a_plain_day_by_the_hour() -> None:
    # 60-min grid, read every hour: each interval is the difference of two neighbouring registers.
    used = [
        90,
        80,
        80,
        75,
        75,
        90,
        210,
        340,
        260,
        180,
        150,
        190,
        420,
        300,
        180,
        160,
        190,
        380,
        720,
        810,
        640,
        430,
        240,
        130,
    ]
    register, readings = 41_300, []
    for hour, energy in enumerate(used):
        readings.append((f"{hour:02}:00", register))
        register += energy
    readings.append(("24:00", register))
    found = Bench(interval_s=3600).settle(readings)
    assert found.energy == used
    assert found.quality == "M" * 24
    # 41,300 at 00:00 and 47,720 at 24:00: the day is 6,420 Wh
    assert (found.whole.start_registers[0][0, 0], found.whole.end_registers[0][0, 0]) == (41_300, 47_720)
    assert sum(used) == 47_720 - 41_300


def test_half_hours_from_quarter_hour_readings() -> None:
    # 00:00 500, 00:30 575, 01:00 640: the readings at 00:15 and 00:45 decide nothing
    found = Bench(interval_s=1800).settle(
        [("00:00", 500), ("00:15", 530), ("00:30", 575), ("00:45", 580), ("01:00", 640)]
    )
    assert found.between(0, 3) == ([75, 65, None], "MM-")


def test_five_minutes_from_quarter_hour_readings() -> None:
    # 100 -> 145 in 15 min is 3 Wh/min: 115 at 00:05, 130 at 00:10; both lie within 15 min of both readings, so they
    # are interpolated, and the readings between are missing
    found = Bench(interval_s=300).settle([("00:00", 100), ("00:15", 145)])
    assert found.between(0, 4) == ([15, 15, 15, None], "III-")
    assert all(flags & Flag.MISSING for flags in found.flags[:3])


def test_an_hour_between_readings_that_miss_it_by_ten_minutes() -> None:
    # 23:50 990, 00:10 1,010: 20 Wh in 20 min, 1,000 at 00:00
    # 00:50 1,100, 01:10 1,140: 40 Wh in 20 min, 1,120 at 01:00
    # 00:00-01:00 is 120 Wh, though nobody read a register at either end
    found = Bench(interval_s=3600).settle([("-1 23:50", 990), ("00:10", 1_010), ("00:50", 1_100), ("01:10", 1_140)])
    assert found.between(0, 2) == ([120, None], "I-")
    assert found.whole.start_registers[0][0, 0] < 0, "no register was read at midnight: none is noted there"


# --- readings around a grid instant ---------------------------------------------------------------------------------


def test_of_two_readings_around_an_instant_the_nearer_one_is_the_register() -> None:
    # 00:14:56 1,099 (4 s early) and 00:15:02 1,100 (2 s late): 1,100 counts; both are within 5 s, so it is measured
    found = Bench().settle([("00:00", 1_000), ("00:14:56", 1_099), ("00:15:02", 1_100), ("00:30", 1_150)])
    assert found.between(0, 2) == ([100, 50], "MM")


def test_a_reading_within_five_seconds_beats_the_line_to_a_far_one() -> None:
    # 00:15:05 is just on the grid; 00:29:54 is 6 s early, just not: 00:30 lies on the line 00:29:54 1,198 ->
    # 00:45 1,349, 151 Wh in 906 s: 6 s are 1 Wh -> 1,199
    found = Bench().settle([("00:00", 1_000), ("00:15:05", 1_100), ("00:29:54", 1_198), ("00:45", 1_349)])
    assert found.between(0, 3) == ([100, 99, 150], "MII")


def test_without_a_tolerance_only_what_is_read_there_is_known_for_sure() -> None:
    # tolerance 0: 00:15 lies between 00:00 and 00:30, 60 Wh apart: 30 and 30, but estimated, not interpolated
    found = Bench(tolerance_s=0).settle([("00:00", 1_000), ("00:30", 1_060)])
    assert found.between(0, 2) == ([30, 30], "EE")
    assert _methods(found, 0, 2) == {Flag.BY_LINE}


# --- gaps ---------------------------------------------------------------------------------------------------------


def test_one_reading_missing() -> None:
    # 08:00 2,000, 08:15 missing, 08:30 2,101: 2,050.5 at 08:15, half up 2,051
    found = Bench().settle([("08:00", 2_000), ("08:30", 2_101)])
    assert found.between(32, 34) == ([51, 50], "II")
    assert all(flags & Flag.MISSING for flags in found.flags[32:34])


def test_a_gap_of_an_hour_is_a_straight_line() -> None:
    # 10 Wh in an hour, 2.5 Wh a quarter: 2,000  2,002.5  2,005  2,007.5  2,010
    # rounded half up:                    2,000  2,003    2,005  2,008    2,010
    found = Bench().settle([("08:00", 2_000), ("09:00", 2_010)])
    assert found.between(32, 36) == ([3, 2, 3, 2], "EEEE")
    assert _methods(found, 32, 36) == {Flag.BY_LINE}


@pytest.mark.parametrize(("first", "last"), [("08:00", "10:00"), ("07:59:57", "10:00:04")])
def test_a_gap_of_exactly_two_hours_is_still_a_line(first: str, last: str) -> None:
    # counted between the grid instants, whatever the seconds: 100 Wh in 8 quarters, 12.5 each
    # 12.5 25 37.5 50 ... rounded half up 13 25 38 50 63 75 88 100
    bench = Bench()
    past = [bench.reference(d, {32: 100}) for d in (3, 4, 5)]
    found = bench.settle([(first, 2_000), (last, 2_100)], past=past)
    assert sum(e or 0 for e in found.energy) == 100
    assert found.quality[32:40] == "EEEEEEEE"
    assert _methods(found, 32, 40) == {Flag.BY_LINE}
    if first == "08:00":
        assert found.energy[32:40] == [13, 12, 13, 12, 13, 12, 13, 12]


def test_a_gap_of_three_hours_has_the_shape_of_the_last_three_working_days() -> None:
    # 27, 26 and 25 February were Friday, Thursday, Wednesday. Their quarters from 08:00, mean of the three:
    #   08:00-09:00  (8 + 10 + 12) / 3 = 10 each, 40 in the hour
    #   09:00-10:00  (30 + 30 + 30) / 3 = 30 each, 120
    #   10:00-11:00  (10 + 20 + 30) / 3 = 20 each, 80         together 240 Wh
    # 24 February says something else altogether, but it is the fourth. The registers are 480 Wh apart: twice that.
    bench = Bench()

    def day(ago: int, eight: int, nine: int, ten: int) -> dict[str, object]:
        hours = {8: eight, 9: nine, 10: ten}
        return bench.reference(ago, {h * 4 + q: wh for h, wh in hours.items() for q in range(4)})

    past = [day(6, 999, 0, 0), day(5, 8, 30, 10), day(4, 10, 30, 20), day(3, 12, 30, 30)]
    found = bench.settle([("08:00", 5_000), ("11:00", 5_480)], past=past)
    assert found.between(32, 44) == ([20] * 4 + [60] * 4 + [40] * 4, "E" * 12)
    assert _methods(found, 32, 44) == {Flag.BY_REFERENCE_DAYS}
    assert all(flags & Flag.MISSING for flags in found.flags[32:44])


def test_a_gap_that_begins_between_two_instants_takes_its_part_of_the_shape() -> None:
    # Reference: 40 Wh in each quarter from 08:00. Readings at 08:05 and 10:35 (150 min): the shape holds 10 of the
    # first 15 minutes (26.67), 9 whole quarters (360) and 5 of the last 15 minutes (13.33): 400 Wh for 800 Wh, so
    # doubled: 53.33 up to 08:15, 80 a quarter, ... 08:15 is 3,053.33 -> 3,053; 08:30 is 3,133.33 -> 3,133
    bench = Bench()
    past = [bench.reference(3, dict.fromkeys(range(32, 44), 40))]
    found = bench.settle([("08:05", 3_000), ("10:35", 3_800)], past=past)
    assert found.energy[32:34] == [None, 80], "08:00 lies before the first reading"
    assert found.energy[33:42] == [80] * 9
    assert found.energy[42] is None


def test_a_gap_on_a_saturday_looks_at_weekends() -> None:
    # Saturday 7 March: Sunday 1 March and Saturday 28 February used everything from 09:00 to 10:00, the working days
    # between everything from 08:00 to 09:00. 300 Wh from 08:00 to 11:00 go to the second hour: 75 a quarter.
    bench = Bench(date(2026, 3, 7))
    weekend = [bench.reference(d, dict.fromkeys(range(36, 40), 10)) for d in (6, 7)]
    working = [bench.reference(d, dict.fromkeys(range(32, 36), 10)) for d in (1, 2, 3, 4, 5)]
    found = bench.settle([("08:00", 100), ("11:00", 400)], past=[*weekend, *working])
    assert found.energy[32:44] == [0] * 4 + [75] * 4 + [0] * 4


@pytest.mark.parametrize("quality", [3, 4, 5])
def test_without_a_day_that_was_measured_a_long_gap_is_even(quality: int) -> None:
    # the only day before was itself estimated (3), edited (4) or dark (5): it is no reference. 480 Wh in 12 quarters
    bench = Bench()
    found = bench.settle([("08:00", 0), ("11:00", 480)], past=[bench.reference(3, {33: 50}, quality=quality)])
    assert found.between(32, 44) == ([40] * 12, "E" * 12)
    assert _methods(found, 32, 44) == {Flag.EVENLY}


def test_reference_days_without_any_use_show_no_shape() -> None:
    # an empty flat: three days of zeros, then 12 Wh in three hours: nothing says when
    bench = Bench()
    found = bench.settle([("08:00", 0), ("11:00", 12)], past=[bench.reference(d, {}) for d in (3, 4, 5)])
    assert found.energy[32:44] == [1] * 12
    assert _methods(found, 32, 44) == {Flag.EVENLY}


def test_before_the_first_and_after_the_last_reading_there_is_no_number() -> None:
    # first reading at 08:00, last at 08:30; nothing says what was used before or after: absent, missing, not zero
    found = Bench().settle([("08:00", 700), ("08:15", 710), ("08:30", 730)])
    assert found.energy[:32] == [None] * 32
    assert found.between(32, 34) == ([10, 20], "MM")
    assert found.energy[34:] == [None] * 62
    assert all(flags & Flag.MISSING for flags in found.flags[:32] + found.flags[34:])
    # when the reading at 10:00 comes (late), the open gap is closed and estimated: 60 Wh in 6 quarters
    later = Bench().settle([("08:00", 700), ("08:15", 710), ("08:30", 730), ("10:00", 790)])
    assert later.between(32, 41) == ([10, 20] + [10] * 6 + [None], "MMEEEEEE-")


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


# --- days on which the clocks change ------------------------------------------------------------------------------


def test_the_spring_day_of_23_hours_in_berlin() -> None:
    # 29 March 2026: 01:45 is followed by 03:00. Hourly grid, 100 Wh an hour: 23 x 100
    bench = Bench(date(2026, 3, 29), zone="Europe/Berlin", interval_s=3600)
    clocks = ["00:00", "01:00", *(f"{h:02}:00" for h in range(3, 25))]
    found = bench.settle([(clock, 8_000 + 100 * k) for k, clock in enumerate(clocks)])
    assert found.energy == [100] * 23
    assert found.quality == "M" * 23
    # the same with everything from 01:00 to 05:00 missing: 300 Wh in the 3 hours that there are, by the shape of a
    # Saturday that used 10 at 01:00, 70 at 02:00 (which this day does not have), 20 at 03:00 and 30 at 04:00:
    # 10 + 20 + 30 = 60 for 300: 50, 100, 150
    past = [bench.reference(1, {1: 10, 2: 70, 3: 20, 4: 30})]
    gap = bench.settle([("00:00", 8_000), ("01:00", 8_100), ("05:00", 8_400), ("06:00", 8_500)], past=past)
    assert gap.between(0, 5) == ([100, 50, 100, 150, 100], "MEEEM")


def test_the_autumn_day_of_25_hours_in_berlin() -> None:
    # 25 October 2026: 02:00-03:00 comes twice. Read at 02:00 (first, CEST), 02:00* (second, CET: exactly where the
    # clocks are set back) and 03:00: 40 Wh in the first, 60 Wh in the second
    bench = Bench(date(2026, 10, 25), zone="Europe/Berlin", interval_s=3600)
    readings = [("00:00", 500), ("01:00", 510), ("02:00", 530), ("02:00*", 570), ("03:00", 630), ("24:00", 2_730)]
    # 03:00 to 24:00 is 21 h and 2,100 Wh; nothing is known of days before: 100 an hour
    found = bench.settle(readings)
    assert len(found.energy) == 25
    assert found.energy == [10, 20, 40, 60] + [100] * 21
    assert found.quality == "MMMM" + "E" * 21
    assert sum(e or 0 for e in found.energy) == 2_730 - 500


# --- late readings ------------------------------------------------------------------------------------------------


def test_a_late_reading_changes_the_gap_that_it_lies_in_and_nothing_else() -> None:
    # 08:00 0, 09:00 100, 10:00 140. Late: 08:30 90. Before: 25 a quarter; after: 45, 45, 5, 5. 09:00-10:00 stays 10s.
    readings = [("08:00", 0), ("09:00", 100), ("10:00", 140)]
    before = Bench().settle(readings)
    after = Bench().settle([*readings, ("08:30", 90)])
    assert before.energy[32:40] == [25] * 4 + [10] * 4
    assert after.energy[32:40] == [45, 45, 5, 5] + [10] * 4
    assert after.quality[32:40] == "IIIIEEEE"
    assert Bench().settle([("08:30", 90), *reversed(readings)]).energy == after.energy


# --- outages ------------------------------------------------------------------------------------------------------


def test_an_outage_of_half_an_hour() -> None:
    # 10:00 1,000, 11:00 1,030; power failed at 10:15 and came back at 10:45: 30 Wh in the 15 + 15 min with power
    bench = Bench()
    found = bench.settle([("10:00", 1_000), ("11:00", 1_030)], dark=bench.outage(("10:15", True), ("10:45", False)))
    assert found.between(40, 44) == ([15, 0, 0, 15], "EZZE")
    assert _methods(found, 40, 44) == {Flag.BY_LINE, 0}
    assert not any(flags & Flag.MISSING for flags in found.flags[41:43]), "nothing is missing: it is known"


def test_an_outage_between_the_instants_leaves_part_intervals_their_share() -> None:
    # Failed 10:20, back 10:50: with power 20 + 10 = 30 min for 60 Wh, 2 Wh/min
    # 10:00-10:15 30; 10:15-10:20 10, then dark; 10:30-10:45 wholly dark; 10:45-10:50 dark, 10:50-11:00 20
    bench = Bench()
    found = bench.settle([("10:00", 1_000), ("11:00", 1_060)], dark=bench.outage(("10:20", True), ("10:50", False)))
    assert found.between(40, 44) == ([30, 10, 0, 20], "EEZE")


def test_what_is_not_certain_of_an_outage_is_no_outage() -> None:
    # "failed at 10:15, give or take 15 min" (a status bit, seen at the next poll): certainly dark from 10:30 only
    bench = Bench()
    found = bench.settle(
        [("10:00", 1_000), ("11:00", 1_045)], dark=bench.outage(("10:15", True, 900.0), ("10:45", False))
    )
    # 45 Wh in 30 + 15 min with power: 1 Wh/min
    assert found.between(40, 44) == ([15, 15, 0, 15], "EEZE")


def test_an_outage_over_a_whole_gap_in_which_nothing_was_used() -> None:
    # 13:00 2,000 and 16:00 2,000; failed 12:59:58 (2 s before the last reading was stamped), back at 16:00
    bench = Bench()
    dark = bench.outage(("12:59:58", True), ("16:00", False))
    found = bench.settle([("12:45", 1_990), ("13:00", 2_000), ("16:00", 2_000), ("16:15", 2_010)], dark=dark)
    assert found.between(51, 65) == ([10] + [0] * 12 + [10], "M" + "Z" * 12 + "M")


def test_an_outage_against_the_registers_is_not_believed() -> None:
    # the same, but the register rose by 12 Wh: there was power. 12 Wh in 12 quarters, estimated like any other gap
    bench = Bench()
    dark = bench.outage(("12:59:58", True), ("16:00", False))
    found = bench.settle([("13:00", 2_000), ("16:00", 2_012)], dark=dark)
    assert found.between(52, 64) == ([1] * 12, "E" * 12)
    # nor one that leaves 9,000 Wh a single minute: 60 A x 230 V x 1.5 carry 345 Wh in it
    dark = bench.outage(("13:01", True), ("16:00", False))
    assert bench.settle([("13:00", 2_000), ("16:00", 11_000)], dark=dark).quality[52:64] == "E" * 12


def test_an_outage_during_which_the_meter_was_read_is_not_believed() -> None:
    # read at 10:30, in the middle of what it says was dark: 10 Wh up to there, 20 Wh after it
    bench = Bench()
    dark = bench.outage(("10:05", True), ("10:55", False))
    found = bench.settle([("10:00", 1_000), ("10:30", 1_010), ("11:00", 1_030)], dark=dark)
    assert found.between(40, 44) == ([5, 5, 10, 10], "IIII")


def test_an_outage_in_a_long_gap_has_none_of_the_shape() -> None:
    # Gap 08:00-11:00 of 240 Wh; the reference day used 10 a quarter all through; dark from 09:00 to 10:00: the other
    # 8 quarters share 240 Wh, 30 each
    bench = Bench()
    past = [bench.reference(3, dict.fromkeys(range(96), 10))]
    dark = bench.outage(("09:00", True), ("10:00", False))
    found = bench.settle([("08:00", 0), ("11:00", 240)], past=past, dark=dark)
    assert found.between(32, 44) == ([30] * 4 + [0] * 4 + [30] * 4, "EEEEZZZZEEEE")
    assert _methods(found, 32, 36) == {Flag.BY_REFERENCE_DAYS}
    # a reference that used energy in the dark hour only has nothing to say of the rest: evenly, 30 each again
    odd = bench.settle([("08:00", 0), ("11:00", 240)], past=[bench.reference(3, {37: 9})], dark=dark)
    assert odd.energy == found.energy
    assert _methods(odd, 32, 36) == {Flag.EVENLY}


def test_an_outage_over_midnight() -> None:
    # 22:00 to 02:00, 24 Wh, dark from 23:00 to 01:00: 24 Wh in the 8 quarters with power, 3 each; both days alike,
    # and the same whether they are settled together or one by one
    bench = Bench()
    readings = [("22:00", 600), ("+1 02:00", 624)]
    dark = bench.outage(("23:00", True), ("+1 01:00", False))
    both = bench.settle(readings, days=2, dark=dark)
    assert both.between(88, 104) == ([3] * 4 + [0] * 8 + [3] * 4, "EEEE" + "Z" * 8 + "EEEE")
    assert bench.settle(readings, dark=dark).energy == both.energy[:96]
    assert bench.settle(readings, dark=dark).quality == both.quality[:96]


def test_events_that_make_no_outage() -> None:
    # a failure told twice counts from the second one; a return without a failure, and a failure without a return,
    # say nothing; next to a reading whose clock is suspect no event can be placed
    bench = Bench()
    readings = [("10:00", 1_000), ("11:00", 1_030)]
    twice = bench.outage(("10:00", True), ("10:15", True), ("10:45", False), ("10:46", False))
    assert bench.settle(readings, dark=twice).quality[40:44] == "EZZE"
    for lone in (bench.outage(("10:15", True)), bench.outage(("10:45", False)), bench.outage()):
        assert bench.settle(readings, dark=lone).quality[40:44] == "EEEE"
    suspect = {1: bench.readings(readings, suspect=["11:00"])}
    assert bench.settle(suspect, dark=bench.outage(("10:15", True), ("10:45", False))).quality[40:44] == "EEEE"


def test_an_outage_changes_nothing_that_was_measured() -> None:
    # read at 10:00, 10:15, 10:30 although it was dark from 10:00 to 10:15: what was read was measured
    bench = Bench()
    found = bench.settle(
        [("10:00", 1_000), ("10:15", 1_000), ("10:30", 1_009)], dark=bench.outage(("10:00", True), ("10:15", False))
    )
    assert found.between(40, 42) == ([0, 9], "MM")


def test_an_outage_is_cut_off_at_the_readings() -> None:
    # 13:00 2,000 and 16:00 2,002; failed 12:59:55, back at 15:59:56: dark from 13:00, 4 s with power for 2 Wh
    # (60 A x 230 V x 1.5 carry 23 Wh in 4 s)
    bench = Bench()
    dark = bench.outage(("12:59:55", True), ("15:59:56", False))
    found = bench.settle([("13:00", 2_000), ("16:00", 2_002)], dark=dark)
    assert found.between(52, 64) == ([0] * 11 + [2], "Z" * 11 + "E")


def test_a_meter_in_the_dark_beside_one_with_power_is_no_outage() -> None:
    # Meter 1 is dark from 10:00 until it is taken out at 10:20; meter 2 is read at 10:20 and 11:00: nothing used.
    # 10:00-10:15 is zero by event; in 10:15-10:30 the new meter had power for ten minutes: an estimate of zero
    bench = Bench()
    old = bench.installed(1, until="10:20", end_import_wh=500)
    new = bench.installed(2, "10:20", start_import_wh=0)
    readings = {1: bench.readings([("10:00", 500)]), 2: bench.readings([("11:00", 0)])}
    found = bench.settle(readings, old, new, dark=bench.outage(("10:00", True), ("10:20", False)))
    assert found.between(40, 44) == ([0] * 4, "ZEEE")


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
