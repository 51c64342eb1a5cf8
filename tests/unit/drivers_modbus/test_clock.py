"""The system clock, on its own and with a wall clock of the caller's."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

from drivers.modbus.clock import SystemClock


def test_the_callers_wall_clock_is_taken_in_whatever_zone_it_speaks() -> None:
    noon = datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)
    wanted = int(noon.timestamp()) * 1_000_000 + 123456
    assert SystemClock(lambda: noon).now_us() == wanted
    assert SystemClock(lambda: noon.astimezone(timezone(timedelta(hours=8)))).now_us() == wanted


def test_the_machines_clock_is_utc_microseconds() -> None:
    before = time.time_ns() // 1000
    assert before <= SystemClock().now_us() <= time.time_ns() // 1000 + 1
