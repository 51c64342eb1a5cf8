"""Raw register readings: binary COPY in, what is stored already told apart, and the bookkeeping beside them.

Arrays have the fields of the drivers' reading and phase columns with `meter` holding the store's meter_id; the smallest
integer of a column stands for *not measured*. The caller owns the transaction.
Queries over arrays are planned with their values (`prepare=False`): a plan made for any arrays read whole tables.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.rows import TupleRow

from headend.domain.calendar import from_us
from headend.domain.gaps import GAP_DAYS
from headend.store import arrays, copy_format, queries
from headend.store.arrays import Bigints, Days, Instants, Integers, Smallints
from headend.store.errors import StoreRefused
from headend.store.pool import Connection

Rows = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
MOST_DAYS: Final = GAP_DAYS
"""How far a reading reaches back (or on) over a gap: more days than that are not marked by it."""
STORED_DTYPE: Final = np.dtype(
    [
        ("meter", np.int32),
        ("ts_us", np.int64),
        ("import_wh", np.int64),
        ("export_wh", np.int64),
        ("voltage_dv", np.int16),
    ]
)
"""What tells a reading that is stored from another one of its meter and instant."""
_PHASE_FIELDS: Final = (("import_wh", "i8"), ("export_wh", "i8"), ("voltage_dv", "i2"), ("current_ma", "i8"))
_TARIFFS: Final = 8
"""Rates that have a register of their own."""
STORED_PHASE_DTYPE: Final = np.dtype(
    [
        ("meter", "i4"),
        ("ts_us", "i8"),
        *((name, kind, (3,)) for name, kind in _PHASE_FIELDS),
        ("power_w", "i8"),
        ("import_tariff_wh", "i8", (_TARIFFS,)),
    ]
)
"""The same of its phases and rates."""
_NOT_STATED: Final = np.int16(np.iinfo(np.int16).min)
_LOWEST: Final = np.iinfo(np.int64).min
_AT_ONCE: Final = 20_000
"""Rows of one piece of a COPY: bounds the bytes held."""
_NOTED_BEFORE: Final = {"complete": "note_completions", "complete_phases": "note_phase_completions"}
_q = queries.load("readings")


@dataclass(frozen=True, slots=True)
class Merged:
    """What became of rows that took the careful way: places among them, each once."""

    stored: Ints
    """New."""
    completed: Ints
    """Gave a value to a stored row that lacked it."""
    revised: Ints
    """With another value than the stored row."""
    contradicting: Ints
    """Of those, where the registers differ as nobody had told before."""


class AlreadyStored(Exception):
    """A row that was believed to be new is stored already, or somebody else is writing it. The transaction is void."""


def append(connection: Connection, readings: Rows, phases: Rows) -> None:
    """COPY rows that are believed to be new. Raises AlreadyStored when one of them is not: begin again with `merge`."""
    try:
        _copy(connection, "copy_readings", _reading_columns(readings))
        if phases.size:
            _copy(connection, "copy_phases", _phase_columns(phases))
    except psycopg.errors.UniqueViolation as error:
        raise AlreadyStored(error.diag.constraint_name) from error
    except psycopg.errors.DeadlockDetected as error:
        # COPY fills partition after partition: two writers of the same rows may come to wait for each other.
        raise AlreadyStored(str(error).strip()) from error


def merge(connection: Connection, readings: Rows, phases: Rows, phase_of: Ints, now: datetime) -> Merged:
    """Store what is new of these rows, note other values of stored ones, add values that stored ones lack.

    phase_of: (k,) the place of each phase row's reading. What is stored first stays, whatever comes later.
    """
    if connection.execute(_q["has_staging"]).fetchone() != (True,):
        connection.execute(_q["make_staging_reading"])
        connection.execute(_q["make_staging_phase"])
    place = np.arange(readings.size, dtype=np.int32)
    _copy(connection, "copy_staged_readings", [*_reading_columns(readings), (place, "i4", False)])
    if phases.size:
        _copy(connection, "copy_staged_phases", [*_phase_columns(phases), (phase_of, "i4", False)])
    stretch = {"first": from_us(readings["ts_us"].min()), "last": from_us(readings["ts_us"].max()), "now": now}
    stored = _places(connection, "insert_staged", stretch)
    more = _places(connection, "insert_staged_phases", stretch) if phases.size else stored[:0]
    revised = contradicting = completed = stored[:0]
    if stored.size < readings.size:
        noted = np.array(
            connection.execute(_q["note_revisions"], stretch, prepare=False).fetchall(), dtype=np.int64
        ).reshape(-1, 2)
        revised, contradicting = np.sort(noted[:, 0]), np.sort(noted[noted[:, 1] != 0, 0])
        if (added := np.setdiff1d(more, stored)).size:
            connection.execute(_q["note_phases_added"], stretch | {"places": Integers(added)}, prepare=False)
        completed = _completed(connection, "complete", "lacking", stretch)
        if phases.size:
            more = np.concatenate((more, _completed(connection, "complete_phases", "lacking_phases", stretch)))
    completed = np.setdiff1d(np.concatenate((completed, more)), stored)
    return Merged(stored, completed, revised, contradicting)


def _completed(connection: Connection, name: str, lacking: str, stretch: dict[str, Any]) -> Ints:
    """Places of rows that gave a stored one what it lacked; how that one stood is noted first."""
    meters = _places(connection, lacking, stretch)
    if not meters.size:
        return meters
    connection.execute(_q[_NOTED_BEFORE[name]], stretch, prepare=False)
    return _places(connection, name, stretch | {"meters": Integers(meters)})


def newest(connection: Connection, meter_ids: Ints) -> tuple[Ints, dict[int, int]]:
    """What is known of meters before anything is stored.

    meter_ids: (n,) sorted, each once. Gives (n,) the newest instant stored [µs UTC], the smallest integer where there
    is none, and meter_id → bits of the event episodes that stand open, for those where any does.
    """
    cursor = connection.execute(_q["newest"], {"meter_id": Integers(meter_ids)}, binary=True, prepare=False)
    meter, ts_us, open_ = arrays.columns(cursor, "int4 timestamptz int4")
    found = np.full(meter_ids.size, _LOWEST, dtype=np.int64)
    found[np.searchsorted(meter_ids, meter)] = ts_us
    standing = open_ != 0
    return found, dict(zip(meter[standing].tolist(), open_[standing].tolist(), strict=True))


def stored(connection: Connection, meter_ids: Ints, first_us: Ints, last_us: Ints) -> Rows:
    """What is stored of these stretches of meters, both instants included: STORED_DTYPE, by meter and instant."""
    if not meter_ids.size:
        return np.zeros(0, dtype=STORED_DTYPE)
    cursor = _within(connection, "stored", meter_ids, first_us, last_us)
    found = arrays.columns(cursor, "int4 timestamptz int8 int8 int2")
    rows = np.empty(found[0].size, dtype=STORED_DTYPE)
    for name, values in zip(STORED_DTYPE.names or (), found, strict=True):
        rows[name] = values
    return _by_key(rows)


def stored_phases(connection: Connection, meter_ids: Ints, first_us: Ints, last_us: Ints) -> Rows:
    """The phases that are stored of these stretches: STORED_PHASE_DTYPE, by meter and instant."""
    if not meter_ids.size:
        return np.zeros(0, dtype=STORED_PHASE_DTYPE)
    cursor = _within(connection, "stored_phases", meter_ids, first_us, last_us)
    kinds = [f"int{kind[1]}" for _, kind in _PHASE_FIELDS for _ in range(3)]
    found = arrays.columns(cursor, " ".join(["int4 timestamptz", *kinds, "int8", *["int8"] * _TARIFFS]))
    rows = np.empty(found[0].size, dtype=STORED_PHASE_DTYPE)
    rows["meter"], rows["ts_us"], rows["power_w"] = found[0], found[1], found[-1 - _TARIFFS]
    for rate in range(_TARIFFS):
        rows["import_tariff_wh"][:, rate] = found[rate - _TARIFFS]
    for nth, (name, _) in enumerate(_PHASE_FIELDS):
        for phase in range(3):
            rows[name][:, phase] = found[2 + 3 * nth + phase]
    return _by_key(rows)


def neighbours(connection: Connection, meter_ids: Ints, first_us: Ints, last_us: Ints) -> tuple[Ints, Ints]:
    """The last instant stored before each stretch and the first after it, within MOST_DAYS.

    (n,) int64 [µs UTC]; the smallest, the largest integer where there is none.
    """
    most = timedelta(days=MOST_DAYS)
    cursor = connection.execute(
        _q["neighbours"],
        {
            "meter_id": Integers(meter_ids),
            "first": Instants(first_us),
            "last": Instants(last_us),
            "from": from_us(first_us.min()) - most,
            "until": from_us(last_us.max()) + most,
            "most": most,
        },
        binary=True,
        prepare=False,
    )
    before, after = arrays.columns(cursor, "timestamptz timestamptz")
    return before, after


def hold_newest(connection: Connection, meter_ids: Sequence[int]) -> None:
    """Wait for whoever is storing readings of these meters, and let nobody else until the transaction ends."""
    connection.execute(_q["hold_newest"], [list(meter_ids)])


def mark_touched(
    connection: Connection,
    meter_ids: Ints,
    first_day: Ints,
    last_day: Ints,
    bounds_us: tuple[Ints, Ints],
    *,
    zone: str,
    now: datetime,
) -> None:
    """Mark the area-days from first to last local day of each meter, both included, as to be settled.

    Days are counted from 1970; bounds_us: where the first one begins and the last one ends [µs UTC].
    """
    connection.execute(
        _q["mark_touched"],
        {
            "meter_id": Integers(meter_ids),
            "first_day": Days(first_day),
            "last_day": Days(last_day),
            "start": Instants(bounds_us[0]),
            "finish": Instants(bounds_us[1]),
            "zone": zone,
            "now": now,
            "most": timedelta(days=MOST_DAYS),
        },
        prepare=False,
    )


class Advanced:
    """The answer to `advance`: ask for it when the pipeline that it was sent in is over."""

    def __init__(self, cursor: psycopg.Cursor[TupleRow]) -> None:
        self._cursor = cursor

    def newest_us(self) -> Ints:
        """(n,) the newest instant of each meter as it is now [µs UTC]."""
        meter, ts_us = arrays.columns(self._cursor, "int4 timestamptz")
        return ts_us[np.argsort(meter)]


def advance(connection: Connection, latest: Rows, power_w: Ints, counts: Ints, now: datetime) -> Advanced:
    """The newest row of each meter among those stored just now, by meter, and how many these are.

    counts: (n, 4) by source. An older row than the one that stands leaves that one standing.
    """
    cursor = connection.execute(
        _q["advance"],
        {
            "meter_id": Integers(latest["meter"]),
            "ts": Instants(latest["ts_us"]),
            "import_wh": Bigints(latest["import_wh"], nullable=True),
            "export_wh": Bigints(latest["export_wh"], nullable=True),
            "voltage_dv": Smallints(latest["voltage_dv"], nullable=True),
            "power_w": Bigints(power_w, nullable=True),
            "source": Smallints(latest["source"]),
            "modbus": Bigints(counts[:, 0]),
            "mqtt": Bigints(counts[:, 1]),
            "concentrator": Bigints(counts[:, 2]),
            "manual": Bigints(counts[:, 3]),
            "now": now,
        },
        binary=True,
    )
    return Advanced(cursor)


def note_tariffs(connection: Connection, phases: Rows) -> None:
    """Remember which meters have registers per rate; within a pipeline."""
    telling = (phases["import_tariff_wh"] != _LOWEST).any(axis=1)
    if telling.any():
        meters = np.unique(phases["meter"][telling])
        connection.execute(_q["note_tariffs"], {"meter_id": Integers(meters)}, prepare=False)


def _within(
    connection: Connection, name: str, meter_ids: Ints, first_us: Ints, last_us: Ints
) -> psycopg.Cursor[TupleRow]:
    """A query over stretches of meters, and from the first to the last instant of all for the planner to see."""
    parameters = {
        "meter_id": Integers(meter_ids),
        "first": Instants(first_us),
        "last": Instants(last_us),
        "from": from_us(first_us.min()),
        "until": from_us(last_us.max()),
    }
    return connection.execute(_q[name], parameters, binary=True, prepare=False)


def _by_key(rows: Rows) -> Rows:
    """By meter and instant, which they mostly are already."""
    meter, ts_us = rows["meter"], rows["ts_us"]
    rises = (meter[1:] > meter[:-1]) | (meter[1:] == meter[:-1]) & (ts_us[1:] > ts_us[:-1])
    return rows if rises.all() else rows[np.lexsort((ts_us, meter))]


def _copy(connection: Connection, name: str, columns: list[copy_format.Column]) -> None:
    try:
        with connection.cursor().copy(_q[name]) as copy:
            for piece in copy_format.encoded(columns, _AT_ONCE):
                copy.write(piece)
    except OverflowError as error:
        raise StoreRefused(f"{name}: {error}") from error


def _places(connection: Connection, name: str, stretch: dict[str, Any]) -> Ints:
    found = connection.execute(_q[name], stretch, prepare=False).fetchall()
    return np.sort(np.array(found, dtype=np.int64).reshape(-1))


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
    for name, kind in _PHASE_FIELDS:
        columns += [(rows[name][:, phase], kind, True) for phase in range(3)]
    columns.append((rows["power_w"], "i8", True))
    return columns + [(rows["import_tariff_wh"][:, rate], "i8", True) for rate in range(_TARIFFS)]
