"""Rows of interval_day: written only where they say something else than before.

The rule it keeps: rows are told apart by a digest of all that they say, so what says the same is neither sent nor
compared in the database; and a vector that is the same all day is one element.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt
import psycopg

from headend.domain.calendar import to_us
from headend.store import queries
from headend.store.arrays import DATE_ZERO, Days, Integers, columns
from headend.store.pool import Connection
from headend.store.vectors import POSTGRES_EPOCH_US, Column, copy_rows

Ints = npt.NDArray[np.int64]

_SQL = queries.load("intervals")
_UNIX_ZERO: Final = date(1970, 1, 1)
_DATE_ZERO: Final = (DATE_ZERO - _UNIX_ZERO).days
"""The zero of PostgreSQL's binary dates, in days since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class IntervalDays:
    """Rows of interval_day in columns; vectors are (rows, longest day) with `intervals` elements in use, ABSENT:
    null.
    """

    usage_point_id: Ints
    day: Ints
    """Days since 1970."""
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


Foretold = Callable[[Sequence[tuple[int, date]]], None]
"""Told of (usage_point_id, day) whose rows are about to be written over, written anew, or forgotten."""


def put(
    connection: Connection, days: IntervalDays, now: datetime, *, foretold: Foretold | None = None
) -> list[tuple[int, date]]:
    """Write rows and return (usage_point_id, day) of those that are new or say something else than before.

    Rows are compared by digest, so that what says the same is never sent. New ones go straight in; where somebody else
    put one of them there meanwhile, all go the way of those that changed. A row that other rules judged the same gets
    their number, and has not changed.
    """
    if not days.day.size:
        return []
    content = _content(days)
    digest = _digest(content)
    known = _known(connection, days, digest)
    when = np.full(days.day.size, to_us(now) - POSTGRES_EPOCH_US, dtype=np.int64)
    rules = np.full(days.day.size, days.rules, dtype=np.int64)
    columns_ = [*content, Column("int2", rules), Column("int2", days.measured), Column("int2", days.estimated)]
    columns_ += [Column("int8", digest), Column("int8", when)]
    new, changed = np.flatnonzero(known == _NEW), np.flatnonzero(known == _OTHER)
    rows_ = np.flatnonzero((known == _NEW) | (known == _OTHER))
    day_of = {day: _date(day) for day in np.unique(days.day).tolist()}
    written = [
        (point, day_of[day])
        for point, day in zip(days.usage_point_id[rows_].tolist(), days.day[rows_].tolist(), strict=True)
    ]
    if foretold is not None and written:
        foretold(written)
    if new.size:
        try:
            with connection.transaction():
                copy_rows(connection, _SQL["copy_new"], [column.taken(new) for column in columns_])
        except psycopg.errors.UniqueViolation:
            changed = np.sort(np.concatenate([new, changed]))
    if changed.size:
        connection.execute(_SQL["staging"])
        copy_rows(connection, _SQL["copy_staging"], [column.taken(changed) for column in columns_])
        connection.execute(_SQL["upsert"])
        connection.execute(_SQL["empty_staging"])
    if (judged := np.flatnonzero(known == _JUDGED_ANEW)).size:
        connection.execute(
            _SQL["judged_anew"],
            {
                "rules": days.rules,
                "usage_points": Integers(days.usage_point_id[judged]),
                "days": Days(days.day[judged]),
            },
        )
    return written


_SAME, _OTHER, _NEW, _JUDGED_ANEW = range(4)


def _date(day: int) -> date:
    return _UNIX_ZERO + timedelta(days=day)


def _known(connection: Connection, days: IntervalDays, digest: Ints) -> Ints:
    """(rows,) whether each stands in the store: the same, the same by other rules, another, or none."""
    points, first, last = np.unique(days.usage_point_id), int(days.day.min()), int(days.day.max())
    with connection.cursor(binary=True) as cursor:
        cursor.execute(_SQL["digests"], {"usage_points": Integers(points), "first": _date(first), "last": _date(last)})
        point, day, theirs, rules = columns(cursor, "int4 date int8 int2")
    span = last - first + 1
    stored, judged_by = (np.zeros(points.size * span, dtype=np.int64) for _ in range(2))
    there = np.zeros(points.size * span, dtype=np.bool_)
    at = np.searchsorted(points, point) * span + (day.astype(np.int64) + _DATE_ZERO - first)
    stored[at], judged_by[at], there[at] = theirs, rules, True
    own = np.searchsorted(points, days.usage_point_id) * span + (days.day - first)
    same = np.where(judged_by[own] == days.rules, _SAME, _JUDGED_ANEW)
    return np.where(~there[own], _NEW, np.where(stored[own] == digest, same, _OTHER))


def _content(days: IntervalDays) -> list[Column]:
    """Columns of the rows that say something, without the number of the rules that judged them; a vector that is the
    same all day is one element.
    """
    size = days.intervals
    scalar = np.ones(size.size, dtype=np.int64)
    return [
        Column("int4", days.usage_point_id),
        Column("int4", days.day - _DATE_ZERO),
        Column("int8", days.starts_us - POSTGRES_EPOCH_US),
        Column("int4", scalar * days.interval_s),
        Column("int4", days.import_wh, size),
        _short("int4", days.export_wh, size),
        _short("int2", days.voltage_dv, size),
        _short("int2", days.quality, size),
        _short("int4", days.flags, size),
        Column("int8", days.start_import_wh),
        Column("int8", days.end_import_wh),
        Column("int8", days.start_export_wh),
        Column("int8", days.end_export_wh),
        Column("int4", days.meters, days.meter_counts),
        Column("numeric", days.multiplier_e4),
        Column("int8", days.start_mark),
        Column("int8", days.end_mark),
    ]


def _short(kind: str, values: Ints, sizes: Ints) -> Column:
    """A vector column whose rows shrink to one element where all of a row are equal."""
    same = values == values[:, :1]
    if values.shape[1] != sizes.min():
        same |= np.arange(values.shape[1]) >= sizes[:, None]
    return Column(kind, values, np.where(same.all(axis=1), 1, sizes))


_PLACES: Final = 1 << 16
"""Between a column and the next one: a row's digest must not depend on how wide the other rows of its batch are."""


def _digest(content: Sequence[Column]) -> Ints:
    """(rows,) 64 bits over what a row says, whichever rules judged it (a multiply-xorshift mixer of each value with its
    place).
    """
    total = np.zeros(content[0].values.shape[0], dtype=np.uint64)
    place = 1
    for column in content:
        values = column.values if column.values.ndim == 2 else column.values[:, None]
        if column.sizes is not None:
            longest = int(column.sizes.max(initial=0))
            values = np.column_stack([column.sizes, values[:, :longest]])
        salt = np.arange(place, place + values.shape[1], dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (values.view(np.uint64) ^ salt) * np.uint64(0xD6E8FEB86659FD93)
        mixed ^= mixed >> np.uint64(32)
        mixed *= np.uint64(0xD6E8FEB86659FD93)
        if column.sizes is not None:
            mixed[:, 1:][np.arange(values.shape[1] - 1) >= column.sizes[:, None]] = 0
        total += mixed.sum(axis=1, dtype=np.uint64)
        place += _PLACES
    return np.asarray(total.view(np.int64))


def forget(connection: Connection, usage_points: Sequence[int], days: Sequence[date]) -> list[tuple[int, date]]:
    """Delete rows, pairwise, and return those that were there."""
    found = connection.execute(_SQL["forget"], {"usage_points": list(usage_points), "days": list(days)}).fetchall()
    return [(point, day) for point, day in found]
