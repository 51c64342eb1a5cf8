"""Native partitions of the readings by UTC day, made when a day first arrives; nothing to do on TimescaleDB.

Made beside the parent and attached (which locks neither readers nor writers out), each set in a transaction of its own
under an advisory lock, so that several ingest processes may need the same day at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final

from psycopg import sql

from headend.store import queries
from headend.store.pool import Connection, Store, rows

TABLES: Final = ("register_reading", "phase_reading")
_LOCK: Final = 0x5041_5254  # "PART"
_AT_ONCE: Final = 40
"""Days in one transaction: bounds the locks that it holds (max_locks_per_transaction)."""
_q = queries.load("partitions")


class Partitions:
    """Remembers which days there is a partition for; one per process."""

    def __init__(self) -> None:
        self._known: set[date] = set()
        self._native: bool | None = None

    def ensure(self, store: Store, days: Iterable[date]) -> None:
        """Make what is missing for these UTC days. Raises StoreError."""
        wanted = sorted(set(days) - self._known)
        if not wanted or self._native is False:
            return
        if self._native is None:
            with store.transaction() as connection:
                self._native = is_native(connection)
            if not self._native:
                return
        for start in range(0, len(wanted), _AT_ONCE):
            some = wanted[start : start + _AT_ONCE]
            with store.transaction() as connection:
                connection.execute(_q["lock"], [_LOCK])
                there = {r["name"] for r in rows(connection, _q["attached"], {"tables": list(TABLES)})}
                for day in some:
                    for table in TABLES:
                        if partition_name(table, day) not in there:
                            _make(connection, table, day)
            self._known.update(some)

    def forget(self) -> None:
        """Look again: somebody may have dropped a partition."""
        self._known.clear()


def is_native(connection: Connection) -> bool:
    """Whether the readings lie in native partitions (and not in hypertables)."""
    return connection.execute(_q["is_native"], [TABLES[0]]).fetchone() == (True,)


def partition_name(table: str, day: date) -> str:
    """Name of the partition that holds one UTC day."""
    return f"{table}_{day:%Y%m%d}"


def _make(connection: Connection, table: str, day: date) -> None:
    parent, child = sql.Identifier(table), sql.Identifier(partition_name(table, day))
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    connection.execute(sql.SQL("create table if not exists {} (like {} including all)").format(child, parent))
    connection.execute(
        sql.SQL("alter table {} attach partition {} for values from ({}) to ({})").format(
            parent, child, sql.Literal(start), sql.Literal(start + timedelta(days=1))
        )
    )
