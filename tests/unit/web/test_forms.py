"""What people type into forms: instants that exist once."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from headend.web.forms import local_instant

BERLIN = ZoneInfo("Europe/Berlin")
SHANGHAI = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2026-03-29T01:59", datetime(2026, 3, 29, 0, 59, tzinfo=UTC)),
        ("2026-03-29T03:00", datetime(2026, 3, 29, 1, 0, tzinfo=UTC)),
        ("2026-10-25T02:30+01:00", datetime(2026, 10, 25, 1, 30, tzinfo=UTC)),
        ("2026-10-25T02:30+02:00", datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("2026-03-02T02:15:00+00:00", datetime(2026, 3, 2, 2, 15, tzinfo=UTC)),
        ("2026-03-02T10:15", datetime(2026, 3, 2, 9, 15, tzinfo=UTC)),
    ],
)
def test_a_local_instant(text: str, says: datetime) -> None:
    assert local_instant(text, BERLIN) == says


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("2026-03-29T02:30", "does not exist: the clocks were put forward over it"),
        ("2026-10-25T02:30", r"happens twice on that day: write it with its offset, \+02:00 or \+01:00"),
        ("yesterday", "is not a date and time"),
    ],
)
def test_an_instant_that_is_none_or_two_is_not_guessed(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        local_instant(text, BERLIN)


@pytest.mark.parametrize("text", ["0001-01-01T00:00", "0001-01-01T00:00+08:00"])
def test_an_instant_before_the_calendar_is_a_fault(text: str) -> None:
    with pytest.raises(ValueError, match="beyond the calendar"):
        local_instant(text, SHANGHAI)
