"""Days worked by hand: what a metering engineer would write down from the registers, with the arithmetic beside it.

Registers in Wh at local times; where nothing else is said the grid is 15 min, Asia/Shanghai, Monday 2 March 2026, one
meter with multiplier 1. Intervals are counted from 00:00: 4 to an hour, 08:00 is number 32.
"""

from __future__ import annotations

from datetime import date, datetime

import pytest

from reconciliation.validation import Flag
from support.vee import Bench, methods

# --- the plain day, on every grid ---------------------------------------------------------------------------------


def test_a_plain_day_by_the_hour() -> None:
    # 60-min grid, read every hour: each interval is the difference of two neighbouring registers.
    used = [
        90, 80, 80, 75, 75, 90, 210, 340, 260, 180, 150, 190,
        420, 300, 180, 160, 190, 380, 720, 810, 640, 430, 240, 130,
    ]  # fmt: skip
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
    assert methods(found, 0, 2) == {Flag.BY_LINE}


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
    assert methods(found, 32, 36) == {Flag.BY_LINE}


@pytest.mark.parametrize(("first", "last"), [("08:00", "10:00"), ("07:59:57", "10:00:04")])
def test_a_gap_of_exactly_two_hours_is_still_a_line(first: str, last: str) -> None:
    # counted between the grid instants, whatever the seconds: 100 Wh in 8 quarters, 12.5 each
    # 12.5 25 37.5 50 ... rounded half up 13 25 38 50 63 75 88 100
    bench = Bench()
    past = [bench.reference(d, {32: 100}) for d in (3, 4, 5)]
    found = bench.settle([(first, 2_000), (last, 2_100)], past=past)
    assert sum(e or 0 for e in found.energy) == 100
    assert found.quality[32:40] == "EEEEEEEE"
    assert methods(found, 32, 40) == {Flag.BY_LINE}
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
    assert methods(found, 32, 44) == {Flag.BY_REFERENCE_DAYS}
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


def test_a_holiday_is_a_weekend_day_and_a_worked_sunday_is_none() -> None:
    # Monday 2 March is a holiday, Sunday 1 March was worked for it. Saturday 28 February used everything from 09:00
    # to 10:00, Sunday and Friday from 08:00 to 09:00. 300 Wh from 08:00 to 11:00: as on the Saturday, 75 a quarter.
    bench = Bench(holidays=["2026-03-02"], working_days=["2026-03-01"])
    late, early = dict.fromkeys(range(36, 40), 10), dict.fromkeys(range(32, 36), 10)
    past = [bench.reference(1, early), bench.reference(2, late), bench.reference(3, early)]
    readings: list[tuple[str | datetime, int]] = [("08:00", 100), ("11:00", 400)]
    assert bench.settle(readings, past=past).energy[32:44] == [0] * 4 + [75] * 4 + [0] * 4
    # without that it is a working Monday, and Friday is its only reference
    assert Bench().settle(readings, past=past).energy[32:44] == [75] * 4 + [0] * 8


@pytest.mark.parametrize("quality", [3, 4, 5])
def test_without_a_day_that_was_measured_a_long_gap_is_even(quality: int) -> None:
    # the only day before was itself estimated (3), edited (4) or dark (5): it is no reference. 480 Wh in 12 quarters
    bench = Bench()
    found = bench.settle([("08:00", 0), ("11:00", 480)], past=[bench.reference(3, {33: 50}, quality=quality)])
    assert found.between(32, 44) == ([40] * 12, "E" * 12)
    assert methods(found, 32, 44) == {Flag.EVENLY}


def test_reference_days_without_any_use_show_no_shape() -> None:
    # an empty flat: three days of zeros, then 12 Wh in three hours: nothing says when
    bench = Bench()
    found = bench.settle([("08:00", 0), ("11:00", 12)], past=[bench.reference(d, {}) for d in (3, 4, 5)])
    assert found.energy[32:44] == [1] * 12
    assert methods(found, 32, 44) == {Flag.EVENLY}


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
