"""Readings of some meters, stored as the ingest does, and the chores that tend them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from drivers.base import PHASE_DTYPE, READING_DTYPE, Source, empty
from headend.domain.calendar import to_us
from headend.settings import Settings
from headend.store import partitions, readings
from headend.store.partitions import Partitions
from headend.store.pool import Store
from headend.upkeep.storage import StorageChores

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = START + timedelta(days=24, hours=9)
NOTHING = empty(PHASE_DTYPE, 0)


class Book:
    """A store whose old days are compressed where the database can."""

    start = START
    now = NOW
    nothing = NOTHING

    def __init__(self, store: Store) -> None:
        self.store = store
        with store.transaction() as connection:
            self.timescale = not partitions.is_native(connection)
        self.chores = StorageChores(store, Settings(database={"dsn": store.dsn}), lambda: NOW)

    def rows(self, meters: int, first: int, last: int, **values: int) -> npt.NDArray[Any]:
        """Quarter-hours `first` to before `last` since START of meters 1…, in order of time."""
        grid = to_us(START) + np.arange(first, last) * 900_000_000
        found = empty(READING_DTYPE, meters * grid.size)
        found["ts_us"], found["meter"] = np.repeat(grid, meters), np.tile(np.arange(1, meters + 1), grid.size)
        found["import_wh"] = found["meter"] * 100_000 + (found["ts_us"] - to_us(START)) // 900_000_000 * 10
        found["voltage_dv"], found["source"], found["resolution_wh"] = 2300, Source.CONCENTRATOR, 10
        for name, value in values.items():
            found[name] = value
        return found

    def append(self, rows: npt.NDArray[Any]) -> None:
        days = {
            START.date() + timedelta(days=int(n)) for n in np.unique((rows["ts_us"] - to_us(START)) // 86_400_000_000)
        }
        Partitions().ensure(self.store, days)
        with self.store.transaction() as connection:
            readings.append(connection, rows, NOTHING)

    def merge(self, rows: npt.NDArray[Any]) -> readings.Merged:
        with self.store.transaction() as connection:
            return readings.merge(connection, rows, NOTHING, np.empty(0, dtype=np.int64), NOW)

    def values(self, query: str) -> list[tuple[Any, ...]]:
        with self.store.transaction() as connection:
            return connection.execute(query.encode()).fetchall()

    def loose(self) -> int:
        """Compressed chunks with rows beside the columns."""
        if not self.timescale:
            return 0
        found = self.values(
            "select count(*) from _timescaledb_catalog.chunk where status & 8 <> 0 and compressed_chunk_id is not null"
        )
        return int(found[0][0])


@pytest.fixture
def book(store: Store) -> Book:
    return Book(store)
