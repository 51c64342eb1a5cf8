"""Migrations: plain SQL files in the order of their numbers, each applied once, under an advisory lock.

A file whose first line is `-- autocommit` holds one statement, run outside a transaction (continuous aggregates need
that); every other is one transaction together with its entry in `schema_migration`. A file changed after it had been
applied is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files

import psycopg
from procrastinate.schema import SchemaManager

from headend.log import get_logger
from headend.store.chunks import lay_out
from headend.store.errors import SchemaError, translated
from headend.store.partitions import bound_waits

_LOCK = 0x4845_4144  # "HEAD"
_QUEUE = "procrastinate"
"""Name of the job queue's own schema among the migrations."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file of the schema's history."""

    name: str
    sql: str

    @property
    def digest(self) -> str:
        """What the file held when it was applied."""
        return hashlib.sha256(self.sql.encode()).hexdigest()

    @property
    def autocommit(self) -> bool:
        """Whether it must run outside a transaction."""
        return self.sql.startswith("-- autocommit")


def migrations() -> list[Migration]:
    """Every migration that this program brings, in order."""
    own = [
        Migration(entry.name.removesuffix(".sql"), entry.read_text(encoding="utf-8"))
        for entry in files("headend.store").joinpath("sql").iterdir()
        if entry.name.endswith(".sql")
    ]
    return sorted(own, key=lambda m: m.name)


def migrate(dsn: str, *, timescale: bool = True) -> list[str]:
    """Bring the schema up to date and return what was applied. Safe to run from several hosts at once.

    `timescale` uses the extension where the server offers it; a database that has readings already stays what it is.
    Raises SchemaError, StoreUnavailable.
    """
    applied: list[str] = []
    with translated(), psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection, _locked(connection):
        if timescale and _absent(connection, "register_reading"):  # how readings lie is decided once
            _use_timescale(connection)
        connection.execute(
            "create table if not exists schema_migration "
            "(name text primary key, digest text not null, applied_at timestamptz not null default now())"
        )
        known: dict[str, str] = dict(connection.execute("select name, digest from schema_migration").fetchall())
        for migration in _missing(known):
            _apply(connection, migration)
            applied.append(migration.name)
        if _absent(connection, "procrastinate_jobs"):
            with connection.transaction():
                connection.execute(SchemaManager.get_schema().encode())
            applied.append(_QUEUE)
        with connection.transaction():
            bound_waits(connection)
            packing = lay_out(connection)
    for name in applied:
        _log.info("migration applied", name=name)
    if packing is False:
        _log.warning(
            "readings stay uncompressed",
            hint="compression needs TimescaleDB's community edition, see its setting timescaledb.license",
        )
    return applied


def pending(dsn: str) -> list[str]:
    """Names of migrations that the database does not have yet; for /readyz and `headend migrate --check`.

    Raises SchemaError when one was changed after it had been applied, StoreUnavailable.
    """
    with translated(), psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        known: dict[str, str] = {}
        if not _absent(connection, "schema_migration"):
            known = dict(connection.execute("select name, digest from schema_migration").fetchall())
        missing = [m.name for m in _missing(known)]
        return [*missing, _QUEUE] if _absent(connection, "procrastinate_jobs") else missing


def _missing(known: Mapping[str, str]) -> list[Migration]:
    """What is not applied yet, of `known` name → digest. Raises SchemaError for a file that is not what was applied."""
    missing = []
    for migration in migrations():
        if migration.name not in known:
            missing.append(migration)
        elif known[migration.name] != migration.digest:
            raise SchemaError(f"migration {migration.name} was changed after it had been applied")
    return missing


def _absent(connection: psycopg.Connection, table: str) -> bool:
    return connection.execute("select to_regclass(%s) is null", [table]).fetchone() == (True,)


@contextmanager
def _locked(connection: psycopg.Connection) -> Iterator[None]:
    connection.execute("select pg_advisory_lock(%s)", [_LOCK])
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("select pg_advisory_unlock(%s)", [_LOCK])


def _use_timescale(connection: psycopg.Connection) -> None:
    offered = connection.execute("select from pg_available_extensions where name = 'timescaledb'").fetchone()
    if offered is None:
        return
    try:
        connection.execute("create extension if not exists timescaledb")
    except psycopg.Error as error:
        if "must be preloaded" not in str(error):
            raise
        # Going on without would decide for good, by an oversight, that readings lie in plain partitions.
        raise SchemaError(
            "TimescaleDB is installed on this server but not loaded: add timescaledb to shared_preload_libraries in "
            "postgresql.conf and restart the server, or run `headend migrate --plain` to do without it for good"
        ) from error


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    note = "insert into schema_migration (name, digest) values (%s, %s)"
    try:
        if migration.autocommit:
            connection.execute(migration.sql.encode())
            connection.execute(note, [migration.name, migration.digest])
        else:
            with connection.transaction():
                connection.execute("set local lock_timeout to '10s'")
                connection.execute(migration.sql.encode())
                connection.execute(note, [migration.name, migration.digest])
    except psycopg.OperationalError:
        raise
    except psycopg.Error as error:
        raise SchemaError(f"migration {migration.name}: {str(error).strip()}") from error
