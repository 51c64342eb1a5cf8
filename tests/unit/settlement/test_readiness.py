"""When a station's turn is, what it waits for, and when something under its reports has changed."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from headend.domain.calendar import LocalCalendar
from headend.settlement.readiness import Wait, changed, marker_of, turn_before, waits

SHANGHAI = LocalCalendar(ZoneInfo("Asia/Shanghai"), 900)
BERLIN = LocalCalendar(ZoneInfo("Europe/Berlin"), 900)
LAST = date(2026, 3, 1)
ENDED = SHANGHAI.bounds(LAST)[1]


def area(**other: Any) -> dict[str, Any]:
    return {
        "area_id": 1, "first_day": date(2026, 2, 2), "last_day": LAST, "last_settled_at": ENDED, "dirty": 0,
        "digest": "d", "memberships": "m", "installations": "i", "marker": None,
    } | other  # fmt: skip


@pytest.mark.parametrize(
    ("calendar", "now", "at", "turn"),
    [
        (
            SHANGHAI,
            datetime(2026, 3, 1, 18, 29, 59, tzinfo=UTC),
            time(2, 30),
            datetime(2026, 2, 28, 18, 30, tzinfo=UTC),
        ),
        (SHANGHAI, datetime(2026, 3, 1, 18, 30, tzinfo=UTC), time(2, 30), datetime(2026, 3, 1, 18, 30, tzinfo=UTC)),
        (SHANGHAI, datetime(2026, 3, 1, 16, 0, tzinfo=UTC), time(0, 0), datetime(2026, 3, 1, 16, 0, tzinfo=UTC)),
        (SHANGHAI, datetime(2026, 3, 1, 15, 58, tzinfo=UTC), time(23, 59), datetime(2026, 2, 28, 15, 59, tzinfo=UTC)),
        # clocks leap from 02:00 to 03:00 CEST: half past two is an hour after half past one
        (BERLIN, datetime(2026, 3, 29, 12, 0, tzinfo=UTC), time(2, 30), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
        # ... and back from 03:00 to 02:00: the first of both
        (BERLIN, datetime(2026, 10, 25, 12, 0, tzinfo=UTC), time(2, 30), datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
    ],
)
def test_a_turn_is_the_latest_instant_of_that_time_of_day(
    calendar: LocalCalendar, now: datetime, at: time, turn: datetime
) -> None:
    assert turn_before(now, at, calendar).astimezone(UTC) == turn


def test_a_turn_is_never_ahead_and_never_more_than_a_day_and_a_leap_ago() -> None:
    now = datetime(2026, 10, 24, 0, 7, tzinfo=UTC)
    for step in range(300):
        at = time(step % 24, 7 * step % 60)
        ago = now - turn_before(now, at, BERLIN).astimezone(UTC)
        assert timedelta() <= ago <= timedelta(hours=25)
        now += timedelta(minutes=17)


def test_a_station_is_ready_when_all_its_areas_are() -> None:
    ready = [area(), area(area_id=2)]
    assert waits(ready, set(), LAST, SHANGHAI) is None
    assert waits(ready, {2}, LAST, SHANGHAI) is Wait.LOADING
    assert waits(ready, {3}, LAST, SHANGHAI) is None, "another station's history"
    for lacking in (
        {"dirty": 1}, {"last_day": LAST - timedelta(days=1), "last_settled_at": None},
        {"last_settled_at": ENDED - timedelta(seconds=1)},
    ):  # fmt: skip
        assert waits([area(), area(area_id=2, **lacking)], set(), LAST, SHANGHAI) is Wait.NOT_SETTLED, lacking


@pytest.mark.parametrize("what", ["first_day", "last_day", "digest", "memberships", "installations"])
def test_what_a_neighbour_rests_on_counts_too(what: str) -> None:
    areas = [area(), area(area_id=2)]
    reported = [one | {"marker": marker_of(areas)} for one in areas]
    assert not changed(reported)
    assert changed([reported[0], reported[1] | {what: "another"}])
    assert changed([reported[0], reported[1] | {"marker": None}]), "an area without a report"


def test_another_share_of_meters_on_wrong_areas_is_a_reason_to_explain_again() -> None:
    told = [area(marker=marker_of([area()]))]
    assert not changed(told)
    assert changed(told, 0.2)
    told = [area(marker=marker_of([area()], 0.2))]
    assert not changed(told, 0.2)
    assert changed(told, 0.1)
    assert changed(told)
