"""A usage point that moves between areas: what one of them settles decides days of the other, too.

Whatever days either of them is settled with, a gap over the move keeps its register difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

import pytest

from headend.domain.quality import ValidationFlag as Flag
from headend.settlement.mass import settle_days
from support.field import DAY, DAY0, HOUR, QUARTER, T0, Field, assert_same_rows

NOW = T0 + 10 * DAY + HOUR
MOVED = T0 + 7 * DAY
"""Midnight that begins Monday the 9th: the point hangs on A1 before it, on A2 from it on."""
GAP = (T0 + 6 * DAY + 10 * HOUR, T0 + 7 * DAY + 16 * HOUR)
LATE = range(2 * 96 + 1, 3 * 96)
"""Readings of Wednesday the 4th, whose morning took much: they come last, and make it a reference for Monday's."""


def _register(k: int) -> int:
    return 25 * k + 1000 * max(min(k - (2 * 96 + 20), 24), 0)


@pytest.fixture
def house(field: Field) -> int:
    """Its meter's id."""
    first, second = field.area("A1"), field.area("A2")
    point = field.point(first, "H", until=MOVED)
    field.run(
        "insert into area_membership (usage_point_id, area_id, valid_from) values (%s, %s, %s)", [point, second, MOVED]
    )
    meter = field.meter("h")
    field.install(point, meter, start=0)
    return meter


def _read(field: Field, meter: int, quarters: Sequence[int]) -> None:
    field.store_readings(
        [(meter, T0 + k * QUARTER, _register(k)) for k in quarters if not GAP[0] < T0 + k * QUARTER < GAP[1]]
    )


def _mark_all(field: Field) -> None:
    for area in field.rows("select area_id from area order by 1"):
        field.mark(area["area_id"], [DAY0 + timedelta(days=d) for d in range(10)], at=NOW - DAY)


def _in_gap(field: Field) -> int:
    """Settled energy from the day of the gap's beginning to that of its end."""
    first, last = (DAY0 + timedelta(days=d) for d in (6, 7))
    sql = "select sum((select sum(x) from unnest(import_wh) x))::bigint from interval_day where day between %s and %s"
    return int(field.one(sql, [first, last]))


@pytest.mark.parametrize("days", [(2, 2), (0, 9)], ids=["the day alone", "all days"])
def test_a_reference_day_that_came_late_is_followed_on_both_areas(
    field: Field, house: int, days: tuple[int, int]
) -> None:
    _read(field, house, [k for k in range(10 * 96 + 1) if k not in LATE])
    _mark_all(field)
    field.settle_all(NOW)
    assert _in_gap(field) == _register(8 * 96) - _register(6 * 96)
    _read(field, house, LATE)
    first, last = (DAY0 + timedelta(days=d) for d in days)
    settle_days(field.store, field.settings, lambda: NOW, first, last, "A1")
    field.settle_all(NOW)
    found = field.intervals()
    gap_days = [row for row in found if row["day"] in {DAY0 + timedelta(days=d) for d in (6, 7)}]
    assert all(any(f & Flag.BY_REFERENCE_DAYS for f in row["flags"]) for row in gap_days)
    assert _in_gap(field) == _register(8 * 96) - _register(6 * 96)
    _mark_all(field)
    field.settle_all(NOW)
    assert_same_rows(field.intervals(), found)


def test_days_without_energy_are_counted_over_a_move(field: Field, house: int) -> None:
    # nothing is used; the first two days come last, and make the seventh day in a row of the one before the move
    stamps = [T0 + k * QUARTER for k in range(10 * 96 + 1)]
    field.store_readings([(house, at, 5) for at in stamps if at >= T0 + 2 * DAY])
    field.run("update installation set start_import_wh = null")
    _mark_all(field)
    field.settle_all(NOW)
    assert _zero_days(field) == [8, 9]
    field.store_readings([(house, at, 5) for at in stamps if at < T0 + 2 * DAY])
    settle_days(field.store, field.settings, lambda: NOW, DAY0, DAY0 + timedelta(days=9), "A1")
    field.settle_all(NOW)
    assert _zero_days(field) == [6, 7, 8, 9]


def _zero_days(field: Field) -> list[int]:
    return [(r["day"] - DAY0).days for r in field.intervals() if any(f & Flag.ZERO_DAYS for f in r["flags"])]
