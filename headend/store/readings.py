"""Raw register readings: binary COPY in, what is stored already told apart, and the bookkeeping beside them.

Arrays have the fields of the drivers' reading and phase columns with `meter` holding the store's meter_id; the smallest
integer of a column stands for *not measured*. The caller owns the transaction.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg

from headend.domain.calendar import from_us
from headend.store import copy_format, queries
from headend.store.errors import StoreError
from headend.store.pool import Connection

Rows = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
MOST_DAYS: Final = 40
"""How far a reading reaches back (or on) over a gap: more days than that are not marked by it."""
_NOT_STATED: Final = np.int16(np.iinfo(np.int16).min)
_q = queries.load("readings")


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of rows that took the careful way."""

    stored: Ints
    """(k, 2) meter_id and instant [µs UTC] of rows that are new."""
    completed: Ints
    """(c, 3) meter_id, instant and source of stored rows that got a value they lacked."""
    revised: dict[int, int]
    """Source → rows with another value than the stored one."""


class AlreadyStored(Exception):
    """A row that was believed to be new is stored already: somebody else wrote it just now. The transaction is void."""


def append(connection: Connection, readings: Rows, phases: Rows) -> None:
    """COPY rows that are believed to be new. Raises AlreadyStored when one of them is not: begin again with `merge`."""
    try:
        _copy(connection, "copy_readings", _reading_columns(readings))
        if phases.size:
            _copy(connection, "copy_phases", _phase_columns(phases))
    except psycopg.errors.UniqueViolation as error:
        raise AlreadyStored(error.diag.constraint_name) from error


def merge(connection: Connection, readings: Rows, phases: Rows, now: datetime) -> Merged:
    """Store what is new of these rows, note other values of stored ones, add values that stored ones lack."""
    if connection.execute(_q["has_staging"]).fetchone() != (True,):
        connection.execute(_q["make_staging_reading"])
        connection.execute(_q["make_staging_phase"])
    place = np.arange(readings.size, dtype=np.int32)
    _copy(connection, "copy_staged_readings", [*_reading_columns(readings), (place, "i4", False)])
    stored = connection.execute(_q["insert_staged"]).fetchall()
    stretch = {"first": from_us(readings["ts_us"].min()), "last": from_us(readings["ts_us"].max()), "now": now}
    revised: dict[int, int] = {}
    completed: list[Any] = []
    if len(stored) < readings.size:
        revised = dict(connection.execute(_q["note_revisions"], stretch).fetchall())
        completed = connection.execute(_q["complete"], stretch).fetchall()
    if phases.size:
        _copy(connection, "copy_staged_phases", _phase_columns(phases))
        connection.execute(_q["insert_staged_phases"])
    return Merged(_pairs(stored, 2), _pairs(completed, 3), revised)


def latest_instants(connection: Connection, meter_ids: Ints) -> dict[int, int]:
    """meter_id → newest stored instant [µs UTC], for the meters that have one."""
    return dict(connection.execute(_q["latest"], [meter_ids.tolist()]).fetchall())


def neighbours(
    connection: Connection, meter_ids: Ints, first_us: Ints, last_us: Ints
) -> list[tuple[int, int | None, int | None]]:
    """Per stretch its place (from 1), the instants of the last reading before and the first after, within MOST_DAYS."""
    parameters = {
        "meter_id": meter_ids.tolist(),
        "first_us": first_us.tolist(),
        "last_us": last_us.tolist(),
        "most_days": MOST_DAYS,
    }
    return connection.execute(_q["neighbours"], parameters).fetchall()


def mark_touched(
    connection: Connection, meter_ids: Ints, first_us: Ints, last_us: Ints, *, zone: str, now: datetime
) -> None:
    """Mark the area-days from first to last instant of each meter, both included, as to be settled."""
    connection.execute(
        _q["mark_touched"],
        {
            "meter_id": meter_ids.tolist(),
            "first_us": first_us.tolist(),
            "last_us": last_us.tolist(),
            "zone": zone,
            "now": now,
        },
    )


def advance_latest(connection: Connection, readings: Rows, power_w: Ints, now: datetime) -> None:
    """The newest row of each meter, one row a meter; an older one than stored changes nothing."""
    connection.execute(
        _q["advance_latest"],
        {
            "meter_id": readings["meter"].tolist(),
            "ts_us": readings["ts_us"].tolist(),
            "import_wh": _nullable(readings["import_wh"]),
            "export_wh": _nullable(readings["export_wh"]),
            "voltage_dv": _nullable(readings["voltage_dv"]),
            "power_w": _nullable(power_w),
            "source": readings["source"].tolist(),
            "now": now,
        },
    )


def add_counts(connection: Connection, meter_ids: Ints, sources: Ints, counts: Ints) -> None:
    """Add to the number of readings stored per meter and source."""
    connection.execute(
        _q["add_counts"],
        {"meter_id": meter_ids.tolist(), "source": sources.tolist(), "readings": counts.tolist()},
    )


def _copy(connection: Connection, name: str, columns: list[copy_format.Column]) -> None:
    try:
        data = copy_format.encode(columns)
    except OverflowError as error:
        raise StoreError(f"{name}: {error}") from error
    with connection.cursor().copy(_q[name]) as copy:
        copy.write(data)


def _reading_columns(rows: Rows) -> list[copy_format.Column]:
    return [
        (rows["meter"], "i4", False),
        (copy_format.timestamps(rows["ts_us"]), "i8", False),
        (rows["import_wh"], "i8", True),
        (rows["export_wh"], "i8", True),
        (rows["voltage_dv"], "i2", True),
        (rows["flags"], "i2", False),
        (rows["source"], "i2", False),
        (rows["uncertainty_ms"], "i4", False),
        (np.where(rows["resolution_wh"] > 0, rows["resolution_wh"], _NOT_STATED), "i2", True),
    ]


def _phase_columns(rows: Rows) -> list[copy_format.Column]:
    columns: list[copy_format.Column] = [
        (rows["meter"], "i4", False),
        (copy_format.timestamps(rows["ts_us"]), "i8", False),
    ]
    for name, kind in (("import_wh", "i8"), ("export_wh", "i8"), ("voltage_dv", "i2"), ("current_ma", "i8")):
        columns += [(rows[name][:, phase], kind, True) for phase in range(3)]
    return [*columns, (rows["power_w"], "i8", True)]


def _nullable(values: npt.NDArray[Any]) -> list[int | None]:
    absent = int(np.iinfo(values.dtype).min)
    return [None if v == absent else v for v in values.tolist()]


def _pairs(found: list[Any], width: int) -> Ints:
    return np.array(found, dtype=np.int64).reshape(-1, width)
