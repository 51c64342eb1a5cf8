"""TimescaleDB's side of the readings: days are compressed when they are old, rolled into weeks, dropped when too old.

We do it ourselves instead of handing it to the database's background jobs: those may be off or out of workers, an
Apache build and a single-session server have none, and a job that fails tells a table that nobody looks at. What a
transaction here holds locked is one chunk, and no longer than it takes to compress it; days that are being written are
not touched.

Measured on TimescaleDB 2.28 (tests/bench/test_storage.py; 15 min, 10 Wh, 0.1 V, frozen on the grid): a batch costs some
300 bytes besides what is in it, so a day a batch (96 rows) makes 7.9 bytes a reading and a week (672 rows) 3.3, a row
114. Of the 3.3: import register 1.31, voltage 1.00, all other columns 0.49, index and the batch's own columns 0.13,
headers and page room 0.42. Smaller: longer batches, a coarser voltage, instants on the grid (stamps that wander within
a second cost 3.3 more). A meter's day is read as fast as from rows. Batches over several meters of a day (no segment)
make 6.1 and look up neighbours six times slower.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from psycopg import sql

from headend.store import queries
from headend.store.partitions import TABLES, bound_waits
from headend.store.pool import Connection, Row, Store, row, rows

WEEK: Final = timedelta(days=7)
"""So far days roll up; the layout below says the same."""
_LAYOUT: Final = sql.SQL(
    "alter table {} set (timescaledb.compress, timescaledb.compress_segmentby = 'meter_id', "
    "timescaledb.compress_orderby = 'ts', timescaledb.compress_chunk_time_interval = '7 days')"
)
_tables: Final = {"tables": list(TABLES)}
_q = queries.load("chunks")


@dataclass(frozen=True, slots=True)
class Packed:
    """What a round of compressing did."""

    days: int
    """Chunks that were rows before."""
    left: int
    """Of those that are due; the next round goes on with them."""


def version(connection: Connection) -> str | None:
    """Version of TimescaleDB in this database, None without it."""
    found = connection.execute(_q["is_timescale"]).fetchone()
    return None if found is None else str(found[0])


def lay_out(connection: Connection) -> bool | None:
    """Set up compression where it is not: None without hypertables, False where the licence has no compression.

    A layout that somebody chose already stays.
    """
    if version(connection) is None:
        return None
    found = row(connection, _q["laid_out"], _tables)
    if found is None:
        return None
    if found["packing"]:
        for table in found["missing"]:
            connection.execute(_LAYOUT.format(sql.Identifier(table)))
    return bool(found["packing"])


def pack(store: Store, before: datetime, more: Callable[[], bool]) -> Packed:
    """Compress chunks that end by `before`, oldest first, as long as there is time for `more`. Raises StoreError."""
    _finish_grown(store)
    due = store.rows(_q["packable"], _tables | {"before": before})
    done = 0
    for chunk in due:
        if done and not more():
            break
        with store.transaction() as connection:
            bound_waits(connection)
            grown = _compress(connection, chunk)
            if grown is not None:
                connection.execute(_q["note_grown"], {"chunk": grown})
        if grown is not None:
            _finish_grown(store)
        done += 1
    return Packed(done, len(due) - done)


def _compress(connection: Connection, day: Row) -> str | None:
    """Compress one chunk; returns the one that grows no more by it and is worth compressing anew."""
    (name,) = connection.execute(_q["compress"], day).fetchone() or (None,)
    if name != day["chunk"]:  # it went into the chunk of the days before it
        now = row(connection, _q["stretch"], {"chunk": name})
        full = now is not None and now["range_end"] - now["range_start"] >= WEEK
        return str(name) if full else None
    last = row(connection, _q["before"], {"hypertable": day["hypertable"], "instant": day["range_start"]})
    if last is None:
        return None
    several = timedelta(days=1) < last["range_end"] - last["range_start"] < WEEK
    return str(last["chunk"]) if several else None


def _finish_grown(store: Store) -> None:
    """In a transaction of its own, and noted until it is done: the day's chunk is not kept locked for so long."""
    for noted in store.rows(_q["grown"]):
        with store.transaction() as connection:
            bound_waits(connection)
            if noted["stands"]:
                connection.execute(_q["compress_anew"], noted)
            connection.execute(_q["forget_grown"], noted)


def repack(store: Store, more: Callable[[], bool]) -> Packed:
    """Compress late readings into the chunks that they came to, as long as there is time for `more`."""
    loose = store.rows(_q["loosened"], _tables)
    done = 0
    for chunk in loose:
        if done and not more():
            break
        with store.transaction() as connection:
            bound_waits(connection)
            connection.execute(_q["compress"], chunk)
        done += 1
    return Packed(done, len(loose) - done)


def droppable(connection: Connection, before: datetime) -> list[Row]:
    """Chunks that end by `before`: hypertable and range_end, oldest first."""
    return rows(connection, _q["droppable"], _tables | {"before": before})


def drop(store: Store, chunk: Row) -> None:
    """Drop one of them, and whatever of its table is older."""
    with store.transaction() as connection:
        bound_waits(connection)
        connection.execute(_q["drop"], {"hypertable": chunk["hypertable"], "before": chunk["range_end"]})
