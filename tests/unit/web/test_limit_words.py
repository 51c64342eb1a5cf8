"""Every limit that the engine knows has words in both languages, which take the numbers that come with it."""

from __future__ import annotations

import re

import pytest

from headend.web import limit_words
from reconciliation import LimitCode

NUMBERS = {
    "days": 1.5, "days_needed": 2.0, "intervals_read": 10.0, "intervals": 2688.0, "meters_hardly_read": 3.0,
    "meters": 40.0, "meters_with_voltage": 7.0, "busbar_share": 0.5, "phases_missing": 1.0, "interval_s": 3600.0,
    "days_wanted": 14.0, "missing_share": 0.25,
}  # fmt: skip


@pytest.mark.parametrize("code", list(LimitCode))
def test_every_code_has_words(code: LimitCode) -> None:
    said = limit_words.of({"code": code.value, "numbers": NUMBERS})
    assert said.english.endswith(".")
    assert re.search("[\u4e00-\u9fff]", said.chinese)
    assert "{" not in said.english + said.chinese
    assert limit_words.title(code.value).islower() or "CT" in limit_words.title(code.value)


def test_an_interval_is_told_in_minutes() -> None:
    said = limit_words.of({"code": "long_intervals", "numbers": {"interval_s": 3600.0}})
    assert "60 min" in said.english


@pytest.mark.parametrize("numbers", [{}, {"days": None, "days_wanted": 14.0}])
def test_a_number_that_lacks_is_not_made_up(numbers: dict[str, float | None]) -> None:
    assert limit_words.of({"code": "few_days", "numbers": numbers}).english.startswith("Few days")
