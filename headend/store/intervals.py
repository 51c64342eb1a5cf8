"""Interval energy per metering point and day, and what it is made of: topology, raw readings, per-phase readings."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from functools import cached_property
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import to_us
from headend.domain.gaps import GAP_DAYS
from headend.store import queries, told_in_part
from headend.store.arrays import DATE_ZERO, Integers, columns, dates, integers
from headend.store.pool import Connection, Row, rows
from headend.store.vectors import ABSENT, vector_rows

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Objects = npt.NDArray[np.object_]
Bools = npt.NDArray[np.bool_]

_SQL = queries.load("intervals")
_ABSENT_DV: Final = int(np.iinfo(np.int16).min)
_ABSENT_WH: Final = int(np.iinfo(np.int32).min)
_VECTORS: Final = {
    "import_wh": _ABSENT_WH, "export_wh": _ABSENT_WH, "voltage_dv": _ABSENT_DV, "quality": None, "flags": None,
}  # fmt: skip
"""Vectors of interval_day, and what stands for null in answers."""
FOREVER_US: Final = 1 << 60
"""End of what still holds [µs since 1970]: far beyond any reading."""
FEW: Final = 5
"""So many readings on either side of a stretch: enough to judge the one that stands next to it."""
_LIKELY_NEAR: Final = timedelta(minutes=80)
"""So far from the stretch meters that are read every quarter of an hour have those few."""


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


@dataclass(frozen=True, eq=False)
class ReadingTable(Mapping[int, MeterReadings]):
    """Many meters' raw readings in columns, in order of meter and time; as a mapping: meter_id → its readings."""

    meters: Ints
    """(m,) meter_ids, rising; those without a reading are not among them."""
    offsets: Ints
    """(m + 1,) readings of meters[i] are offsets[i] ... offsets[i + 1]."""
    rows: MeterReadings
    """(n,) those of all meters."""

    @classmethod
    def of(cls, readings: Mapping[int, MeterReadings]) -> ReadingTable:
        """The same readings in columns; a meter of which there are none is left out."""
        if isinstance(readings, ReadingTable):
            return readings
        meters = sorted(meter for meter, own in readings.items() if own.ts_us.size)
        none = np.empty(0, dtype=np.int64)
        columns = (
            np.concatenate([none, *(np.asarray(getattr(readings[m], name), dtype=np.int64) for m in meters)])
            for name in _READING_COLUMNS
        )
        counts = [readings[m].ts_us.size for m in meters]
        return cls(np.array(meters, dtype=np.int64), np.cumsum([0, *counts], dtype=np.int64), MeterReadings(*columns))

    @cached_property
    def _place(self) -> dict[int, int]:
        return {meter: i for i, meter in enumerate(self.meters.tolist())}

    def __getitem__(self, meter_id: int) -> MeterReadings:
        i, rows = self._place[meter_id], self.rows
        here = slice(int(self.offsets[i]), int(self.offsets[i + 1]))
        return MeterReadings(
            rows.ts_us[here], rows.import_wh[here], rows.export_wh[here], rows.voltage_dv[here], rows.flags[here],
            rows.resolution_wh[here],
        )  # fmt: skip

    def columns(self) -> tuple[Ints, ...]:
        """meter_id of every reading, and the columns of its rows."""
        return np.repeat(self.meters, np.diff(self.offsets)), *(getattr(self.rows, name) for name in _READING_COLUMNS)

    def registers(self) -> Iterator[tuple[str, Bools, Bools, Bools]]:
        """Of both registers: its name, (n,) which readings tell it, (m,) whether any of a meter's does, and whether
        every one does that tells a register at all.
        """
        told = {"import": self.rows.import_wh != ABSENT, "export": self.rows.export_wh != ABSENT}
        neither = ~(told["import"] | told["export"])
        for of, own in told.items():
            if self.meters.size == 0 or own.all():  # nearly always
                yield of, own, np.ones(self.meters.size, dtype=np.bool_), np.ones(self.meters.size, dtype=np.bool_)
                continue
            some = np.logical_or.reduceat(own, self.offsets[:-1])
            yield of, own, some, np.logical_and.reduceat(own | neither, self.offsets[:-1])

    def rows_between(self, meters: Ints, begin_us: Ints, end_us: Ints) -> tuple[Ints, Ints]:
        """Of each meter (n,) the readings from an instant to an instant, both included: (rows of the table, one meter
        after the other; (n,) how many).
        """
        at = np.searchsorted(self.meters, meters)
        at[np.append(self.meters, -1)[at] != meters] = self.meters.size  # stands behind the others, with no rows
        bounds = np.append(self.offsets, self.offsets[-1])
        low, high = bounds[at], bounds[at + 1]
        ts = np.append(self.rows.ts_us, 0)
        for i in np.flatnonzero((low < high) & ((ts[low] < begin_us) | (ts[high - 1] > end_us))):
            own = ts[low[i] : high[i]]
            low[i], high[i] = low[i] + np.searchsorted(own, [begin_us[i], end_us[i] + 1])
        counts = high - low
        return np.repeat(low - (np.cumsum(counts) - counts), counts) + np.arange(int(counts.sum())), counts

    def __iter__(self) -> Iterator[int]:
        return iter(self._place)

    def __len__(self) -> int:
        return len(self.meters)


_READING_COLUMNS: Final = tuple(field.name for field in fields(MeterReadings))


class Members(NamedTuple):
    """Metering points from when until when they hung on an area; (n,) each."""

    usage_point_id: Ints
    code: Objects
    kind: Objects
    rated_current_a: Ints
    """0: not known."""
    behind: Ints
    """The shared point whose meter counts instead; 0: none."""
    from_us: Ints
    to_us: Ints
    """FOREVER_US: it still does."""


class Installations(NamedTuple):
    """Meters at metering points, with what is known of the meters; (n,) each."""

    usage_point_id: Ints
    meter_id: Ints
    identity: Objects
    """manufacturer/serial."""
    from_us: Ints
    to_us: Ints
    """FOREVER_US: it is still there."""
    multiplier_e4: Ints
    sign: Ints
    start_import_wh: Ints
    """Registers noted; ABSENT: none was."""
    start_export_wh: Ints
    end_import_wh: Ints
    end_export_wh: Ints
    phases: Ints
    digits: Ints
    resolution_wh: Ints
    accuracy_class: Floats
    """NaN: not known."""


def points_of_area(connection: Connection, area_id: int, start: datetime, end: datetime) -> Members:
    """Memberships of an area that overlap a stretch, with their metering points, in order of point and time."""
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_SQL["points_of_area"], {"area_id": area_id, "start": start, "end": end})
        found = columns(cursor, "int4 json json int4 int4 timestamptz timestamptz")
    told = Members(*map(_wide, found))
    return told._replace(to_us=np.minimum(told.to_us, FOREVER_US))


def _wide(column: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Integers with 64 bits, so that whatever is counted with them has room."""
    return column if column.dtype == np.object_ else column.astype(np.int64, copy=False)


def stays_of(connection: Connection, usage_points: Sequence[int], start: datetime, end: datetime) -> list[Row]:
    """When some metering points hung on an area in a stretch: usage_point_id, valid_from, valid_to (None: still)."""
    return rows(connection, _SQL["stays_of"], {"usage_points": integers(usage_points), "start": start, "end": end})


def members(connection: Connection, area_id: int) -> int:
    """How many metering points ever hung on an area."""
    (count,) = connection.execute(_SQL["members"], {"area_id": area_id}).fetchone() or (0,)
    return int(count)


def points(connection: Connection, usage_points: Sequence[int]) -> list[Row]:
    """Some metering points themselves, wherever they hang."""
    return rows(connection, _SQL["points"], {"usage_points": integers(usage_points)})


def installations_of(connection: Connection, usage_points: Collection[int] | Ints) -> Installations:
    """Every installation of some metering points with its meter, in order of point and time."""
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_SQL["installations_of"], {"usage_points": integers(usage_points), "absent": ABSENT})
        found = columns(
            cursor, "int4 int4 json timestamptz timestamptz int8 int2 int8 int8 int8 int8 int2 int2 int4 json"
        )
    told = Installations(*map(_wide, found))
    return told._replace(
        to_us=np.minimum(told.to_us, FOREVER_US), accuracy_class=told.accuracy_class.astype(np.float64)
    )


def readings(connection: Connection, meters: Sequence[int], start: datetime, end: datetime) -> ReadingTable:
    """Readings of some meters from start to before end, and the few around that stretch on both sides, of either
    register.
    """
    wanted = np.unique(np.asarray(meters, dtype=np.int64))
    near = _near(start, end)
    found = _found(connection, "readings_between", {"meters": Integers(wanted)} | near)
    begin, finish = to_us(start), to_us(end)
    # Beside the stretch only registers count: rows that tell of voltages alone would hide them.
    told = (found[2] != ABSENT) | (found[3] != ABSENT) | ((found[1] >= begin) & (found[1] < finish))
    if not told.all():
        found = tuple(column[told] for column in found)
    meter, ts = found[0], found[1]
    first = np.searchsorted(meter, wanted)
    early, inside = (
        np.bincount(np.searchsorted(wanted, meter[chosen]), minlength=wanted.size)
        for chosen in (ts < begin, (ts >= begin) & (ts < finish))
    )
    late = np.diff(np.append(first, meter.size)) - early - inside
    place = np.arange(meter.size) - np.repeat(first, early + inside + late)
    low = np.where(early >= FEW, early - FEW, early)  # the few nearest, or none: then they are looked for
    high = early + inside + np.where(late >= FEW, FEW, 0)
    chosen = (place >= np.repeat(low, early + inside + late)) & (place < np.repeat(high, early + inside + late))
    parts = [tuple(column[chosen] for column in found)]
    for name, near_ones in (("readings_before", early), ("readings_after", late)):
        parts += _far(connection, name, wanted[near_ones < FEW], start, end)
    table = _table(parts)

    def further(name: str, of: str, some: Ints) -> tuple[Ints, ...]:
        bounds = _bounds(start, end, timedelta(days=GAP_DAYS))  # no further away than readings belong together
        return _found(connection, name, {"meters": Integers(some), "of": of} | bounds)

    apart = told_in_part.further_out(connection, table, (begin, finish), FEW, further)
    return _table([table.columns(), *apart]) if apart else table


def _near(start: datetime, end: datetime) -> dict[str, datetime]:
    return {"start": start - _LIKELY_NEAR, "end": end + _LIKELY_NEAR}


def _bounds(start: datetime, end: datetime, reach: timedelta | None) -> dict[str, Any]:
    """How far from the stretch to look for how many readings; None: without a bound."""
    since, until = ("-infinity", "infinity") if reach is None else (start - reach, end + reach)
    return {"start": start, "end": end, "since": since, "until": until, "few": FEW}


def _far(connection: Connection, name: str, meters: Ints, start: datetime, end: datetime) -> list[tuple[Ints, ...]]:
    """The few readings on one side of meters that were silent next to the stretch: of those that were silent for long
    a second look without a bound, which plans for every day there is.
    """
    parts: list[tuple[Ints, ...]] = []
    for reach in (timedelta(days=GAP_DAYS), None):
        if not meters.size:
            break
        bounds = _bounds(start, end, reach)
        found = _found(connection, name, {"meters": Integers(meters), "of": "any"} | bounds)
        silent = np.bincount(np.searchsorted(meters, found[0]), minlength=meters.size) < FEW
        if reach is None:
            silent[:] = False
        chosen = ~silent[np.searchsorted(meters, found[0])]
        parts.append(tuple(column[chosen] for column in found))
        meters = meters[silent]
    return parts


def _found(connection: Connection, name: str, parameters: Mapping[str, Any]) -> tuple[Ints, ...]:
    """Columns meter_id and those of MeterReadings, in order of meter and time."""
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_SQL[name], {"absent": ABSENT, "absent_dv": _ABSENT_DV, **parameters})
        meter, ts, import_wh, export_wh, voltage_dv, *said = columns(
            cursor, "int4 timestamptz int8 int8 int2 int4 timestamptz int2 int4"
        )
    volts = voltage_dv.astype(np.int64)
    volts[voltage_dv == _ABSENT_DV] = ABSENT
    order = _order(meter, ts)
    found = tuple(np.asarray(column[order], dtype=np.int64) for column in (meter, ts, import_wh, export_wh, volts))
    flags, resolution = np.zeros(ts.size, dtype=np.int64), np.zeros(ts.size, dtype=np.int64)
    if said[0].size:
        order = _order(said[0], said[1])
        at = _places(found[0], found[1], said[0][order].astype(np.int64), said[1][order])
        flags[at], resolution[at] = said[2][order], said[3][order]
    return *found, flags, resolution


def _order(meter: npt.NDArray[Any], ts_us: Ints) -> Ints:
    """(n,) the order by meter and time; rows that come by days and by meter within a day need no sorting by time."""
    if meter.size and int(meter.max()) - int(meter.min()) < 1 << 16:
        order = np.argsort((meter - meter.min()).astype(np.uint16), kind="stable")  # by counting, in passes over bytes
        m, t = meter[order], ts_us[order]
        if bool(((m[1:] != m[:-1]) | (t[1:] > t[:-1])).all()):
            return order
    return np.lexsort((ts_us, meter))


def _places(meter: Ints, ts_us: Ints, of_meter: Ints, of_ts_us: Ints) -> Ints:
    """Where rows, given by their keys, stand among others; both in order of meter and time, none of them missing."""
    if of_meter.size == meter.size:
        return np.arange(meter.size)
    order = np.lexsort((np.concatenate([ts_us, of_ts_us]), np.concatenate([meter, of_meter])))
    return order[np.flatnonzero(order >= meter.size) - 1]  # each comes right after the row of the same key


def _table(parts: Sequence[tuple[Ints, ...]]) -> ReadingTable:
    """Parts together; a reading that they share counts once."""
    meter, *rest = (np.concatenate(together) for together in zip(*parts, strict=True))
    if sum(part[0].size > 0 for part in parts) > 1:
        order = _order(meter, rest[0])
        again = (np.diff(meter[order], prepend=-1) == 0) & (np.diff(rest[0][order], prepend=-1) == 0)
        order = order[~again]
        meter, rest = meter[order], [column[order] for column in rest]
    first = np.flatnonzero(np.diff(meter, prepend=-1))
    return ReadingTable(meter[first], np.append(first, meter.size).astype(np.int64), MeterReadings(*rest))


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


class Marks(NamedTuple):
    """Which readings decided the two midnights of one day of some points; (n,) each."""

    usage_point_id: Ints
    """Rising."""
    start_mark: Ints
    end_mark: Ints


def marks_of_days(connection: Connection, usage_points: Ints, days: Sequence[date]) -> dict[date, Marks]:
    """The marks of the points that have a settled row of each day."""
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_SQL["marks_of_days"], {"usage_points": Integers(usage_points), "days": dates(days)})
        point, day, *marks = columns(cursor, "int4 date int8 int8")
    found: dict[date, Marks] = {}
    for wanted in days:
        own = np.flatnonzero(day == (wanted - DATE_ZERO).days)
        own = own[np.argsort(point[own])]
        found[wanted] = Marks(point[own].astype(np.int64), *(mark[own] for mark in marks))
    return found


def idle_days(connection: Connection, usage_points: Sequence[int], first: date, last: date) -> list[tuple[int, date]]:
    """Settled days of some points that are known to be without energy, in or out, though the meter had power."""
    found = connection.execute(
        _SQL["idle_days"], {"usage_points": integers(usage_points), "first": first, "last": last}
    )
    return [(point, day) for point, day in found.fetchall()]


def days_of_points(connection: Connection, usage_points: Sequence[int], first: date, last: date) -> list[Row]:
    """Settled rows of some points with their vectors as (n,) int64 (ABSENT: null), in order of point and day."""
    parameters = {"usage_points": list(usage_points), "first": first, "last": last}
    stand_ins = {"absent_wh": _ABSENT_WH, "absent_dv": _ABSENT_DV}
    found = vector_rows(connection, _SQL["days_of_points"], parameters | stand_ins)
    for row in found:
        size = row["import_wh"].size
        for name, absent in _VECTORS.items():
            values = row[name]
            if absent is not None:
                values = np.where(values == absent, ABSENT, values)
            row[name] = np.repeat(values, size) if values.size == 1 else values
    return found
