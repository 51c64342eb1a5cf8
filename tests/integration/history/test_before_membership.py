"""A meter that served while its usage point hung on no area yet: nobody settles those days, and they decide nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from headend.domain.quality import Quality
from headend.domain.quality import ValidationFlag as Flag
from headend.settlement.grid import DayRange
from headend.settlement.known import in_memory
from support.chronicle import Chronicle, vectors_of
from support.field import DAY, DAY0, HOUR, QUARTER, T0, assert_same_rows

HUNG = T0 + 5 * DAY
"""The house hangs on the area since Saturday 7 March; its meter serves since Monday."""
GAP = (T0 + 8 * DAY + 6 * HOUR, T0 + 8 * DAY + 18 * HOUR)
"""On Tuesday; working days before it: Monday on the area, and the five before."""


@pytest.fixture
def area(chronicle: Chronicle) -> int:
    """Read every quarter for ten days, but for the gap; 100 Wh an hour by day, on the area 900 Wh in the evening."""
    area = chronicle.area()
    point = chronicle.point(area, "H", since=HUNG)
    meter = chronicle.meter("h")
    chronicle.install(point, meter, start=0)
    values, register = [], 0
    for k in range(10 * 96 + 1):
        at = T0 + k * QUARTER
        if not GAP[0] < at < GAP[1]:
            values.append((meter, at, register))
        register += 25 if at < HUNG or k % 96 < 60 else 225
    chronicle.store_readings(values)
    chronicle.now = T0 + 10 * DAY + HOUR
    return area


def _settle(chronicle: Chronicle, area: int, days: list[int]) -> None:
    chronicle.mark(area, [DAY0 + timedelta(days=d) for d in days], at=chronicle.now - DAY)
    chronicle.settle_all(chronicle.now)


def test_a_long_gap_has_the_same_shape_whichever_days_are_settled_with_it(chronicle: Chronicle, area: int) -> None:
    for day in range(5, 10):
        _settle(chronicle, area, [day])
    alone = chronicle.intervals()
    (gap_day,) = [row for row in alone if row["day"] == DAY0 + timedelta(days=8)]
    assert any(flags & Flag.BY_REFERENCE_DAYS for flags in gap_day["flags"])
    _settle(chronicle, area, list(range(10)))
    assert_same_rows(chronicle.intervals(), alone)


def test_a_gap_right_after_the_beginning_has_no_reference_day(chronicle: Chronicle, area: int) -> None:
    chronicle.run("update area_membership set valid_from = %s", [T0 + 8 * DAY])
    _settle(chronicle, area, list(range(10)))
    (gap_day,) = [row for row in chronicle.intervals() if row["day"] == DAY0 + timedelta(days=8)]
    in_gap = [f for f, q in zip(gap_day["flags"], gap_day["quality"], strict=True) if q == Quality.ESTIMATED]
    assert in_gap
    assert all(flags & Flag.EVENLY for flags in in_gap)


def test_it_is_recomputed_as_it_was_settled(chronicle: Chronicle, area: int) -> None:
    chronicle.run("update area_membership set valid_from = %s", [T0 + 8 * DAY])
    _settle(chronicle, area, list(range(10)))
    stored = chronicle.settled()
    for first in (0, 8):
        days = DayRange(chronicle.rules.calendar, DAY0 + timedelta(days=first), DAY0 + timedelta(days=9))
        with chronicle.store.transaction() as c:
            side = in_memory(c, area, days, chronicle.rules, now=chronicle.now, known_at=chronicle.now)
        recomputed = {key: row for key, row in vectors_of(side, days).items() if key in stored}
        assert len(recomputed) == 2
        assert recomputed == {key: stored[key] for key in recomputed}


def test_days_without_energy_before_it_count_for_nothing(chronicle: Chronicle, area: int) -> None:
    chronicle.run("update register_reading set import_wh = 7")
    for day in range(5, 10):
        _settle(chronicle, area, [day])
    alone = chronicle.intervals()
    _settle(chronicle, area, list(range(10)))
    assert_same_rows(chronicle.intervals(), alone)
