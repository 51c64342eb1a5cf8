"""Arrays to and from PostgreSQL against a value-by-value reading of their format; a real server has the last word."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.store import arrays
from headend.store.arrays import Array, Bigints, Days, Instants, Integers, Smallints
from headend.store.pool import Store

KINDS = [(Smallints, 21, 16), (Integers, 23, 32), (Bigints, 20, 64)]


def decode(stream: bytes, oid: int) -> list[int | None]:
    """By the book."""
    dimensions, nulls, element = struct.unpack_from("!iiI", stream)
    assert element == oid
    if not dimensions:
        assert len(stream) == 12
        return []
    size, lowest = struct.unpack_from("!ii", stream, 12)
    assert (dimensions, lowest) == (1, 1)
    place, found = 20, list[int | None]()
    for _ in range(size):
        (length,) = struct.unpack_from("!i", stream, place)
        value = stream[place + 4 : place + 4 + max(length, 0)]
        found.append(None if length == -1 else int.from_bytes(value, "big", signed=True))
        place += 4 + len(value)
    assert place == len(stream)
    assert bool(nulls) == (None in found)
    return found


@settings(derandomize=True, deadline=None)
@given(st.sampled_from(KINDS), st.lists(st.none() | st.integers(-(2**15) + 1, 2**15 - 1)))
def test_values_come_out_as_they_went_in(kind: tuple[type[Array], int, int], given_values: list[int | None]) -> None:
    made, oid, bits = kind
    lowest = -(2 ** (bits - 1))
    values = np.array([lowest if v is None else v for v in given_values], dtype=f"i{bits // 8}")
    assert decode(bytes(made(values, nullable=True)), oid) == given_values
    assert decode(bytes(made(values)), oid) == values.tolist()


def test_a_value_that_does_not_fit_is_an_error_not_another_value() -> None:
    with pytest.raises(OverflowError, match="does not fit i4"):
        bytes(Integers(np.array([2**31], dtype=np.int64)))


def test_a_server_reads_and_writes_them(store: Store) -> None:
    def asked(query: str, *parameters: Array) -> list[Any]:
        with store.transaction() as connection:
            return connection.execute(query.encode(), parameters).fetchall()

    numbers = np.array([1, -(2**63), 3], dtype=np.int64)
    assert asked("select unnest(%s)", Bigints(numbers, nullable=True)) == [(1,), (None,), (3,)]
    assert asked("select count(*) from unnest(%s)", Smallints(np.zeros(0, dtype=np.int16))) == [(0,)]
    assert asked("select (%s)[2]::text", Instants(np.array([0, 1_700_000_000_000_001]))) == [
        ("2023-11-14 22:13:20.000001+00",)
    ]
    assert asked("select (%s)[1]::text", Days(np.array([20_000]))) == [("2024-10-04",)]
    with store.transaction() as connection:
        cursor = connection.execute(
            b"select array_agg(i::smallint), array_agg(i * 1000000000), "
            b"array_agg('epoch'::timestamptz + i * interval '1 s'), "
            b"array['-infinity', 'infinity']::timestamptz[], null::integer[] from generate_series(1::bigint, 3) i",
            binary=True,
        )
        found = arrays.columns(cursor, "int2 int8 timestamptz timestamptz int4")
    assert [values.tolist() for values in found] == [
        [1, 2, 3],
        [1_000_000_000, 2_000_000_000, 3_000_000_000],
        [1_000_000, 2_000_000, 3_000_000],
        [-(2**63), 2**63 - 1],
        [],
    ]
