"""What a crew reads: the page's own names, kWh to the last digit, local time."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from headend.web.rollout_words import plainly

ZONE = ZoneInfo("Asia/Shanghai")


@pytest.mark.parametrize(
    ("said", "read"),
    [
        ("seal: is missing", "Seal number: is missing"),
        ("step household_meter_installed is not closed", "step “Household meter installed” is not closed"),
        (
            "the register reads 328370 Wh, and only 828360 to 829532 Wh would agree",
            "the register reads 328.370 kWh, and only 828.360 to 829.532 kWh would agree",
        ),
        (
            "removed_at: 2026-11-23T14:45:00.25+00:00 lies before the meter of UP-1 was installed",
            "Removed at: 2026-11-23 22:45 lies before the meter of UP-1 was installed",
        ),
        ("noted 2026-11-23T23:59:07Z", "noted 2026-11-24 07:59:07"),
        ("start_import_wh is missing", "“Start register” is missing"),
        ("unknown_word: 12 kWh", "unknown_word: 12 kWh"),
        ("Old Courtyard flat 1 is not commissioned", "Old Courtyard flat 1 is not commissioned"),
    ],
)
def test_machine_words_become_the_pages(said: str, read: str) -> None:
    assert plainly(said, ZONE) == read
