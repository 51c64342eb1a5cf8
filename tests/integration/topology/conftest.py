"""The shipped import template in a store, and ways to look at all of a database."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headend.ingest.topology_import import ImportReport, import_directory
from headend.store.pool import Store

TEMPLATE = Path(__file__).parents[3] / "config" / "import-template"
NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
TABLES = [
    "station",
    "area",
    "usage_point",
    "area_membership",
    "meter",
    "installation",
    "concentrator",
    "endpoint",
    "premises",
    "dirty_day",
]
"""What an import can touch."""


@pytest.fixture
def now() -> datetime:
    return NOW


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A copy of the template to change."""
    return Path(shutil.copytree(TEMPLATE, tmp_path / "import"))


@pytest.fixture
def run_import(store: Store) -> Callable[..., ImportReport]:
    def run(directory: Path, *, skip_bad: bool = False) -> ImportReport:
        return import_directory(store, directory, skip_bad=skip_bad, clock=lambda: NOW)

    return run


@pytest.fixture
def fingerprint(store: Store) -> Callable[[], dict[str, str]]:
    """Every row of every table with the transaction that wrote it, and where each sequence stands."""

    def look() -> dict[str, str]:
        found = {}
        with store.transaction() as connection:
            for table in TABLES:
                query = f"select t.*, t.xmin, t.ctid from {table} t order by t.ctid"
                rows = connection.execute(query.encode()).fetchall()
                found[table] = hashlib.sha256(repr(rows).encode()).hexdigest()
            sequences = connection.execute(b"select sequencename, last_value from pg_sequences order by 1").fetchall()
            found["sequences"] = repr(sequences)
        return found

    return look
