"""Numpy vectors in and out of PostgreSQL in its binary formats, without one Python object per value.

Out: array columns become numpy arrays through loaders registered on one cursor. In: `copy_rows` writes scalars and
array columns as binary COPY; rows that look the same (lengths of their vectors, what is null) are laid out in one go.
An absent element is NULL in SQL and `ABSENT` here.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Loader
from psycopg.pq import Format
from psycopg.rows import DictRow, dict_row

from headend.store.pool import Connection

ABSENT: Final = np.iinfo(np.int64).min
"""Stands for NULL in int64 columns."""
POSTGRES_EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01 UTC: the zero of PostgreSQL's binary timestamps, in µs since 1970."""

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER: Final = struct.pack(">h", -1)
_WIDTHS: Final = {"int2": 2, "int4": 4, "int8": 8}
_BLOCK_ROWS: Final = 512
_NUMERIC_WORDS: Final = 7
"""int16 words of a numeric: how many base-10,000 digits follow, weight of the first, sign, decimals, three digits
(numeric_send in PostgreSQL's src/backend/utils/adt/numeric.c)."""
_NUMERIC_MOST: Final = 10_000**3


def _vector(data: Buffer, width: int) -> npt.NDArray[np.int64]:
    """(n,) int64 of one binary one-dimensional array; NULL elements become ABSENT."""
    raw = bytes(data)
    dimensions, has_null = struct.unpack_from(">ii", raw)
    if dimensions == 0:
        return np.empty(0, dtype=np.int64)
    if dimensions != 1:
        raise psycopg.DataError(f"an array of {dimensions} dimensions where one was expected")
    (count,) = struct.unpack_from(">i", raw, 12)
    if not has_null:
        element = np.dtype([("size", ">i4"), ("value", f">i{width}")])
        return np.frombuffer(raw, dtype=element, count=count, offset=20)["value"].astype(np.int64)
    values = np.full(count, ABSENT, dtype=np.int64)
    at = 20
    for i in range(count):
        (size,) = struct.unpack_from(">i", raw, at)
        at += 4
        if size >= 0:
            values[i] = int.from_bytes(raw[at : at + size], "big", signed=True)
            at += size
    return values


def _loader(width: int, offset: int = 0) -> type[Loader]:
    class VectorLoader(Loader):
        format = Format.BINARY

        def load(self, data: Buffer) -> npt.NDArray[np.int64]:
            values = _vector(data, width)
            return values + offset if offset else values

    return VectorLoader


_LOADERS: Final = {
    "int2": _loader(2),
    "int4": _loader(4),
    "int8": _loader(8),
    "timestamptz": _loader(8, POSTGRES_EPOCH_US),
}


def vector_rows(connection: Connection, query: bytes, parameters: Any = None) -> list[DictRow]:
    """Rows of one query; integer array columns are (n,) int64 (NULL: ABSENT), timestamptz arrays µs since 1970 (not
    nullable).
    """
    with connection.cursor(row_factory=dict_row, binary=True) as cursor:
        for name, loader in _LOADERS.items():
            cursor.adapters.register_loader(psycopg.adapters.types[name].array_oid, loader)
        return cursor.execute(query, parameters).fetchall()


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a binary COPY: a scalar per row, or a vector per row."""

    type: str
    """int2, int4 or int8; for scalars also `numeric`, of values in units of 1e-4."""
    values: npt.NDArray[np.int64]
    """(rows,) scalars or (rows, n) vectors; ABSENT: NULL."""
    sizes: npt.NDArray[np.int64] | None = None
    """(rows,) length of each vector where it is shorter than n."""

    def taken(self, rows: npt.NDArray[np.int64]) -> Column:
        """Some rows of it, each once, in their order; those that follow one another are not copied."""
        chosen: npt.NDArray[np.int64] | slice = rows
        if rows.size and int(rows[-1] - rows[0]) + 1 == rows.size:
            chosen = slice(int(rows[0]), int(rows[-1]) + 1)
        return Column(self.type, self.values[chosen], None if self.sizes is None else self.sizes[chosen])


def copy_rows(connection: Connection, statement: bytes, columns: Sequence[Column]) -> int:
    """Write rows with one `COPY ... FROM STDIN (FORMAT BINARY)` and return how many; those that look alike come
    together.

    Raises ValueError when a value does not fit its column; nothing is written then.
    """
    rows = len(columns[0].values)
    for column in columns:
        _check_fits(column)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_HEADER)
        for alike in _alike(columns):
            for first in range(0, alike.size, _BLOCK_ROWS):
                copy.write(_encoded([column.taken(alike[first : first + _BLOCK_ROWS]) for column in columns]))
        copy.write(_TRAILER)
    return rows


def _check_fits(column: Column) -> None:
    values, kind = column.values, column.type
    if not values.size or kind == "int8":
        return
    if kind == "numeric":
        low, high, what = 0, _NUMERIC_MOST - 1, "a numeric of twelve digits"
    else:
        width = _WIDTHS[kind]
        low, high, what = -(1 << 8 * width - 1), (1 << 8 * width - 1) - 1, f"{8 * width} bits"
    if low <= int(values.min()) and int(values.max()) <= high:
        return
    if np.any(((values < low) | (values > high)) & (values != ABSENT)):
        raise ValueError(f"a value does not fit {what}")


def _alike(columns: Sequence[Column]) -> Iterator[npt.NDArray[np.int64]]:
    """Rows by what they look like: nulls among their scalars, lengths of their vectors, nulls within those."""
    rows = len(columns[0].values)
    looks: list[npt.NDArray[np.int64]] = []
    for column in columns:
        null = column.values == ABSENT
        if column.values.ndim == 1:
            looks.append(null.astype(np.int64))
            continue
        sizes = _sizes(column)
        there = np.arange(column.values.shape[1]) < sizes[:, None]
        looks.append(sizes * 2 + (null & there).any(axis=1))
    varying = [look for look in looks if look.size and (look != look[0]).any()]
    if not varying:
        if rows:
            yield np.arange(rows)
        return
    order = np.lexsort(varying)
    changes = np.zeros(rows, dtype=np.bool_)
    for look in varying:
        changes[1:] |= np.diff(look[order]) != 0
    yield from (np.sort(group) for group in np.split(order, np.flatnonzero(changes)))


def _sizes(column: Column) -> npt.NDArray[np.int64]:
    rows, longest = column.values.shape
    return np.full(rows, longest, dtype=np.int64) if column.sizes is None else column.sizes


def _encoded(columns: Sequence[Column]) -> bytes:
    """Tuples of rows that look alike: one record a row, or, where vectors have nulls within, bytes and a mask."""
    fields: list[tuple[str, Any]] = [("count", ">i2")]
    filled: list[tuple[str, Any]] = [("count", len(columns))]
    holes: list[tuple[str, npt.NDArray[np.bool_]]] = []
    for i, column in enumerate(columns):
        if column.values.ndim == 1:
            _scalar(f"c{i}", column, fields, filled)
        else:
            hole = _vector_of(f"c{i}", column, fields, filled)
            if hole is not None:
                holes.append((f"c{i}", hole))
    table = np.empty(len(columns[0].values), dtype=np.dtype(fields))
    for name, values in filled:
        table[name] = values
    return table.tobytes() if not holes else _without(table, holes)


def _scalar(name: str, column: Column, fields: list[tuple[str, Any]], filled: list[tuple[str, Any]]) -> None:
    fields.append((f"{name}_size", ">i4"))
    if column.values[0] == ABSENT:
        filled.append((f"{name}_size", -1))
        return
    if column.type == "numeric":
        fields.append((name, np.dtype((">i2", (_NUMERIC_WORDS,)))))
        values = column.values
        words = np.zeros((values.size, _NUMERIC_WORDS), dtype=np.int16)
        words[:, :4] = (3, 1, 0, 4)
        words[:, 4], words[:, 5], words[:, 6] = values // 10**8, values // 10**4 % 10**4, values % 10**4
        filled += [(f"{name}_size", 2 * _NUMERIC_WORDS), (name, words)]
        return
    width = _WIDTHS[column.type]
    fields.append((name, f">i{width}"))
    filled += [(f"{name}_size", width), (name, column.values)]


def _vector_of(
    name: str, column: Column, fields: list[tuple[str, Any]], filled: list[tuple[str, Any]]
) -> npt.NDArray[np.bool_] | None:
    """Fields of one array column; returns which elements are null where some are."""
    length = int(_sizes(column)[0])
    values, width = column.values[:, :length], _WIDTHS[column.type]
    null = values == ABSENT
    some = bool(null.any())
    sizes = (20 if length else 12) + length * (4 + width) - null.sum(axis=1) * width
    header = (1 if length else 0, some, psycopg.adapters.types[column.type].oid, length, 1)
    fields.append((f"{name}_size", ">i4"))
    filled.append((f"{name}_size", sizes))
    fields.append((f"{name}_head", np.dtype((">i4", (5 if length else 3,)))))
    filled.append((f"{name}_head", header if length else header[:3]))
    if length:
        element = np.dtype([("size", ">i4"), ("value", f">i{width}")])
        fields.append((name, np.dtype((element, (length,)))))
        cells = np.empty(values.shape, dtype=element)
        cells["size"], cells["value"] = (
            (np.where(null, -1, width), np.where(null, 0, values)) if some else (width, values)
        )
        filled.append((name, cells))
    return null if some else None


def _without(table: npt.NDArray[Any], holes: Sequence[tuple[str, npt.NDArray[np.bool_]]]) -> bytes:
    """The bytes of the records less the values of elements that are null; every value begins at an even byte."""
    words = table.view(np.uint16).reshape(table.size, table.dtype.itemsize // 2)
    keep = np.ones(words.shape, dtype=np.bool_)
    fields = table.dtype.fields
    assert fields is not None
    for name, null in holes:
        kind, start = fields[name][:2]
        step = kind.base.itemsize // 2
        elements = keep[:, start // 2 : (start + kind.itemsize) // 2].reshape(*null.shape, step)
        elements[null, 2:] = False
        keep[:, start // 2 : (start + kind.itemsize) // 2] = elements.reshape(table.size, -1)
    return words[keep].tobytes()
