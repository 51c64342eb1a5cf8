"""Area balances per day, technical-loss models and area reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from psycopg.types.json import Jsonb

from headend.store import queries
from headend.store.pool import Connection, Row, row, rows

_SQL = queries.load("balances")


@dataclass(frozen=True, slots=True)
class Watermark:
    """When an area's history counts as loaded."""

    started: datetime
    """A concentrator that has never been heard of counts as last heard of then."""
    silent: datetime
    """One not heard of since this instant no longer holds its area's history open."""


def area(connection: Connection, area_id: int) -> Row:
    """Code and limits of an area. Raises LookupError when there is none."""
    found = row(connection, _SQL["area"], {"area_id": area_id})
    if found is None:
        raise LookupError(f"no area {area_id}")
    return found


def areas_by_code(connection: Connection, codes: Sequence[str]) -> list[Row]:
    """area_id, code and points (how many hang on it) of the areas of these codes, or of every area where none is given;
    in order of area_id.
    """
    return rows(connection, _SQL["areas_by_code"], {"codes": list(codes)})


def technical_model(connection: Connection, area_id: int) -> Row | None:
    """constant_wh, quadratic_per_wh, interval_s of an area's last fit."""
    return row(connection, _SQL["technical_model"], {"area_id": area_id})


def put(connection: Connection, balances: Sequence[Mapping[str, Any]]) -> None:
    """Write settled area-days; keys are the columns, and `changed`: whether an interval under the balance changed."""
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["upsert"], balances)


def finalise(
    connection: Connection, *, now: datetime, zone: str, grace_days: int, watermark: Watermark
) -> list[tuple[int, date]]:
    """Make final what may be, and return (area_id, day) of it."""
    found = connection.execute(
        _SQL["finalise"], {"now": now, "zone": zone, "grace_days": grace_days} | _watermark(watermark)
    ).fetchall()
    return [(area_id, day) for area_id, day in found]


def loading(connection: Connection, watermark: Watermark) -> set[int]:
    """Areas below their history watermark: nothing of them is final, and no finding is opened."""
    return {area_id for (area_id,) in connection.execute(_SQL["loading"], _watermark(watermark)).fetchall()}


def stations(connection: Connection, first: date, last: date, station_id: int | None = None) -> list[Row]:
    """Areas with balances in a window, by station (of all, or of one), with how far they are settled and a digest of
    what they rest on.
    """
    return rows(connection, _SQL["stations"], {"first": first, "last": last, "station_id": station_id})


def window(connection: Connection, area_id: int, first: date, last: date) -> list[Row]:
    """Balances of an area's window."""
    return rows(connection, _SQL["window"], {"area_id": area_id, "first": first, "last": last})


def put_technical(connection: Connection, days: Sequence[Mapping[str, Any]]) -> None:
    """Write technical loss, and what follows of it, into balances."""
    with connection.cursor() as cursor:
        cursor.executemany(_SQL["put_technical"], days)


def put_model(connection: Connection, model: Mapping[str, Any]) -> None:
    """Keep an area's technical-loss model."""
    connection.execute(_SQL["put_model"], model)


def put_report(connection: Connection, report: Mapping[str, Any]) -> None:
    """Keep an area's last report."""
    kept = {name: Jsonb(report[name]) for name in ("priors", "limits", "cause_probability")}
    connection.execute(_SQL["put_report"], {**report, **kept})


def _watermark(watermark: Watermark) -> dict[str, datetime]:
    return {"started": watermark.started, "silent": watermark.silent}
