"""Late data into days that are compressed where the database can: nothing is lost, doubled, or overwritten."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from drivers.base import PHASE_DTYPE, empty
from headend.domain.calendar import to_us
from headend.store import intervals, readings, storage
from headend.store.readings import AlreadyStored

WEEK = 7 * 96


@pytest.fixture
def packed(book: Any) -> Any:
    """Two weeks and a bit of five meters, every second reading missing of the fifth; the first weeks are compressed."""
    rows = book.rows(5, 0, 20 * 96)
    late = (rows["meter"] == 5) & (np.arange(rows.size) // 5 % 2 == 1)
    book.append(rows[~late])
    book.missing = rows[late]
    book.chores.pack()
    with book.store.transaction() as connection:
        assert storage.summary(connection, book.now).packed_days == (17 if book.timescale else 0)
    return book


def digest(book: Any) -> list[tuple[Any, ...]]:
    return book.values("select count(*), md5(string_agg(r::text, ',' order by meter_id, ts)) from register_reading r")


def test_new_rows_are_copied_in(packed: Any) -> None:
    packed.append(packed.missing)
    assert packed.values("select meter_id, count(*) from register_reading group by 1 order by 1") == [
        (meter, 20 * 96) for meter in range(1, 6)
    ]
    before = digest(packed)
    assert packed.loose() == (3 if packed.timescale else 0)
    packed.chores.repack()
    assert packed.loose() == 0
    assert digest(packed) == before


def test_a_row_that_is_stored_is_refused_as_a_whole(packed: Any) -> None:
    before = digest(packed)
    mixed = np.concatenate([packed.missing[:3], packed.rows(1, 5, 6, import_wh=1)])
    with pytest.raises(AlreadyStored):
        packed.append(mixed)
    assert digest(packed) == before


def test_merging_tells_new_stored_and_other_values_apart(packed: Any) -> None:
    packed.store.rows(b"select 1")
    with packed.store.transaction() as connection:
        connection.execute(
            b"insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) "
            b"select 'Acme', g::text, 'any', 1, 8, 10 from generate_series(1, 5) g"
        )
    same, other = packed.rows(1, 0, 50), packed.rows(1, 50, 60, import_wh=7)
    merged = packed.merge(np.concatenate([same, other, packed.missing[:20]]))
    assert (merged.stored.tolist(), merged.completed.size) == (list(range(60, 80)), 0)
    assert merged.revised.tolist() == list(range(50, 60))
    assert packed.values("select count(*), min(import_wh) from register_reading where meter_id = 1") == [
        (20 * 96, 100_000)
    ]
    kept = "select kept_import_wh, other_import_wh, rule from reading_revision order by ts limit 1"
    assert packed.values(kept) == [(100_500, 7, "first_stored")]
    again = packed.merge(np.concatenate([same, other, packed.missing[:20]]))
    assert (again.stored.size, again.revised.size) == (0, 10)
    assert packed.values("select count(*) from reading_revision") == [(10,)]


def test_what_a_stored_row_lacks_is_added(packed: Any) -> None:
    before = packed.values("select count(*) from register_reading")
    merged = packed.merge(packed.rows(2, 100, 104, export_wh=30))
    assert len(merged.completed) == 8
    assert packed.values("select count(*) from register_reading") == before
    told = "select meter_id, count(*), min(import_wh) from register_reading where export_wh = 30 group by 1 order by 1"
    assert packed.values(told) == [(1, 4, 101_000), (2, 4, 201_000)]
    if packed.timescale:  # two meters' week was unpacked for it, no other's
        (chunk,) = packed.values(
            "select c::text from show_chunks('register_reading', older_than => timestamptz '2026-03-09') c"
        )[0]
        assert packed.values(f"select array_agg(distinct meter_id order by meter_id) from only {chunk}") == [([1, 2],)]
    packed.chores.repack()
    assert packed.loose() == 0
    assert packed.values("select count(*) from register_reading where export_wh = 30") == [(8,)]


def test_more_meters_at_once_than_the_database_unpacks_by_default(book: Any) -> None:
    """160 meters' week are 107,520 rows; 100,000 a statement is where TimescaleDB stops unless told otherwise."""
    book.append(book.rows(160, 0, 8 * 96))
    book.chores.pack()
    assert len(book.merge(book.rows(160, 200, 201, export_wh=30)).completed) == 160
    assert len(book.merge(book.rows(160, 200, 202, export_wh=30)).completed) == 160
    shifted = book.rows(160, 300, 301)
    shifted["ts_us"] += 1_000_000
    book.append(shifted)
    assert book.values("select count(*), count(export_wh) from register_reading") == [(160 * (8 * 96 + 1), 320)]


def test_phases_that_a_stored_row_lacks_are_added(packed: Any) -> None:
    rows = packed.rows(2, 100, 102)
    phases = empty(PHASE_DTYPE, 4)
    phases["meter"], phases["ts_us"] = rows["meter"], rows["ts_us"]
    phases["voltage_dv"][:, 0] = 2301
    places = np.arange(4)
    with packed.store.transaction() as connection:
        assert readings.merge(connection, rows, phases, places, packed.now).completed.size == 4
    packed.chores.pack()
    phases["voltage_dv"][:, 1] = 2302
    with packed.store.transaction() as connection:
        assert readings.merge(connection, rows, phases, places, packed.now).completed.size == 4
    told = "select voltage_l1_dv, voltage_l2_dv, voltage_l3_dv, count(*) from phase_reading group by 1, 2, 3"
    assert packed.values(told) == [(2301, 2302, None, 4)]
    packed.chores.repack()
    assert (packed.loose(), packed.values(told)) == (0, [(2301, 2302, None, 4)])


def test_settlement_reads_the_same_before_and_after(book: Any) -> None:
    book.append(book.rows(4, 0, 18 * 96))
    start = book.start + timedelta(days=3)

    def found() -> list[list[int]]:
        with book.store.transaction() as connection:
            read = intervals.readings(connection, [1, 3, 4], start, start + timedelta(days=1))
            instants = to_us(start + timedelta(hours=1)), to_us(start + timedelta(days=1, hours=4))
            before, after = readings.neighbours(connection, *(np.array([one]) for one in (2, *instants)))
        return [one.ts_us.tolist() + one.import_wh.tolist() for _, one in sorted(read.items())] + [
            [int(before[0]), int(after[0])]
        ]

    before = found()
    assert [len(one) for one in before] == [2 * (96 + 2 * intervals.FEW)] * 3 + [2]
    book.chores.pack()
    assert found() == before


def test_a_day_that_comes_weeks_late_is_a_chunk_of_its_own(book: Any) -> None:
    book.append(book.rows(2, 0, 2 * 96))
    book.append(book.rows(2, 4 * 96, 13 * 96))
    book.chores.pack()
    book.append(book.rows(2, 2 * 96, 4 * 96))
    before = digest(book)
    book.chores.pack()
    assert digest(book) == before
    assert before[0][0] == 13 * 96 * 2
    if book.timescale:
        assert book.values("select bool_and(is_compressed) from timescaledb_information.chunks") == [(True,)]
