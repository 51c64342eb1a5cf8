"""What hung where in a stretch, as it is read from the store: memberships that reach into it, meters that serve on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from headend.domain.calendar import to_us
from headend.settlement.topology import FOREVER_US, Membership, Point, load_points, points_of, widened
from headend.store import events, observations
from headend.store.pool import Store

T0 = datetime(2026, 5, 3, 16, tzinfo=UTC)
DAY = timedelta(days=1)
PLACES = """
insert into station (code, name) values ('S', 'station');
insert into area (code, station_id, name) values ('A', 1, 'area'), ('B', 1, 'another');
insert into usage_point (code, kind, category, rated_current_a) values
    ('U1', 'customer', 'residential', 60), ('U2', 'shared', 'residential', null), ('U3', 'customer', 'residential', 40);
insert into area_membership (usage_point_id, area_id, valid_from, valid_to, behind_usage_point_id) values
    (1, 2, '2020-01-01T00:00Z', '2026-05-03T16:00Z', null), (1, 1, '2026-05-03T16:00Z', '2026-05-04T16:00Z', 2),
    (2, 1, '2020-01-01T00:00Z', null, null), (3, 1, '2026-05-04T16:00Z', null, null);
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh, accuracy_class) values
    ('Acme', '1', 'any', 1, 8, 10, null), ('Acme', '2', 'any', 3, 6, 100, 0.5);
insert into installation
    (usage_point_id, meter_id, valid_from, valid_to, multiplier, sign, start_import_wh, end_import_wh) values
    (1, 1, '2020-01-01T00:00Z', '2026-05-04T04:00Z', 1, 1, 0, null),
    (1, 1, '2026-05-04T04:00Z', '2026-05-05T16:00Z', 2, -1, null, 900),
    (1, 2, '2026-05-05T16:00Z', null, 1, 1, null, null),
    (2, 2, '2020-01-01T00:00Z', '2026-05-01T00:00Z', 1, 1, null, null);
"""


@pytest.fixture
def places(store: Store) -> Store:
    with store.transaction() as connection:
        connection.execute(PLACES.encode())
    return store


def _of_area(store: Store, first: datetime, end: datetime) -> list[Point]:
    with store.transaction() as connection:
        return list(load_points(connection, 1, first, end))


def test_a_stretch_takes_the_memberships_that_reach_into_it_and_no_others(places: Store) -> None:
    one, two = _of_area(places, T0, T0 + DAY)
    assert (one.code, one.rated_current_a, two.code, two.rated_current_a) == ("U1", 60, "U2", None)
    assert one.memberships == (Membership(to_us(T0), to_us(T0 + DAY), 2),), "it hung elsewhere until the first instant"
    assert [m.to_us for m in two.memberships] == [FOREVER_US]
    assert [point.code for point in _of_area(places, T0 + DAY, T0 + 2 * DAY)] == ["U2", "U3"]


def test_a_meter_that_serves_on_with_another_multiplier_keeps_its_readings(places: Store) -> None:
    one, two = _of_area(places, T0, T0 + DAY)
    first, then = one.installations
    assert (first.multiplier_e4, first.sign, then.multiplier_e4, then.sign) == (10_000, 1, 20_000, -1)
    assert {(i.meter_id, i.scope_from_us, i.scope_to_us) for i in (first, then)} == {
        (1, to_us(datetime(2020, 1, 1, tzinfo=UTC)), to_us(T0 + 2 * DAY))
    }
    assert (first.start_import_wh, first.end_import_wh, then.end_import_wh) == (0, None, 900)
    assert two.installations == (), "its meter was taken out before"


def test_the_next_meter_is_another_one(places: Store) -> None:
    with places.transaction() as connection:
        (one,) = points_of(connection, [1], T0 + 2 * DAY, T0 + 3 * DAY)
        assert [(i.meter_id, i.accuracy_class, i.digits) for i in one.installations] == [(2, 0.5, 6)]
        wide = widened(connection, one, T0, T0 + 3 * DAY)
    assert [i.meter_id for i in wide.installations] == [1, 1, 2]
    assert (wide.memberships, wide.installations[2].scope_from_us) == ((), to_us(T0 + 2 * DAY))


def test_categories_are_those_of_the_stretch_in_order_of_time(places: Store) -> None:
    with places.transaction() as connection:
        connection.execute(b"update usage_point_category set valid_to = '2026-05-04T00:00Z' where usage_point_id = 1")
        connection.execute(
            b"insert into usage_point_category (usage_point_id, category, valid_from)"
            b" values (1, 'commercial', '2026-05-04T00:00Z')"
        )
        points = load_points(connection, 1, T0, T0 + DAY)
        found = [column.tolist() for column in observations.categories(connection, points.usage_point_id, T0, T0 + DAY)]
        later = observations.categories(connection, points.usage_point_id, T0 + DAY, T0 + 2 * DAY)
    assert found[:2] == [[1, 1, 2], [0, 2, 0]]
    assert found[2][1] == to_us(datetime(2026, 5, 4, tzinfo=UTC))
    assert later[1].tolist() == [2, 0], "one that ended is none of the next day's"


def test_each_meter_is_asked_for_its_own_time(places: Store) -> None:
    with places.transaction() as connection:
        connection.execute(
            b"insert into device_event (meter_id, kind, occurred_at, received_at, source)"
            b" select m, 'power_failed', t, t, 'mqtt' from generate_series(1, 2) m,"
            b" unnest('{2026-05-03T16:00Z,2026-05-04T16:00Z}'::timestamptz[]) t"
        )
        first, second = to_us(T0), to_us(T0 + DAY)
        meters, since, until = np.array([(1, first, second - 1), (2, first + 1, second)], dtype=np.int64).T
        told = events.of_power(connection, meters, since, until)
    assert {meter: own.ts_us.tolist() for meter, own in told.items()} == {1: [first], 2: [second]}
