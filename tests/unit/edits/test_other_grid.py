"""An edit that was made on another grid: where it is not whole on the new one it cannot hold, and nothing breaks."""

from __future__ import annotations

from datetime import date
from uuid import UUID

import numpy as np
import pytest

from headend.settings import Settlement
from headend.settlement.edited import EditedPoint, SetValues
from headend.settlement.edits import edits_on_grid
from headend.settlement.grid import DayRange
from headend.settlement.rules import Rules
from headend.settlement.topology import Point
from headend.store.edits import EditHead

LONG, SHORT = date(2026, 4, 5), date(2026, 10, 4)
"""Lord Howe Island puts its clocks back and forward by half an hour: days of 24.5 and 23.5 hours."""


@pytest.mark.parametrize("day", [LONG, SHORT])
@pytest.mark.parametrize(("was_s", "is_s", "holds"), [(900, 3600, False), (3600, 900, False), (900, 1800, True)])
def test_an_edit_over_the_change_of_clocks(day: date, was_s: int, is_s: int, holds: bool) -> None:
    then, now = (_days(day, interval_s) for interval_s in (was_s, is_s))
    head = _head(then, 0, was_s)
    edit = SetValues(head, np.full(then.intervals, 60, dtype=np.int64))
    edited = EditedPoint(Point(1, "P1", "customer", 60, (), ()), {}, now, [edit])
    (found,) = edits_on_grid(edited, "import", np.ones(now.intervals, dtype=np.int64))
    assert (found.on_grid, found.first, len(found.energy_wh)) == (holds, 0, now.intervals)
    assert int(found.energy_wh.sum()) == (60 * then.intervals if holds else 0)


@pytest.mark.parametrize("day", [LONG, SHORT])
def test_on_its_own_grid_a_longer_last_interval_is_one(day: date) -> None:
    days = _days(day, 3600)
    head = _head(days, -3, 3600)
    edited = EditedPoint(
        Point(1, "P1", "customer", 60, (), ()), {}, days, [SetValues(head, np.array([5, 7], dtype=np.int64))]
    )
    (found,) = edits_on_grid(edited, "import", np.ones(days.intervals, dtype=np.int64))
    assert (found.on_grid, found.first, found.energy_wh.tolist()) == (True, days.intervals - 2, [5, 7])


def _days(day: date, interval_s: int) -> DayRange:
    rules = Rules.of(Settlement.model_validate({"zone": "Australia/Lord_Howe", "interval_s": interval_s}))
    return DayRange(rules.calendar, day, day)


def _head(days: DayRange, first: int, interval_s: int) -> EditHead:
    return EditHead(
        edit_id=UUID(int=1), number=1, usage_point_id=1, direction="import", from_us=int(days.grid_us[first]),
        to_us=int(days.grid_us[-1]), interval_s=interval_s,
    )  # fmt: skip
