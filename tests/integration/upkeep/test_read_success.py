"""Read success: a slot counts once, where and while its meter hung, once it is due; a day is judged when it is over."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from headend.domain.alerts import AlertKind
from headend.settings import Settings
from headend.store import alerts, read_success
from headend.store.pool import Store
from headend.store.read_success import LocalDay
from headend.upkeep import read_success as chore
from headend.upkeep.read_success import ReadSuccess
from support.operations import install, read

DAY = date(2026, 3, 10)
START = datetime(2026, 3, 9, 16, tzinfo=UTC)
"""The day's first instant, in Shanghai."""
END = START + timedelta(days=1)
LONG_AGO = "2026-01-01T00:00Z"
GRACE = timedelta(hours=2)


def every(minutes: float, start: datetime = START, end: datetime = END, late_s: float = 0) -> list[datetime]:
    """Readings on a grid, each so long after its instant."""
    found = []
    while start < end:
        found.append(start + timedelta(seconds=late_s))
        start += timedelta(minutes=minutes)
    return found


def settings_of(store: Store, **objectives: Any) -> Settings:
    return Settings.model_validate(
        {
            "database": {"dsn": store.dsn},
            "poll": {"period_s": 900, "area_period_s": 300},
            "objectives": {"grace_s": GRACE.total_seconds(), "due_s": 1800, **objectives},
        }
    )


@pytest.fixture(autouse=True)
def _long_here(field: Store) -> None:
    """The head-end has been here for longer than any of these days."""
    with field.transaction() as connection:
        assert read_success.begin(connection, datetime(2026, 3, 1, tzinfo=UTC)) == 2


def count(store: Store, now: datetime, **objectives: Any) -> None:
    ReadSuccess(store, settings_of(store, **objectives), lambda: now).do()


def of_day(store: Store, area: int = 1, day: date = DAY) -> dict[str, Any]:
    with store.transaction() as connection:
        return next(r for r in read_success.of_area(connection, area, day) if r["day"] == day)


def counts(store: Store, area: int = 1, day: date = DAY) -> tuple[int, int, int, int]:
    found = of_day(store, area, day)
    return found["scheduled"], found["stored"], found["meters"], found["meters_complete"]


def standing(store: Store) -> dict[str, tuple[str, float, str]]:
    with store.transaction() as connection:
        found = alerts.standing(connection)
    assert {a["kind"] for a in found} <= {AlertKind.READ_SUCCESS}
    return {a["area"]: (a["severity"], a["value"], a["detail"]) for a in found}


def test_a_whole_day_by_hand(field: Store) -> None:
    for meter in (1, 2, 3, 5):
        install(field, meter, 1, LONG_AGO)
    install(field, 4, 1, "2026-03-10T02:07Z")  # 10:07 in Shanghai: its first read is the one of 10:15
    read(field, 1, every(5, late_s=17))  # 288, all of them
    read(field, 2, every(15, late_s=800)[:-2])  # 94 of 96, near the end of a long round
    read(field, 3, every(15, late_s=-3)[1:])  # 95 of 96, by a clock that is 3 s behind
    read(field, 4, every(15, datetime(2026, 3, 10, 2, tzinfo=UTC)))  # one too many: 10:00 came before it hung there
    count(field, END + GRACE)
    fourth = 56 - 1  # 24:00 back to 10:00 are 14 h of four
    assert counts(field) == (288 + 96 + 96 + fourth, 288 + 94 + 95 + fourth, 4, 2), "the fifth has no endpoint"


def test_more_readings_than_slots_hide_no_gap(field: Store) -> None:
    install(field, 2, 1, LONG_AGO)
    read(field, 2, every(1, START, START + timedelta(hours=6)))  # 360 readings in 24 of 96 slots
    count(field, END + GRACE)
    assert counts(field) == (96, 24, 1, 0)


def test_today_counts_what_is_due(field: Store) -> None:
    install(field, 3, 1, LONG_AGO)
    read(field, 3, every(15, START, START + timedelta(hours=2)))
    count(field, START + timedelta(hours=2, minutes=29, seconds=59))
    assert counts(field) == (8, 8, 1, 1), "slots up to 1:45 are due by 2:15; that of 2:00 a second later"
    assert of_day(field)["ratio_first"] is None
    count(field, START + timedelta(hours=2, minutes=30))
    assert counts(field) == (9, 8, 1, 0)
    assert of_day(field)["ratio"] == pytest.approx(8 / 9)


def test_nothing_scheduled_is_no_ratio(field: Store) -> None:
    count(field, END + GRACE)
    assert of_day(field)["ratio"] is None
    assert counts(field) == (0, 0, 0, 0)
    assert standing(field) == {}


def test_a_meter_swapped_and_a_household_that_changes_areas(field: Store) -> None:
    noon = "2026-03-10T04:00Z"
    with field.transaction() as connection:
        connection.execute(
            b"insert into installation (usage_point_id, meter_id, valid_from, valid_to) "
            b"values (3, 3, %s, %s), (3, 4, %s, null)",
            [LONG_AGO, noon, noon],
        )
        connection.execute(
            b"insert into area_membership (usage_point_id, area_id, valid_from, valid_to) "
            b"values (3, 1, %s, %s), (3, 2, %s, null)",
            [LONG_AGO, "2026-03-10T08:00Z", "2026-03-10T08:00Z"],
        )
    read(field, 3, every(15))  # goes on reading in the store room: not asked for
    read(field, 4, every(15, datetime(2026, 3, 10, 4, tzinfo=UTC)))
    count(field, END + GRACE)
    assert counts(field, 1) == (48 + 16, 48 + 16, 2, 2)
    assert counts(field, 2) == (32, 32, 1, 1)


@pytest.mark.parametrize("seed", range(4))
def test_against_counting_one_by_one(field: Store, seed: int) -> None:
    print("seed", seed)
    rng = random.Random(seed)
    wanted = stored = complete = meters = 0
    now = START + timedelta(hours=rng.uniform(3, 30))
    # Meter → how often, and how long a slot begins before its instant.
    for meter, (period_s, before_s) in {1: (300, 0), 2: (900, 0), 3: (900, 450), 4: (900, 450), 6: (900, 450)}.items():
        since = START + timedelta(seconds=rng.uniform(-40_000, 60_000))
        until = since + timedelta(seconds=rng.uniform(3_000, 70_000))
        install(field, meter, 1, since.isoformat(), until.isoformat())
        times = [START + timedelta(seconds=rng.uniform(-50_000, 130_000)) for _ in range(250)]
        read(field, meter, times)
        slots = [
            START + timedelta(seconds=k * period_s)
            for k in range(86_400 // period_s)
            if since <= START + timedelta(seconds=k * period_s) < until
            and START + timedelta(seconds=k * period_s + 1800) <= now
        ]
        found = sum(any(0 <= (t - slot).total_seconds() + before_s < period_s for t in times) for slot in slots)
        wanted, stored = wanted + len(slots), stored + found
        complete, meters = complete + (bool(slots) and found == len(slots)), meters + bool(slots)
    count(field, now)
    assert counts(field) == (wanted, stored, meters, complete)


def test_late_readings_are_counted_once_their_day_is_settled_again(field: Store) -> None:
    install(field, 3, 1, LONG_AGO)
    read(field, 3, every(15, START, END - timedelta(hours=6)))
    over = END + GRACE
    count(field, over - timedelta(seconds=1))
    assert (counts(field)[:2], of_day(field)["ratio_first"]) == ((96, 72), None), "the grace is not over"
    count(field, over)
    assert of_day(field)["ratio_first"] == 0.75
    read(field, 3, every(15, END - timedelta(hours=6), END))
    count(field, over + timedelta(hours=1))
    assert counts(field)[1] == 72, "nothing says that the day was touched"
    _settled(field, over + timedelta(hours=2))
    count(field, over + timedelta(hours=2, minutes=5))
    assert (counts(field)[:2], of_day(field)["ratio_first"]) == ((96, 96), 0.75), "the first result stays"


def _settled(store: Store, at: datetime, day: date = DAY) -> None:
    """As settlement says that it looked at the day."""
    with store.transaction() as connection:
        connection.execute(
            b"insert into balance_day (area_id, day, state, starts_at, interval_s, intervals, intervals_complete, "
            b"households, households_measured, supplied_interval_wh, delivered_interval_wh, technical_interval_wh, "
            b"settled_at, changed_at) "
            b"values (1, %s, 'not_computable', %s, 900, 96, 0, 0, 0, '{}', '{}', '{}', %s, %s) "
            b"on conflict (area_id, day) do update set settled_at = excluded.settled_at",
            [day, START, at, at],
        )


def test_an_area_is_judged_once_by_its_last_day(field: Store) -> None:
    install(field, 3, 1, LONG_AGO)
    day = timedelta(days=1)
    read(field, 3, every(15)[:94])  # 97.9 %
    count(field, END + GRACE - timedelta(seconds=1))
    assert standing(field) == {}, "judged when the grace is over"
    count(field, END + GRACE)
    severity, value, detail = standing(field)["A"]
    assert (severity, value) == ("alert", pytest.approx(94 / 96))
    assert detail == "2026-03-10: 94 of 96 reads stored, 97.91 %; the objective is 98.00 %"
    count(field, END + GRACE + timedelta(hours=1))
    with field.transaction() as connection:
        assert len(alerts.listed(connection, limit=10)) == 1, "it stands, and is not raised again"

    read(field, 3, every(15)[94:95])  # 98.9 %: a warning only
    _settled(field, END + GRACE + timedelta(hours=2))
    count(field, END + GRACE + timedelta(hours=2))
    severity, _, detail = standing(field)["A"]
    assert severity == "warning"
    assert detail == "2026-03-10: 95 of 96 reads stored, 98.95 %; the objective is 99.50 %; 97.91 % in time"

    read(field, 3, every(15, END, END + day))
    count(field, END + day + GRACE)
    assert standing(field) == {}, "a later day met it"
    with field.transaction() as connection:
        (one,) = alerts.listed(connection, limit=10)
    assert (one["raised_at"], one["cleared_at"]) == (END + GRACE, END + day + GRACE)


def test_backfill_clears_the_alert(field: Store) -> None:
    install(field, 3, 1, LONG_AGO)
    read(field, 3, every(15)[:50])
    count(field, END + GRACE)
    assert "A" in standing(field)
    read(field, 3, every(15)[50:])
    _settled(field, END + GRACE + timedelta(hours=3))
    count(field, END + GRACE + timedelta(hours=3))
    assert standing(field) == {}


def test_reads_are_scheduled_from_when_the_head_end_is_there(field: Store) -> None:
    with field.transaction() as connection:
        connection.execute(b"delete from read_success_area")
    install(field, 3, 1, LONG_AGO)
    read(field, 3, every(15, START - timedelta(days=3), END - timedelta(hours=1)))
    for back in range(1, 4):
        _settled(field, END, DAY - timedelta(days=back))
    count(field, START + timedelta(hours=6, minutes=1))  # the first time
    assert counts(field)[0] == 0
    count(field, END + GRACE)
    assert counts(field) == (18 * 4 - 1, 17 * 4 - 1, 1, 0)
    assert "94.36 %" in standing(field)["A"][2]
    with field.transaction() as connection:
        days = [r["day"] for r in read_success.of_area(connection, 1, DAY - timedelta(days=9))]
    assert days == [DAY + timedelta(days=1), DAY], "what was before is history"


def test_today_is_counted_a_tenth_of_the_time_at_the_most(field: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [100.0]
    counted: list[tuple[float, date]] = []

    def slow(connection: object, areas: object, day: LocalDay, schedule: object, *, now: datetime) -> None:
        counted.append((seconds[0], day.day))
        seconds[0] += 3

    monkeypatch.setattr(read_success, "count", slow)
    service = ReadSuccess(field, settings_of(field), lambda: START + timedelta(hours=2), clock_s=lambda: seconds[0])
    for pause_s in (0, 10, 13.9, 0.2):  # yesterday, which was never counted, every time
        seconds[0] += pause_s
        service.do()
    yesterday = DAY - timedelta(days=1)
    assert counted == [
        (100, yesterday), (103, DAY), (116, yesterday), (pytest.approx(132.9), yesterday),
        (pytest.approx(136.1), yesterday), (pytest.approx(139.1), DAY),
    ]  # fmt: skip


def test_days_whose_readings_were_dropped_are_left_as_they_were_counted(field: Store) -> None:
    install(field, 3, 1, LONG_AGO)
    read(field, 3, every(15))
    count(field, END + GRACE)
    with field.transaction() as connection:
        connection.execute(b"delete from register_reading")
        connection.execute(b"update reading_floor set kept_from = %s", [START + timedelta(hours=1)])
    _settled(field, END + timedelta(hours=4))
    count(field, END + timedelta(hours=4))
    assert counts(field) == (96, 96, 1, 1)


def test_limits_are_settings(field: Store) -> None:
    install(field, 3, 1, LONG_AGO)
    read(field, 3, every(15)[:72])
    count(field, END + GRACE, read_success_alert=0.7, read_success_warn=0.75)
    assert standing(field) == {}
    count(field, END + GRACE, read_success_alert=0.7, read_success_warn=0.8)
    assert standing(field)["A"][0] == "warning"


def test_fleet_worst_areas_and_old_days(field: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chore, "AREAS_AT_ONCE", 1)
    install(field, 3, 1, LONG_AGO)
    install(field, 4, 2, LONG_AGO)
    read(field, 3, every(15)[:24])
    read(field, 4, every(15)[:48])
    count(field, END + GRACE)
    with field.transaction() as connection:
        fleet = read_success.fleet(connection, [DAY, DAY + timedelta(days=1)])
        assert (fleet[DAY]["scheduled"], fleet[DAY]["stored"], fleet[DAY]["ratio_first"]) == (192, 72, 0.375)
        assert fleet[DAY + timedelta(days=1)]["ratio_first"] is None
        assert [(r["area"], r["ratio"]) for r in read_success.worst(connection, DAY, 5)] == [("A", 0.25), ("B", 0.5)]
        assert [r["area"] for r in read_success.worst(connection, DAY, 1)] == ["A"]
    count(field, END + timedelta(days=41), keep_days=40)
    with field.transaction() as connection:
        assert {r["day"] for r in read_success.of_area(connection, 1, DAY)} & {DAY} == set()
