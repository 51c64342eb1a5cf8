"""Late and out-of-order readings: where they land, how they are counted, and exactly which area-days they mark."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from drivers.base import Source
from headend.domain.calendar import to_us
from headend.settings import Settings
from headend.store.pool import Store
from support.desk import MINUTE, NOW, SHANGHAI_MIDNIGHT, Desk, item

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
QUARTER = 15 * MINUTE


@pytest.fixture(params=[False, True], ids=["rows", "packed"])
def packing(request: pytest.FixtureRequest, desk: Desk) -> Any:
    """What was stored may lie in compressed days by now."""
    return desk.pack if request.param else lambda: None


def test_late_is_what_is_older_than_the_newest_stored(desk: Desk, kit: Any) -> None:
    def counted() -> list[float]:
        return [kit.count("headend_readings_late_total", source=s) for s in ("mqtt", "concentrator")]

    before = counted()
    # Out of order within a batch is in order once it is stored.
    assert desk.write(item(("1", NOW, 3), ("1", NOW - HOUR, 1))).late == 0
    result = desk.write(
        item(("1", NOW - 2 * HOUR, 0), ("1", NOW - HOUR, 1), ("1", NOW + MINUTE, 4), source=Source.CONCENTRATOR),
        item(("1", NOW - MINUTE, 2), ("2", NOW - DAY, 2)),
    )
    assert (result.stored, result.duplicates, result.late) == (4, 1, 2)
    assert desk.write(item(("1", NOW - 2 * HOUR, 0))).late == 0  # stored already
    assert [b - a for a, b in zip(before, counted(), strict=True)] == [1, 1]
    assert desk.stored() == [
        (1, NOW - 2 * HOUR, 0),
        (1, NOW - HOUR, 1),
        (1, NOW - MINUTE, 2),
        (1, NOW, 3),
        (1, NOW + MINUTE, 4),
        (2, NOW - DAY, 2),
    ]
    assert desk.rows("select ts, import_wh from latest_reading order by meter_id") == [
        (NOW + MINUTE, 4),
        (NOW - DAY, 2),
    ]


def test_a_late_reading_marks_from_its_neighbour_to_its_neighbour(desk: Desk, packing: Any) -> None:
    for days_ago in (10, 9, 6, 2, 0):
        desk.write(item(("1", NOW - days_ago * DAY, 100 - days_ago)))
    desk.dirty()
    packing()
    result = desk.write(item(("1", NOW - 4 * DAY, 96)))
    assert result.late == 1
    assert desk.dirty() == [f"A {day}" for day in range(14, 19)]
    # Beside a neighbour of the same hour: that day, and on the other side up to the next one.
    desk.write(item(("1", NOW - 4 * DAY + QUARTER, 96)))
    assert desk.dirty() == [f"A {day}" for day in range(16, 19)]
    desk.write(item(("1", NOW - 4 * DAY + 5 * MINUTE, 96)))
    assert desk.dirty() == ["A 16"]


def test_several_late_stretches_of_several_meters(desk: Desk, packing: Any) -> None:
    for days_ago in (8, 0):
        desk.write(item(("1", NOW - days_ago * DAY, 0), ("2", NOW - days_ago * DAY, 0)))
    desk.write(item(("3", NOW, 0)))
    desk.dirty()
    packing()
    late = [("1", NOW - 7 * DAY + QUARTER * k, 0) for k in range(4)] + [("1", NOW - 8 * DAY - MINUTE, 0)]
    assert desk.write(item(*late), item(("3", NOW - 3 * DAY, 0))).late == 6
    assert desk.dirty() == [f"A {day}" for day in range(12, 21)]
    desk.write(item(("2", NOW - 8 * DAY + MINUTE, 0), ("2", NOW - 8 * DAY + 2 * MINUTE, 0), ("2", NOW - MINUTE, 0)))
    assert desk.dirty() == [f"A {day}" for day in range(12, 21)]
    desk.write(item(("2", NOW - 8 * DAY + 90 * timedelta(seconds=1), 0)))
    assert desk.dirty() == ["A 12"]


def test_a_late_midnight_register_ends_the_day_before(desk: Desk, packing: Any) -> None:
    desk.write(item(("1", SHANGHAI_MIDNIGHT - QUARTER, 1), ("1", SHANGHAI_MIDNIGHT + QUARTER, 3)))
    desk.dirty()
    packing()
    desk.write(item(("1", SHANGHAI_MIDNIGHT, 2)))
    assert desk.dirty() == ["A 19", "A 20"]
    # Right after midnight, with one at midnight before it: that day alone.
    desk.write(item(("1", SHANGHAI_MIDNIGHT + MINUTE, 2)))
    assert desk.dirty() == ["A 20"]
    # Before midnight, with the one at midnight after it: the day before alone.
    desk.write(item(("1", SHANGHAI_MIDNIGHT - MINUTE, 2)))
    assert desk.dirty() == ["A 19"]


def test_late_readings_mark_the_area_of_their_time(desk: Desk, packing: Any) -> None:
    """Usage point 1 hung on A up to noon of the 17th (local time) and hangs on B since."""
    with desk.store.transaction() as connection:
        connection.execute(b"update area_membership set valid_to = '2026-11-17T04:00Z' where usage_point_id = 1")
        connection.execute(
            b"insert into area_membership (usage_point_id, area_id, valid_from) values (1, 2, '2026-11-17T04:00Z')"
        )
    for days_ago in (6, 0):
        desk.write(item(("1", NOW - days_ago * DAY, 100 - days_ago)))
    desk.dirty()
    packing()
    desk.write(item(("1", NOW - 2 * DAY, 98)))
    assert desk.dirty() == ["A 14", "A 15", "A 16", "A 17", "B 17", "B 18", "B 19", "B 20"]
    desk.write(item(("1", NOW - 5 * DAY, 95)))
    assert desk.dirty() == ["A 14", "A 15", "A 16", "A 17", "B 17", "B 18"]
    desk.write(item(("1", NOW - 5 * DAY - MINUTE, 95)))
    assert desk.dirty() == ["A 14", "A 15"]
    desk.write(item(("1", NOW - DAY, 99)))
    assert desk.dirty() == ["B 18", "B 19", "B 20"]


def test_a_move_at_midnight_leaves_each_day_to_one_area(desk: Desk) -> None:
    with desk.store.transaction() as connection:
        connection.execute(b"update installation set valid_to = '2026-11-18T16:00Z' where meter_id = 1")
        connection.execute(
            b"insert into installation (usage_point_id, meter_id, valid_from) values (59, 1, '2026-11-19T16:00Z')"
        )
        connection.execute(b"update area_membership set area_id = 2 where usage_point_id = 59")
    desk.write(item(("1", NOW - 4 * DAY, 0)))
    assert desk.dirty() == ["A 16"]
    desk.write(item(("1", NOW, 0)))
    assert desk.dirty() == ["A 16", "A 17", "A 18", "B 20"]  # on the 19th it hung nowhere


@pytest.mark.parametrize(
    ("at", "days"),
    [
        # 25 October 2026 has 25 hours in Berlin: its last one begins at 22:00 UTC, where a summer's day has ended.
        (datetime(2026, 10, 25, 22, 30, tzinfo=UTC), ["A 25"]),
        (datetime(2026, 10, 25, 23, 0, tzinfo=UTC), ["A 25", "A 26"]),
        (datetime(2026, 10, 24, 21, 59, tzinfo=UTC), ["A 24"]),
        (datetime(2026, 10, 24, 22, 30, tzinfo=UTC), ["A 25"]),
        # 29 March 2026 has 23 hours: it begins at 23:00 UTC and ends at 22:00.
        (datetime(2026, 3, 29, 21, 59, tzinfo=UTC), ["A 29"]),
        (datetime(2026, 3, 29, 22, 30, tzinfo=UTC), ["A 30"]),
        (datetime(2026, 3, 28, 23, 30, tzinfo=UTC), ["A 29"]),
    ],
)
def test_days_where_the_clocks_change(field_store: Store, at: datetime, days: list[str]) -> None:
    settings = Settings(database={"dsn": field_store.dsn}, settlement={"zone": "Europe/Berlin"})
    desk = Desk(field_store, settings)
    desk.write(item(("1", at + HOUR * 24 * 20, 1)))
    desk.dirty()
    desk.write(item(("1", at + MINUTE / 2, 0)))  # so that the next one has a neighbour
    desk.dirty()
    desk.write(item(("2", at, 0)))
    assert desk.dirty() == days
    assert desk.write(item(("1", at, 0))).late == 1
    assert desk.dirty() == days


def test_a_packed_day_takes_new_rows_beside_stored_ones(desk: Desk) -> None:
    grid = [NOW - 3 * DAY + QUARTER * k for k in range(96)]
    desk.write(item(*((str(m), at, 7) for m in range(1, 11) for at in grid[::2])))
    desk.pack()
    desk.dirty()
    result = desk.write(item(*((str(m), at, 7) for m in range(1, 11) for at in grid)))
    assert (result.stored, result.duplicates, result.late) == (480, 480, 470)
    assert desk.dirty() == ["A 17", "A 18"]
    desk.pack()
    result = desk.write(item(*((str(m), at, 7) for m in range(1, 11) for at in grid)))
    assert (result.stored, result.duplicates) == (0, 960)
    assert desk.rows("select count(*), count(distinct (meter_id, ts)) from register_reading") == [(960, 960)]
    assert desk.rows("select distinct readings from reading_count") == [(96,)]
    assert desk.rows("select distinct (extract(epoch from ts) * 1000000)::bigint from latest_reading") == [
        (to_us(grid[-1]),)
    ]
