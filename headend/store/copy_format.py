"""PostgreSQL's binary COPY format from numpy columns, without a Python loop over rows.

Format: https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4 (signature, flags, extension; per tuple a
field count, per field a length, -1 for null, and the value in network byte order; -1 as trailer).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

_HEADER: Final = b"PGCOPY\n\xff\r\n\x00" + bytes(8)
_TRAILER: Final = b"\xff\xff"
PG_EPOCH_US: Final = 946_684_800_000_000
"""2000-01-01T00:00Z in µs since 1970: where timestamptz counts from."""

Column = tuple[npt.NDArray[Any], str, bool]
"""Values (n,), the numpy type of the SQL column (`i2`, `i4`, `i8`), whether the smallest integer stands for null."""


def timestamps(ts_us: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(n,) int64 [µs since 1970] as timestamptz counts them."""
    return ts_us - PG_EPOCH_US


def encode(columns: Sequence[Column]) -> bytes:
    """The rows as COPY … (FORMAT binary) takes them.

    Raises OverflowError naming the column (by position) whose value does not fit its SQL type.
    """
    rows = columns[0][0].size
    fields: list[tuple[str, str]] = [("count", ">i2")]
    for i, (_, kind, _nullable) in enumerate(columns):
        fields += [(f"length_{i}", ">i4"), (f"value_{i}", f">{kind}")]
    table = np.empty(rows, dtype=np.dtype(fields))  # packed: no padding between fields
    table["count"] = len(columns)
    absent: list[tuple[int, npt.NDArray[np.bool_]]] = []
    for i, (values, kind, nullable) in enumerate(columns):
        null = values == np.iinfo(values.dtype).min if nullable else np.zeros(0, dtype=np.bool_)
        _check_fits(values, kind, null, i)
        width = np.dtype(kind).itemsize
        table[f"length_{i}"] = width
        table[f"value_{i}"] = values
        if null.any():
            table[f"length_{i}"][null] = -1
            absent.append((i, null))
    if not absent:
        return _HEADER + table.tobytes() + _TRAILER
    matrix = table.view(np.uint8).reshape(rows, table.dtype.itemsize)
    keep = np.ones(matrix.shape, dtype=np.bool_)
    for i, null in absent:
        dtype_fields = table.dtype.fields
        assert dtype_fields is not None
        start = dtype_fields[f"value_{i}"][1]
        keep[null, start : start + np.dtype(columns[i][1]).itemsize] = False
    return _HEADER + matrix[keep].tobytes() + _TRAILER


def _check_fits(values: npt.NDArray[Any], kind: str, null: npt.NDArray[np.bool_], column: int) -> None:
    limits, own = np.iinfo(kind), np.iinfo(values.dtype)
    if own.min >= limits.min and own.max <= limits.max:
        return
    outside = (values < limits.min) | (values > limits.max)
    if null.size:
        outside &= ~null
    if outside.any():
        raise OverflowError(f"column {column}: {values[outside][0]} does not fit {kind}")
