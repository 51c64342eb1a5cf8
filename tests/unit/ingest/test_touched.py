"""Which stretches of time new rows touch, and which local days."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.base import READING_DTYPE, empty
from headend.domain.calendar import LocalCalendar, from_us, to_us
from headend.ingest import touched
from headend.ingest.assemble import DAY_US as DAY
from headend.ingest.known import Stretches

LOW, HIGH = np.iinfo(np.int64).min, np.iinfo(np.int64).max
EPOCH = date(1970, 1, 1)


def rows(*pairs: tuple[int, int]) -> np.ndarray:
    made = empty(READING_DTYPE, len(pairs))
    for i, (meter, ts_us) in enumerate(pairs):
        made["meter"][i], made["ts_us"][i] = meter, ts_us
    return made


def test_runs_break_at_holes_longer_than_a_day() -> None:
    made = rows((1, 0), (1, DAY), (1, 2 * DAY + 1), (2, 5), (4, 5), (4, 6))
    runs = touched.runs(made)
    assert list(zip(runs.meter, runs.first_us, runs.last_us, strict=True)) == [
        (1, 0, DAY),
        (1, 2 * DAY + 1, 2 * DAY + 1),
        (2, 5, 5),
        (4, 5, 6),
    ]
    assert touched.runs(rows()).meter.size == 0


def test_reach_from_the_reading_before_to_the_one_after() -> None:
    runs = Stretches(np.array([1, 1, 1, 1]), np.array([DAY] * 4) * 50, np.array([DAY] * 4) * 51)
    before = np.array([49 * DAY, LOW, 9 * DAY, 50 * DAY - 1])
    after = np.array([HIGH, 52 * DAY, 92 * DAY, HIGH])
    reach = touched.reaching(runs, before, after, 40)
    assert reach.first_us.tolist() == [49 * DAY, 50 * DAY - 1, 10 * DAY, 50 * DAY - 1]
    assert reach.last_us.tolist() == [51 * DAY, 52 * DAY - 1, 51 * DAY, 51 * DAY]


def test_following_tells_what_is_before_without_asking_the_store() -> None:
    runs = Stretches(np.array([1, 1, 2, 3]), np.array([50, 90, 5, 7]), np.array([60, 95, 6, 8]))
    later, before = touched.following(runs, np.array([40, 40, 5, LOW]))
    assert later.tolist() == [True, True, False, True]
    assert before.tolist() == [40, 60, LOW, LOW]


@settings(derandomize=True, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(19_700 * DAY, 20_800 * DAY), st.integers(0, 50 * DAY)),
        min_size=1,
        max_size=9,
    ),
    st.sampled_from(["Asia/Shanghai", "Europe/Berlin", "Pacific/Kiritimati", "America/St_Johns", "Pacific/Pago_Pago"]),
)
def test_local_days_against_the_calendar(spans: list[tuple[int, int]], zone: str) -> None:
    first_us = np.array([at_us for at_us, _ in spans])
    last_us = first_us + np.array([length for _, length in spans])
    meter = np.zeros(len(spans), dtype=np.int64)
    first, last, (begins, ends) = touched.local_days(Stretches(meter, first_us, last_us), zone)
    calendar = LocalCalendar(ZoneInfo(zone))
    for i in range(len(spans)):
        first_day, last_day = (EPOCH + timedelta(days=int(d)) for d in (first[i], last[i]))
        at = [from_us(us) for us in (first_us[i], last_us[i])]
        assert (first_day, last_day) == (calendar.day_of(at[0]), calendar.day_of(at[1]))
        assert begins[i] == to_us(calendar.bounds(first_day)[0])
        assert ends[i] == to_us(calendar.bounds(last_day)[1])


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25)])
def test_a_local_day_has_23_or_25_hours_where_the_clocks_change(day: date, hours: int) -> None:
    noon = to_us(datetime(day.year, day.month, day.day, 12, tzinfo=UTC))
    one = Stretches(np.array([1]), np.array([noon]), np.array([noon]))
    first, last, (begins, ends) = touched.local_days(one, "Europe/Berlin")
    assert first[0] == last[0] == (day - EPOCH).days
    assert ends[0] - begins[0] == hours * 3_600_000_000
