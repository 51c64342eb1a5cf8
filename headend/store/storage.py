"""How the readings lie in the database, and from when on they are kept.

The rule it keeps: what was settled from readings that are dropped stays as it is. The floor is raised and committed
before anything is dropped, and whoever settles holds it where it is meanwhile. Sizes and counts are the database's own
estimates, so that asking costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from headend.store import chunks, partitions, queries
from headend.store.partitions import TABLES
from headend.store.pool import Connection, Store, row, rows

_LOCK: Final = 0x464C_4F52  # "FLOR"
LARGEST: Final = 8
"""Other tables that the summary tells of."""
_q = queries.load("storage")
_chunks = queries.load("chunks")
_partitions = queries.load("partitions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Storage:
    """State of the readings' tables, for `headend status`."""

    timescale: str | None
    """Version of TimescaleDB; None: native partitions of plain PostgreSQL."""
    packing: bool
    """Whether old days can be compressed here."""
    rows: int
    """Readings, estimated; days never analysed do not count."""
    bytes: int
    """The readings' tables together, with their indexes."""
    table_bytes: Mapping[str, int]
    """Bytes by table: the readings' tables, then the largest others."""
    first_day: date | None
    """Oldest and newest UTC day that there is room for; None: there is none yet."""
    last_day: date | None
    days: int
    """UTC days that there is room for."""
    packed_days: int
    """Of them compressed."""
    days_ahead: int | None
    """UTC days after today that are made without a gap; None: the database makes them itself."""
    kept_from: datetime | None
    """Readings before have been dropped; None: none ever were."""


def kept_from(connection: Connection) -> datetime | None:
    """From when on readings are kept, None: all of them; it stays so until the caller's transaction ends."""
    connection.execute(_q["hold_floor"], [_LOCK])
    return _floor(connection)


def unanchored(connection: Connection, area_id: int, days: Mapping[date, datetime], floor: datetime) -> set[date]:
    """Of these settled days (with where they begin) those with an estimate that hangs on a reading before the floor."""
    parameters = {"area_id": area_id, "days": list(days), "starts": list(days.values()), "kept_from": floor}
    return {day for (day,) in connection.execute(_q["unanchored"], parameters)}


def raise_floor(store: Store, table: str, kept_from: datetime, now: datetime) -> None:
    """Readings of a table before `kept_from` are about to be dropped. Waits for those who settle. Raises StoreError."""
    with store.transaction() as connection:
        partitions.bound_waits(connection)
        connection.execute(_q["move_floor"], [_LOCK])
        connection.execute(_q["raise_floor"], {"table": table, "kept_from": kept_from, "now": now})


def summary(connection: Connection, now: datetime) -> Storage:
    """What there is now."""
    release = chunks.version(connection)
    native = partitions.is_native(connection)
    found = _of_partitions(connection, now) if native else _of_chunks(connection)
    others = rows(connection, _q["largest"], {"tables": list(TABLES), "limit": LARGEST})
    sizes = found.bytes | {r["table_name"]: int(r["bytes"]) for r in others}
    return Storage(
        timescale=None if native else release,
        packing=found.packing,
        rows=found.rows,
        bytes=sum(found.bytes.values()),
        table_bytes=sizes,
        first_day=found.first,
        last_day=found.last,
        days=found.days,
        packed_days=found.packed_days,
        days_ahead=found.ahead,
        kept_from=_floor(connection),
    )


def _floor(connection: Connection) -> datetime | None:
    found = row(connection, _q["floor"])
    return None if found is None else found["kept_from"]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    rows: int
    bytes: dict[str, int]
    first: date | None
    last: date | None
    days: int
    packed_days: int = 0
    packing: bool = False
    ahead: int | None = None


def _of_chunks(connection: Connection) -> _Found:
    tables = {"tables": list(TABLES), "table": TABLES[0]}
    extent = row(connection, _chunks["extent"], tables) or {}
    layout = row(connection, _chunks["laid_out"], tables)
    last = extent["ends"]
    return _Found(
        rows=int((row(connection, _chunks["rows"], tables) or {"rows": 0})["rows"]),
        bytes={r["table_name"]: int(r["bytes"]) for r in rows(connection, _chunks["sizes"], tables)},
        first=None if last is None else extent["begins"].astimezone(UTC).date(),
        last=None if last is None else (last.astimezone(UTC) - timedelta(microseconds=1)).date(),
        days=extent["days"],
        packed_days=extent["packed_days"],
        packing=layout is not None and bool(layout["packing"]) and TABLES[0] not in layout["missing"],
    )


def _of_partitions(connection: Connection, now: datetime) -> _Found:
    sizes = dict.fromkeys(TABLES, 0)
    days: set[date] = set()
    count = 0
    for found in rows(connection, _partitions["sizes"], {"tables": list(TABLES)}):
        sizes[found["table_name"]] += int(found["bytes"])
        if found["table_name"] == TABLES[0]:
            count += max(0, int(found["rows"]))
            day = partitions.day_of(found["name"])
            if day is not None:
                days.add(day)
    ahead, today = 0, now.astimezone(UTC).date()
    while today + timedelta(days=ahead + 1) in days:
        ahead += 1
    return _Found(
        rows=count,
        bytes=sizes,
        first=min(days, default=None),
        last=max(days, default=None),
        days=len(days),
        ahead=ahead,
    )
