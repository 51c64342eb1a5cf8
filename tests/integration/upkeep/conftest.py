"""Readings of some meters over some days, on whichever kind of database there is, and the chores that tend them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from headend.settings import Settings
from headend.store import partitions
from headend.store.partitions import Partitions
from headend.store.pool import Store
from headend.upkeep.storage import StorageChores
from support.operations import TOPOLOGY

FIRST = date(2026, 3, 1)
NOW = datetime(2026, 3, 25, 9, tzinfo=UTC)


class Kept:
    """A store with readings every quarter-hour, and its chores as of `now`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = NOW
        with store.transaction() as connection:
            self.native = partitions.is_native(connection)

    def chores(self, **storage: Any) -> StorageChores:
        """With these settings; nothing else keeps the readings."""
        settings = Settings(database={"dsn": self.store.dsn})
        chosen = settings.storage.model_copy(update=storage)
        return StorageChores(self.store, settings.model_copy(update={"storage": chosen}), lambda: self.now)

    def fill(self, days: int, *, meters: int = 3, first: date = FIRST) -> None:
        """Both tables, from `first` on."""
        Partitions().ensure(self.store, [first + timedelta(days=n) for n in range(days)])
        start = datetime(first.year, first.month, first.day, tzinfo=UTC)
        with self.store.transaction() as connection:
            grid = "from generate_series(1, %s) m, generate_series(0, %s) g"
            span = [start, meters, days * 96 - 1]
            connection.execute(
                "insert into register_reading (meter_id, ts, import_wh, export_wh, voltage_dv, flags, source, "
                "uncertainty_ms, resolution_wh) select m, %s + g * interval '15 min', m * 100000 + g * 10, "
                f"null, 2300 + g %% 7, 0, 3, 0, 10 {grid}".encode(),
                span,
            )
            connection.execute(
                "insert into phase_reading (meter_id, ts, voltage_l1_dv) "
                f"select m, %s + g * interval '15 min', 2300 {grid}".encode(),
                span,
            )
            connection.execute(b"analyze register_reading")

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.store.transaction() as connection:
            return connection.execute(query.encode(), parameters or None).fetchall()

    def digest(self) -> list[tuple[Any, ...]]:
        """All readings, boiled down."""
        return self.rows("select count(*), md5(string_agg(r::text, ',' order by meter_id, ts)) from register_reading r")

    def alerts(self) -> list[tuple[Any, ...]]:
        return self.rows("select subject, cleared_at is null from alert where kind = 'storage' order by alert_id")


@pytest.fixture
def field(store: Store) -> Store:
    """Area A: meters 1 (its own) and 2 polled, 3 and 4 through a concentrator, 5 not reached at all; none installed."""
    with store.transaction() as connection:
        connection.execute(TOPOLOGY)
    return store


@pytest.fixture
def kept(store: Store) -> Kept:
    return Kept(store)


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Locks are waited for a moment only; once it is called as long as ever."""
    with_patience = partitions.LOCK_TIMEOUT_S
    monkeypatch.setattr(partitions, "LOCK_TIMEOUT_S", 0.2)
    return lambda: monkeypatch.setattr(partitions, "LOCK_TIMEOUT_S", with_patience)
