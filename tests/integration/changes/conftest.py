"""A small settled area to change things in: real settlement, real billing, a clock that tests own."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from headend.billing.service import BillingService
from headend.domain.calendar import LocalCalendar
from headend.domain.changes import Change, ChangeOrder
from headend.settings import Settings
from headend.settlement.service import SettlementService
from headend.store import billing, changes
from headend.store.changes import Preview, StoredChange
from headend.store.pool import Store
from support.field import DAY0, T0, Field

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
NOW = T0 + 10 * DAY
"""Midnight that begins the 12th of March: days 2 to 11 March are over."""


class Yard(Field):
    """The field with changes made at an instant, settled and billed afterwards."""

    now = NOW

    def order(
        self, what: Change, *, change_id: UUID | None = None, by: str = "Wang Fang", reason: str = "a test"
    ) -> ChangeOrder:
        return ChangeOrder(change_id=change_id or uuid4(), by=by, reason=reason, what=what)

    def change(self, what: Change, **of_order: Any) -> tuple[StoredChange, Preview | None]:
        with self.store.transaction() as connection:
            return changes.apply(connection, self.order(what, **of_order), calendar=self.calendar, now=self.now)

    def preview(self, what: Change) -> Preview:
        with self.store.transaction() as connection:
            return changes.preview(connection, self.order(what), calendar=self.calendar, now=self.now)

    def refused(self, what: Change) -> changes.ChangeRefused:
        before = self.everything()
        with pytest.raises(changes.ChangeRefused) as caught:
            self.change(what)
        assert self.everything() == before
        return caught.value

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        tables = (
            "installation",
            "area_membership",
            "usage_point_category",
            "usage_point",
            "meter",
            "dirty_day",
            "topology_change",
        )
        return {
            table: [r["t"] for r in self.rows(f"select to_jsonb(t) as t from {table} t order by t")] for table in tables
        }

    @property
    def calendar(self) -> LocalCalendar:
        return LocalCalendar(self.zone, self.settings.settlement.interval_s)

    @staticmethod
    def hourly(first: float, last: float, *, wh: int, start: int = 0) -> list[tuple[datetime, int | None]]:
        """Readings on every quarter of an hour from day to day, `wh` an hour."""
        quarters = round((last - first) * 96)
        return [(T0 + first * DAY + k * HOUR / 4, start + k * wh // 4) for k in range(quarters + 1)]

    def area_id(self, code: str) -> int:
        return int(self.one("select area_id from area where code = %s", [code]))

    def dirty(self) -> dict[str, list[int]]:
        """Days of March that are marked, by area."""
        found: dict[str, list[int]] = {}
        for row in self.rows("select a.code, d.day from dirty_day d join area a using (area_id) order by 1, 2"):
            found.setdefault(row["code"], []).append(row["day"].day)
        return found

    def settle(self) -> None:
        """Until nothing is left to settle, and days are final."""
        service = SettlementService(self.store, self.settings, lambda: self.now + HOUR)
        while service.settle_next() is not None:
            pass
        service._finalise()
        assert self.dirty() == {}

    def bill(self) -> list[dict[str, Any]]:
        """What billing is told now that it was not told before."""
        service = BillingService(self.store, self.settings, lambda: self.now)
        told = []
        for number in service.make_batches():
            found = billing.load_batch(self.store, number)
            assert found is not None
            told += [
                {
                    "usage_point": d.usage_point,
                    "day": d.day.day,
                    "wh": d.energy_wh,
                    "category": d.category,
                    "reason": d.reason,
                }
                for d in found[0].determinants
            ]
        return told

    def days_wh(self, code: str) -> dict[int, int | None]:
        """Settled import by day of March, of days that are over; None: not known."""
        found = self.rows(
            "select i.day, (select sum(x) from unnest(i.import_wh) x)::bigint as wh from interval_day i "
            "join usage_point u using (usage_point_id) where u.code = %s order by 1",
            [code],
        )
        return {row["day"].day: row["wh"] for row in found if row["day"] < self.calendar.day_of(self.now)}


@pytest.fixture
def yard(store: Store, dsn: str) -> Yard:
    """Areas A1 and A2 with an area meter each; U1 and U2 on A1, U3 on A2; ten days of 24 kWh each, settled, billed."""
    settings = Settings.model_validate({"database": {"dsn": dsn}, "settlement": {"quiet_s": 0, "grace_days": 0}})
    made = Yard(store, settings)
    for area, points in (("A1", ("U1", "U2")), ("A2", ("U3",))):
        area_id = made.area(area)
        for code in (f"{area}-T", *points):
            point = made.point(area_id, code, "area" if code.endswith("-T") else "customer")
            meter = made.meter(f"M-{code}")
            made.install(point, meter, start=0)
            made.readings(meter, made.hourly(0, 10, wh=3000 if code.endswith("-T") else 1000), export=0)
        made.mark(area_id, [DAY0 + timedelta(days=k) for k in range(10)])
    made.settle()
    made.bill()
    return made
