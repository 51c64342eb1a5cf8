"""010_storage: databases of earlier releases, with readings in them, come to lie as a new one does."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from headend.settings import Settings
from headend.store import chunks, partitions, storage
from headend.store import migrate as module
from headend.store.errors import SchemaError
from headend.store.migrate import migrate, migrations, pending
from headend.store.pool import Store
from headend.upkeep.storage import StorageChores

START = datetime(2026, 3, 1, tzinfo=UTC)
DIGEST = "select count(*), md5(string_agg(r::text, ',' order by meter_id, ts)) from register_reading r"
BY_TIME = (
    "select count(*) from pg_indexes where (tablename in ('register_reading', 'phase_reading') "
    "or tablename ~ '^_hyper_') and indexdef ~* '\\(ts( desc)?\\)'"
)


def _values(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        return connection.execute(query.encode()).fetchall()


def test_readings_of_an_earlier_release_are_carried_over(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = migrations()
    with monkeypatch.context() as before:
        before.setattr(module, "migrations", lambda: [m for m in everything if m.name < "009"])
        before.setattr(module, "lay_out", lambda _: None)
        migrate(empty_dsn)
    with Store(empty_dsn) as store:
        with store.transaction() as connection:
            timescale = not partitions.is_native(connection)
        partitions.Partitions().ensure(store, [START.date() + timedelta(days=n) for n in range(10)])
        with store.transaction() as connection:
            connection.execute(
                b"insert into register_reading (meter_id, ts, import_wh, flags, source, uncertainty_ms) "
                b"select m, '2026-03-01'::timestamptz + g * interval '15 min', g * 10, 0, 3, 0 "
                b"from generate_series(1, 3) m, generate_series(0, 959) g"
            )
        stored = _values(empty_dsn, DIGEST)
        assert _values(empty_dsn, BY_TIME) == [(12 if timescale else 0,)]  # of two tables and ten chunks
        assert "010_storage" in pending(empty_dsn)

        assert "010_storage" in migrate(empty_dsn)
        assert _values(empty_dsn, DIGEST) == stored
        now = START + timedelta(days=30)
        settings = Settings(database={"dsn": empty_dsn})
        chores = StorageChores(store, settings, lambda: now)
        chores.make_ahead()
        chores.pack()
        with store.transaction() as connection:
            connection.execute(
                b"insert into register_reading (meter_id, ts, flags, source, uncertainty_ms) "
                b"values (1, '2026-03-31', 0, 3, 0) on conflict do nothing"
            )
            found = storage.summary(connection, now)
            connection.execute(b"delete from register_reading where ts = '2026-03-31'")
        assert _values(empty_dsn, DIGEST) == stored
        assert _values(empty_dsn, BY_TIME) == [(0,)]  # nor has the new day one
        assert found.packed_days == (10 if timescale else 0)
        assert found.kept_from is None


def test_a_layout_that_somebody_chose_stays(dsn: str) -> None:
    with Store(dsn) as store, store.transaction() as connection:
        laid_out = chunks.lay_out(connection)
        if laid_out:
            connection.execute(
                b"alter table register_reading set (timescaledb.compress_segmentby = '', "
                b"timescaledb.compress_orderby = 'meter_id, ts')"
            )
    assert migrate(dsn) == []
    if laid_out:
        chosen = "select orderby from timescaledb_information.hypertable_compression_settings where hypertable::text = "
        assert _values(dsn, chosen + "'register_reading'") == [("meter_id,ts",)]


def test_without_the_extension_readings_lie_in_partitions(empty_dsn: str) -> None:
    migrate(empty_dsn, timescale=False)
    with Store(empty_dsn) as store, store.transaction() as connection:
        native = partitions.is_native(connection)
        offered = connection.execute(b"select from pg_extension where extname = 'timescaledb'").fetchone()
        assert native or offered is not None  # a template database may bring it along
    assert migrate(empty_dsn) == []  # what a database is was decided when it was made
    with Store(empty_dsn) as store, store.transaction() as connection:
        assert partitions.is_native(connection) is native


def test_an_extension_that_is_not_preloaded_is_named(monkeypatch: pytest.MonkeyPatch, empty_dsn: str) -> None:
    """As the server says it when the library is not in shared_preload_libraries (it closes the connection with it)."""

    class NotPreloaded:
        def execute(self, query: str) -> Any:
            if query.startswith("create extension"):
                raise psycopg.errors.InternalError_('extension "timescaledb" must be preloaded')
            return self

        def fetchone(self) -> tuple[()]:
            return ()

    with pytest.raises(SchemaError, match=r"add timescaledb to shared_preload_libraries .*headend migrate --plain"):
        module._use_timescale(NotPreloaded())  # type: ignore[arg-type]
