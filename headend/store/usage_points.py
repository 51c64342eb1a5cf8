"""One usage point as people look at it: what it is, its meters, and its settled days with what is said of them."""

from __future__ import annotations

from datetime import date, datetime

from headend.store.pool import Connection, Row, row, rows
from headend.store.queries import load


def head(connection: Connection, code: str, *, now: datetime) -> Row | None:
    """What it is and where it hangs; None: there is no such usage point."""
    return row(connection, load("usage_points")["head"], {"code": code, "now": now})


def meters(connection: Connection, usage_point_id: int, start: datetime, end: datetime) -> list[Row]:
    """Meters that served from start to before end, in order of time."""
    parameters = {"usage_point_id": usage_point_id, "start": start, "end": end}
    return rows(connection, load("usage_points")["meters"], parameters)


def days(connection: Connection, usage_point_id: int, first: date, last: date) -> list[Row]:
    """Settled days, both ends included; vectors are lists, None: absent."""
    parameters = {"usage_point_id": usage_point_id, "first": first, "last": last}
    return rows(connection, load("usage_points")["days"], parameters)


def qualities(
    connection: Connection, usage_point_id: int, first: date, last: date, *, refused: int, faults: int
) -> list[Row]:
    """Of each settled day how many intervals are of which quality, carry the flag `refused`, or one of `faults`."""
    parameters = {"usage_point_id": usage_point_id, "first": first, "last": last, "refused": refused, "faults": faults}
    return rows(connection, load("usage_points")["qualities"], parameters)
