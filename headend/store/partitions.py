"""Native partitions of the readings by UTC day, made ahead or when a day first arrives, dropped when they are too old;
nothing to do on TimescaleDB.

Made beside the parent and attached, detached concurrently and dropped beside it: neither locks readers or writers out.
Each set is made in a transaction of its own under an advisory lock, so that several ingest processes may need the same
day at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import psycopg
from psycopg import sql

from headend.store import queries
from headend.store.errors import translated
from headend.store.pool import Connection, Store, rows

TABLES: Final = ("register_reading", "phase_reading")
_LOCK: Final = 0x5041_5254  # "PART"
_AT_ONCE: Final = 40
"""Days in one transaction: bounds the locks that it holds (max_locks_per_transaction)."""
LOCK_TIMEOUT_S: Final = 10.0
"""Whoever changes how readings lie gives up then."""
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


def day_of(name: str) -> date | None:
    """The UTC day that a partition of this name holds; None when it is no such name."""
    with suppress(ValueError):
        return datetime.strptime(name.rpartition("_")[2], "%Y%m%d").replace(tzinfo=UTC).date()
    return None


def ahead(now: datetime, days: int) -> list[date]:
    """Today and so many UTC days after it."""
    today = now.astimezone(UTC).date()
    return [today + timedelta(days=n) for n in range(days + 1)]


@dataclass(frozen=True, slots=True)
class Old:
    """A day's table that is to go."""

    table: str
    name: str
    end: datetime
    """First instant after its day."""
    attached: bool
    pending: bool
    """Somebody was interrupted in detaching it."""


def droppable(connection: Connection, before: datetime) -> list[Old]:
    """Days' tables that end by `before`, oldest first; those too that are detached and were left over."""
    found = []
    for table in TABLES:
        for r in rows(connection, _q["standing"], {"table": table}):
            day = day_of(r["name"])
            if day is not None and (end := _start(day) + timedelta(days=1)) <= before:
                found.append(Old(table, r["name"], end, r["attached"], r["pending"]))
    return sorted(found, key=lambda old: (old.end, old.table))


def drop(store: Store, old: Old) -> None:
    """Drop one of them; who reads or writes other days does not wait. Raises StoreError, and goes on the next time."""
    parent, child = sql.Identifier(old.table), sql.Identifier(old.name)
    # Not from the pool: detaching concurrently takes two transactions of its own.
    with translated(), psycopg.connect(store.dsn, autocommit=True, prepare_threshold=None) as connection:
        bound_waits(connection, for_session=True)
        if old.pending:
            connection.execute(sql.SQL("alter table {} detach partition {} finalize").format(parent, child))
        elif old.attached:
            connection.execute(sql.SQL("alter table {} detach partition {} concurrently").format(parent, child))
        connection.execute(sql.SQL("drop table {}").format(child))


def bound_waits(connection: Connection, *, for_session: bool = False) -> None:
    """Wait for locks no longer than LOCK_TIMEOUT_S: in this transaction, or as long as the connection lives.

    Others queue behind whoever waits for an exclusive lock: better tried again later than a queue of them.
    """
    connection.execute(_q["bound_waits"], {"timeout": f"{round(LOCK_TIMEOUT_S * 1000)}ms", "local": not for_session})


def _start(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _make(connection: Connection, table: str, day: date) -> None:
    parent, child = sql.Identifier(table), sql.Identifier(partition_name(table, day))
    start = _start(day)
    connection.execute(sql.SQL("create table if not exists {} (like {} including all)").format(child, parent))
    connection.execute(
        sql.SQL("alter table {} attach partition {} for values from ({}) to ({})").format(
            parent, child, sql.Literal(start), sql.Literal(start + timedelta(days=1))
        )
    )
