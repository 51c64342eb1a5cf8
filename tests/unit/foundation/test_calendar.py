"""Local days: 23, 24 or 25 hours, without a gap or an overlap, and every midnight on the grid."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.domain.calendar import LocalCalendar, from_us, to_us

BERLIN, SHANGHAI = ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Shanghai")
US = timedelta(microseconds=1)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (BERLIN, date(2026, 3, 28), 24),
        (BERLIN, date(2026, 3, 29), 23),
        (BERLIN, date(2026, 10, 25), 25),
        (SHANGHAI, date(2026, 3, 29), 24),
        (SHANGHAI, date(1990, 4, 15), 23),  # China had summer time from 1986 to 1991
        (SHANGHAI, date(1990, 9, 16), 25),
    ],
)
@pytest.mark.parametrize("interval_s", [300, 900, 1800, 3600])
def test_hours_of_days_on_which_clocks_change(zone: ZoneInfo, day: date, hours: int, interval_s: int) -> None:
    calendar = LocalCalendar(zone, interval_s)
    assert calendar.intervals(day) == hours * 3600 // interval_s
    grid = calendar.grid_us(day)
    start, end = calendar.bounds(day)
    assert (grid[0], grid[-1], grid.size) == (to_us(start), to_us(end), hours * 3600 // interval_s + 1)
    assert set(np.diff(grid).tolist()) == {interval_s * 1_000_000}


def test_bounds_are_utc_and_half_open() -> None:
    calendar = LocalCalendar(SHANGHAI)
    assert calendar.bounds(date(2026, 11, 23)) == (
        datetime(2026, 11, 22, 16, tzinfo=UTC),
        datetime(2026, 11, 23, 16, tzinfo=UTC),
    )
    assert calendar.day_of(datetime(2026, 11, 22, 16, tzinfo=UTC)) == date(2026, 11, 23)
    assert calendar.day_of(datetime(2026, 11, 22, 15, 59, 59, 999_999, tzinfo=UTC)) == date(2026, 11, 22)


@given(
    zone=st.sampled_from(
        [
            "Europe/Berlin",
            "Asia/Shanghai",
            "America/Havana",
            "America/Sao_Paulo",
            "Asia/Beirut",
            "Asia/Kathmandu",
            "UTC",
        ]
    ),
    day=st.dates(date(1990, 1, 1), date(2037, 12, 30)),
)
def test_days_meet_without_gap_or_overlap(zone: str, day: date) -> None:
    """Havana, São Paulo and Beirut change their clocks at midnight."""
    calendar = LocalCalendar(ZoneInfo(zone))
    start, end = calendar.bounds(day)
    assert calendar.bounds(day + timedelta(days=1))[0] == end
    assert calendar.day_of(start) == calendar.day_of(end - US) == day
    assert calendar.day_of(start - US) == day - timedelta(days=1)
    assert calendar.intervals(day) * 900 == (end - start).total_seconds()


@pytest.mark.parametrize("interval_s", [0, 60, 600, 7200])
def test_an_interval_that_does_not_divide_an_hour_as_meters_do_is_refused(interval_s: int) -> None:
    with pytest.raises(ValueError, match=f"interval_s is {interval_s}; it must be 300, 900, 1800 or 3600"):
        LocalCalendar(BERLIN, interval_s)


def test_days_are_listed_with_both_ends() -> None:
    first, last = date(2026, 2, 27), date(2026, 3, 2)
    assert [d.day for d in LocalCalendar(BERLIN).days(first, last)] == [27, 28, 1, 2]
    assert list(LocalCalendar(BERLIN).days(last, first)) == []


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(BERLIN)))  # noqa: DTZ001
def test_instants_keep_every_microsecond(instant: datetime) -> None:
    assert from_us(to_us(instant)) == instant.astimezone(UTC)


def test_an_instant_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="2026-11-23T00:00:00 has no time zone"):
        to_us(datetime(2026, 11, 23))  # noqa: DTZ001
