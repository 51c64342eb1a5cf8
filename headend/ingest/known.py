"""Which rows of a batch are stored already, add nothing, or say something else: told before they are sent. Pure numpy.

What is compared are committed rows: another writer may store the same meanwhile, so the store has the last word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from headend.ingest.assemble import Bools, Columns, Ints, Rows

_VALUES: Final = ("import_wh", "export_wh", "voltage_dv")
_PHASE_VALUES: Final = (*_VALUES, "current_ma", "power_w", "import_tariff_wh")
_APART_US: Final = 2 * 3_600_000_000
"""Rows of a meter further apart are looked up apart from each other: what lies between them is not fetched."""


@dataclass(frozen=True, slots=True)
class Stretches:
    """Parts of meters' time: per meter from an instant to an instant, both included."""

    meter: Ints
    first_us: Ints
    last_us: Ints


@dataclass(frozen=True, slots=True)
class Judged:
    """What is to be done with rows; those in neither are duplicates that add nothing."""

    absent: Bools
    """(n,) not stored, and the first of its meter and instant."""
    careful: Bools
    """(n,) its meter and instant is stored or in the batch before, and it may say something that that one does not."""


def stretches(rows: Rows, apart_us: int = _APART_US) -> Stretches:
    """Rows sorted by meter and instant, as stretches without a hole longer than that."""
    if not rows.size:
        none = np.zeros(0, dtype=np.int64)
        return Stretches(none, none, none)
    breaks = (np.diff(rows["meter"]) != 0) | (np.diff(rows["ts_us"]) > apart_us)
    starts = np.concatenate(([0], np.flatnonzero(breaks) + 1))
    ends = np.concatenate((starts[1:] - 1, [rows.size - 1]))
    return Stretches(rows["meter"][starts].astype(np.int64), rows["ts_us"][starts], rows["ts_us"][ends])


def in_doubt(columns: Columns, newer: Bools) -> tuple[Stretches, Stretches]:
    """Where to look for rows that may be stored already, and for their phases. newer: as `judge` takes it."""
    rows, doubtful = columns.readings, columns.first & ~newer
    phased = np.zeros(rows.size, dtype=np.bool_)
    phased[columns.phase_of] = True
    return stretches(rows[doubtful]), stretches(rows[doubtful & phased])


def judge(columns: Columns, newer: Bools, stored: Rows, stored_phases: Rows) -> Judged:
    """newer: (n,) rows later than all that is stored of their meter; stored…: what is there where `in_doubt` says."""
    rows, first = columns.readings, columns.first
    absent = first & newer
    careful = np.zeros(rows.size, dtype=np.bool_)
    again = np.flatnonzero(~first)
    if again.size:
        earlier = np.maximum.accumulate(np.where(first, np.arange(rows.size), 0))[again]
        careful[again] = _says_more(rows[again], rows[earlier], _VALUES)
    doubtful = np.flatnonzero(first & ~newer)
    if doubtful.size:
        own = rows[doubtful]
        there, at = _find(own, stored)
        absent[doubtful] = ~there
        careful[doubtful[there]] = _says_more(own[there], stored[at[there]], _VALUES)
    again = np.flatnonzero(~absent[columns.phase_of])
    if again.size:
        phases, of_reading = columns.phases[again], columns.phase_of[again]
        there, at = _find(phases, stored_phases)
        more = ~there | ~first[of_reading]
        more[there] |= _says_more(phases[there], stored_phases[at[there]], _PHASE_VALUES)
        careful[of_reading[more]] = True
    return Judged(absent, careful)


def _says_more(rows: Rows, others: Rows, names: Sequence[str]) -> Bools:
    """(n,) whether a row holds a value that the other one has not."""
    more = np.zeros(rows.size, dtype=np.bool_)
    for name in names:
        values = rows[name]
        said = (values != others[name]) & (values != np.iinfo(values.dtype).min)
        more |= said if said.ndim == 1 else said.any(axis=1)
    return more


def _find(rows: Rows, stored: Rows) -> tuple[Bools, Ints]:
    """(n,) whether a row's meter and instant is among the stored ones (sorted), and where."""
    if not stored.size:
        return np.zeros(rows.size, dtype=np.bool_), np.zeros(rows.size, dtype=np.int64)
    at = np.minimum(np.searchsorted(_keys(stored), _keys(rows)), stored.size - 1)
    there = (stored["meter"][at] == rows["meter"]) & (stored["ts_us"][at] == rows["ts_us"])
    return there, at


def _keys(rows: Rows) -> np.ndarray[tuple[int], np.dtype[np.complex128]]:
    """(n,) meter and instant as one value that sorts by the former, then the latter; both are exact up to 2⁵³."""
    keys = np.empty(rows.size, dtype=np.complex128)
    keys.real, keys.imag = rows["meter"], rows["ts_us"]
    return keys
