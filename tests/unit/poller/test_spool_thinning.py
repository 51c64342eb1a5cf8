"""What thinning keeps: first, last, midnights, both sides of every fall; and with them every Wh."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.base import RegisterReading
from headend.domain.calendar import from_us, to_us
from headend.ingest.spool_thinning import wanted

ZONES = [ZoneInfo(name) for name in ("Asia/Shanghai", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns")]


def _reading(at: datetime, import_wh: int | None, export_wh: int | None = None) -> RegisterReading:
    return RegisterReading(instant_us=to_us(at), uncertainty_ms=0, import_wh=import_wh, export_wh=export_wh)


def _known(readings: list[RegisterReading], name: str) -> list[tuple[int, int]]:
    return [(r.instant_us, getattr(r, name)) for r in readings if getattr(r, name) is not None]


def _used(registers: list[tuple[int, int]]) -> int:
    """Energy between the first and the last one, a fall being a fresh start from what the register shows then."""
    steps = pairwise(registers)
    return sum(b - a if b >= a else b for (_, a), (_, b) in steps)


@st.composite
def series(draw: st.DrawFn) -> list[RegisterReading]:
    """A meter's readings across the days on which Berlin's clocks change, with falls and registers not read."""
    at = datetime(2026, 3, 27, 20, tzinfo=UTC) + timedelta(minutes=draw(st.integers(0, 1440)))
    found, import_wh, export_wh = [], 1000, 5
    for _ in range(draw(st.integers(1, 60))):
        at += timedelta(minutes=draw(st.sampled_from([1, 14, 15, 16, 60, 400])))
        if draw(st.integers(0, 15)) == 0:
            import_wh = draw(st.integers(0, 20))
        import_wh += draw(st.integers(0, 50))
        export_wh += draw(st.integers(0, 2))
        lacking = draw(st.integers(0, 9))
        found.append(_reading(at, None if lacking == 0 else import_wh, None if lacking == 1 else export_wh))
    return found


@given(series(), st.sampled_from(ZONES), st.sampled_from([None, 3600]))
def test_first_last_and_midnight_registers_stay_and_so_does_every_wh(
    readings: list[RegisterReading], zone: ZoneInfo, every_s: int | None
) -> None:
    keep = wanted(readings, zone=zone, every_s=every_s)
    kept = [r for r, stays in zip(readings, keep, strict=True) if stays]
    for name in ("import_wh", "export_wh"):
        before, after = _known(readings, name), _known(kept, name)
        assert after[:1] == before[:1]
        assert after[-1:] == before[-1:]
        assert _used(after) == _used(before)
        for a, b in pairwise(before):
            if from_us(a[0]).astimezone(zone).date() != from_us(b[0]).astimezone(zone).date():
                assert a in after
                assert b in after


@given(series(), st.sampled_from(ZONES))
def test_thinning_again_changes_nothing(readings: list[RegisterReading], zone: ZoneInfo) -> None:
    kept = [r for r, k in zip(readings, wanted(readings, zone=zone, every_s=None), strict=True) if k]
    assert all(wanted(kept, zone=zone, every_s=None))
    hourly = [r for r, k in zip(readings, wanted(readings, zone=zone, every_s=3600), strict=True) if k]
    assert len(kept) <= len(hourly)
    assert [r for r, k in zip(hourly, wanted(hourly, zone=zone, every_s=None), strict=True) if k] == kept


def test_a_quarter_hourly_day_is_thinned_to_its_hours_and_to_its_ends() -> None:
    zone = ZoneInfo("Asia/Shanghai")
    begin = datetime(2026, 3, 1, 0, 0, 7, tzinfo=zone)
    day = [_reading(begin + timedelta(minutes=15 * n), 10 * n) for n in range(97)]
    hourly = [i for i, k in enumerate(wanted(day, zone=zone, every_s=3600)) if k]
    assert hourly == [*range(0, 96, 4), 95, 96]
    assert [i for i, k in enumerate(wanted(day, zone=zone, every_s=None)) if k] == [0, 95, 96]


def test_hours_are_those_of_the_zone() -> None:
    zone = ZoneInfo("Asia/Kolkata")  # half past the hour of UTC
    begin = datetime(2026, 3, 1, 10, 0, tzinfo=zone)
    readings = [_reading(begin + timedelta(minutes=30 * n), n) for n in range(6)]
    assert [i for i, k in enumerate(wanted(readings, zone=zone, every_s=3600)) if k] == [0, 2, 4, 5]


@pytest.mark.parametrize("every_s", [None, 3600])
def test_both_sides_of_a_fall_stay(every_s: int | None) -> None:
    zone = ZoneInfo("Asia/Shanghai")
    begin = datetime(2026, 3, 1, 10, 0, tzinfo=zone)
    values = [100, 110, 150, 0, 20, 40]  # reset, or another meter
    readings = [_reading(begin + timedelta(minutes=n), value) for n, value in enumerate(values)]
    assert wanted(readings, zone=zone, every_s=every_s) == [True, False, True, True, False, True]
