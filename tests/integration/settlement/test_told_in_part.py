"""A meter that tells what it feeds in more rarely than what it takes: nothing is lost, whatever days are settled.

Import comes every quarter of an hour, export once a day, and now and then not even that.
"""

from __future__ import annotations

import random
from datetime import date, datetime, timedelta

import pytest

from drivers.base import MeterIdentity, RegisterReading, Source, batch_of
from headend.domain.calendar import to_us
from headend.ingest.item import Item
from headend.ingest.writer import ReadingWriter
from support.field import DAY, DAY0, HOUR, QUARTER, T0, Field, assert_same_rows

DAYS = 8
NOW = T0 + DAYS * DAY + HOUR
MISSED = {3, 4}
"""Days on which the export register did not come."""
FED_IN_WH = 960


def _day(day: int, hour: int) -> list[tuple[datetime, int, int | None]]:
    """A day's readings (instant, import, export): 10 Wh a quarter, and so much a day out."""
    told = [] if day in MISSED else [day * 96 + 4 * hour]
    return [
        (T0 + k * QUARTER, 10 * k, FED_IN_WH * k // 96 if k in told else None) for k in range(day * 96, day * 96 + 96)
    ]


@pytest.fixture
def house(field: Field) -> int:
    """Its meter serves at a usage point; the meter's id."""
    return field.metered(field.area(), "PV", serial="pv")[1]


def _write(field: Field, rows: list[tuple[datetime, int, int | None]]) -> None:
    batch = batch_of(
        [
            (MeterIdentity("Acme", "pv"),
             RegisterReading(instant_us=to_us(at), uncertainty_ms=0, import_wh=into, export_wh=out))
            for at, into, out in rows
        ],
        Source.CONCENTRATOR,
    )  # fmt: skip
    writer = ReadingWriter(field.store, field.settings, lambda: NOW)
    writer.write([Item(channel="mqtt", batch=batch, origin="t", received_us=to_us(NOW), payload=b"p")])


def _fed_in(field: Field) -> dict[date, int]:
    sql = (
        "select day, (select sum(x) from unnest(day_vector(export_wh, cardinality(import_wh))) x)::bigint as wh "
        "from interval_day order by 1"
    )
    found = field.rows(sql)
    return {row["day"]: row["wh"] for row in found if row["wh"] is not None}


@pytest.mark.parametrize("hour", [0, 10])
@pytest.mark.parametrize("seed", range(4))
def test_nothing_is_lost_in_whatever_order_the_days_come(field: Field, house: int, hour: int, seed: int) -> None:
    order = list(range(DAYS))
    random.Random(seed).shuffle(order)
    for day in order:
        _write(field, _day(day, hour))
        field.settle_all(NOW + HOUR)
    found = field.intervals()
    first, last = (T0 + d * DAY + hour * HOUR for d in (0, DAYS - 1))
    assert sum(_fed_in(field).values()) == FED_IN_WH * ((last - first) // DAY)
    assert _fed_in(field)[DAY0 + timedelta(days=3)] == _fed_in(field)[DAY0 + timedelta(days=4)] == FED_IN_WH
    field.mark(field.one("select area_id from area"), [DAY0 + timedelta(days=d) for d in range(DAYS)])
    field.settle_all(NOW + HOUR)
    assert_same_rows(field.intervals(), found)


def test_a_meter_that_never_feeds_in_is_not_looked_at_further(field: Field, house: int) -> None:
    field.readings(house, [(T0 + k * QUARTER, 10 * k) for k in range(3 * 96 + 1)])
    field.mark(field.one("select area_id from area"), [DAY0])
    field.settle_all(NOW)
    assert field.one("select count(*) from told_in_part") == 0
    assert _fed_in(field) == {}
