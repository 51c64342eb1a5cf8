"""Many RFC 3339 instants at once, in the two shapes that nearly all devices send: `…Z` and `…+08:00`, whole seconds.

What is not of these shapes is not refused here: it is for the careful decoder to read, or to say what is wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_UTC: Final = len("2026-11-23T05:00:00Z")
_OFFSET: Final = len("2026-11-23T05:00:00+08:00")
_FIRST_YEAR: Final = 2000
_FIRST_DAY: Final = np.arange("2000-01", "2100-02", dtype="datetime64[M]").astype("datetime64[D]").astype(np.int64)
"""(1201,) day since 1970 that each month of the century begins with, and the one after it."""
_DAYS: Final = np.diff(_FIRST_DAY)
_DIGITS: Final = [0, 1, 2, 3, 5, 6, 8, 9, 11, 12, 14, 15, 17, 18]
_SIGNS: Final = {4: b"-", 7: b"-", 10: b"T", 13: b":", 16: b":"}


def bulk_instants(stamps: Sequence[str]) -> tuple[Ints, Bools]:
    """(n,) int64 [µs UTC] and (n,) whether it could be read; the instant of what could not is 0."""
    lengths = np.fromiter(map(len, stamps), np.int64, len(stamps))
    ts_us = np.zeros(lengths.size, dtype=np.int64)
    read = np.zeros(lengths.size, dtype=np.bool_)
    for length in (_UTC, _OFFSET):
        places = np.flatnonzero(lengths == length)
        if places.size:
            own = stamps if places.size == lengths.size else [stamps[i] for i in places.tolist()]
            ts_us[places], read[places] = _of_length(own, length)
    return ts_us, read


def _of_length(stamps: Sequence[str], length: int) -> tuple[Ints, Bools]:
    text = "".join(stamps).encode("ascii", "replace")
    # A row per place in the text: what is computed below then runs along contiguous memory.
    at = np.ascontiguousarray(np.frombuffer(text, dtype=np.uint8).reshape(-1, length).T)
    digit = at - np.uint8(ord("0"))
    digits, signs = list(_DIGITS), dict(_SIGNS)
    if length == _OFFSET:
        digits, signs = [*digits, 20, 21, 23, 24], signs | {22: b":"}
    good: Bools = np.asarray((digit[digits] <= 9).all(axis=0))
    for place, sign in signs.items():
        good = good & (at[place] == ord(sign))

    def two(place: int) -> Any:
        return digit[place].astype(np.int32) * 10 + digit[place + 1]

    month = (two(0) * 100 + two(2) - _FIRST_YEAR) * 12 + two(5) - 1
    day, hour, minute, second = two(8) - 1, two(11), two(14), two(17)
    good &= (two(5) >= 1) & (two(5) <= 12) & (month >= 0) & (month < _DAYS.size)
    month = np.where(good, month, 0)
    good &= (day >= 0) & (day < _DAYS[month]) & (hour <= 23) & (minute <= 59) & (second <= 59)
    seconds = (_FIRST_DAY[month] + day) * 86_400 + (hour * 3600 + minute * 60 + second)
    if length == _UTC:
        good &= at[19] == ord("Z")
    else:
        ahead, behind = at[19] == ord("+"), at[19] == ord("-")
        good &= (ahead | behind) & (two(20) <= 23) & (two(23) <= 59)
        offset = two(20) * 3600 + two(23) * 60
        seconds -= np.where(ahead, offset, -offset)
    return np.where(good, seconds * 1_000_000, 0), good
