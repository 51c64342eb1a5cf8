"""What validation said of settled days, counted; functions take a connection, the caller owns the transaction."""

from __future__ import annotations

from datetime import date, datetime

from headend.store import queries
from headend.store.pool import Connection, Row, rows

_SQL = queries.load("validation")


def flags_of_area(connection: Connection, area_id: int, day: date, start: datetime, end: datetime) -> list[Row]:
    """usage_point, rules, flags, intervals: how many intervals of each point carry which flags, 0 for none. `start` and
    `end` are those of the local day.
    """
    return rows(connection, _SQL["flags_of_area"], {"area_id": area_id, "day": day, "start": start, "end": end})
