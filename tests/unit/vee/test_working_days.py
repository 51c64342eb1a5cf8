"""Which days are used like weekends."""

from __future__ import annotations

from datetime import date

import pytest
from pydantic import ValidationError

from headend.settings import Settlement
from headend.settlement.rules import Rules


def test_holidays_and_worked_weekends() -> None:
    given = {"holidays": ["2026-10-01"], "working_days": ["2026-10-10"]}
    working = Rules.of(Settlement.model_validate(given)).working
    assert [working.free(date(2026, 10, d)) for d in (1, 2, 3, 4, 5, 10, 11)] == [
        True, False, True, True, False, False, True,
    ]  # fmt: skip


def test_a_day_is_one_or_the_other() -> None:
    with pytest.raises(ValidationError, match="2026-10-01 is in both holidays and working_days"):
        Settlement.model_validate({"holidays": ["2026-10-01"], "working_days": ["2026-10-01"]})


def test_other_holidays_are_another_rule_set() -> None:
    plain, festive = (Rules.of(Settlement.model_validate(s)).rule_set for s in ({}, {"holidays": ["2026-10-01"]}))
    assert plain.digest != festive.digest
    assert "2026-10-01" in festive.canonical
