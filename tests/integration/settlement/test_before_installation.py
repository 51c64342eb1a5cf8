"""A reading from before its meter was installed marks the day on which that is said: where its service begins."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pytest

from headend.domain.quality import ValidationFlag as F
from headend.ingest.writer import ReadingWriter
from headend.store.pool import Store
from support.desk import Sample, item
from support.field import DAY, DAY0, QUARTER, T0
from support.ward import Ward

INSTALLED = T0 + 3 * DAY + timedelta(hours=12)
FIRST = DAY0 + 3 * DAY


@pytest.fixture
def ward(store: Store, dsn: str) -> Ward:
    """HOME is installed at noon of the fourth day, which is settled; nothing of it has been read."""
    made = Ward(store, dsn)
    _write(made, *(("sum", T0 + k * QUARTER, 11 * k) for k in range(4 * 96 + 1)))
    made.house("HOME", since=INSTALLED)
    made.settle(FIRST)
    made.field.run("delete from dirty_day")
    assert made.slots("HOME", F.BEFORE_INSTALLATION, FIRST) == []
    return made


def _write(ward: Ward, *samples: Sample) -> None:
    ReadingWriter(ward.store, ward.field.settings, lambda: T0 + 30 * DAY).write([item(*samples)])


def _marks(ward: Ward, read_at: datetime) -> list[date]:
    """Days that a reading of HOME marks; they are settled afterwards."""
    _write(ward, ("HOME", read_at, 7))
    found = [row["day"] for row in ward.field.rows("select day from dirty_day order by day")]
    ward.field.settle_all(T0 + 31 * DAY)
    return found


def test_the_day_on_which_its_service_begins_is_settled_again(ward: Ward) -> None:
    assert _marks(ward, T0 + 2 * DAY) == [FIRST]
    assert ward.slots("HOME", F.BEFORE_INSTALLATION, FIRST) == [48]


def test_so_it_is_wherever_an_older_one_stands_between(ward: Ward) -> None:
    """The crew's own reading, ten minutes before, is no finding; the one of the day before is."""
    _marks(ward, INSTALLED - timedelta(minutes=10))
    assert ward.slots("HOME", F.BEFORE_INSTALLATION, FIRST) == []
    assert _marks(ward, INSTALLED - DAY) == [FIRST]
    assert ward.slots("HOME", F.BEFORE_INSTALLATION, FIRST) == [48]


def test_a_reading_from_where_it_served_before_touches_nothing_here(ward: Ward) -> None:
    elsewhere = ward.field.area("A2")
    meter = ward.field.one("select meter_id from meter where serial = 'HOME'")
    ward.field.install(ward.field.point(elsewhere, "OLD"), meter, until=T0 + DAY)
    _write(ward, ("HOME", T0 - DAY, 7))
    found = ward.field.rows("select a.code, d.day from dirty_day d join area a using (area_id) order by 1")
    assert found == [{"code": "A2", "day": DAY0}], "its service began there"


def test_a_reading_of_long_ago_touches_nothing(ward: Ward) -> None:
    assert _marks(ward, INSTALLED - 45 * DAY) == []
