"""Interval energy per metering point and day, and what it is made of: topology, raw readings, per-phase readings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headend.domain.gaps import GAP_DAYS
from headend.store import queries
from headend.store.pool import Connection, Row, rows
from headend.store.vectors import ABSENT, POSTGRES_EPOCH_US, Column, copy_rows, vector_rows

Ints = npt.NDArray[np.int64]

_SQL = queries.load("intervals")
_DATE_ZERO: Final = date(2000, 1, 1)
_ABSENT_DV: Final = np.iinfo(np.int16).min
FEW: Final = 5
"""So many readings on either side of a stretch: enough to judge the one that stands next to it."""


@dataclass(frozen=True, slots=True, eq=False)
class MeterReadings:
    """One meter's raw readings in order of time; (n,) int64 each, ABSENT: not measured."""

    ts_us: Ints
    import_wh: Ints
    export_wh: Ints
    voltage_dv: Ints
    flags: Ints
    resolution_wh: Ints
    """Step of the registers at each reading; 0: not stated."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntervalDays:
    """Rows of interval_day in columns; vectors are (rows, longest day) with `intervals` elements in use, ABSENT:
    null.
    """

    usage_point_id: Ints
    day: Sequence[date]
    starts_us: Ints
    interval_s: int
    intervals: Ints
    import_wh: Ints
    export_wh: Ints
    voltage_dv: Ints
    quality: Ints
    flags: Ints
    start_import_wh: Ints
    end_import_wh: Ints
    start_export_wh: Ints
    end_export_wh: Ints
    meters: Ints
    """(rows, most meters of a row)."""
    meter_counts: Ints
    multiplier_e4: Ints
    measured: Ints
    estimated: Ints
    rules: int
    start_mark: Ints
    end_mark: Ints


def points_of_area(connection: Connection, area_id: int, start: datetime, end: datetime) -> list[Row]:
    """Memberships of an area that overlap a stretch, with their metering points."""
    return rows(connection, _SQL["points_of_area"], {"area_id": area_id, "start": start, "end": end})


def installations_of(connection: Connection, usage_points: Sequence[int]) -> list[Row]:
    """Every installation of some metering points with its meter, in order of point and time."""
    return rows(connection, _SQL["installations_of"], {"usage_points": list(usage_points)})


def readings(connection: Connection, meters: Sequence[int], start: datetime, end: datetime) -> dict[int, MeterReadings]:
    """Readings of some meters from start to before end, and the few around that stretch on both sides."""
    parameters = {"meters": list(meters), "start": start, "end": end, "absent": ABSENT, "few": FEW}
    reach = timedelta(days=GAP_DAYS)
    near = parameters | {"since": start - reach, "until": end + reach}
    parts: dict[int, list[Mapping[str, Any]]] = {}
    for name in ("readings_before", "readings_between", "readings_after"):
        found = {row["meter_id"]: row for row in vector_rows(connection, _SQL[name], near)}
        sparse = [m for m in meters if m not in found or found[m]["ts_us"].size < FEW]
        if sparse and name != "readings_between":
            # Only for those that were silent for long: a look without a bound plans for every day there is.
            far = parameters | {"meters": sparse, "since": "-infinity", "until": "infinity"}
            found |= {row["meter_id"]: row for row in vector_rows(connection, _SQL[name], far)}
        for meter_id, row in found.items():
            parts.setdefault(meter_id, []).append(row)
    return {meter_id: _merged(of_meter) for meter_id, of_meter in parts.items()}


def _merged(parts: Sequence[Mapping[str, Any]]) -> MeterReadings:
    ts = np.concatenate([p["ts_us"] for p in parts])
    order = np.argsort(ts, kind="stable")

    def column(name: str) -> Ints:
        return np.asarray(np.concatenate([p[name] for p in parts])[order], dtype=np.int64)

    return MeterReadings(
        ts[order], column("import_wh"), column("export_wh"), column("voltage_dv"), column("flags"),
        column("resolution_wh"),
    )  # fmt: skip


def resolution_of(connection: Connection, meters: Sequence[int], start: datetime, end: datetime) -> dict[int, int]:
    """meter_id → step [Wh] of its registers as its newest readings of the stretch state it, where they do."""
    parameters = {"meters": list(meters), "start": start, "end": end, "few": FEW}
    return dict(connection.execute(_SQL["resolution_of"], parameters).fetchall())


def phase_readings(connection: Connection, meters: Sequence[int], start: datetime, end: datetime) -> list[Row]:
    """Per-phase registers and voltages, one row of vectors a meter, in order of time."""
    found = vector_rows(
        connection, _SQL["phase_readings"], {"meters": list(meters), "start": start, "end": end, "absent": ABSENT}
    )
    for row in found:
        order = np.argsort(row["ts_us"], kind="stable")
        for name, value in row.items():
            if name != "meter_id":
                row[name] = value[order]
    return found


def put(connection: Connection, days: IntervalDays, now: datetime) -> list[tuple[int, date]]:
    """Write rows and return (usage_point_id, day) of those that are new or say something else than before."""
    connection.execute(_SQL["staging"])
    count = len(days.day)
    if count == 0:
        return []
    size = days.intervals
    scalar = np.ones(count, dtype=np.int64)
    columns = [
        Column("int4", days.usage_point_id),
        Column("int4", np.array([(d - _DATE_ZERO).days for d in days.day], dtype=np.int64)),
        Column("int8", days.starts_us - POSTGRES_EPOCH_US),
        Column("int4", scalar * days.interval_s),
        Column("int8", days.import_wh, size),
        Column("int8", days.export_wh, size),
        Column("int2", days.voltage_dv, size),
        Column("int2", days.quality, size),
        Column("int4", days.flags, size),
        Column("int8", days.start_import_wh),
        Column("int8", days.end_import_wh),
        Column("int8", days.start_export_wh),
        Column("int8", days.end_export_wh),
        Column("int4", days.meters, days.meter_counts),
        Column("int8", days.multiplier_e4),
        Column("int2", days.measured),
        Column("int2", days.estimated),
        Column("int2", scalar * days.rules),
        Column("int8", days.start_mark),
        Column("int8", days.end_mark),
    ]
    copy_rows(connection, _SQL["copy_staging"], columns)
    changed = connection.execute(_SQL["upsert"], {"now": now}).fetchall()
    connection.execute(b"truncate interval_day_staging")
    return [(point, day) for point, day in changed]


def forget(connection: Connection, usage_points: Sequence[int], days: Sequence[date]) -> list[tuple[int, date]]:
    """Delete rows, pairwise, and return those that were there."""
    found = connection.execute(_SQL["forget"], {"usage_points": list(usage_points), "days": list(days)}).fetchall()
    return [(point, day) for point, day in found]


def marks_of_day(connection: Connection, usage_points: Sequence[int], day: date) -> dict[int, tuple[int, int]]:
    """(start_mark, end_mark) of the points that have a settled row of that day."""
    found = connection.execute(_SQL["marks_of_day"], {"usage_points": list(usage_points), "day": day}).fetchall()
    return {point: (start, end) for point, start, end in found}


def estimated_days(
    connection: Connection, usage_points: Sequence[int], after: date, until: date
) -> list[tuple[int, date]]:
    """Settled days of some points later than `after` with estimates in them."""
    parameters = {"usage_points": list(usage_points), "after": after, "until": until}
    return [(point, day) for point, day in connection.execute(_SQL["estimated_days"], parameters).fetchall()]


def days_of_points(connection: Connection, usage_points: Sequence[int], first: date, last: date) -> list[Row]:
    """Settled rows of some points with their vectors as (n,) int64 (ABSENT: null), in order of point and day."""
    parameters = {"usage_points": list(usage_points), "first": first, "last": last}
    stand_ins = {"absent": ABSENT, "absent_dv": int(_ABSENT_DV)}
    found = vector_rows(connection, _SQL["days_of_points"], parameters | stand_ins)
    for row in found:
        row["voltage_dv"] = np.where(row["voltage_dv"] == _ABSENT_DV, ABSENT, row["voltage_dv"])
    return found
