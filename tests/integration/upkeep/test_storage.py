"""Days made ahead, compressed, dropped: the same settings on TimescaleDB and on plain PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from headend.store import chunks, partitions, storage
from headend.store.errors import StoreUnavailable
from headend.store.partitions import Partitions, partition_name

ATTACHED = "select inhrelid::regclass::text from pg_inherits where inhparent = 'register_reading'::regclass order by 1"


def summary(kept: Any) -> storage.Storage:
    with kept.store.transaction() as connection:
        return storage.summary(connection, kept.now)


def test_days_to_come_have_their_tables(kept: Any) -> None:
    kept.chores(partitions_ahead_days=3).make_ahead()
    found = summary(kept)
    if kept.native:
        assert (found.first_day, found.last_day) == (date(2026, 3, 25), date(2026, 3, 28))
        assert (found.days, found.days_ahead) == (4, 3)
    else:
        assert (found.days, found.days_ahead) == (0, None)  # the database makes them itself
    kept.now += timedelta(days=1)
    kept.chores(partitions_ahead_days=5).make_ahead()
    assert summary(kept).days_ahead == (5 if kept.native else None)
    assert kept.alerts() == []


def test_old_days_are_compressed_and_say_the_same(kept: Any) -> None:
    kept.fill(24)
    before = kept.digest()
    kept.chores(compress_after_days=14).pack()  # up to the end of the 10th
    first = summary(kept)
    kept.chores(compress_after_days=7).pack()  # a changed setting changes what is done
    kept.chores(compress_after_days=7).pack()
    then = summary(kept)
    assert kept.digest() == before
    assert kept.alerts() == []
    assert (first.packed_days, then.packed_days) == ((0, 0) if kept.native else (10, 17))
    assert first.packing is not kept.native
    assert (then.days, then.rows) == (24, 24 * 96 * 3)
    if not kept.native:
        spans = kept.rows(
            "select extract(day from range_end - range_start)::int from timescaledb_information.chunks "
            "where hypertable_name = 'register_reading' order by range_start"
        )
        assert [days for (days,) in spans] == [7, 7, 3, 1, 1, 1, 1, 1, 1, 1]
        batches = (
            "select k.schema_name || '.' || k.table_name from _timescaledb_catalog.chunk u "
            "join _timescaledb_catalog.chunk k on k.id = u.compressed_chunk_id "
            "join timescaledb_information.chunks c on c.chunk_name = u.table_name "
            "where c.hypertable_name = 'register_reading' order by c.range_start"
        )
        counts = [kept.rows(f"select count(*) from {name}") for (name,) in kept.rows(batches)]
        assert counts == [[(3,)], [(3,)], [(9,)]]  # a meter's full week is one batch; the third is not full yet
        assert kept.rows("select count(*) from chunk_grown") == [(0,)]


def test_a_backlog_is_worked_off_in_rounds(kept: Any) -> None:
    kept.fill(12, meters=1)
    with kept.store.transaction() as connection:
        can = bool(chunks.lay_out(connection))
    rounds = []
    while can and (packed := chunks.pack(kept.store, kept.now, lambda: False)).days:
        rounds.append((packed.days, packed.left))
    assert rounds == ([] if kept.native else [(1, 23 - n) for n in range(24)])  # two tables of 12 days


def test_days_too_old_are_dropped_and_the_floor_is_raised(kept: Any) -> None:
    kept.fill(24)
    kept.chores().drop()  # for ever, unless somebody says otherwise
    assert summary(kept).days == 24
    kept.chores(compress_after_days=10).pack()
    kept.chores(keep_readings_days=14).drop()  # up to the end of the 10th; a week goes when it is old enough as a whole
    floor = datetime(2026, 3, 11 if kept.native else 8, tzinfo=UTC)
    assert kept.rows("select min(ts), count(*) from register_reading") == [(floor, (24 - floor.day + 1) * 96 * 3)]
    assert kept.rows("select min(ts), count(*) from phase_reading") == [(floor, (24 - floor.day + 1) * 96 * 3)]
    assert kept.rows("select table_name, kept_from, raised_at from reading_floor order by 1") == [
        ("phase_reading", floor, kept.now),
        ("register_reading", floor, kept.now),
    ]
    assert (summary(kept).kept_from, summary(kept).first_day) == (floor, floor.date())
    kept.chores(keep_readings_days=20).drop()  # a floor never sinks
    assert summary(kept).kept_from == floor
    assert kept.alerts() == []


def test_the_floor_is_raised_before_anything_goes(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else who settles in between takes a day whose readings are gone for one without consumption."""
    kept.fill(24)

    def killed(*_: object) -> None:
        raise StoreUnavailable("killed")

    monkeypatch.setattr(partitions, "drop", killed)
    monkeypatch.setattr(chunks, "drop", killed)
    with pytest.raises(StoreUnavailable, match="killed"):
        kept.chores(keep_readings_days=14).drop()
    floors = "select table_name, kept_from from reading_floor where kept_from is not null"
    assert kept.rows(floors) == [("phase_reading", datetime(2026, 3, 2, tzinfo=UTC))]
    assert kept.rows("select count(*) from phase_reading") == [(24 * 96 * 3,)]


def test_a_drop_that_is_held_up_is_an_alert_and_goes_on_later(kept: Any, patience: Callable[[], None]) -> None:
    kept.fill(24)
    oldest = (
        "register_reading_20260301"
        if kept.native
        else kept.rows("select c::text from show_chunks('register_reading') c order by c limit 1")[0][0]
    )
    with psycopg.connect(kept.store.dsn) as dump:  # as a dump does for hours
        dump.execute(f"lock table {oldest} in access share mode".encode())
        with pytest.raises(StoreUnavailable):
            kept.chores(keep_readings_days=14).drop()
        assert kept.alerts() == [("retention", True)]
        # Nobody waits behind it: what is written now, and what is read.
        with kept.store.transaction() as connection:
            connection.execute(b"set local lock_timeout to '2s'")
            connection.execute(
                b"insert into register_reading (meter_id, ts, flags, source, uncertainty_ms) "
                b"values (9, '2026-03-24T00:00:01Z', 0, 3, 0)"
            )
    patience()
    kept.chores(keep_readings_days=14).drop()
    assert kept.rows("select min(ts) from register_reading") == [(datetime(2026, 3, 11, tzinfo=UTC),)]
    assert kept.alerts() == [("retention", False)]
    if kept.native:
        left = "select count(*) from pg_class where relname ~ '^(register|phase)_reading_2026030'"
        assert kept.rows(left) == [(0,)]


def test_an_alert_goes_when_nothing_is_to_be_dropped_any_more(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    kept.fill(1)

    def refused(*_: object) -> None:
        raise StoreUnavailable("held up")

    with monkeypatch.context() as broken:
        broken.setattr(storage, "raise_floor", refused)
        with pytest.raises(StoreUnavailable, match="held up"):
            kept.chores(keep_readings_days=14).drop()
    assert kept.alerts() == [("retention", True)]
    assert kept.rows("select count(*) from register_reading") == [(96 * 3,)]
    kept.chores(keep_readings_days=None).drop()
    assert kept.alerts() == [("retention", False)]


def test_who_writes_does_not_wait_for_a_drop(kept: Any) -> None:
    """The drop waits for whoever is writing already, and lets everybody else by."""
    kept.fill(24, meters=1)
    row = (
        b"insert into register_reading (meter_id, ts, flags, source, uncertainty_ms) "
        b"values (%s, '2026-03-24T00:00:01Z', 0, 3, 0)"
    )
    with psycopg.connect(kept.store.dsn) as early:
        early.execute(row, [7])
        dropper = threading.Thread(target=kept.chores(keep_readings_days=14).drop)
        dropper.start()
        waiting = (
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'"
        )
        while kept.native and kept.rows(waiting) == [(0,)]:
            assert dropper.is_alive()
        for number in range(8, 20):
            with kept.store.transaction() as connection:
                connection.execute(b"set local lock_timeout to '2s'")
                connection.execute(row, [number])
        assert dropper.is_alive() or not kept.native
    dropper.join(30)
    assert not dropper.is_alive()
    assert kept.rows("select count(*) from register_reading where ts > '2026-03-24T00:00:00Z' and meter_id > 6") == [
        (13,)
    ]
    assert kept.rows("select min(ts) from register_reading") == [(datetime(2026, 3, 11, tzinfo=UTC),)]


def test_what_an_interruption_left_over_is_dropped(kept: Any) -> None:
    kept.fill(3)
    if kept.native:
        name = partition_name("register_reading", date(2026, 3, 2))
        with kept.store.transaction() as connection:
            connection.execute(f"alter table register_reading detach partition {name}".encode())
            connection.execute(
                b"create table register_reading_20260301_copy ()"
            )  # somebody else's, and not ours to drop
    kept.chores(keep_readings_days=14).drop()
    assert kept.rows("select count(*) from register_reading") == [(0,)]
    tables = (
        "select relname::text from pg_class where relname like 'register_reading_2026%' and relkind = 'r' order by 1"
    )
    assert kept.rows(tables) == ([("register_reading_20260301_copy",)] if kept.native else [])


def test_a_dropped_day_can_be_made_again(kept: Any) -> None:
    kept.fill(2)
    kept.chores(keep_readings_days=14).drop()
    kept.fill(1)
    assert kept.rows("select count(*) from register_reading") == [(96 * 3,)]
    assert kept.native is (len(kept.rows(ATTACHED)) > 0 and partitions.day_of(kept.rows(ATTACHED)[0][0]) is not None)


def test_a_database_that_is_away_leaves_the_alert_for_later(kept: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object) -> None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(Partitions, "ensure", away)
    with pytest.raises(StoreUnavailable, match="gone"):
        kept.chores().make_ahead()
    assert kept.alerts() == [("days ahead", True)]
    monkeypatch.setattr(kept.store, "transaction", away)
    with pytest.raises(StoreUnavailable, match="gone"):
        kept.chores().make_ahead()
