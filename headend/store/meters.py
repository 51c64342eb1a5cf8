"""One meter as a page shows it: rows as dictionaries, within the caller's transaction."""

from __future__ import annotations

from datetime import datetime

from headend.store.pool import Connection, Row, row, rows
from headend.store.queries import load


def one(connection: Connection, manufacturer: str, serial: str, *, now: datetime) -> Row | None:
    """A meter with its installation at `now`, its polling, its last registers, its model; None: there is none."""
    return row(connection, load("meters")["one"], {"manufacturer": manufacturer, "serial": serial, "now": now})


def endpoints(connection: Connection, meter_id: int) -> list[Row]:
    """How a meter is reached, a row a protocol."""
    return rows(connection, load("meters")["endpoints"], {"meter_id": meter_id})


def events(connection: Connection, meter_id: int, *, limit: int) -> list[Row]:
    """What a meter told, or what was seen of it, newest first."""
    return rows(connection, load("meters")["events"], {"meter_id": meter_id, "limit": limit})
