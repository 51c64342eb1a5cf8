"""Loads without a meter: schedules as they are written, the sun, and energy that is exact over a day."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.domain.calendar import LocalCalendar
from headend.domain.sun import sun_times
from headend.domain.unmetered import ScheduleError, UnmeteredLoad, parse_schedule
from headend.settlement.grid import DayRange
from headend.settlement.unmetered import load_energy, unmetered_energy

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")


def _load(schedule: str, power_w: int = 1000, **changes: object) -> UnmeteredLoad:
    values = {
        "code": "L1", "area": "A1", "kind": "street_light", "name": "", "power_w": power_w, "tolerance": 0.1,
        "schedule": schedule, "latitude_deg": None, "longitude_deg": None,
        "valid_from": datetime(2020, 1, 1, tzinfo=UTC), "valid_to": None,
    }  # fmt: skip
    return UnmeteredLoad(**(values | changes))  # type: ignore[arg-type]


def _days(first: date, last: date | None = None, zone: ZoneInfo = SHANGHAI, interval_s: int = 900) -> DayRange:
    return DayRange(LocalCalendar(zone, interval_s), first, last or first)


def _local(text: str, day: date, zone: ZoneInfo = SHANGHAI, place: tuple[float, float] | None = None) -> list[str]:
    spans = parse_schedule(text).spans(day, zone, place)
    return [f"{a.astimezone(zone):%d %H:%M}-{b.astimezone(zone):%d %H:%M}" for a, b in spans]


@pytest.mark.parametrize(
    ("text", "day", "spans"),
    [
        ("24/7", date(2026, 1, 5), ["05 00:00-06 00:00"]),
        ("18:10-06:20", date(2026, 1, 5), ["05 18:10-06 06:20"]),
        ("Jan-Feb,Nov-Dec 17:50-06:40; Mar-Oct 19:00-05:30", date(2026, 12, 31), ["31 17:50-01 06:40"]),
        ("Jan-Feb,Nov-Dec 17:50-06:40; Mar-Oct 19:00-05:30", date(2026, 10, 31), ["31 19:00-01 05:30"]),
        ("Nov-Feb 17:00-07:00", date(2026, 1, 5), ["05 17:00-06 07:00"]),
        ("Nov-Feb 17:00-07:00", date(2026, 3, 5), []),
        ("Mo-Fr 08:00-12:00,14:00-18:00", date(2026, 1, 5), ["05 08:00-05 12:00", "05 14:00-05 18:00"]),
        ("Mo-Fr 08:00-12:00,14:00-18:00", date(2026, 1, 4), []),
        ("18:00-24:00; Sa-Su off", date(2026, 1, 4), []),
        ("18:00-24:00; Sa-Su off", date(2026, 1, 5), ["05 18:00-06 00:00"]),
    ],
)
def test_a_schedule_is_read_as_it_is_written(text: str, day: date, spans: list[str]) -> None:
    assert _local(text, day) == spans


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "wanted hours such as"),
        ("8-9", "wanted hours such as 18:10-06:20"),
        ("25:00-06:00", "25:00 is no time of day"),
        ("10:00-10:00", "lasts no time"),
        ("Foo 10:00-11:00", "wanted months, weekdays and hours"),
        ("Mo-Xx 10:00-11:00", "wanted Mo"),
        ("sunset", "wanted hours such as"),
    ],
)
def test_what_is_no_schedule_says_what_would_be(text: str, says: str) -> None:
    with pytest.raises(ScheduleError, match=says):
        parse_schedule(text)


def test_the_sun_against_published_times() -> None:
    # Almanac: Shanghai 21 June 2026 rises 04:50, sets 19:01; Berlin the same day 04:43 and 21:33 (local time)
    for zone, place, expected in (
        (SHANGHAI, (31.23, 121.47), "21 19:01-22 04:50"),
        (BERLIN, (52.52, 13.405), "21 21:33-22 04:43"),
    ):
        assert _local("sunset-sunrise", date(2026, 6, 21), zone, place) == [expected]
    assert _local("(sunset+00:20)-(sunrise-00:20)", date(2026, 6, 21), SHANGHAI, (31.23, 121.47)) == [
        "21 19:21-22 04:30"
    ]


def test_where_the_sun_does_not_set() -> None:
    place, oslo = (69.65, 18.96), ZoneInfo("Europe/Oslo")
    assert sun_times(datetime(2026, 6, 21, 11, tzinfo=UTC), *place) is None
    assert _local("sunset-sunrise", date(2026, 6, 21), oslo, place) == []
    assert _local("sunset-sunrise", date(2026, 12, 21), oslo, place) == ["21 00:00-22 00:00"]


def test_energy_by_hand() -> None:
    # 1,000 W from 18:10 to 06:20: 06:20 ends the night before. 380 min + 350 min = 730 min = 12,166.67 Wh
    energy = load_energy(_load("18:10-06:20"), _days(date(2026, 1, 5)))
    assert energy.sum() == 12_167
    assert energy[24:27].tolist() == [250, 83, 0], "06:00 to 06:15, five minutes until 06:20, dark"
    assert energy[71:74].tolist() == [0, 84, 250], "18:10 to 18:15: 83.33 Wh, with what is left of the morning's third"


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)])
def test_a_day_on_which_the_clocks_change(day: date, hours: int) -> None:
    assert load_energy(_load("24/7"), _days(day, zone=BERLIN)).sum() == 1000 * hours
    night = load_energy(_load("22:00-06:00"), _days(day, zone=BERLIN))
    assert night.sum() == 1000 * (8 + hours - 24), "00:00 to 06:00 has an hour less or more"


def test_a_load_counts_from_and_until_when_it_holds() -> None:
    day = date(2026, 1, 5)
    noon = datetime(2026, 1, 5, 12, 7, tzinfo=SHANGHAI)
    before = load_energy(_load("24/7", valid_to=noon), _days(day))
    after = load_energy(_load("24/7", 2000, valid_from=noon), _days(day))
    assert (before.sum(), after.sum()) == (round(1000 * (12 + 7 / 60)), round(2000 * (11 + 53 / 60)))
    both = unmetered_energy([_load("24/7", valid_to=noon), _load("24/7", 2000, valid_from=noon)], _days(day))
    assert both is not None
    assert both.energy_wh[:, 48].tolist() == [117, 267], "12:00 to 12:07, and the rest of the quarter"
    assert both.sd_share == pytest.approx([0.1 / 3**0.5] * 2), "of a tolerance nothing but the limit is known"


def test_hours_that_overlap_count_once() -> None:
    assert load_energy(_load("08:00-12:00,10:00-14:00"), _days(date(2026, 1, 5))).sum() == 6000
    assert load_energy(_load("18:00-20:00; Tu 00:00-24:00"), _days(date(2026, 1, 6))).sum() == 24_000


def test_without_loads_there_is_nothing() -> None:
    assert unmetered_energy([], _days(date(2026, 1, 5))) is None


@given(
    power_w=st.integers(1, 2_000_000),
    begin=st.integers(0, 24 * 60 - 1),
    end=st.integers(0, 24 * 60 - 1),
    interval_s=st.sampled_from([300, 900, 1800, 3600]),
    first=st.dates(date(2026, 1, 1), date(2026, 12, 28)),
)
def test_days_sum_exactly_whatever_the_stretch_and_the_grid(
    power_w: int, begin: int, end: int, interval_s: int, first: date
) -> None:
    if begin == end:
        end = (begin + 1) % (24 * 60)
    load = _load(f"{begin // 60:02d}:{begin % 60:02d}-{end // 60:02d}:{end % 60:02d}", power_w)
    days = _days(first, first + timedelta(days=2), BERLIN, interval_s)
    energy = load_energy(load, days)
    assert (energy >= 0).all()
    for d, day in enumerate(days.days):
        alone = load_energy(load, _days(day, zone=BERLIN, interval_s=interval_s))
        assert np.array_equal(energy[days.day_slice(d)], alone), "a day does not depend on the stretch"
        assert alone.sum() == load_energy(load, _days(day, zone=BERLIN, interval_s=300)).sum()


@pytest.mark.parametrize(
    ("text", "spring", "autumn"),
    [
        # 02:00 to 03:00 does not exist in spring: what begins in it begins as it is over, what lies in it is not at all
        ("02:30-03:15", ["29 03:00-29 03:15"], ["25 02:30-25 03:15"]),
        ("02:15-02:45", [], ["25 02:15-25 02:45"]),
        ("01:30-02:30", ["29 01:30-29 03:00"], ["25 01:30-25 02:30"]),
        ("03:00-02:59", ["29 03:00-30 02:59"], ["25 03:00-26 02:59"]),
    ],
)
def test_hours_that_the_clocks_skip_are_never_a_whole_day(text: str, spring: list[str], autumn: list[str]) -> None:
    assert _local(text, date(2026, 3, 29), BERLIN) == spring
    assert _local(text, date(2026, 10, 25), BERLIN) == autumn


def test_what_begins_before_its_own_midnight_burns_on_the_day_before() -> None:
    place = {"latitude_deg": 31.2, "longitude_deg": 121.5}
    load = _load("(sunrise-08:00)-sunrise", **place)
    days = _days(date(2026, 3, 20), date(2026, 3, 22))
    energy = load_energy(load, days)
    ((begin, _),) = parse_schedule(load.schedule).spans(date(2026, 3, 22), SHANGHAI, (31.2, 121.5))
    assert begin.astimezone(SHANGHAI).date() == date(2026, 3, 21)
    evening = energy[days.day_slice(1)][80:].sum()
    assert evening == round(1000 * (days.bounds[0] + timedelta(days=2) - begin) / timedelta(hours=1))
    assert abs(energy[days.day_slice(1)].sum() - 8000) < 100, "eight hours of 1 kW, but for how much earlier the sun is"
