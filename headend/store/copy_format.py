"""PostgreSQL's binary COPY format from numpy columns, without a Python loop over rows.

Format: https://www.postgresql.org/docs/current/sql-copy.html#id-1.9.3.55.9.4 (signature, flags, extension; per tuple a
field count, per field a length, -1 for null, and the value in network byte order; -1 as trailer).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
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
    return b"".join((_HEADER, tuples(columns), _TRAILER))


def encoded(columns: Sequence[Column], at_once: int) -> Iterator[bytes | memoryview]:
    """The same in pieces of so many rows, so that the bytes of many rows are never there at the same time."""
    yield _HEADER
    for start in range(0, columns[0][0].size, at_once):
        yield tuples([(values[start : start + at_once], kind, nullable) for values, kind, nullable in columns])
    yield _TRAILER


def tuples(columns: Sequence[Column], *, counted: bool = True) -> memoryview:
    """Rows as bytes: a field count where `counted`, then length and value of each field. Raises OverflowError."""
    nulls = [_nulls(values) if nullable else None for values, _, nullable in columns]
    present = [null is None or not null.all() for null in nulls]
    like = _in_common(tuple(kind for _, kind, _ in columns), tuple(present), counted=counted)
    table = np.empty(columns[0][0].size, dtype=like.dtype)
    table.view(f"V{like.itemsize}")[:] = like.view(f"V{like.itemsize}")  # one copy of all that rows have in common
    some = []
    for i, (values, kind, _nullable) in enumerate(columns):
        null = nulls[i]
        check_fits(values, kind, null, i)
        if not present[i]:
            continue
        table[f"value_{i}"] = values
        if null is not None:
            table[f"length_{i}"][null] = -1
            some.append((i, null))
    return table.view(np.uint8).data if not some else _without(table, some)


@lru_cache(maxsize=256)
def _in_common(kinds: tuple[str, ...], present: tuple[bool, ...], *, counted: bool) -> npt.NDArray[Any]:
    """(1,) what every row of such columns looks like, without the values. present: a column with any value in it."""
    fields: list[tuple[str, str]] = [("count", ">i2")] if counted else []
    for i, kind in enumerate(kinds):
        fields += [(f"length_{i}", ">i4"), (f"value_{i}", f">{kind}")][: 1 + present[i]]
    like = np.zeros(1, dtype=np.dtype(fields))  # no padding between fields
    if counted:
        like["count"] = len(kinds)
    for i, kind in enumerate(kinds):
        like[f"length_{i}"] = np.dtype(kind).itemsize if present[i] else -1
    return like


def _without(table: npt.NDArray[Any], some: Sequence[tuple[int, npt.NDArray[np.bool_]]]) -> memoryview:
    """The bytes of the rows less the values that are null; every field begins and ends at an even byte."""
    words = table.view(np.uint16).reshape(table.size, table.dtype.itemsize // 2)
    keep = np.ones(words.shape, dtype=np.bool_)
    fields = table.dtype.fields
    assert fields is not None
    for i, null in some:
        kind, start = fields[f"value_{i}"][:2]
        keep[null, start // 2 : (start + kind.itemsize) // 2] = False
    return words[keep].view(np.uint8).data


def _nulls(values: npt.NDArray[Any]) -> npt.NDArray[np.bool_] | None:
    """(n,) which values are the smallest integer of their type; None: none of them."""
    null: npt.NDArray[np.bool_] = values == np.iinfo(values.dtype).min
    return null if null.any() else None


def check_fits(values: npt.NDArray[Any], kind: str, null: npt.NDArray[np.bool_] | None, column: int) -> None:
    """Raise OverflowError naming the column when a value, of those that are not null, does not fit the numpy type."""
    limits, own = np.iinfo(kind), np.iinfo(values.dtype)
    if own.min >= limits.min and own.max <= limits.max:
        return
    outside = (values < limits.min) | (values > limits.max)
    if null is not None:
        outside &= ~null
    if outside.any():
        told = kind.lstrip("<>=|")
        raise OverflowError(f"column {column}: {values[outside][0]} does not fit {told}")
