"""A small settled area to change things in: real settlement, real billing, a clock that tests own."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from headend.billing.service import BillingService
from headend.domain.calendar import LocalCalendar
from headend.domain.changes import Change, ChangeOrder
from headend.settlement.service import SettlementService
from headend.store import billing, changes
from headend.store.changes import Preview, StoredChange
from support.field import DAY, HOUR, T0, Field

NOW = T0 + 10 * DAY
"""Midnight that begins the 12th of March: days 2 to 11 March are over."""
NOON_8 = T0 + 6 * DAY + 12 * HOUR
"""Local noon of 8 March."""


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

    def courtyard(self) -> int:
        """S1 on A1, with H1 and H2 behind it that have meters of their own since 5 March; all marked. The area."""
        area = self.area_id("A1")
        shared, meter = self.metered(area, "S1", "shared", serial="M-S1")
        self.readings(meter, self.hourly(0, 10, wh=1000), export=0)
        for code in ("H1", "H2"):
            own = self.meter(f"M-{code}")
            self.install(self.point(area, code, behind=shared), own, since=T0 + 3 * DAY, start=0)
            self.readings(own, self.hourly(3, 10, wh=500), export=0)
        self.mark_settled(area)
        return area

    def mark_settled(self, area: int) -> None:
        """Every day that was settled."""
        self.mark(area, [row["day"] for row in self.rows("select distinct day from balance_day")])

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
        later = self.now + HOUR
        self.settle_all(later)
        SettlementService(self.store, self.settings, lambda: later)._finalise()
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
