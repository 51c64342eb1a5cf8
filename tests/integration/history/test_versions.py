"""Versions of rows: kept by the database whoever changes them, and asked for by any query."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from headend.store import history
from headend.store.migrate import migrate
from headend.store.pool import Connection, Store

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)
_MADE = b"create table shelf (shelf_id integer primary key, label text, width_mm integer)"


@pytest.fixture
def shelf(store: Store) -> Store:
    """A table of our own with history."""
    with store.transaction() as c:
        c.execute(_MADE)
        c.execute(b"select keep_history('shelf')")
    return store


def _do(store: Store, at: datetime | None, *statements: str) -> None:
    with store.transaction() as c:
        if at is not None:
            history.stamp(c, at)
        for statement in statements:
            c.execute(statement.encode())


def _then(store: Store, at: datetime, query: str = "select shelf_id, label from shelf order by 1") -> list[Any]:
    with store.transaction() as c, history.as_known(c, at):
        return c.execute(query.encode()).fetchall()


def _now(store: Store, query: str = "select shelf_id, label from shelf order by 1") -> list[Any]:
    with store.transaction() as c:
        return c.execute(query.encode()).fetchall()


def test_inserted_changed_deleted_and_made_again(shelf: Store) -> None:
    _do(shelf, NOON, "insert into shelf values (1, 'a')")
    _do(shelf, NOON + HOUR, "update shelf set label = 'b'")
    _do(shelf, NOON + 2 * HOUR, "delete from shelf")
    _do(shelf, NOON + 3 * HOUR, "insert into shelf values (1, 'c')")
    minute = timedelta(minutes=1)
    assert _then(shelf, NOON - minute) == []
    assert _then(shelf, NOON) == [(1, "a")], "known from that very instant"
    assert _then(shelf, NOON + HOUR - minute) == [(1, "a")]
    assert _then(shelf, NOON + HOUR) == [(1, "b")]
    assert _then(shelf, NOON + 2 * HOUR) == []
    assert _then(shelf, NOON + 3 * HOUR) == _now(shelf) == [(1, "c")]


def test_what_changes_nothing_keeps_nothing(shelf: Store) -> None:
    _do(shelf, NOON, "insert into shelf values (1, 'a')")
    _do(shelf, NOON + HOUR, "update shelf set label = 'a', width_mm = null")
    assert _now(shelf, "select * from shelf_past") == []
    assert _now(shelf, "select known_from from shelf") == [(NOON,)]


def test_two_changes_in_one_transaction_are_one(shelf: Store) -> None:
    _do(shelf, NOON, "insert into shelf values (1, 'a')")
    _do(shelf, NOON + HOUR, "update shelf set label = 'x'", "update shelf set label = 'b'")
    _do(shelf, NOON + 2 * HOUR, "insert into shelf values (2, 'never')", "delete from shelf where shelf_id = 2")
    assert _now(shelf, "select label, known_from, known_to from shelf_past") == [("a", NOON, NOON + HOUR)]


def test_a_change_that_is_taken_back_was_never_known(shelf: Store) -> None:
    _do(shelf, NOON, "insert into shelf values (1, 'a')")
    with suppress(RuntimeError), shelf.transaction() as c:
        history.stamp(c, NOON + HOUR)
        c.execute(b"update shelf set label = 'b'")
        raise RuntimeError
    assert _now(shelf, "select * from shelf_past") == []
    with shelf.transaction() as c:
        history.stamp(c, NOON + HOUR)
        with suppress(RuntimeError), c.transaction():
            c.execute(b"update shelf set label = 'b'")
            raise RuntimeError
        c.execute(b"update shelf set label = 'c'")
    assert _then(shelf, NOON) == [(1, "a")]
    assert _now(shelf, "select label, known_from from shelf") == [("c", NOON + HOUR)]


def test_a_clock_that_was_set_back_loses_no_version(shelf: Store) -> None:
    _do(shelf, NOON, "insert into shelf values (1, 'a')")
    _do(shelf, NOON - HOUR, "update shelf set label = 'b'")
    _do(shelf, NOON - HOUR, "update shelf set label = 'c'")
    assert _now(shelf, "select label from shelf_past order by known_from") == [("a",), ("b",)]
    assert _then(shelf, NOON) == [(1, "a")]
    assert _then(shelf, NOON + timedelta(seconds=1)) == _now(shelf) == [(1, "c")]


def test_without_a_stamp_it_is_the_servers_clock(shelf: Store) -> None:
    (before,) = _now(shelf, "select clock_timestamp()")
    _do(shelf, None, "insert into shelf values (1, 'a')")
    (after,) = _now(shelf, "select clock_timestamp()")
    ((known_from,),) = _now(shelf, "select known_from from shelf")
    assert before[0] < known_from < after[0]


def test_rows_from_before_are_known_since_ever(store: Store) -> None:
    _do(store, None, _MADE.decode(), "insert into shelf values (1, 'old')")
    _do(store, None, "select keep_history('shelf')")
    _do(store, NOON, "update shelf set label = 'new'")
    assert _then(store, datetime(1990, 1, 1, tzinfo=UTC)) == [(1, "old")]
    assert _then(store, NOON) == [(1, "new")]


def test_a_column_that_was_added_later(shelf: Store) -> None:
    _do(shelf, NOON, "insert into shelf values (1, 'a')")
    _do(shelf, NOON + HOUR, "update shelf set label = 'b'")
    _do(shelf, None, "alter table shelf add column depth_mm integer not null default 7", "select keep_history('shelf')")
    _do(shelf, NOON + 2 * HOUR, "update shelf set depth_mm = 8")
    query = "select label, depth_mm from shelf"
    assert _then(shelf, NOON, query) == [("a", None)], "nobody knew how deep it was"
    assert _then(shelf, NOON + HOUR, query) == [("b", 7)]
    assert _then(shelf, NOON + 2 * HOUR, query) == [("b", 8)]


def test_rows_come_back_from_a_backup_with_their_instants(shelf: Store, dsn: str) -> None:
    _do(shelf, NOON, "insert into shelf (shelf_id, label, known_from) values (1, 'a', '2026-01-01Z')")
    assert _then(shelf, NOON - HOUR) == [(1, "a")]


def test_after_the_block_it_is_now_again(shelf: Store) -> None:
    _do(shelf, NOON, "insert into shelf values (1, 'a')")
    with shelf.transaction() as c:
        path = c.execute(b"show search_path").fetchone()
        with history.as_known(c, NOON - HOUR):
            assert c.execute(b"select * from shelf").fetchall() == []
        assert c.execute(b"show search_path").fetchone() == path
        assert len(c.execute(b"select * from shelf").fetchall()) == 1
        with history.as_known(c, None):
            assert len(c.execute(b"select * from shelf").fetchall()) == 1


def test_an_error_within_the_block_is_the_error_that_is_told(shelf: Store) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero), psycopg.connect(shelf.dsn) as c, history.as_known(c, NOON):
        c.execute(b"select 1 / 0")


def test_nobody_asks_the_views_without_an_instant(shelf: Store) -> None:
    with psycopg.connect(shelf.dsn) as c, pytest.raises(psycopg.Error):
        c.execute(b"select * from as_known.shelf")
    with shelf.transaction() as c:
        with history.as_known(c, NOON):
            pass
        assert _refused(c)


def _refused(c: Connection) -> bool:
    with pytest.raises(psycopg.Error), c.transaction():
        c.execute(b"select * from as_known.shelf")
    return True


def test_every_kept_table_has_all_its_columns_in_its_past_and_its_view(store: Store) -> None:
    kept = _now(store, "select tgrelid::regclass::text from pg_trigger where tgname = 'keep_version' order by 1")
    names = {name for (name,) in kept}
    assert {"station", "area", "usage_point", "area_membership", "meter", "installation"} <= names
    for name in sorted(names):
        columns = (
            "select attname::text from pg_attribute where attrelid = '{}'::regclass and attnum > 0 and not attisdropped"
        )
        own = {c for (c,) in _now(store, columns.format(name))}
        assert own | {"known_to"} == {c for (c,) in _now(store, columns.format(f"{name}_past"))}, name
        assert own == {c for (c,) in _now(store, columns.format(f"as_known.{name}"))}, name


def test_a_database_with_data_is_migrated(migrate_before: Callable[[str], str]) -> None:
    dsn = migrate_before("014")
    with psycopg.connect(dsn, autocommit=True) as c:
        c.execute(b"insert into station (code, name) values ('S', 's')")
        c.execute(b"insert into area (code, station_id, name) select 'A', station_id, 'a' from station")
    migrate(dsn)
    with Store(dsn) as store:
        _do(store, NOON, "update area set name = 'b'")
        assert _then(store, NOON - HOUR, "select name from area") == [("a",)]
        assert _then(store, NOON, "select name from area") == [("b",)]
