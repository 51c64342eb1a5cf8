"""How far meters' clocks are off, as it was read; functions take a connection, the caller owns the transaction."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from headend.store.pool import Connection, row, rows
from headend.store.queries import load

_OF_NOTE_MS: Final = 1000
"""The index of clocks that are off begins there, and no rule asks for less."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockReading:
    """What a meter's clock said, against ours."""

    at: datetime
    """By our clock: the middle of the request."""
    offset_ms: int | None
    """The meter's clock minus ours; None: its registers name no instant."""
    uncertainty_ms: int
    drifted: bool
    """Beyond the threshold of that time, since whenever the episode began."""
    command_id: UUID | None = None
    """Read back after this command had set it: what came before says nothing about its rate any more."""


def add(connection: Connection, meter_id: int, reading: ClockReading) -> None:
    """Keep a reading."""
    values = {
        "meter_id": meter_id,
        "at": reading.at,
        "offset_ms": reading.offset_ms,
        "uncertainty_ms": reading.uncertainty_ms,
        "drifted": reading.drifted,
        "command_id": reading.command_id,
    }
    connection.execute(load("clocks")["add"], values)


def is_off(reading: ClockReading | None) -> bool:
    """Whether a clock was off by so much that a validation rule may find fault with it: more than a second, or by
    nobody knows how much.
    """
    return reading is not None and (reading.offset_ms is None or abs(reading.offset_ms) > _OF_NOTE_MS)


def mark(connection: Connection, meter_id: int, *, at: datetime, zone: str, now: datetime) -> None:
    """What was read changes what is said of its local day: mark it to be settled again."""
    connection.execute(load("clocks")["mark"], {"meter_id": meter_id, "at": at, "zone": zone, "now": now})


def latest(connection: Connection, meter_id: int, *, now: datetime) -> ClockReading | None:
    """The last reading of a meter's clock; None: it never was read. One from when our own clock was ahead is none."""
    found = row(connection, load("clocks")["latest"], {"meter_id": meter_id, "now": now})
    return None if found is None else ClockReading(**found)


def recent(connection: Connection, meter_id: int, *, limit: int) -> list[ClockReading]:
    """The last readings of a meter's clock, newest first."""
    found = rows(connection, load("clocks")["recent"], {"meter_id": meter_id, "limit": limit})
    return [ClockReading(**r) for r in found]


def read_last(connection: Connection) -> dict[int, datetime]:
    """When each meter's clock was read last, by meter number; those that never were are not in it."""
    return {r["meter_id"]: r["at"] for r in rows(connection, load("clocks")["read_last"])}


def set_last(connection: Connection, meter_id: int) -> datetime | None:
    """When a meter's clock was set last, or may have been."""
    found = row(connection, load("clocks")["set_last"], {"meter_id": meter_id})
    return None if found is None else found["at"]
