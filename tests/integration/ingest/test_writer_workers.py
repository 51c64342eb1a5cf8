"""Several writers on one store: nothing twice, nothing half, no mark missed, and none waits for another in a circle."""

from __future__ import annotations

import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from drivers.base import READING_DTYPE, MeterIdentity, ReadingBatch, Source, empty
from headend.domain.calendar import to_us
from headend.ingest.item import Item, Upload, WriteResult, polled
from headend.ingest.writer import ReadingWriter
from headend.store import readings
from support.desk import MINUTE, NOW, Desk, item, reading

DAY = timedelta(days=1)


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], object]], None]]:
    """What another writer does once, after ours has looked at what is stored and before it stores anything."""
    append = readings.append
    pending: list[Callable[[], object]] = []

    def interrupted(*arguments: Any) -> None:
        if pending:
            pending.pop()()
        append(*arguments)

    monkeypatch.setattr(readings, "append", interrupted)
    yield pending.append
    assert not pending


def other(desk: Desk) -> Desk:
    """Another process's writer."""
    return Desk(desk.store, desk.settings)


def test_a_later_reading_that_another_writer_stores_meanwhile_is_no_reason_to_miss_a_day(
    desk: Desk, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    desk.write(item(("1", NOW - 10 * DAY, 0), ("2", NOW - 10 * DAY, 0)))
    desk.dirty()

    def another_writes_and_it_is_settled() -> None:
        other(desk).write(item(("1", NOW, 10)))
        assert desk.dirty() == [f"A {day}" for day in range(10, 21)]

    meanwhile(another_writes_and_it_is_settled)
    desk.write(item(("1", NOW - 5 * DAY, 5)))
    # Ours is in the middle now: what follows it, up to the other one, changes too.
    assert desk.dirty() == [f"A {day}" for day in range(10, 21)]
    assert desk.rows("select ts, import_wh from latest_reading where meter_id = 1") == [(NOW, 10)]
    assert desk.rows("select readings from reading_count where meter_id = 1") == [(3,)]


def test_the_same_rows_stored_by_another_writer_meanwhile(
    desk: Desk, meanwhile: Callable[[Callable[[], object]], None]
) -> None:
    rows = [("1", NOW - MINUTE * k, 100 - k) for k in range(10)]
    meanwhile(lambda: other(desk).write(item(*rows[:4], ("1", NOW - 5 * MINUTE, 999))))
    result = desk.write(item(*rows), item(("2", NOW, 1)))
    # One of the other's rows has another value: its own was first.
    assert (result.stored, result.duplicates, result.revised) == (6, 4, 1)
    assert desk.rows("select count(*) from register_reading") == [(11,)]
    assert desk.rows("select meter_id, sum(readings) from reading_count group by 1 order by 1") == [(1, 10), (2, 1)]
    assert desk.rows("select kept_import_wh, other_import_wh from reading_revision") == [(999, 95)]


def test_where_nothing_can_be_believed_to_be_new_all_is_staged(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others may store the same again and again: the second try does not depend on what was looked up."""

    def stored_already(*_: object) -> None:
        raise readings.AlreadyStored("register_reading_pkey")

    three_phase = reading(NOW, 5, import_phase_wh=(1, 2, 2), power_w=7.0)
    desk.write(item(("1", NOW, 100)))
    monkeypatch.setattr(readings, "append", stored_already)
    result = desk.write(
        item(("1", NOW, 100), ("1", NOW - MINUTE, 99), ("2", NOW, 1), ("2", NOW, 2)),
        polled([(MeterIdentity("Acme", "60"), three_phase)], origin="bus", received_us=to_us(NOW)),
    )
    assert (result.stored, result.duplicates, result.revised, result.late) == (3, 1, 1, 1)
    assert [row[2] for row in desk.stored()] == [99, 100, 1, 5]
    assert desk.rows("select import_l3_wh, power_w from phase_reading") == [(2, 7)]
    assert desk.rows("select power_w from latest_reading where meter_id = 60") == [(7,)]
    assert desk.rows("select meter_id, readings from reading_count order by 1") == [(1, 2), (2, 1), (60, 1)]


def test_two_writers_of_the_same_meters_never_wait_in_a_circle(desk: Desk) -> None:
    """Each takes the meters in another order, some rows are the same: what is locked is locked in one order."""
    errors: list[BaseException] = []
    results: list[WriteResult] = []
    start = threading.Barrier(2)

    def work(number: int) -> None:
        writer = ReadingWriter(desk.store, desk.settings, lambda: NOW)
        meters = list(range(1, 59))[:: 1 if number else -1]
        try:
            start.wait(30)
            for step in range(40):
                at = NOW - DAY + MINUTE * (10 * step + number)
                rows = [(str(m), at - 17 * MINUTE * k, 0) for m in meters for k in (0, 100)]
                results.append(writer.write([item(*rows, upload=Upload("C1" if number else "C2", step, 0))]))
                same = [(str(m), NOW - MINUTE * step, 0) for m in meters]
                results.append(writer.write([item(row, upload=Upload("C1", step, 0)) for row in same]))
        except BaseException as error:  # noqa: BLE001 told below
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    stored = 58 * (2 * 40 * 2 + 40)
    assert desk.rows("select count(*) from register_reading") == [(stored,)]
    assert desk.rows("select sum(readings)::bigint from reading_count") == [(stored,)]
    assert sum(r.stored for r in results) == stored
    assert sum(r.duplicates for r in results) == 58 * 40


def test_newest_readings_are_locked_in_order(desk: Desk) -> None:
    """Whatever the order of the messages: who waits for a meter holds those before it and none after it."""
    meters = range(1, 59)
    desk.write(item(*((str(m), NOW, 0) for m in meters)))
    writing = threading.Thread(
        target=desk.write, args=[item((str(m), NOW + MINUTE, 1)) for m in sorted(meters, key=lambda m: (m * 37) % 59)]
    )
    with desk.store.transaction() as holder:
        holder.execute(b"select from latest_reading where meter_id = 30 for update")
        writing.start()
        deadline = time.monotonic() + 30
        while desk.rows("select count(*) from pg_locks where not granted") == [(0,)]:
            assert time.monotonic() < deadline, "nobody waits for the meter"
        free = desk.rows("select meter_id from latest_reading order by 1 for update skip locked")
    writing.join()
    assert [meter for (meter,) in free] == list(range(31, 59))
    assert desk.rows("select distinct import_wh from latest_reading") == [(1,)]


def test_one_writer_serves_several_threads_in_turn(desk: Desk) -> None:
    """It is called from whichever thread, one call at a time."""
    for step in range(3):
        thread = threading.Thread(target=desk.write, args=(item(("1", NOW + MINUTE * step, step)),))
        thread.start()
        thread.join()
    assert [row[2] for row in desk.stored()] == [0, 1, 2]


def test_a_whole_profile_in_one_item_is_written_in_bounded_memory(desk: Desk) -> None:
    """60 meters with 31 days of quarter-hours: the bytes of a row are held a few times over, whatever the number."""
    each = 31 * 96
    rows = empty(READING_DTYPE, 60 * each)
    rows["meter"] = np.repeat(np.arange(60), each)
    rows["ts_us"] = np.tile(to_us(NOW) - 900_000_000 * np.arange(each)[::-1], 60)
    rows["import_wh"], rows["source"] = 1, Source.CONCENTRATOR
    batch = ReadingBatch(tuple(MeterIdentity("Acme", str(m)) for m in range(1, 61)), rows)
    whole = Item(channel="mqtt", origin="t", received_us=to_us(NOW), payload=b"", batch=batch)
    peaks = []
    for _ in range(2):
        tracemalloc.start()
        result = desk.write(whole)
        peaks.append(tracemalloc.get_traced_memory()[1] / rows.size)
        tracemalloc.stop()
        assert result.stored + result.duplicates == rows.size
    assert max(peaks) < 400, "measured: 118 new, 217 again"
