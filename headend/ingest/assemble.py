"""From items to the columns of one transaction: what may be stored, and in which order. Pure numpy.

Rows are in the drivers' columns with `meter` holding the store's meter_id; all instants int64 [µs UTC].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from drivers.base import PHASE_DTYPE, READING_DTYPE
from headend.domain.calendar import from_us
from headend.ingest.identity import Directory
from headend.ingest.item import Item, QuarantineEntry

Rows = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
DAY_US: Final = 86_400_000_000
_EPOCH_DAY: Final = datetime(1970, 1, 1, tzinfo=UTC).date()
_NAMED: Final = 5
"""Unknown meters that a quarantine entry names; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Columns:
    """All rows of a batch of items that may be stored, sorted by meter and instant (and arrival, where these agree)."""

    readings: Rows
    phases: Rows
    """(k,) in no order."""
    phase_of: Ints
    """(k,) the place of each phase row's reading."""
    first: Bools
    """(n,): the first row of its meter and instant in this batch."""
    meters: Ints
    """(m,) the meters, sorted."""
    of_meter: Ints
    """(n,) the place of each row's meter among these."""
    received: Mapping[int, int]
    """Source → readings in the items, stored or not."""
    refused: int


def gather(
    items: Sequence[Item], directory: Directory, *, oldest_us: int, newest_us: int
) -> tuple[Columns, dict[int, list[QuarantineEntry]]]:
    """Rows of known meters within the bounds, and per item why others are not among them."""
    problems = {place: list(item.quarantine) for place, item in enumerate(items) if item.quarantine}
    batches = [(place, item.batch) for place, item in enumerate(items) if item.batch is not None]
    found = [directory.meter(identity) for _, batch in batches for identity in batch.meters]
    numbers = np.array([-1 if n is None else n for n in found], dtype=np.int32)
    offsets = np.cumsum([0, *(len(batch.meters) for _, batch in batches)])
    rows, starts = _renumbered([batch.rows for _, batch in batches], READING_DTYPE, numbers, offsets)
    detail, detail_starts = _renumbered([batch.phases for _, batch in batches], PHASE_DTYPE, numbers, offsets)
    received = per_source(rows["source"])
    order = _by_meter_and_instant(rows, starts)
    if not rows.size or (rows["meter"].min() >= 0 and _within(rows["ts_us"], oldest_us, newest_us).all()):
        taken = rows[order]
    else:
        known, within = rows["meter"] >= 0, _within(rows["ts_us"], oldest_us, newest_us)
        good = known & within
        owner = _owners(starts, rows.size)
        for nth in np.unique(owner[~good]).tolist():
            place, batch = batches[nth]
            own = owner == nth
            numbered = zip(batch.meters, found[offsets[nth] : offsets[nth + 1]], strict=True)
            problems.setdefault(place, []).extend(
                _complaints(
                    [str(identity) for identity, number in numbered if number is None],
                    rows["ts_us"][own & known & (rows["ts_us"] < oldest_us)],
                    rows["ts_us"][own & known & (rows["ts_us"] > newest_us)],
                )
            )
        order = order[good[order]]
        taken = rows[order]
    new_meter = np.ones(taken.size, dtype=np.bool_)
    new_meter[1:] = taken["meter"][1:] != taken["meter"][:-1]
    first = new_meter.copy()
    first[1:] |= taken["ts_us"][1:] != taken["ts_us"][:-1]
    if detail.size:
        owners = _owners(starts, rows.size)[order], _owners(detail_starts, detail.size)
        at = _readings_of(taken, detail, *owners)
        detail, at = detail[at >= 0], at[at >= 0]
    else:
        at = np.zeros(0, dtype=np.int64)
    columns = Columns(
        readings=taken,
        phases=detail,
        phase_of=at,
        first=first,
        meters=taken["meter"][new_meter].astype(np.int64),
        of_meter=np.cumsum(new_meter) - 1,
        received=received,
        refused=int(rows.size - taken.size),
    )
    return columns, problems


def utc_days(columns: Columns) -> list[date]:
    """UTC days that the rows lie in."""
    days = columns.readings["ts_us"] // DAY_US
    if not days.size:
        return []
    earliest = int(days.min())
    return [_EPOCH_DAY + timedelta(days=earliest + d) for d in np.flatnonzero(np.bincount(days - earliest)).tolist()]


def per_source(sources: Rows) -> dict[int, int]:
    """Source → how many rows are from it."""
    counts = np.bincount(sources, minlength=0)
    return {source: int(counts[source]) for source in np.flatnonzero(counts).tolist()}


def _by_meter_and_instant(rows: Rows, starts: Ints) -> Ints:
    """(n,) the order of rows by meter, instant and arrival. starts: where each message's rows begin.

    Messages mostly hold rows of one meter in order of time: then putting the messages in order is all.
    """
    if not rows.size:
        return np.zeros(0, dtype=np.int64)
    begins = starts[np.diff(starts, append=rows.size) > 0]
    by_start = np.lexsort((rows["ts_us"][begins], rows["meter"][begins]))  # stable
    sizes = np.diff(begins, append=rows.size)[by_start]
    ends = np.cumsum(sizes)
    order: Ints = np.arange(rows.size) + np.repeat(begins[by_start] - (ends - sizes), sizes)
    meter, ts_us = rows["meter"][order], rows["ts_us"][order]
    rises = (meter[1:] > meter[:-1]) | (meter[1:] == meter[:-1]) & (ts_us[1:] > ts_us[:-1])
    alike = (meter[1:] == meter[:-1]) & (ts_us[1:] == ts_us[:-1]) & (order[1:] > order[:-1])
    if (rises | alike).all():
        return order
    whole: Ints = np.lexsort((rows["ts_us"], rows["meter"]))
    return whole


def _within(ts_us: Ints, oldest_us: int, newest_us: int) -> Bools:
    return (ts_us >= oldest_us) & (ts_us <= newest_us)


def _owners(starts: Ints, size: int) -> Ints:
    """(n,) to which part each row belongs, of parts that begin there."""
    return np.repeat(np.arange(starts.size), np.diff(starts, append=size))


def _readings_of(readings: Rows, phases: Rows, owner: Ints, phase_owner: Ints) -> Ints:
    """(k,) the place among the readings of the one that each phase row belongs to; -1: it is not among them.

    It is the one of the same message, meter and instant, and the first with the first where a message says several.
    """
    meter = np.concatenate((readings["meter"], phases["meter"]))
    instant = np.concatenate((readings["ts_us"], phases["ts_us"]))
    message = np.concatenate((owner, phase_owner))
    nth = np.concatenate((_occurrence(readings, owner), _occurrence(phases, phase_owner)))
    order = np.lexsort((np.arange(meter.size), nth, message, instant, meter))  # a reading stands just before its phases
    keys = [values[order] for values in (meter, instant, message, nth)]
    same = np.zeros(meter.size, dtype=np.bool_)
    same[1:] = np.logical_and.reduce([values[1:] == values[:-1] for values in keys])
    at = np.full(meter.size, -1, dtype=np.int64)
    at[1:] = np.where(same[1:], order[:-1], -1)
    found = np.full(meter.size, -1, dtype=np.int64)
    found[order] = at
    return found[readings.size :]


def _occurrence(rows: Rows, owner: Ints) -> Ints:
    """(n,) how many rows of the same message, meter and instant stand before each."""
    order = np.lexsort((owner, rows["ts_us"], rows["meter"]))
    meter, instant, message = rows["meter"][order], rows["ts_us"][order], owner[order]
    begins = np.ones(rows.size, dtype=np.bool_)
    begins[1:] = (meter[1:] != meter[:-1]) | (instant[1:] != instant[:-1]) | (message[1:] != message[:-1])
    places = np.arange(rows.size)
    nth = np.empty(rows.size, dtype=np.int64)
    nth[order] = places - np.maximum.accumulate(np.where(begins, places, 0))
    return nth


def _renumbered(
    parts: Sequence[Rows], dtype: np.dtype[Any], numbers: npt.NDArray[np.int32], offsets: Ints
) -> tuple[Rows, Ints]:
    """All rows with the store's meter numbers (-1: unknown), and where each part begins."""
    if not parts:
        return np.zeros(0, dtype=dtype), np.zeros(0, dtype=np.int64)
    # Bytes, because numpy compares the columns of every two arrays that it puts together.
    rows = np.frombuffer(bytearray().join([part.tobytes() for part in parts]), dtype=dtype)
    sizes = np.fromiter((part.size for part in parts), dtype=np.int64, count=len(parts))
    if rows.size:
        rows["meter"] = numbers[rows["meter"] + np.repeat(offsets[:-1], sizes)]
    return rows, np.cumsum(sizes) - sizes


def _complaints(unknown: Sequence[str], old: Ints, future: Ints) -> list[QuarantineEntry]:
    entries = []
    if unknown:
        named = ", ".join(unknown[:_NAMED]) + (f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else "")
        entries.append(QuarantineEntry("unknown_meter", f"not imported: {named}"))
    if old.size:
        entries.append(
            QuarantineEntry(
                "too_old", f"{old.size} readings before ingest.oldest_days, the oldest of {_iso(old.min())}"
            )
        )
    if future.size:
        entries.append(
            QuarantineEntry(
                "in_future",
                f"{future.size} readings beyond ingest.future_tolerance_s, the latest of {_iso(future.max())}",
            )
        )
    return entries


def _iso(instant_us: Any) -> str:
    return from_us(int(instant_us)).isoformat()
