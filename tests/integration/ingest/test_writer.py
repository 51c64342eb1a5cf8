"""The writer on a real PostgreSQL: idempotent, revisions, marks, partitions, bookkeeping; all in one transaction."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import permutations
from typing import Any

import pytest

from drivers.base import MeterIdentity
from headend.domain.calendar import to_us
from headend.ingest.item import Presence, QuarantineEntry, Upload, WriteResult, polled
from headend.ingest.writer import ReadingWriter
from headend.store.errors import StoreConflict
from headend.store.partitions import Partitions, is_native
from support.desk import MINUTE, NOW, SHANGHAI_MIDNIGHT, Desk, Sample, item, reading


def test_rows_counts_and_latest(desk: Desk) -> None:
    result = desk.write(item(("1", NOW - 15 * MINUTE, 100), ("1", NOW, 110), ("2", NOW, 7)))
    assert (result.received, result.stored, result.duplicates, result.revised) == (3, 3, 0, 0)
    assert desk.stored() == [(1, NOW - 15 * MINUTE, 100), (1, NOW, 110), (2, NOW, 7)]
    assert desk.rows("select meter_id, ts, import_wh, source from latest_reading order by 1") == [
        (1, NOW, 110, 2),
        (2, NOW, 7, 2),
    ]
    assert desk.rows("select meter_id, source, readings from reading_count order by 1") == [(1, 2, 2), (2, 2, 1)]
    assert desk.rows("select voltage_dv, export_wh, uncertainty_ms, flags from register_reading limit 1") == [
        (None, None, 500, 0)
    ]


def test_all_columns_and_phases_arrive(desk: Desk) -> None:
    full = reading(NOW, 5, export_wh=6, voltage_v=(230.0, 231.0, 232.0), current_a=(1.5, None, -2.0), power_w=-33.4,
                   import_phase_wh=(1, 2, 2), export_phase_wh=(3, None, 3), import_tariff_wh=(4, None, 1))  # fmt: skip
    desk.write(polled([(MeterIdentity("Acme", "60"), full)], origin="127.0.0.1:502 unit 1", received_us=to_us(NOW)))
    assert desk.rows("select meter_id, import_wh, export_wh, voltage_dv, source from register_reading") == [
        (60, 5, 6, 2310, 1)
    ]
    assert desk.rows("select * from phase_reading") == [
        (60, NOW, 1, 2, 2, 3, None, 3, 2300, 2310, 2320, 1500, None, -2000, -33, 4, None, 1, *[None] * 5)
    ]
    assert desk.rows("select power_w from latest_reading") == [(-33,)]


def test_the_same_again_changes_nothing(desk: Desk) -> None:
    items = [item(("1", NOW - 15 * MINUTE, 100), ("1", NOW, 110)), item(("2", NOW, 7))]
    desk.write(*items)
    before = [
        desk.rows(f"select * from {t} order by 1, 2") for t in ("register_reading", "latest_reading", "reading_count")
    ]
    assert desk.dirty()
    result = desk.write(*items)
    assert (result.received, result.stored, result.duplicates, result.revised) == (3, 0, 3, 0)
    assert before == [
        desk.rows(f"select * from {t} order by 1, 2") for t in ("register_reading", "latest_reading", "reading_count")
    ]
    assert desk.dirty() == []


def test_duplicates_and_new_rows_in_one_batch(desk: Desk) -> None:
    desk.write(item(("1", NOW - 30 * MINUTE, 100), ("1", NOW - 10 * MINUTE, 120)))
    result = desk.write(
        item(
            ("1", NOW - 30 * MINUTE, 100),
            ("1", NOW - 20 * MINUTE, 110),
            ("1", NOW, 130),
            ("1", NOW, 130),
            ("3", NOW, 1),
        )
    )
    assert (result.stored, result.duplicates) == (3, 2)
    assert [r[2] for r in desk.stored()] == [100, 110, 120, 130, 1]
    assert desk.rows("select meter_id, readings from reading_count order by 1") == [(1, 4), (3, 1)]


def test_latest_goes_forward_only(desk: Desk) -> None:
    desk.write(item(("1", NOW, 110)))
    desk.write(item(("1", NOW - 60 * MINUTE, 100)))
    assert desk.rows("select ts, import_wh from latest_reading") == [(NOW, 110)]
    assert len(desk.stored()) == 2


def test_arrival_order_does_not_matter(desk: Desk) -> None:
    samples = [(NOW - 15 * MINUTE * i, 1000 - 10 * i) for i in range(4)]
    for serial, order in enumerate(permutations(samples), start=1):
        for at, wh in order:
            desk.write(item((str(serial), at, wh)))
    outcomes = {
        tuple(desk.rows(f"select ts, import_wh from register_reading where meter_id = {m} order by 1"))
        + tuple(desk.rows(f"select ts, import_wh from latest_reading where meter_id = {m}"))
        + tuple(desk.rows(f"select readings from reading_count where meter_id = {m}"))
        for m in range(1, 25)
    }
    assert len(outcomes) == 1


def marks_of(desk: Desk, samples: Sequence[Sample]) -> list[str]:
    desk.write(item(*samples))
    return desk.dirty()


def test_marks_of_the_local_day(desk: Desk) -> None:
    assert marks_of(desk, [("1", NOW, 1)]) == ["A 20"]
    assert marks_of(desk, [("1", SHANGHAI_MIDNIGHT + MINUTE, 1)]) == ["A 20"]


def test_midnight_touches_the_day_before(desk: Desk) -> None:
    assert marks_of(desk, [("1", SHANGHAI_MIDNIGHT, 1)]) == ["A 19", "A 20"]
    assert marks_of(desk, [("1", SHANGHAI_MIDNIGHT + 15 * MINUTE, 1)]) == ["A 20"]


def test_a_gap_marks_the_days_within(desk: Desk) -> None:
    assert marks_of(desk, [("1", NOW - timedelta(days=5), 1)]) == ["A 15"]
    assert marks_of(desk, [("1", NOW, 2)]) == [f"A {d}" for d in range(15, 21)]
    # One that fills the gap changes the sharing out on both sides of it.
    assert marks_of(desk, [("1", NOW - timedelta(days=3), 2)]) == [f"A {d}" for d in range(15, 21)]
    assert marks_of(desk, [("1", NOW - timedelta(days=3) + 15 * MINUTE, 2)]) == [f"A {d}" for d in range(17, 21)]


def test_a_gap_within_one_batch(desk: Desk) -> None:
    assert marks_of(desk, [("1", NOW, 2), ("1", NOW - timedelta(days=3), 1)]) == [f"A {d}" for d in range(17, 21)]


def test_a_very_long_gap_is_bounded(desk: Desk) -> None:
    marks_of(desk, [("1", NOW - timedelta(days=100), 1)])
    assert len(marks_of(desk, [("1", NOW, 2)])) == 41


def test_marks_follow_installation_and_membership_as_they_were_then(desk: Desk) -> None:
    with desk.store.transaction() as connection:
        connection.execute(b"update area_membership set valid_to = '2026-11-17T16:00Z' where usage_point_id = 1")
        connection.execute(
            b"insert into area_membership (usage_point_id, area_id, valid_from) values (1, 2, '2026-11-17T16:00Z')"
        )
    assert marks_of(desk, [("1", NOW - timedelta(days=3), 1)]) == ["A 17"]
    assert marks_of(desk, [("1", NOW, 1)]) == ["A 17", "B 18", "B 19", "B 20"]
    assert marks_of(desk, [("59", NOW, 1)]) == []  # in stock
    assert marks_of(desk, [("60", NOW, 1)]) == ["A 20"]  # the area meter


def test_a_mark_renewed_is_later_even_when_the_clock_stands(desk: Desk) -> None:
    desk.write(item(("1", NOW, 1)))
    ((first,),) = desk.rows("select marked_at from dirty_day")
    desk.write(item(("2", NOW, 1)))
    ((second,),) = desk.rows("select marked_at from dirty_day")
    assert first == NOW
    assert second > first


def test_outside_the_bounds_goes_to_the_quarantine_and_the_rest_is_stored(desk: Desk) -> None:
    oldest = timedelta(days=desk.settings.ingest.oldest_days)
    future = timedelta(seconds=desk.settings.ingest.future_tolerance_s)
    result = desk.write(
        item(
            ("1", NOW - oldest, 1),
            ("1", NOW - oldest - MINUTE, 0),
            ("1", NOW + future, 2),
            ("1", NOW + future + MINUTE, 3),
        )
    )
    assert (result.stored, result.refused) == (2, 2)
    assert [r[2] for r in desk.stored()] == [1, 2]
    assert desk.rows("select reason, source, origin, payload from quarantine order by 1") == [
        ("in_future", "mqtt", "topic", b"payload"),
        ("too_old", "mqtt", "topic", b"payload"),
    ]


def test_unknown_meter_keeps_the_message_and_stores_the_known(desk: Desk) -> None:
    result = desk.write(item(("1", NOW, 1), ("4711", NOW, 2)))
    assert (result.stored, result.refused) == (1, 1)
    ((reason, detail, times),) = desk.rows("select reason, detail, times from quarantine")
    assert (reason, detail, times) == ("unknown_meter", "not imported: Acme/4711", 1)
    desk.write(item(("1", NOW, 1), ("4711", NOW, 2)))
    assert desk.rows("select times from quarantine") == [(2,)]
    with desk.store.transaction() as connection:  # imported meanwhile: found at once
        connection.execute(
            b"insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) "
            b"values ('Acme', '4711', 'any', 1, 6, 10)"
        )
    assert desk.write(item(("4711", NOW, 2))).stored == 1


def test_everything_is_one_transaction(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr("headend.store.concentrators.note", fails)
    entry = QuarantineEntry("not_json", "x")
    with pytest.raises(RuntimeError):
        desk.write(item(("1", NOW, 1)), item(quarantine=(entry,)), item(upload=Upload("C1", 1, 0)))
    for table in ("register_reading", "latest_reading", "reading_count", "quarantine", "dirty_day"):
        assert desk.rows(f"select count(*) from {table}") == [(0,)], table


def test_concentrator_bookkeeping(desk: Desk) -> None:
    def book() -> list[tuple[Any, ...]]:
        return desk.rows("select confirmed_seq, backlog, online, last_seen_at from concentrator where code = 'C1'")

    later = to_us(NOW + MINUTE)
    desk.write(item(upload=Upload("C1", 5, 9)), item(upload=Upload("C1", 6, 8)), item(upload=Upload("C1", 4, 10)))
    assert book() == [(6, 8, True, NOW)]
    desk.write(item(upload=Upload("C1", 5, 9)))  # sent again
    assert book() == [(6, 8, True, NOW)]
    desk.write(item(presence=Presence("C1", False), received_us=later))
    assert book() == [(6, 8, False, NOW)]  # a will is not the concentrator's own word
    desk.write(item(upload=Upload("C1", 7, None), received_us=later, quarantine=(QuarantineEntry("not_json", ""),)))
    assert book() == [(7, 8, True, NOW + MINUTE)]
    hour = to_us(NOW + 60 * MINUTE)
    desk.write(item(presence=Presence("C1", True, kept=True), received_us=hour))
    assert book() == [(7, 8, True, NOW + MINUTE)]  # retained since who knows when: we heard the broker, not it
    desk.write(item(presence=Presence("C1", True), received_us=hour))
    assert book() == [(7, 8, True, NOW + 60 * MINUTE)]
    assert desk.rows("select online from concentrator where code = 'C2'") == [(None,)]


def test_an_exchanged_concentrator_counts_from_anew(desk: Desk) -> None:
    def book() -> list[tuple[Any, ...]]:
        return desk.rows("select confirmed_seq, backlog from concentrator where code = 'C1'")

    desk.write(item(upload=Upload("C1", 100_000, 7)))
    desk.write(item(upload=Upload("C1", 1, 3), received_us=to_us(NOW + 59 * MINUTE)))
    assert book() == [(100_000, 7)]  # still taken for one sent again
    desk.write(item(upload=Upload("C1", 2, 0), received_us=to_us(NOW + 60 * MINUTE)))
    assert book() == [(2, 0)]
    desk.write(item(upload=Upload("C1", 1, 5), received_us=to_us(NOW + 61 * MINUTE)))
    assert book() == [(2, 0)]


def test_unknown_concentrators_are_kept_whole(desk: Desk) -> None:
    result = desk.write(
        item(("1", NOW, 1), upload=Upload("C9", 1, 0)), item(presence=Presence("C8", True), payload=b"online")
    )
    assert result.stored == 0
    assert desk.rows("select reason, payload from quarantine order by 2") == [
        ("unknown_concentrator", b"online"),
        ("unknown_concentrator", b"payload"),
    ]


def test_text_that_postgresql_cannot_hold(desk: Desk) -> None:
    desk.write(item(origin="a\0b", payload=b"\0", quarantine=(QuarantineEntry("bad_name", "x\0\ud800"),)))
    assert desk.rows("select origin, detail, payload from quarantine") == [("a\\0b", "x\\0\\ud800", b"\0")]


def test_partitions_for_just_the_days_that_came(desk: Desk) -> None:
    with desk.store.transaction() as connection:
        if not is_native(connection):
            pytest.skip("hypertables make their own chunks")
    desk.write(
        item(
            ("1", datetime(2026, 11, 19, 23, 59, 59, tzinfo=UTC), 1),
            ("1", datetime(2026, 11, 20, tzinfo=UTC), 2),
            ("1", datetime(2025, 1, 2, tzinfo=UTC), 0),
        )
    )
    names = "select inhrelid::regclass::text from pg_inherits where inhparent = '{}'::regclass order by 1"
    assert desk.rows(names.format("register_reading")) == [
        ("register_reading_20250102",),
        ("register_reading_20261119",),
        ("register_reading_20261120",),
    ]
    assert desk.rows("select tableoid::regclass::text from register_reading order by ts") == [
        ("register_reading_20250102",),
        ("register_reading_20261119",),
        ("register_reading_20261120",),
    ]
    assert len(desk.rows(names.format("phase_reading"))) == 3


def test_a_dropped_partition_is_made_again(desk: Desk) -> None:
    with desk.store.transaction() as connection:
        if not is_native(connection):
            pytest.skip("hypertables make their own chunks")
    desk.write(item(("1", NOW, 1)))
    with desk.store.transaction() as connection:
        connection.execute(b"drop table register_reading_20261120")
    with pytest.raises(StoreConflict):
        desk.write(item(("1", NOW + MINUTE, 1)))
    assert desk.write(item(("1", NOW + MINUTE, 1))).stored == 1


def test_two_processes_make_the_same_partitions(desk: Desk) -> None:
    days = [date(2026, 3, 1) + timedelta(days=i) for i in range(60)]
    errors: list[BaseException] = []
    start = threading.Barrier(4)

    def work() -> None:
        try:
            start.wait()
            Partitions().ensure(desk.store, days)
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


def test_four_writers_of_overlapping_rows(desk: Desk) -> None:
    errors: list[BaseException] = []
    results: list[WriteResult] = []
    start = threading.Barrier(4)

    def work(number: int) -> None:
        writer = ReadingWriter(desk.store, desk.settings, lambda: NOW)
        start.wait()
        try:
            for step in range(20):
                at = NOW - MINUTE * (40 - step - number)
                message = item(
                    *((str(m), at + MINUTE * k, 0) for m in range(1, 21) for k in range(3)),
                    upload=Upload("C1", step, 0),
                )
                while True:
                    try:
                        results.append(writer.write([message]))
                        break
                    except StoreConflict:
                        continue
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    expected = 20 * len({step + number + k for step in range(20) for number in range(4) for k in range(3)})
    assert desk.rows("select count(*) from register_reading") == [(expected,)]
    assert desk.rows("select sum(readings) from reading_count") == [(expected,)]
    assert sum(r.stored for r in results) == expected
    assert sum(r.stored + r.duplicates for r in results) == 4 * 20 * 60


def test_metrics(desk: Desk, kit: Any) -> None:
    def counts() -> list[float]:
        names = ("received", "stored", "duplicate", "revised")
        return [kit.count(f"headend_readings_{n}_total", source="mqtt") for n in names] + [
            kit.count("headend_quarantined_total", source="mqtt", reason="unknown_meter")
        ]

    before = counts()
    desk.write(item(("1", NOW, 1), ("99", NOW, 2)))
    desk.write(item(("1", NOW, 1), ("1", NOW, 3), ("2", NOW, 1)))
    assert [b - a for a, b in zip(before, counts(), strict=True)] == [5, 2, 1, 1, 1]
