"""Numpy vectors in and out of PostgreSQL in its binary formats, without one Python object per value.

Out: array columns become numpy arrays through loaders registered on one cursor. In: `copy_rows` writes scalars and
array columns as binary
COPY. An absent element is NULL in SQL and `ABSENT` here.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
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
    """int2, int4 or int8."""
    values: npt.NDArray[np.int64]
    """(rows,) scalars or (rows, n) vectors; ABSENT: NULL."""
    sizes: npt.NDArray[np.int64] | None = None
    """(rows,) length of each vector where it is shorter than n."""


def copy_rows(connection: Connection, statement: bytes, columns: Sequence[Column]) -> int:
    """Write rows with one `COPY ... FROM STDIN (FORMAT BINARY)` and return how many."""
    rows = len(columns[0].values)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(_HEADER)
        for first in range(0, rows, _BLOCK_ROWS):
            copy.write(_encoded(columns, slice(first, min(first + _BLOCK_ROWS, rows))))
        copy.write(_TRAILER)
    return rows


def _encoded(columns: Sequence[Column], chosen: slice) -> bytes:
    """Tuples of one block: a byte matrix with a mask of the bytes that are really there."""
    rows = chosen.stop - chosen.start
    count = np.broadcast_to(np.frombuffer(struct.pack(">h", len(columns)), dtype=np.uint8), (rows, 2))
    parts: list[npt.NDArray[np.uint8]] = [count]
    masks: list[npt.NDArray[np.bool_]] = [np.ones((rows, 2), dtype=np.bool_)]
    for column in columns:
        sizes = None if column.sizes is None else column.sizes[chosen]
        values = column.values[chosen]
        made = _scalars(values, column.type) if values.ndim == 1 else _vectors(values, column.type, sizes)
        parts.append(made[0])
        masks.append(made[1])
    return np.concatenate(parts, axis=1)[np.concatenate(masks, axis=1)].tobytes()


def _cells(values: npt.NDArray[np.int64], width: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """(..., 4 + width) bytes `length, value` of every value and which of them belong to the stream."""
    null = values == ABSENT
    bounds = np.iinfo(f"i{width}")
    if np.any(((values < bounds.min) | (values > bounds.max)) & ~null):
        raise ValueError(f"a value does not fit {8 * width} bits")
    cell = np.empty(values.shape, dtype=[("size", ">i4"), ("value", f">i{width}")])
    cell["size"] = np.where(null, -1, width)
    cell["value"] = np.where(null, 0, values)
    keep = np.ones((*values.shape, 4 + width), dtype=np.bool_)
    keep[null, 4:] = False
    return cell.view(np.uint8).reshape(*values.shape, 4 + width), keep


def _scalars(values: npt.NDArray[np.int64], kind: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    return _cells(np.ascontiguousarray(values), _WIDTHS[kind])


def _vectors(
    values: npt.NDArray[np.int64], kind: str, sizes: npt.NDArray[np.int64] | None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    rows, longest = values.shape
    width = _WIDTHS[kind]
    lengths = np.full(rows, longest, dtype=np.int64) if sizes is None else sizes
    there = np.arange(longest) < lengths[:, None]
    data, keep = _cells(np.ascontiguousarray(values), width)
    keep &= there[:, :, None]
    nulls = ((values == ABSENT) & there).any(axis=1)
    header = np.empty((rows, 6), dtype=">i4")
    header[:, 0] = 20 + keep.sum(axis=(1, 2))
    header[:, 1], header[:, 2] = 1, nulls
    header[:, 3] = psycopg.adapters.types[kind].oid
    header[:, 4], header[:, 5] = lengths, 1
    flat = header.view(np.uint8).reshape(rows, 24)
    return (
        np.concatenate([flat, data.reshape(rows, -1)], axis=1),
        np.concatenate([np.ones((rows, 24), dtype=np.bool_), keep.reshape(rows, -1)], axis=1),
    )
