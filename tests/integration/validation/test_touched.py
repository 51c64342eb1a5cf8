"""What changes a flag without a new register marks its day: a clock that was read, another value of one instant."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from headend.domain.calendar import to_us
from headend.domain.quality import ValidationFlag as F
from headend.domain.topology import PollTarget
from headend.ingest.clock_book import ClockBook
from headend.ingest.clock_offset import ClockOffset
from support.field import DAY0, T0
from support.ward import Ward

NOON = T0 + timedelta(hours=12)


def _read_clock(ward: Ward, meter: int, at: datetime, offset_s: float | None) -> list[object]:
    """The days that it marks."""
    target = PollTarget(meter, "Acme", "HOME", "m", "modbus+tcp://127.0.0.1:1", 1, False, "A1")
    offset = ClockOffset(to_us(at), None if offset_s is None else round(offset_s * 1e6), 20_000, 10_000, ())
    with ward.store.transaction() as connection:
        ClockBook(ward.field.settings).put(connection, target, offset, now=at)
    found = [row["day"] for row in ward.field.rows("select day from dirty_day order by day")]
    ward.field.run("delete from dirty_day")
    return found


@pytest.fixture
def home(ward: Ward) -> int:
    """Its meter; the day is settled."""
    ward.read(ward.total, lambda k: 11 + k % 3)
    meter = ward.house("HOME")
    ward.read(meter, {})
    ward.settle()
    return meter


def test_a_clock_marks_its_day_when_it_is_off_and_when_it_is_right_again(ward: Ward, home: int) -> None:
    assert _read_clock(ward, home, NOON, 0.9) == [], "nothing that a rule could find fault with"
    assert _read_clock(ward, home, NOON + timedelta(hours=1), 75.0) == [DAY0]
    assert _read_clock(ward, home, NOON + timedelta(hours=2), 0.2) == [DAY0], "until then it was off"
    assert _read_clock(ward, home, NOON + timedelta(hours=3), 0.2) == []
    assert _read_clock(ward, home, NOON + timedelta(hours=4), None) == [DAY0], "it names no instant"
    late = T0 + timedelta(days=1, minutes=5)
    assert _read_clock(ward, home, late, -75.0) == [DAY0 + timedelta(days=1)], "its own local day"
    ward.settle()
    assert ward.slots("HOME", F.CLOCK_DRIFT) == [*range(52, 56), *range(64, 96)]
