"""A head-end under load to be backed up: a broker, a field that publishes, `headend run`, and PostgreSQL's tools."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from headend.embedded.errors import EmbeddedError
from headend.embedded.postgres_binaries import find_binaries
from headend.store.pool import Store
from support.chaos.book import Book
from support.chaos.house import ENVIRONMENT, FieldProcess, IngestProcess
from support.chaos.numbers import TOPOLOGY, Numbers
from support.mosquitto import Mosquitto

PATIENCE_S = 60.0


def wait_until(condition: Callable[[], Any], what: str) -> None:
    """Poll; fail by name after the deadline."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S:g} s: {what}"
        time.sleep(0.1)


def one(dsn: str, query: str) -> Any:
    """The one value of a query."""
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query.encode()).fetchone()
    assert row is not None
    return row[0]


def headend(*arguments: str, dsn: str) -> subprocess.CompletedProcess[str]:
    """A command on a database."""
    return subprocess.run(
        [sys.executable, "-m", "headend.cli", *arguments],
        env=ENVIRONMENT | {"HEADEND_DATABASE__DSN": dsn},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Tools:
    """PostgreSQL's programs of the server's version."""

    def __init__(self, bin_dir: Path) -> None:
        self.bin_dir = bin_dir

    def run(self, program: str, *arguments: str) -> None:
        """Until it is done; what it says when it fails is shown."""
        done = subprocess.run(
            [str(self.bin_dir / program), *arguments], capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, f"{program}: {done.stderr[-2000:]}"

    def dump(self, dsn: str, file: Path) -> None:
        """As the README says: one snapshot, while everything goes on."""
        self.run("pg_dump", "--format", "custom", "--file", str(file), "--dbname", dsn)

    def restore(self, file: Path, dsn: str, *, timescale: bool) -> None:
        """As the README says, into an empty database."""
        if timescale:
            with psycopg.connect(dsn, autocommit=True) as connection:
                connection.execute("create extension if not exists timescaledb")
                connection.execute("select timescaledb_pre_restore()")
        self.run("pg_restore", "--no-owner", "--exit-on-error", "--dbname", dsn, str(file))
        with psycopg.connect(dsn, autocommit=True) as connection:
            if timescale:
                connection.execute("select timescaledb_post_restore()")
            connection.execute("analyze")

    def start(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        """In the background."""
        return subprocess.Popen([str(self.bin_dir / program), *arguments])


def has_timescale(dsn: str) -> bool:
    """Whether a database has the extension."""
    with psycopg.connect(dsn) as connection:
        return connection.execute("select from pg_extension where extname = 'timescaledb'").fetchone() is not None


@pytest.fixture
def fresh_dsn(server_dsn: str) -> Iterator[str]:
    """An empty database to restore into."""
    name = f"headend_restored_{os.getpid()}"
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)'.encode())
        connection.execute(f'create database "{name}" template template0'.encode())
    yield make_conninfo(server_dsn, dbname=name)
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)'.encode())


@pytest.fixture
def tools(server_dsn: str) -> Tools:
    """A dump is made and restored by programs of the server's own version."""
    with psycopg.connect(server_dsn) as connection:
        major = connection.info.server_version // 10_000
    try:
        for bin_dir in (None, Path(f"/usr/lib/postgresql/{major}/bin")):
            found = find_binaries(bin_dir)
            if found.major == major:
                return Tools(found.bin_dir)
    except EmbeddedError:
        pass
    pytest.skip(f"needs pg_dump and pg_restore of PostgreSQL {major}: install postgresql-client-{major}")


class Field:
    """Publishers with their book, and the broker they publish to."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.broker = Mosquitto(directory / "broker", durable=True).start()
        self.numbers = Numbers((int(time.time()) - 5 * 86_400) * 1_000_000)
        self.book = Book(directory / "book.jsonl")
        self.book.path.touch()
        options = {
            "host": self.broker.host,
            "port": self.broker.port,
            "version": 4,
            "base_us": self.numbers.base_us,
            "seed": 7,
            "book": str(self.book.path),
        }
        (directory / "field.json").write_text(json.dumps(options), encoding="utf-8")
        self._people = FieldProcess(directory, directory / "field.json")

    def order(self, word: str) -> int:
        """How many messages are open."""
        return int(json.loads(self._people.order(word))["open"])

    def close(self) -> None:
        """End both."""
        self._people.close()
        self.broker.kill()


@pytest.fixture
def field(tmp_path: Path) -> Iterator[Field]:
    """See Field."""
    made = Field(tmp_path / "field")
    yield made
    made.close()


@pytest.fixture
def run_headend(tmp_path: Path, field: Field) -> Iterator[Callable[[str], IngestProcess]]:
    """Starts ingest and settlement on a database, with the same session at the broker each time."""
    started: list[IngestProcess] = []

    def command(settings: Path, ready: Path) -> list[str]:
        roles = ["run", "--roles", "ingest,settle"]
        files = ["--config", str(settings), "--ready-file", str(ready)]
        return [sys.executable, "-m", "headend.cli", *roles, *files]

    def start(dsn: str) -> IngestProcess:
        settings = f"""
[database]
dsn = {json.dumps(dsn)}
[mqtt]
port = {field.broker.port}
client_id = "backed-up"
[ingest]
flush_age_s = 0.2
[settlement]
silent_concentrator_s = 1
quiet_s = 0.2
"""
        process = IngestProcess(tmp_path, f"headend-{len(started)}", settings, command)
        started.append(process)
        process.start()
        wait_until(lambda: process.log.exists() and b"connected to the broker" in process.log.read_bytes(), "a start")
        return process

    yield start
    for process in started:
        process.close()


@pytest.fixture
def laid_out(dsn: str) -> str:
    """A migrated database with the meters of the field."""
    with Store(dsn) as store, store.transaction() as connection:
        connection.execute(TOPOLOGY.encode())
    return dsn


@pytest.fixture
def kit() -> Any:
    """This module: test directories are no packages, so its helpers come as a fixture."""
    return sys.modules[__name__]
