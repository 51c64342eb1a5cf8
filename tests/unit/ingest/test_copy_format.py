"""The vectorised COPY encoder against a plain, row-by-row reading of the format's description."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headend.store.copy_format import PG_EPOCH_US, encode, timestamps

LOWEST = int(np.iinfo(np.int64).min)


def decode(stream: bytes) -> list[tuple[int | None, ...]]:
    """By the book: signature, flags, extension, tuples, trailer."""
    assert stream[:11] == b"PGCOPY\n\xff\r\n\x00"
    assert stream[11:19] == bytes(8)
    place, found = 19, []
    while True:
        (count,) = struct.unpack_from("!h", stream, place)
        place += 2
        if count == -1:
            assert place == len(stream)
            return found
        row: list[int | None] = []
        for _ in range(count):
            (length,) = struct.unpack_from("!i", stream, place)
            place += 4
            row.append(None if length == -1 else int.from_bytes(stream[place : place + length], "big", signed=True))
            place += max(length, 0)
        found.append(tuple(row))


small = st.integers(-(2**15) + 1, 2**15 - 1)
rows = st.lists(st.tuples(st.none() | st.integers(LOWEST + 1, 2**63 - 1), st.none() | small, small), max_size=40)


@settings(derandomize=True, deadline=None)
@given(rows)
def test_rows_come_out_as_they_went_in(given_rows: list[tuple[Any, ...]]) -> None:
    wide = np.array([LOWEST if r[0] is None else r[0] for r in given_rows], dtype=np.int64)
    narrow = np.array([-(2**15) if r[1] is None else r[1] for r in given_rows], dtype=np.int16)
    fixed = np.array([r[2] for r in given_rows], dtype=np.int64)
    assert decode(encode([(wide, "i8", True), (narrow, "i2", True), (fixed, "i4", False)])) == given_rows


def test_a_value_that_does_not_fit_is_an_error_not_another_value() -> None:
    with pytest.raises(OverflowError, match="column 0: 32768 does not fit i2"):
        encode([(np.array([1, 2**15], dtype=np.int64), "i2", False)])
    absent = np.array([LOWEST, 5], dtype=np.int64)
    assert decode(encode([(absent, "i2", True)])) == [(None,), (5,)]


def test_timestamps_count_from_2000() -> None:
    assert timestamps(np.array([PG_EPOCH_US + 7])).tolist() == [7]
