"""A small area in a real database that is settled by the rules of some settings; flags told in slots of a day."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any

from headend.settings import Settings
from headend.store.pool import Store
from support.field import DAY0, QUARTER, T0, Field


class Ward:
    """One area with its meter and houses, read every quarter of an hour from the first midnight on."""

    def __init__(self, store: Store, dsn: str, validation: Mapping[str, Any] | None = None) -> None:
        self._dsn = dsn
        self.store = store
        self.field = Field(store, self._settings(validation or {}))
        self.area = self.field.area("A1")
        _, self.total = self.field.metered(self.area, "SUM", "area", serial="sum", phases=3, multiplier="40")

    def _settings(self, validation: Mapping[str, Any]) -> Settings:
        return Settings.model_validate({"database": {"dsn": self._dsn}, "validation": validation})

    def configure(self, **validation: Any) -> None:
        """From now on these rules hold."""
        self.field.settings = self._settings(validation)

    def house(self, code: str, category: str = "residential", *, phases: int = 1, since: datetime = T0) -> int:
        """Its meter."""
        meter = self.field.meter(code, phases=phases)
        self.field.install(self.field.point(self.area, code, category=category), meter, since=since)
        return meter

    def read(
        self, meter: int, energy: Mapping[int, int] | Callable[[int], int], *, days: int = 1, base: int = 0
    ) -> None:
        """Registers from the first midnight on; energy [Wh] by interval, 100 to 128 where it does not say."""
        value, rows = base, []
        for k in range(days * 96 + 1):
            rows.append((meter, T0 + k * QUARTER, value))
            plain = 100 + 7 * (k % 5)
            value += energy(k) if callable(energy) else energy.get(k, plain)
        self.field.store_readings(rows)

    def settle(self, *days: date, after: timedelta = timedelta(days=30)) -> int:
        """Settle days, and whatever they pass on; how many passes there were."""
        self.field.mark(self.area, days or [DAY0])
        return self.field.settle_all(T0 + after)

    def flags(self, code: str, day: date = DAY0) -> list[int]:
        """Of each interval."""
        sql = (
            "select day_vector(flags, cardinality(import_wh)) from interval_day "
            "join usage_point using (usage_point_id) where code = %s and day = %s"
        )
        return list(self.field.one(sql, [code, day]))

    def slots(self, code: str, flag: int, day: date = DAY0) -> list[int]:
        """Intervals that carry a flag."""
        return [k for k, flags in enumerate(self.flags(code, day)) if flags & flag]

    def row(self, code: str, day: date = DAY0) -> dict[str, Any]:
        """What is kept of a settled day."""
        sql = "select d.* from interval_day d join usage_point using (usage_point_id) where code = %s and day = %s"
        (found,) = self.field.rows(sql, [code, day])
        return found
