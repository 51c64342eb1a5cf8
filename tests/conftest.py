"""What all tests share: a real PostgreSQL (or the one HEADEND_TEST_DSN names), fresh migrated databases, a browser."""

from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest
import structlog
from hypothesis import settings as hypothesis_settings
from psycopg.conninfo import make_conninfo

from headend.embedded.postgres import EmbeddedPostgres
from headend.store.migrate import migrate
from headend.store.pool import Store
from headend.web.screenshot import NoBrowser, browser

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# Other work may share the machine: no example fails for having taken long.
hypothesis_settings.register_profile("unhurried", deadline=None)
hypothesis_settings.load_profile("unhurried")

_numbers = itertools.count()
_skipped: list[str] = []


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what was skipped: where everything is installed, nothing may be."""
    if report.skipped and not hasattr(report, "wasxfail"):
        _skipped.append(report.nodeid)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With HEADEND_TEST_NOTHING_SKIPPED=1 (CI) a skipped test fails the run."""
    if _skipped and os.environ.get("HEADEND_TEST_NOTHING_SKIPPED") == "1":
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print("\nskipped although nothing may be:", *_skipped, sep="\n  ")


@pytest.fixture(scope="session")
def server_dsn(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DSN of a PostgreSQL on which databases may be made: HEADEND_TEST_DSN, or an embedded one."""
    if given := os.environ.get("HEADEND_TEST_DSN"):
        yield given
        return
    server = EmbeddedPostgres(Path(tmp_path_factory.mktemp("postgres")), durable=False)
    server.start()
    try:
        yield server.dsn
    finally:
        server.stop()


@pytest.fixture(autouse=True)
def _state_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the service keeps between two starts lies elsewhere in each test; nothing is made before it is needed."""
    before = os.environ.get("STATE_DIRECTORY")
    os.environ["STATE_DIRECTORY"] = str(tmp_path_factory.getbasetemp() / "state" / str(next(_numbers)))
    yield
    if before is None:
        del os.environ["STATE_DIRECTORY"]
    else:
        os.environ["STATE_DIRECTORY"] = before


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command under test sets up logging for its process; the next test starts without."""
    yield
    structlog.reset_defaults()
    root = logging.getLogger()
    root.handlers[:] = [h for h in root.handlers if not isinstance(h.formatter, structlog.stdlib.ProcessorFormatter)]


def _fresh(server_dsn: str, name: str, template: str | None = None) -> str:
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)'.encode())
        source = f' template "{template}"' if template else ""
        connection.execute(f'create database "{name}"{source}'.encode())
    return make_conninfo(server_dsn, dbname=name)


@pytest.fixture(scope="session")
def migrated_template(server_dsn: str) -> Iterator[str | None]:
    """Name of a migrated database to copy; None where TimescaleDB's workers would hold it open."""
    name = f"headend_template_{os.getpid()}"
    dsn = _fresh(server_dsn, name)
    migrate(dsn)
    with psycopg.connect(dsn) as connection:
        timescale = connection.execute("select from pg_extension where extname = 'timescaledb'").fetchone()
    yield None if timescale is not None else name
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)'.encode())


@pytest.fixture
def empty_dsn(server_dsn: str) -> Iterator[str]:
    """DSN of an empty database, dropped afterwards."""
    name = f"headend_test_{os.getpid()}_{next(_numbers)}"
    yield _fresh(server_dsn, name)
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)'.encode())


@pytest.fixture
def dsn(server_dsn: str, migrated_template: str | None) -> Iterator[str]:
    """DSN of a fresh, migrated database, dropped afterwards."""
    name = f"headend_test_{os.getpid()}_{next(_numbers)}"
    made = _fresh(server_dsn, name, migrated_template)
    if migrated_template is None:
        migrate(made)
    yield made
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)'.encode())


@pytest.fixture
def store(dsn: str) -> Iterator[Store]:
    """An open store on a fresh, migrated database."""
    with Store(dsn) as opened:
        yield opened


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """The machine's browser, or a skip that says what to install. Of a module: it occupies the thread's event loop."""
    try:
        with browser() as opened:
            yield opened
    except NoBrowser as missing:
        pytest.skip(str(missing))
