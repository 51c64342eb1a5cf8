"""A writer on a store with a small topology, and what tests ask of the store behind it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from drivers.base import MeterIdentity, RegisterReading, Source, batch_of
from headend.domain.calendar import to_us
from headend.ingest.item import Item, WriteResult
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store import chunks
from headend.store.partitions import TABLES
from headend.store.pool import Store

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
SHANGHAI_MIDNIGHT = datetime(2026, 11, 19, 16, 0, tzinfo=UTC)
"""00:00 of the 20th."""
MINUTE = timedelta(minutes=1)
Sample = tuple[str, datetime, int | None]


def reading(at: datetime, import_wh: int | None, **more: Any) -> RegisterReading:
    return RegisterReading(instant_us=to_us(at), uncertainty_ms=500, import_wh=import_wh, **more)


def item(*samples: Sample, source: Source = Source.MQTT, **more: Any) -> Item:
    readings = [(MeterIdentity("Acme", serial), reading(at, wh)) for serial, at, wh in samples]
    batch = batch_of(readings, source) if readings else None
    defaults: dict[str, Any] = {"origin": "topic", "received_us": to_us(NOW), "payload": b"payload"}
    return Item(channel="mqtt", batch=batch, **(defaults | more))


class Desk:
    """A writer with what the tests ask of the store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store, self.settings = store, settings
        self.now = NOW
        self.writer = ReadingWriter(store, settings, lambda: self.now)

    def write(self, *items: Item) -> WriteResult:
        return self.writer.write(items)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.store.transaction() as connection:
            return connection.execute(query.encode()).fetchall()

    def pack(self) -> None:
        """Compress every day of readings, where the database can."""
        with self.store.transaction() as connection:
            if not chunks.lay_out(connection):
                return
            for table in TABLES:
                connection.execute("select compress_chunk(c) from show_chunks(%s::regclass) c", [table])
        assert self.rows("select bool_and(is_compressed) from timescaledb_information.chunks") == [(True,)]

    def stored(self) -> list[tuple[Any, ...]]:
        return self.rows("select meter_id, ts, import_wh from register_reading order by 1, 2")

    def dirty(self) -> list[str]:
        """`area day` of every mark, which are taken away."""
        found = self.rows(
            "with gone as (delete from dirty_day returning area_id, day) "
            "select code, day from gone join area using (area_id) order by 1, 2"
        )
        return [f"{code} {day:%d}" for code, day in found]
