"""Objectives of read success: limits in order, and a share that is never rounded up."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from headend.settings import Objectives, Settings
from headend.upkeep.read_success import percent, schedule_of


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"read_success_alert": 0.996}, "read_success_alert = 0.996 is above read_success_warn = 0.995"),
        ({"grace_s": 600}, "grace_s = 600 is less than due_s = 1800"),
        ({"keep_days": 31, "back_days": 40}, "keep_days = 31 is less than back_days = 40"),
        ({"read_success_warn": 1.01}, "less than or equal to 1"),
    ],
)
def test_limits_that_contradict_each_other_are_refused(wrong: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Objectives(**wrong)


def test_defaults_are_those_of_the_field() -> None:
    assert (Objectives().read_success_warn, Objectives().read_success_alert) == (0.995, 0.98)
    assert Objectives(read_success_warn=0.98).read_success_alert == 0.98


def test_how_often_meters_are_expected() -> None:
    def schedule(**sections: Any) -> tuple[int, int, int]:
        found = schedule_of(Settings.model_validate({"database": {"dsn": "dbname=x"}, **sections}))
        return found.period_s, found.area_period_s, found.reporting_s

    assert schedule() == (900, 900, 900)
    assert schedule(poll={"period_s": 600, "area_period_s": 60}, settlement={"interval_s": 300}) == (600, 60, 300)
    assert schedule(objectives={"reporting_s": 3600}) == (900, 900, 3600)


@pytest.mark.parametrize(
    ("ratio", "shown"),
    [(1.0, "100.00 %"), (0.99999, "99.99 %"), (0.98, "98.00 %"), (0.979999, "97.99 %"), (0, "0.00 %")],
)
def test_what_falls_short_does_not_look_as_if_it_did_not(ratio: float, shown: str) -> None:
    assert percent(ratio) == shown
