"""The step that a reading states: stored by either way in, taken back where settlement and the rollout need it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from drivers.base import MeterIdentity, RegisterReading, Source, batch_of
from headend.domain.calendar import to_us
from headend.ingest.item import Item
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store import intervals, rollout
from headend.store.pool import Store

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
SECOND = timedelta(seconds=1)


def item(*samples: tuple[int, float | None]) -> Item:
    """Readings of Acme/1 so many minutes ago, with their steps."""
    readings = [
        (
            MeterIdentity("Acme", "1"),
            RegisterReading(
                instant_us=to_us(NOW - minutes * MINUTE),
                uncertainty_ms=5,
                import_wh=10_000 - minutes,
                resolution_wh=step,
            ),
        )
        for minutes, step in samples
    ]
    batch = batch_of(readings, Source.MODBUS)
    return Item(channel="modbus", origin="bus", received_us=to_us(NOW), payload=b"[]", batch=batch)


@pytest.fixture
def writer(field_store: Store, settings: Settings) -> ReadingWriter:
    return ReadingWriter(field_store, settings, lambda: NOW)


def test_stored_straight_and_the_careful_way(writer: ReadingWriter, field_store: Store, kit: Any) -> None:
    stored = "select resolution_wh from register_reading order by ts"
    writer.write([item((60, None), (50, 7.8125), (40, 1.0))])
    assert kit.values(field_store, stored) == [(None,), (8,), (1,)]
    writer.write([item((60, 64.0), (55, 62.5), (45, None), (30, 99_999.0))])
    assert kit.values(field_store, stored) == [(None,), (63,), (8,), (None,), (1,), (32_767,)], "what stands, stands"


def test_a_reading_that_is_completed_keeps_the_coarser_step(
    writer: ReadingWriter, field_store: Store, kit: Any
) -> None:
    def half(**registers: Any) -> Item:
        reading = RegisterReading(instant_us=to_us(NOW), uncertainty_ms=5, **registers)
        batch = batch_of([(MeterIdentity("Acme", "1"), reading)], Source.MQTT)
        return Item(channel="mqtt", origin="topic", received_us=to_us(NOW), payload=b"", batch=batch)

    writer.write([half(import_wh=5, resolution_wh=1.0)])
    writer.write([half(export_wh=6, resolution_wh=8.0)])
    assert kit.values(field_store, "select import_wh, export_wh, resolution_wh from register_reading") == [(5, 6, 8)]


def test_read_back_by_settlement_reconciliation_and_rollout(writer: ReadingWriter, field_store: Store) -> None:
    writer.write([item((60, 4.0), (50, None), (40, 8.0), (30, None))])
    since, until = NOW - timedelta(hours=2), NOW
    with field_store.transaction() as connection:
        readings = intervals.readings(connection, [1], since, until)[1]
        assert readings.resolution_wh.tolist() == [4, 0, 8, 0]
        around = intervals.readings(connection, [1], NOW - 45 * MINUTE, NOW - 35 * MINUTE)[1]
        assert around.resolution_wh.tolist() == [4, 0, 8, 0], "those before and after the stretch too"
        assert intervals.resolution_of(connection, [1, 2], since, until) == {1: 8}
        assert intervals.resolution_of(connection, [1], NOW - 35 * MINUTE, until) == {}, "nothing stated there"
        before = rollout.last_import(connection, 1, NOW - 40 * MINUTE)
        after = rollout.next_import(connection, 1, NOW - 40 * MINUTE + SECOND, NOW)
    assert before is not None
    assert after is not None
    assert (before.resolution_wh, after.resolution_wh) == (8, None)
