"""How far behind the readings are that come through concentrators: measured now and then, read by who shows it."""

from __future__ import annotations

from datetime import datetime

from headend.store import queries
from headend.store.pool import Connection, Row, row, rows

_q = queries.load("lag")


def measure(connection: Connection, now: datetime) -> int:
    """Note each concentrator's meters and their newest stored reading; returns how many concentrators there are."""
    return connection.execute(_q["measure"], {"now": now}).rowcount


def worst(connection: Connection, limit: int) -> list[Row]:
    """Concentrators with meters that serve, the longest silent first."""
    return rows(connection, _q["worst"], {"limit": limit})


def totals(connection: Connection, heard_since: datetime) -> Row:
    """Of all of those: how many, never heard, silent since before an instant, offline, their backlog."""
    found = row(connection, _q["totals"], {"heard_since": heard_since})
    if found is None:
        raise RuntimeError("a query of sums always has one row")
    return found
