"""Numpy columns as PostgreSQL's arrays, as parameters and in answers, without a Python loop over their values.

Format (array_send in PostgreSQL's src/backend/utils/adt/arrayfuncs.c): number of dimensions, whether there are nulls,
the type of the elements; of each dimension its length and lowest index; then per element a length, -1 for null, and
the value, all in network byte order.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection
from datetime import date
from functools import cache
from typing import Any, ClassVar, Final

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.adapt import Buffer, Dumper
from psycopg.postgres import types
from psycopg.pq import Format
from psycopg.rows import TupleRow

from headend.store import copy_format

Ints = npt.NDArray[np.int64]
_HEADER: Final = struct.Struct("!iiIii")
_KINDS: Final = {"int2": "i2", "int4": "i4", "int8": "i8", "timestamptz": "i8", "date": "i4"}
_OIDS: Final = {name: types[name].oid for name in _KINDS}
_UNIX_ORDINAL: Final = date(1970, 1, 1).toordinal()
DATE_ZERO: Final = date(2000, 1, 1)
"""Where PostgreSQL's dates count from."""
_PG_EPOCH_DAY: Final = DATE_ZERO.toordinal() - _UNIX_ORDINAL


class Array:
    """A column (n,) of integers as a parameter; the smallest integer of its type stands for null where `nullable`."""

    name: ClassVar[str]
    """PostgreSQL's name of the elements' type."""

    def __init__(self, values: npt.NDArray[Any], *, nullable: bool = False) -> None:
        self.values, self.nullable = values, nullable

    def __bytes__(self) -> bytes:
        """As PostgreSQL takes it. Raises OverflowError when a value does not fit."""
        values, size = self.values, self.values.size
        if not size:
            return struct.pack("!iiI", 0, 0, _OIDS[self.name])
        nulls = self.nullable and bool((values == np.iinfo(values.dtype).min).any())
        header = _HEADER.pack(1, nulls, _OIDS[self.name], size, 1)
        if nulls:
            return header + copy_format.tuples([(values, _KINDS[self.name], nulls)], counted=False)
        kind = np.dtype(_KINDS[self.name])
        copy_format.check_fits(values, kind.str, None, 0)
        elements = np.empty(size, dtype=_element(kind))
        elements["length"], elements["value"] = kind.itemsize, values
        return header + elements.tobytes()


@cache
def _element(kind: np.dtype[Any]) -> np.dtype[Any]:
    """An element that is not null, as it travels."""
    return np.dtype([("length", ">i4"), ("value", kind.newbyteorder(">"))])


class Smallints(Array):
    """smallint[]"""

    name = "int2"


class Integers(Array):
    """integer[]"""

    name = "int4"


class Bigints(Array):
    """bigint[]"""

    name = "int8"


class Instants(Array):
    """timestamptz[] of µs since 1970."""

    name = "timestamptz"

    def __init__(self, ts_us: Ints) -> None:
        super().__init__(copy_format.timestamps(ts_us))


class Days(Array):
    """date[] of days since 1970."""

    name = "date"

    def __init__(self, days: Ints) -> None:
        super().__init__(days - _PG_EPOCH_DAY)


def integers(values: Collection[int] | npt.NDArray[np.integer]) -> Integers:
    """integer[] of a few ids: hundreds of them go out in a tenth of the time that a list takes."""
    if isinstance(values, np.ndarray):
        return Integers(values)
    return Integers(np.fromiter(values, dtype=np.int32, count=len(values)))


def dates(values: Collection[date]) -> Days:
    """date[] of a few days."""
    return Days(np.fromiter((day.toordinal() for day in values), dtype=np.int64, count=len(values)) - _UNIX_ORDINAL)


class _ArrayDumper(Dumper):
    """Every kind has one of its own with its type."""

    format = Format.BINARY

    def dump(self, obj: Any) -> Buffer:
        return bytes(obj)


for _kind in (Smallints, Integers, Bigints, Instants, Days):
    _dumper = type(f"_{_kind.__name__}Dumper", (_ArrayDumper,), {"oid": types[_kind.name].array_oid})
    psycopg.adapters.register_dumper(_kind, _dumper)


def columns(cursor: psycopg.Cursor[TupleRow], names: str) -> list[npt.NDArray[Any]]:
    """The arrays (without nulls in them) of the one row that a query run with `binary=True` gave; null: none.

    names: the elements' types of the answer, such as `int4 timestamptz`, or `json`: an array of JSON as objects, for
    texts. Instants are µs since 1970 again.
    """
    result = cursor.pgresult
    assert result is not None
    assert result.ntuples == 1
    found = []
    for place, name in enumerate(names.split()):
        raw = result.get_value(0, place)
        if name == "json":
            found.append(np.array([] if raw is None else json.loads(raw), dtype=object))
            continue
        kind = np.dtype(_KINDS[name])
        if raw is None or _HEADER.size > len(raw):
            values = np.zeros(0, dtype=kind)
        else:
            dimensions, nulls, oid, _, _ = _HEADER.unpack_from(raw)
            assert (dimensions, nulls, oid) == (1, 0, _OIDS[name]), (dimensions, nulls, oid, name)
            elements = np.frombuffer(raw, dtype=_element(kind), offset=_HEADER.size)
            values = elements["value"].astype(kind)
        found.append(_since_1970(values) if name == "timestamptz" else values)
    return found


def _since_1970(values: Ints) -> Ints:
    """timestamptz as µs since 1970; its infinities are the smallest and the largest integer, and stay."""
    limits = np.iinfo(np.int64)
    finite = (values != limits.min) & (values != limits.max)
    return np.where(finite, values + copy_format.PG_EPOCH_US, values)
