"""Migrations: once each, by one at a time, all of a file or nothing, and never another file under an old name."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import psycopg
import pytest

from headend.store import migrate as module
from headend.store.errors import SchemaError
from headend.store.migrate import Migration, migrate, migrations, pending

NAMES = [m.name for m in migrations()]
EVERYTHING = [*NAMES, "procrastinate"]

CATALOG = """
select 'column', c.relname::text, a.attname::text,
       format_type(a.atttypid, a.atttypmod) || a.attnotnull::text || a.attidentity::text
       || coalesce(pg_get_expr(d.adbin, d.adrelid), ''), col_description(c.oid, a.attnum)
from pg_class c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
left join pg_attrdef d on d.adrelid = c.oid and d.adnum = a.attnum
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v')
union all
select 'table', relname::text, relkind::text, coalesce(pg_get_partkeydef(oid), ''), obj_description(oid)
from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'p', 'v')
union all
select 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid), null
from pg_constraint where connamespace = 'public'::regnamespace
union all
select 'index', tablename::text, indexname::text, indexdef, null from pg_indexes where schemaname = 'public'
union all
select 'trigger', tgrelid::regclass::text, tgname::text, pg_get_triggerdef(oid), null
from pg_trigger where not tgisinternal
union all
select 'function', p.oid::regprocedure::text, '', md5(pg_get_functiondef(p.oid)), null
from pg_proc p where p.pronamespace = 'public'::regnamespace and p.prokind in ('f', 'p')
  and not exists (select from pg_depend where objid = p.oid and deptype = 'e')
order by 1, 2, 3, 4
"""

Pretend = Callable[..., None]


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """The program brings these migrations, and no other."""

    def brings(*files: Migration) -> None:
        monkeypatch.setattr(module, "migrations", lambda: list(files))

    return brings


def rows(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn) as connection:
        return connection.execute(query.encode()).fetchall()


def noted(dsn: str) -> list[str]:
    return [name for (name,) in rows(dsn, "select name from schema_migration order by name")]


def test_from_nothing_to_everything_and_then_nothing_to_do(empty_dsn: str) -> None:
    assert pending(empty_dsn) == EVERYTHING
    assert migrate(empty_dsn) == EVERYTHING
    assert pending(empty_dsn) == []
    before = rows(empty_dsn, CATALOG)
    assert migrate(empty_dsn) == []
    assert rows(empty_dsn, CATALOG) == before
    assert len(before) > 200


def test_one_release_at_a_time_ends_where_a_fresh_database_does(empty_dsn: str, dsn: str, pretend: Pretend) -> None:
    everything = migrations()
    for count in range(1, len(everything) + 1):
        pretend(*everything[:count])
        assert NAMES[count - 1] in migrate(empty_dsn)
    assert rows(empty_dsn, CATALOG) == rows(dsn, CATALOG)


def test_two_at_once_apply_each_migration_once(empty_dsn: str) -> None:
    together = Barrier(3)

    def work(_: int) -> list[str]:
        together.wait()
        return migrate(empty_dsn)

    with ThreadPoolExecutor(3) as pool:
        done = [name for names in pool.map(work, range(3)) for name in names]
    assert sorted(done) == sorted(EVERYTHING)
    assert noted(empty_dsn) == NAMES


def test_a_file_changed_after_it_was_applied_is_refused_and_nothing_is_done(dsn: str, pretend: Pretend) -> None:
    first, *others = migrations()
    pretend(
        dataclasses.replace(first, sql=first.sql + "\n-- better"), *others, Migration("900_new", "create table n ()")
    )
    for door in (migrate, pending):
        with pytest.raises(SchemaError, match=f"migration {first.name} was changed after it had been applied"):
            door(dsn)
    assert "900_new" not in noted(dsn)


def test_a_file_that_fails_leaves_nothing_of_itself_and_keeps_what_came_before(dsn: str, pretend: Pretend) -> None:
    good = Migration("900_good", "create table good ()")
    bad = Migration("901_bad", "create table half (); select * from no_such_table; create table rest ()")
    pretend(*migrations(), good, bad)
    with pytest.raises(SchemaError, match=r"migration 901_bad: .*no_such_table"):
        migrate(dsn)
    assert noted(dsn)[-1] == "900_good"
    assert rows(dsn, "select to_regclass('good') is null, to_regclass('half') is null") == [(False, True)]
    assert pending(dsn) == ["901_bad"]


def test_an_autocommit_file_runs_outside_a_transaction(dsn: str, pretend: Pretend) -> None:
    statement = "create index concurrently by_name on station (name)"
    pretend(*migrations(), Migration("900_plain", statement))
    with pytest.raises(SchemaError, match="900_plain: CREATE INDEX CONCURRENTLY cannot run inside a transaction"):
        migrate(dsn)
    pretend(*migrations(), Migration("900_index", f"-- autocommit\n-- Why.\n{statement}"))
    assert migrate(dsn) == ["900_index"]
    assert rows(dsn, "select count(*) from pg_indexes where indexname = 'by_name'") == [(1,)]


def test_a_job_queue_that_is_missing_is_pending(dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute("alter table procrastinate_jobs rename to gone")
    assert pending(dsn) == ["procrastinate"]


def test_files_are_numbered_without_a_gap() -> None:
    assert [int(name.partition("_")[0]) for name in NAMES] == list(range(1, len(NAMES) + 1))
