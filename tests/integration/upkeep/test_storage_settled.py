"""What was settled from readings that are dropped stays as it is, whatever marks its day afterwards."""

from __future__ import annotations

from datetime import timedelta

import pytest

from headend.domain.gaps import GAP_DAYS
from headend.settings import Settings
from headend.settlement.mass import settle_days
from headend.store import partitions, storage
from headend.store.errors import StoreUnavailable
from headend.store.pool import Store
from support.field import DAY, DAY0, QUARTER, T0, Field

SPAN = GAP_DAYS + 3


@pytest.fixture
def settled(store: Store, dsn: str) -> tuple[Field, int]:
    """An area with a house, read and settled for longer than a gap may reach."""
    field = Field(store, Settings(database={"dsn": dsn}))
    area = field.area()
    (_, total), (_, house) = field.metered(area, "sum", "area", phases=3), field.metered(area, "house")
    for meter, wh in ((total, 210), (house, 200)):
        field.store_readings([(meter, T0 + k * QUARTER, wh * k) for k in range(SPAN * 96 + 1)])
    settle_days(store, field.settings, lambda: T0 + SPAN * DAY, DAY0, DAY0 + (SPAN - 1) * DAY)
    return field, area


def drop(field: Field, days: int) -> None:
    """As the chore does, with the readings of so many days."""
    end = T0 + timedelta(days=days)
    storage.raise_floor(field.store, "register_reading", end, end)
    field.run("delete from register_reading where ts < %s", [end])


def test_a_day_whose_readings_are_gone_keeps_what_it_was_settled_to(settled: tuple[Field, int]) -> None:
    field, area = settled
    intervals, balances = field.intervals(), field.balances()
    assert len(intervals) >= 2 * SPAN
    assert sum(row["measured"] for row in intervals) == 2 * SPAN * 96
    drop(field, 2)
    field.mark(area, [DAY0 + n * DAY for n in range(SPAN)])
    field.settle_all(T0 + SPAN * DAY)
    assert field.rows("select * from dirty_day") == []
    assert field.intervals() == intervals
    assert field.balances() == balances


def test_days_behind_the_reach_of_a_gap_are_still_settled_anew(settled: tuple[Field, int]) -> None:
    field, _ = settled
    drop(field, 2)
    field.run("update register_reading set import_wh = import_wh + 40 where ts >= %s", [T0 + (SPAN - 0.5) * DAY])
    before = {(row["usage_point_id"], row["day"]): row["import_wh"] for row in field.intervals()}
    clock = lambda: T0 + SPAN * DAY  # noqa: E731
    assert (
        settle_days(field.store, field.settings, clock, DAY0, DAY0 + (SPAN - 1) * DAY) <= 2
    )  # of the last, and beyond
    changed = {row["day"] for row in field.intervals() if row["import_wh"] != before[row["usage_point_id"], row["day"]]}
    assert changed == {DAY0 + (SPAN - 1) * DAY}


def test_whoever_settles_holds_the_floor(settled: tuple[Field, int], monkeypatch: pytest.MonkeyPatch) -> None:
    field, _ = settled
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_S", 0.2)
    with field.store.transaction() as settling:
        assert storage.kept_from(settling) is None
        with pytest.raises(StoreUnavailable):
            storage.raise_floor(field.store, "register_reading", T0, T0)
    storage.raise_floor(field.store, "register_reading", T0, T0)
    with field.store.transaction() as settling:
        assert storage.kept_from(settling) == T0


def test_an_estimate_over_a_gap_whose_near_side_is_gone_stays(store: Store, dsn: str) -> None:
    """A gap of three months: estimated once its far side came, kept when its near side is dropped."""
    field = Field(store, Settings(database={"dsn": dsn}))
    area = field.area()
    point, house = field.point(area, "house"), field.meter("house")
    field.install(point, house, start=0)
    near, far = 4, 94
    for first, last in ((0, near), (far, far + 4)):
        field.store_readings([(house, T0 + k * QUARTER, 100 * k) for k in range(first * 96, last * 96 + 1)])
    last_day = DAY0 + (far + 3) * DAY
    clock = lambda: T0 + (far + 4) * DAY  # noqa: E731
    settle_days(store, field.settings, clock, DAY0, last_day)
    before = [row for row in field.intervals() if row["day"] <= last_day]
    assert sum(row["estimated"] for row in before) == (far - near) * 96
    drop(field, near + 1)
    settle_days(store, field.settings, clock, DAY0 + (near + 1 + GAP_DAYS) * DAY, last_day)
    assert [row for row in field.intervals() if row["day"] <= last_day] == before
