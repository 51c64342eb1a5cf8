"""The one door to the database: a pool of connections, and transactions that commit at the edge only."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final, Self

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import TupleRow, dict_row
from psycopg_pool import ConnectionPool

from headend.store.errors import StoreError, translated

Connection = psycopg.Connection[TupleRow]
Row = dict[str, Any]
DEADLINES: Final = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 15,
    "keepalives_count": 3,
    "tcp_user_timeout": 60_000,
}
"""A line that dies without a word (a host gone, a firewall that forgot it) is known as dead after a minute, not after
the kernel's quarter of an hour for what was sent or two hours for what is waited for. Not sooner: a server that is only
busy may take nothing off the line for a while. [s], the last one [ms]; libpq heeds them over TCP."""


class Store:
    """A pool of connections to one PostgreSQL (or TimescaleDB); thread-safe."""

    def __init__(self, dsn: str, *, pool_max: int = 8, prepare: bool = True, timeout_s: float = 10.0) -> None:
        """Raises StoreError when `dsn` is no libpq connection string: waiting for it would help nothing."""
        self.dsn = with_deadlines(dsn)
        self.pool_max = pool_max
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            self.dsn,
            min_size=min(1, pool_max),
            max_size=pool_max,
            timeout=timeout_s,
            open=False,
            check=ConnectionPool.check_connection,
            configure=_configured(prepare),
            name="headend",
        )

    def open(self) -> Self:
        """Start the pool; connections are made in the background, so a database that is away does not stop us here."""
        self._pool.open()
        return self

    def close(self) -> None:
        """Close every connection."""
        self._pool.close()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @contextmanager
    def transaction(self, *, timeout_s: float | None = None) -> Iterator[Connection]:
        """A connection within one transaction: committed when the block ends, rolled back when it raises.

        `timeout_s` is how long to wait for a connection, where that is not as long as everybody does. Raises
        StoreUnavailable, StoreConflict, SchemaError or StoreError instead of psycopg's errors.
        """
        with translated(), self._pool.connection(timeout_s) as connection, connection.transaction():
            yield connection

    def rows(self, query: bytes, parameters: Any = None) -> list[Row]:
        """Run one reading query in a transaction of its own and return its rows as dictionaries."""
        with self.transaction() as connection:
            return rows(connection, query, parameters)


def with_deadlines(dsn: str) -> str:
    """The connection string with DEADLINES where neither it nor libpq's environment says something else.

    One that names a service is left as it is: what stands in the service's file would be overruled. Raises StoreError
    when it is no connection string.
    """
    try:
        said = set(conninfo_to_dict(dsn))
    except psycopg.Error as error:
        raise StoreError(f"database.dsn is no libpq connection string: {str(error).strip()}") from None
    said |= {default.keyword.decode() for default in pq.Conninfo.get_defaults() if default.val is not None}
    if "service" in said:
        return dsn
    return make_conninfo(dsn, **{key: value for key, value in DEADLINES.items() if key not in said})


def rows(connection: Connection, query: bytes, parameters: Any = None) -> list[Row]:
    """Rows of one query as dictionaries, within the caller's transaction."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchall()


def row(connection: Connection, query: bytes, parameters: Any = None) -> Row | None:
    """The first row of a query as a dictionary, or None."""
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, parameters).fetchone()


def _configured(prepare: bool) -> Any:
    def configure(connection: Connection) -> None:
        if not prepare:
            connection.prepare_threshold = None
        connection.execute("set timezone to 'UTC'")
        # Late readings of thousands of meters may unpack that many batches; TimescaleDB's default is 100,000 rows a
        # statement, past which it refuses, however often one asks. Elsewhere the name means nothing.
        connection.execute("set timescaledb.max_tuples_decompressed_per_dml_transaction to 0")
        connection.commit()

    return configure
