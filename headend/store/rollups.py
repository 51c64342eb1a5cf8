"""Balances of areas rolled up to feeders and stations, by day and by month: the database sums, nothing is fetched.

The rule it keeps: only computable area-days enter sums, and what is left out is counted beside them; nothing is scaled.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any, Literal

from headend.store import queries
from headend.store.pool import Connection, Row, row, rows

Period = Literal["day", "month"]
Scope = Literal["all", "station", "feeder", "area"]
Parts = Literal["whole", "area", "feeder", "station"]

_SQL = queries.load("rollups")
_NO_LIMIT = 2**31 - 1


def periods(
    connection: Connection,
    scope: Scope,
    code: str | None,
    first: date,
    last: date,
    *,
    period: Period,
    zone: str,
    by: Parts = "whole",
    after: date | None = None,
    limit: int = _NO_LIMIT,
) -> list[Row]:
    """Sums from the first to the last local day, oldest period first; `by`: a row for each part (column `part`).

    Areas that hang on no feeder are the part None; `after`: the period that the page before ended with.
    """
    parameters: dict[str, Any] = {
        "scope": scope, "code": code, "first": first, "last": last, "period": period, "zone": zone, "by": by,
        "after": after, "limit": limit,
    }  # fmt: skip
    return rows(connection, _SQL["periods"], parameters)


def stations(connection: Connection, code: str | None = None) -> list[Row]:
    """Stations by code, or the one of that code."""
    return rows(connection, _SQL["stations"], {"code": code})


def feeders(connection: Connection, at: datetime, *, code: str | None = None, station: str | None = None) -> list[Row]:
    """Feeders by code, with how many areas hang on them at an instant."""
    return rows(connection, _SQL["feeders"], {"at": at, "code": code, "station": station})


def names(connection: Connection, areas: list[str]) -> dict[str, Row]:
    """Name and own limits of areas, by code."""
    return {r["code"]: r for r in rows(connection, _SQL["names"], {"codes": areas})}


def feeder_of(connection: Connection, area: str, at: datetime) -> Row | None:
    """Code and name of the feeder that feeds an area at an instant."""
    return row(connection, _SQL["feeder_of_area"], {"area": area, "at": at})
