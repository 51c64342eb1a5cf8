"""A small area in a real database, for tests of settlement: topology and readings by plain SQL, as other rooms would
have stored them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from headend.domain.calendar import LocalCalendar
from headend.settings import Settings
from headend.settlement.service import SettlementService
from headend.store.pool import Store

T0 = datetime(2026, 3, 1, 16, 0, tzinfo=UTC)
"""Midnight in Asia/Shanghai of 2 March 2026, a Monday."""
DAY0 = date(2026, 3, 2)
QUARTER, HOUR, DAY = timedelta(minutes=15), timedelta(hours=1), timedelta(days=1)


class Field:
    """Writes topology, readings and dirty marks, and reads back what was settled."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings
        with store.transaction() as c:
            for table in ("register_reading", "phase_reading"):
                partitioned = c.execute("select relkind = 'p' from pg_class where relname = %s", [table]).fetchone()
                if partitioned == (True,):
                    c.execute(f"create table if not exists {table}_rest partition of {table} default".encode())
            c.execute("insert into station (code, name) values ('S1', 'Station 1') on conflict do nothing")

    def one(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        with self.store.transaction() as c:
            row = c.execute(sql.encode(), parameters).fetchone()
        assert row is not None, sql
        return row[0]

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        return self.store.rows(sql.encode(), parameters)

    def run(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        with self.store.transaction() as c:
            c.execute(sql.encode(), parameters)

    def area(self, code: str = "A1") -> int:
        return int(
            self.one(
                "insert into area (code, station_id, name) select %s, station_id, %s from station returning area_id",
                [code, code],
            )
        )

    def point(
        self,
        area_id: int,
        code: str,
        kind: str = "customer",
        *,
        behind: int | None = None,
        since: datetime = T0,
        until: datetime | None = None,
        rated: int | None = 60,
        category: str = "residential",
    ) -> int:
        if kind == "area":
            category = "none"
        point = int(
            self.one(
                "insert into usage_point (code, kind, category, rated_current_a) values (%s, %s, %s, %s) returning "
                "usage_point_id",
                [code, kind, category, rated],
            )
        )
        self.run(
            "insert into area_membership (usage_point_id, area_id, behind_usage_point_id, valid_from, valid_to) "
            "values (%s, %s, %s, %s, %s)",
            [point, area_id, behind, since, until],
        )
        return point

    def meter(self, serial: str, *, phases: int = 1, digits: int = 8, resolution_wh: int = 1) -> int:
        return int(
            self.one(
                "insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) values ('Acme', %s, "
                "'m', %s, %s, %s) returning meter_id",
                [serial, phases, digits, resolution_wh],
            )
        )

    def install(
        self,
        point: int,
        meter: int,
        *,
        since: datetime = T0,
        until: datetime | None = None,
        multiplier: str = "1",
        sign: int = 1,
        start: int | None = None,
        end: int | None = None,
    ) -> None:
        self.run(
            "insert into installation (usage_point_id, meter_id, valid_from, valid_to, multiplier, sign, "
            "start_import_wh, end_import_wh) values (%s, %s, %s, %s, %s, %s, %s, %s)",
            [point, meter, since, until, multiplier, sign, start, end],
        )

    def metered(
        self,
        area_id: int,
        code: str,
        kind: str = "customer",
        *,
        serial: str | None = None,
        since: datetime = T0,
        phases: int = 1,
        multiplier: str = "1",
    ) -> tuple[int, int]:
        """A usage point and its meter, whose registers begin at 0; named alike where no serial is given."""
        point = self.point(area_id, code, kind, since=since, rated=None if kind == "area" else 60)
        meter = self.meter(serial or code, phases=phases)
        self.install(point, meter, since=since, multiplier=multiplier, start=0)
        return point, meter

    def readings(
        self,
        meter: int,
        values: Iterable[tuple[datetime, int | None]],
        *,
        export: int | None = None,
        voltage_dv: int | None = None,
    ) -> None:
        with self.store.transaction() as c, c.cursor() as cursor:
            cursor.executemany(
                "insert into register_reading (meter_id, ts, import_wh, export_wh, voltage_dv, flags, source, "
                "uncertainty_ms) values (%s, %s, %s, %s, %s, 0, 3, 0) on conflict do nothing",
                [(meter, ts, value, export, voltage_dv) for ts, value in values],
            )

    def store_readings(self, values: Sequence[tuple[int, datetime, int]]) -> None:
        """Many at once (meter_id, instant, import register), export 0; what is stored already stays."""
        with self.store.transaction() as c:
            c.execute(
                "insert into register_reading (meter_id, ts, import_wh, export_wh, flags, source, uncertainty_ms) "
                "select m, t, v, 0, 0, 3, 0 from unnest(%s::int[], %s::timestamptz[], %s::bigint[]) as r (m, t, v) "
                "on conflict do nothing",
                [[m for m, _, _ in values], [t for _, t, _ in values], [v for _, _, v in values]],
            )

    def mark(self, area_id: int, days: Iterable[date], at: datetime = T0 - timedelta(days=1)) -> None:
        with self.store.transaction() as c, c.cursor() as cursor:
            cursor.executemany(
                "insert into dirty_day values (%s, %s, %s) on conflict (area_id, day) do update set marked_at = "
                "excluded.marked_at",
                [(area_id, day, at) for day in days],
            )

    def mark_reading(self, area_id: int, instants: Iterable[datetime], at: datetime = T0) -> None:
        """As ingest does: the local day that each reading lies in."""
        calendar = LocalCalendar(self.zone, self.settings.settlement.interval_s)
        self.mark(area_id, {calendar.day_of(ts) for ts in instants}, at)

    def settle_all(self, now: datetime, *, most: int = 50) -> int:
        """What is marked and whatever that passes on, as the role settle does it at an instant; how many passes."""
        service = SettlementService(self.store, self.settings, lambda: now)
        for passes in range(most):
            if service.settle_next() is None:
                return passes
        raise AssertionError(f"settling does not come to an end in {most} passes")

    def waiting(self) -> int:
        """How many sessions of this database wait for a lock."""
        sql = "select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()"
        return int(self.one(sql))

    @property
    def zone(self) -> Any:
        return ZoneInfo(self.settings.settlement.zone)

    def intervals(self) -> list[dict[str, Any]]:
        found = self.rows("select * from interval_day order by usage_point_id, day")
        for row in found:
            row.pop("settled_at")
        return found

    def balances(self, day: date | None = None) -> list[dict[str, Any]]:
        found = self.rows(
            "select * from balance_day where %s::date is null or day = %s order by area_id, day", [day, day]
        )
        for row in found:
            row.pop("settled_at")
            row.pop("changed_at")
        return found


def assert_same_rows(found: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]]) -> None:
    """Rows of settled days; what differs is named by its place and its columns."""
    assert len(found) == len(wanted)
    for one, other in zip(found, wanted, strict=True):
        different = {key: (one[key], other[key]) for key in other if one[key] != other[key]}
        assert not different, (other.get("usage_point_id"), other.get("day"), different)
