"""A small area whose knowledge grows at instants of our choosing: topology stamped, readings through the writer."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.settlement.differences import Side
from headend.settlement.grid import DayRange
from headend.settlement.known import AreaAsKnown, as_known, in_memory
from headend.settlement.rules import Rules
from headend.settlement.settler import settle_marked
from headend.store import dirty, history, intervals
from headend.store.pool import Store
from headend.store.vectors import ABSENT
from support.desk import item
from support.field import DAY0, T0, Field

Vectors = dict[tuple[int, date], dict[str, list[int]]]
"""(usage_point_id, day) → its vectors."""
_VECTORS = ("import_wh", "export_wh", "quality", "flags")
_BALANCE = ("supplied_wh", "delivered_wh", "loss_wh", "gross_wh", "intervals_complete", "coverage_intervals", "state")


class Chronicle(Field):
    """A Field with a clock; what it does is known from then on."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.now = T0 - timedelta(days=1)
        super().__init__(store, settings)
        self.rules = Rules.of(settings.settlement, settings.validation)
        self._writer = ReadingWriter(store, settings, lambda: self.now)

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        with self.store.transaction() as c:
            history.stamp(c, self.now)
            row = c.execute(sql.encode(), parameters).fetchone()
        assert row is not None, sql
        return row[0]

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        with self.store.transaction() as c:
            history.stamp(c, self.now)
            c.execute(sql.encode(), parameters)

    def change(self, *statements: tuple[str, Sequence[Any]]) -> None:
        """In one transaction."""
        with self.store.transaction() as c:
            history.stamp(c, self.now)
            for sql, parameters in statements:
                c.execute(sql.encode(), parameters)

    @property
    def today(self) -> date:
        return self.rules.calendar.day_of(self.now)

    def receive(self, samples: Iterable[tuple[str, datetime, int | None]]) -> None:
        """One message of readings (serial, instant, import register) that arrives now."""
        found = item(*samples)
        assert self._writer.write([found]).quarantined == {}

    def settle(self) -> None:
        """Every day up to the running one, and what that passes on: what is marked is the matter of other tests."""
        areas = [row["area_id"] for row in self.rows("select area_id from area order by 1")]
        with self.store.transaction() as c:
            for area in areas:
                dirty.mark_area(c, area, DAY0, max(DAY0, self.today), self.now)
        for _ in range(50):
            settled = 0
            for area in areas:
                with self.store.transaction() as c:
                    dirty.lock_area(c, area)
                    marks = dirty.marks(c, area, dirty.Ripe.now(self.now), 31)
                    if marks:
                        settled += settle_marked(c, area, marks, self.rules, self.now).days
            if not settled:
                return
        raise AssertionError("settling does not come to an end")

    def settled(self) -> Vectors:
        """What is stored now."""
        with self.store.transaction() as c:
            points = [row[0] for row in c.execute(b"select usage_point_id from usage_point").fetchall()]
            found = intervals.days_of_points(c, points, DAY0, self.today)
        return {(r["usage_point_id"], r["day"]): {name: r[name].tolist() for name in _VECTORS} for r in found}

    def balanced(self) -> dict[tuple[int, date], dict[str, Any]]:
        """Balances stored now."""
        found = self.rows("select * from balance_day")
        return {(r["area_id"], r["day"]): {name: r[name] for name in _BALANCE} for r in found}

    def recalled(self, area: int, known_at: datetime, last: date, *, settled_at: datetime | None = None) -> Side:
        """Days of an area settled in memory as they were known at an instant; the running day as of `settled_at`."""
        with self.store.transaction() as c:
            history.write_nothing(c)
            days = DayRange(self.rules.calendar, DAY0, last)
            return in_memory(c, area, days, self.rules, now=settled_at or known_at, known_at=known_at)

    def as_known(self, known_at: datetime, last: date | None = None, area: str = "A1") -> AreaAsKnown:
        """Days from the first on, both sides and their difference, of one area; of at most a month."""
        found = as_known(self.store, self.settings, lambda: self.now, DAY0, last or self.today, known_at=known_at)
        (own,) = [one for one in found if one.area == area]
        return own


def vectors_of(side: Side, days: DayRange) -> Vectors:
    """What a settling in memory comes to, as `Chronicle.settled` tells what is stored."""
    settled = side.computed.settled
    found: Vectors = {}
    for p, point in enumerate(settled.points):
        for d, day in enumerate(days.days):
            here = days.day_slice(d)
            if settled.served[p, here].any():
                found[point.usage_point_id, day] = {
                    "import_wh": _plain(settled.import_wh[p, here]),
                    "export_wh": _plain(settled.export_wh[p, here]),
                    "quality": settled.quality[p, here].tolist(),
                    "flags": settled.flags[p, here].tolist(),
                }
    return found


def _plain(values: Any) -> list[int]:
    return np.where(values == np.iinfo(np.int64).min, ABSENT, values).tolist()
