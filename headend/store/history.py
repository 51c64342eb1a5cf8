"""When we knew: what a transaction changes is stamped, late readings are noted, and any query can be asked of then.

The rule it keeps: what is known now lies where it always lay and costs nothing more to ask; what was known lies beside
it (014_history.sql tells how), and no code that changes a row has to remember to keep it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from psycopg.pq import TransactionStatus

from headend.store import queries
from headend.store.arrays import Instants, Integers, dates, integers
from headend.store.pool import Connection, Row, row, rows

Ints = npt.NDArray[np.int64]
METERS_A_BLOCK: Final = 256
"""Meters with neighbouring numbers whose late readings are one row of reading_arrival."""
_q = queries.load("history")


@dataclass(frozen=True, slots=True, eq=False)
class Arrivals:
    """Spans of readings that came late, each of some meters of one block; (n,) int64."""

    block: Ints
    """meter_id // METERS_A_BLOCK."""
    first_us: Ints
    """First and last stamp, both included [µs UTC]."""
    last_us: Ints
    meters: Sequence[bytes]
    """METERS_A_BLOCK bits each, the lowest bit of the first byte first."""


class StoredEnergy(NamedTuple):
    """Of a metering point and day."""

    usage_point: str
    """Its code."""
    import_wh: int | None
    """None: no interval has a number."""
    export_wh: int | None


def stamp(connection: Connection, now: datetime) -> None:
    """What this transaction changes from here on counts as known from `now`; without it, from the server's clock.

    The first change decides: all that a transaction changes becomes known at one instant.
    """
    connection.execute(_q["stamp"], {"now": now})


@contextmanager
def as_known(connection: Connection, known_at: datetime | None) -> Iterator[None]:
    """Within the block, topology and readings are as they were known at that instant; None: as they are now.

    For reading only. A reading that came within a quarter of an hour counts as known when it was stamped. What was
    settled is no version of anything: settle it again from what was known.
    """
    if known_at is None:
        yield
        return
    connection.execute(_q["ask_then"], {"known_at": known_at})
    try:
        yield
    finally:
        if connection.info.transaction_status is not TransactionStatus.INERROR:  # the end of the transaction does it
            connection.execute(_q["ask_now"])


def first_known(connection: Connection, area_id: int) -> datetime | None:
    """When an area was entered; None: before anybody kept that."""
    found = row(connection, _q["first_known"], {"area_id": area_id})
    return None if found is None else found["first_known"]


def write_nothing(connection: Connection) -> None:
    """Whatever the transaction does from here on, it changes nothing."""
    connection.execute(_q["nothing_is_written"])


def categories(connection: Connection, usage_points: Sequence[int]) -> list[Row]:
    """usage_point_id, category, valid_from, valid_to of some usage points, in order of time."""
    return rows(connection, _q["categories"], {"usage_points": list(usage_points)})


def told(
    connection: Connection, usage_points: Sequence[int], first: date, last: date
) -> dict[tuple[int, date, str], int]:
    """(usage_point_id, day, direction) → what billing was told in sum [Wh], adjustments included."""
    parameters = {"usage_points": list(usage_points), "first": first, "last": last}
    return {(point, day, into): wh for point, day, into, wh in connection.execute(_q["told"], parameters).fetchall()}


def stored_energies(connection: Connection, rows_: Sequence[tuple[int, date]]) -> dict[tuple[int, date], StoredEnergy]:
    """What days of metering points, (usage_point_id, day), are settled to; one that has no row is not among them."""
    parameters = {"usage_points": integers([point for point, _ in rows_]), "days": dates([day for _, day in rows_])}
    found = connection.execute(_q["stored_points"], parameters).fetchall()
    return {(point, day): StoredEnergy(*energy) for point, day, *energy in found}


def stored_balances(connection: Connection, area_id: int, days: Sequence[date]) -> dict[date, Row]:
    """What days of an area are settled to."""
    return {
        row["day"]: row for row in rows(connection, _q["stored_balances"], {"area_id": area_id, "days": dates(days)})
    }


def note_arrivals(connection: Connection, arrivals: Arrivals, received_at: datetime) -> None:
    """Note when late readings came, in the transaction that stores them."""
    if not arrivals.block.size:
        return
    connection.execute(
        _q["note_arrivals"],
        {
            "block": Integers(arrivals.block),
            "first": Instants(arrivals.first_us),
            "last": Instants(arrivals.last_us),
            "meters": list(arrivals.meters),
            "received_at": received_at,
        },
        prepare=False,
    )


def forget_arrivals(connection: Connection, kept_from: datetime) -> int:
    """Drop what is noted of readings that are not kept any more; how many rows."""
    gone = connection.execute(_q["forget_arrivals"], {"kept_from": kept_from}).rowcount
    return gone + connection.execute(_q["forget_completions"], {"kept_from": kept_from}).rowcount
