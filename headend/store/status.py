"""How far each stage of the head-end is, as its tables say: for the screen that shows everything, and for metrics."""

from __future__ import annotations

from datetime import datetime

from headend.store import queries
from headend.store.pool import Connection, Row, row, rows

_q = queries.load("status")


def parts(connection: Connection, *, now: datetime, read_since: datetime) -> Row:
    """Readings, settlement, billing and jobs in one row; a meter counts as read when its newest reading is no older."""
    return _only(row(connection, _q["parts"], {"now": now, "read_since": read_since}))


def standing_alerts(connection: Connection) -> list[Row]:
    """How many alerts stand: kind, severity, alerts."""
    return rows(connection, _q["standing"])


def dirty(connection: Connection) -> Row:
    """area_days that wait to be settled, and oldest_marked_at."""
    return _only(row(connection, _q["dirty"]))


def _only(found: Row | None) -> Row:
    if found is None:
        raise RuntimeError("a query of sums always has one row")
    return found
