"""A small settled area, a billing service on it, and the real billing import endpoint."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from headend.billing.service import BillingService
from headend.embedded.billing_process import EmbeddedBilling
from headend.settings import Billing, Database, Settings
from headend.store.pool import Store

SECRET = "of the tests"
DAY = date(2026, 11, 2)
NOW = datetime(2026, 11, 20, 3, tzinfo=UTC)


class Neighbourhood:
    """Writes settled days straight into the store, as the settlement leaves them."""

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.transaction() as c:
            c.execute("insert into station (code, name) values ('S1', 'Station')")
            c.execute("insert into area (code, station_id, name) values ('A1', 1, 'Area'), ('A2', 1, 'Area 2')")
        self.point("H1")
        self.point("H2")

    def point(self, code: str, kind: str = "customer", behind: int | None = None, area: int = 1) -> int:
        """A usage point with a meter, for ever."""
        with self.store.transaction() as c:
            found = c.execute(
                "insert into usage_point (code, kind, category) values (%s, %s, 'residential') "
                "returning usage_point_id",
                [code, kind],
            ).fetchone()
            assert found is not None
            c.execute(
                "insert into area_membership (usage_point_id, area_id, behind_usage_point_id, valid_from) "
                "values (%s, %s, %s, '2026-01-01')",
                [found[0], area, behind],
            )
            c.execute(
                "insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) "
                "values ('Acme', %s, 'x', 1, 8, 10)",
                [code],
            )
            c.execute(
                "insert into installation (usage_point_id, meter_id, valid_from) "
                "select %s, meter_id, '2026-01-01' from meter where serial = %s",
                [found[0], code],
            )
        return int(found[0])

    def settle(
        self,
        point: int,
        day: date = DAY,
        energy_wh: list[int | None] | None = None,
        *,
        export_wh: int = 0,
        quality: int = 1,
        area: int = 1,
        final: bool = True,
        at: datetime = NOW - timedelta(hours=1),
    ) -> None:
        """A settled day of 24 hours; energy is given per hour."""
        energy = energy_wh if energy_wh is not None else [100] * 24
        starts_at = datetime(day.year, day.month, day.day, tzinfo=UTC) - timedelta(hours=8)
        with self.store.transaction() as c:
            c.execute("delete from interval_day where usage_point_id = %s and day = %s", [point, day])
            c.execute(
                """insert into interval_day (usage_point_id, day, starts_at, interval_s, import_wh, export_wh, quality,
                       flags, start_import_wh, end_import_wh, meters, multiplier, measured, estimated, rules,
                       start_mark, end_mark, settled_at)
                   values (%(point)s, %(day)s, %(starts_at)s, 3600, %(import)s, %(export)s, %(quality)s, %(flags)s,
                       5000, %(end)s, (select array_agg(meter_id) from installation where usage_point_id = %(point)s),
                       1, 24, 0, 1, 0, 0, %(at)s)""",
                {
                    "point": point,
                    "day": day,
                    "starts_at": starts_at,
                    "import": energy,
                    "export": [export_wh] + [0] * 23,
                    "quality": [quality] * 24,
                    "flags": [0] * 24,
                    "end": 5000 + sum(e or 0 for e in energy),
                    "at": at,
                },
            )
            c.execute("delete from balance_day where area_id = %s and day = %s", [area, day])
            c.execute(
                """insert into balance_day (area_id, day, state, starts_at, interval_s, intervals, intervals_complete,
                       households, households_measured, supplied_interval_wh, delivered_interval_wh,
                       technical_interval_wh, final, settled_at, changed_at)
                   values (%s, %s, 'normal', %s, 3600, 24, 24, 2, 2, '{}', '{}', '{}', %s, %s, %s)""",
                [area, day, starts_at, final, at, at],
            )

    def count(self, table: str) -> int:
        """Rows of a table."""
        with self.store.transaction() as c:
            found = c.execute(f"select count(*) from {table}".encode()).fetchone()
        assert found is not None
        return int(found[0])


@pytest.fixture
def neighbourhood(store: Store) -> Neighbourhood:
    """Two households (usage points 1 and 2) on area 1, nothing settled yet."""
    return Neighbourhood(store)


@pytest.fixture
def service(store: Store, dsn: str) -> Callable[[str | None], BillingService]:
    """Builds the billing service for an endpoint's URL."""

    def make(url: str | None) -> BillingService:
        billing = Billing(
            endpoint_url=url, secret=SecretStr(SECRET), timeout_s=1.0, retry_first_s=0.05, retry_most_s=0.2
        )
        return BillingService(store, Settings(database=Database(dsn=dsn), billing=billing), lambda: datetime.now(UTC))

    return make


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[EmbeddedBilling]:
    """The demo's billing import endpoint, in its own process."""
    with EmbeddedBilling(tmp_path / "billing", secret=SECRET, port=0) as running:
        yield running
