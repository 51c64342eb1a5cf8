"""How the polled buses and meters are doing: written by the process that polls, read by pages and the API."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from headend.store.pool import Connection, Row, row, rows
from headend.store.queries import load


@dataclass(frozen=True, slots=True, kw_only=True)
class BusState:
    """One bus after its last round."""

    bus: str
    """URI."""
    peer: str
    """As a person looks for it."""
    connected: bool | None
    """None: no round yet."""
    since_at: datetime | None
    """Since when it is, or is not."""
    reason: str | None
    """Why not."""
    began_at: datetime | None
    took_s: float | None
    meters: int
    """That hang on it and serve."""
    asked: int | None
    """That were due in the last round; read, failed and resting are of these."""
    read: int | None
    failed: int | None
    resting: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterState:
    """One meter after the last round in which it was due."""

    meter_id: int
    bus: str
    outcome: str
    """`ok`, `resting`, or what failed."""
    reason: str
    """For a person."""
    since_at: datetime
    """Since when it is read, or is not."""
    failures: int
    """Rounds in a row without a reading."""
    next_probe_at: datetime | None
    """Of a resting one."""
    response_ms: float | None
    """Learnt; None: it never answered."""
    timeout_ms: float | None
    """How long a question waits for its answer now."""
    firmware: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModemState:
    """One modem that has dialled in at least once since the process began."""

    modem: str
    peer: str
    """The address that it last came from."""
    connected: bool
    in_use: bool
    """A bus has it."""
    registered_at: datetime
    heard_at: datetime
    registrations: int


def save(connection: Connection, buses: Sequence[BusState], meters: Sequence[MeterState], *, now: datetime) -> None:
    """Keep the states of these buses and meters in place of what was kept of them."""
    if buses:
        connection.execute(load("polling")["save_buses"], _columns(buses) | {"now": now})
    if meters:
        connection.execute(load("polling")["save_meters"], _columns(meters) | {"now": now})


def keep_only(connection: Connection, buses: Collection[str], meters: Collection[int]) -> None:
    """Drop the states of all other buses and meters: they are not polled any more."""
    connection.execute(load("polling")["drop_other_buses"], {"buses": list(buses)})
    connection.execute(load("polling")["drop_other_meters"], {"meters": list(meters)})


def save_modems(connection: Connection, modems: Sequence[ModemState], *, now: datetime) -> None:
    """Keep the states of these modems."""
    if modems:
        connection.execute(load("polling")["save_modems"], _columns(modems) | {"now": now})


def modems_gone(connection: Connection, *, now: datetime) -> None:
    """Nobody is connected: the process that they came to begins anew."""
    connection.execute(load("polling")["modems_gone"], {"now": now})


def forget_modems(connection: Connection, *, before: datetime) -> int:
    """Drop those last heard before an instant; returns how many."""
    return connection.execute(load("polling")["forget_modems"], {"before": before}).rowcount


def stored_meters(connection: Connection) -> list[MeterState]:
    """As they were left, so that *since when* survives a restart."""
    return [MeterState(**r) for r in rows(connection, load("polling")["stored_meters"])]


def stored_buses(connection: Connection) -> list[BusState]:
    """The same of buses."""
    return [BusState(**r) for r in rows(connection, load("polling")["stored_buses"])]


def totals(connection: Connection) -> Row:
    """Of all buses: how many, connected, and their meters read, failed and resting in their last rounds."""
    found = row(connection, load("polling")["totals"])
    if found is None:
        raise RuntimeError("a query of sums always has one row")
    return found


def oldest_rounds(connection: Connection, limit: int) -> list[Row]:
    """Buses whose last round is longest ago: bus, began_at; not those that have had none yet."""
    return rows(connection, load("polling")["oldest_rounds"], {"limit": limit})


def buses(
    connection: Connection,
    *,
    limit: int,
    bus: str | None = None,
    search: str | None = None,
    troubled: bool = False,
    after: tuple[int, str] | None = None,
) -> list[Row]:
    """Buses, the troubled first, each with its areas and with its meters that were not read.

    `after` is (rank, bus) of the last row of the page before.
    """
    parameters = {
        "bus": bus,
        "search": search,
        "troubled": troubled,
        "after_rank": after[0] if after else None,
        "after_bus": after[1] if after else None,
        "limit": limit,
    }
    return rows(connection, load("polling")["buses"], parameters)


def meters_of(connection: Connection, bus: str) -> list[Row]:
    """Every polled meter of a bus with what was learnt of it, by unit."""
    return rows(connection, load("polling")["meters_of"], {"bus": bus})


def modems(connection: Connection, *, limit: int) -> list[Row]:
    """Modems that dialled in, those that are away first, then the latest heard, with the bus that they carry."""
    return rows(connection, load("polling")["modems"], {"limit": limit})


def _columns(records: Sequence[Any]) -> dict[str, list[Any]]:
    return {f.name: [getattr(record, f.name) for record in records] for f in fields(records[0])}
