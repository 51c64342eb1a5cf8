"""From items to the columns of one transaction: what may be stored, in which order, and what it touches. Pure numpy.

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
DAY_US: Final = 86_400_000_000
_EPOCH_DAY: Final = datetime(1970, 1, 1, tzinfo=UTC).date()
_NAMED: Final = 5
"""Unknown meters that a quarantine entry names; the rest is counted."""


@dataclass(frozen=True, slots=True)
class Columns:
    """All rows of a batch of items that may be stored, sorted by meter and instant (and arrival, where these agree)."""

    readings: Rows
    phases: Rows
    first: npt.NDArray[np.bool_]
    """(n,): the first row of its meter and instant in this batch."""
    received: Mapping[int, int]
    """Source → readings in the items, stored or not."""
    refused: int


@dataclass(frozen=True, slots=True)
class Stretches:
    """What new rows touch: per meter from an instant to an instant, both included."""

    meter: Ints
    first_us: Ints
    last_us: Ints


def gather(
    items: Sequence[Item], directory: Directory, *, oldest_us: int, newest_us: int
) -> tuple[Columns, dict[int, list[QuarantineEntry]]]:
    """Rows of known meters within the bounds, and per item why others are not among them."""
    problems = {place: list(item.quarantine) for place, item in enumerate(items) if item.quarantine}
    batches = [(place, item.batch) for place, item in enumerate(items) if item.batch is not None]
    found = [directory.meter(identity) for _, batch in batches for identity in batch.meters]
    numbers = np.array([-1 if n is None else n for n in found], dtype=np.int32)
    offsets = np.concatenate(([0], np.cumsum([len(batch.meters) for _, batch in batches]))).astype(np.int64)
    rows, owner = _renumbered([batch.rows for _, batch in batches], READING_DTYPE, numbers, offsets)
    detail, _ = _renumbered([batch.phases for _, batch in batches], PHASE_DTYPE, numbers, offsets)
    sources, counts = np.unique(rows["source"], return_counts=True)
    received = dict(zip(sources.tolist(), counts.tolist(), strict=True))
    known, old, future = rows["meter"] >= 0, rows["ts_us"] < oldest_us, rows["ts_us"] > newest_us
    good = known & ~old & ~future
    for nth in np.unique(owner[~good]).tolist():
        place, batch = batches[nth]
        own = owner == nth
        numbered = zip(batch.meters, found[offsets[nth] : offsets[nth + 1]], strict=True)
        problems.setdefault(place, []).extend(
            _complaints(
                [str(identity) for identity, number in numbered if number is None],
                rows["ts_us"][own & known & old],
                rows["ts_us"][own & known & future],
            )
        )
    taken = rows[good]
    taken = taken[np.lexsort((taken["ts_us"], taken["meter"]))]  # stable: arrival decides between equal keys
    detail = detail[(detail["meter"] >= 0) & (detail["ts_us"] >= oldest_us) & (detail["ts_us"] <= newest_us)]
    detail = detail[np.lexsort((detail["ts_us"], detail["meter"]))]
    return Columns(taken, detail, _first_of_key(taken), received, int(rows.size - taken.size)), problems


def utc_days(columns: Columns) -> list[date]:
    """UTC days that the rows lie in."""
    return [_EPOCH_DAY + timedelta(days=d) for d in np.unique(columns.readings["ts_us"] // DAY_US).tolist()]


def newer_than(rows: Rows, latest: Mapping[int, int]) -> npt.NDArray[np.bool_]:
    """(n,): rows later than everything that is stored of their meter, which therefore cannot be stored already."""
    meters, place = np.unique(rows["meter"], return_inverse=True)
    lowest = np.iinfo(np.int64).min
    newest = np.array([latest.get(m, lowest) for m in meters.tolist()], dtype=np.int64)
    fresh: npt.NDArray[np.bool_] = rows["ts_us"] > newest[place]
    return fresh


def pick_phases(phases: Rows, readings: Rows) -> tuple[Rows, Rows]:
    """Phase rows whose meter and instant is among the readings (each key once), and the others."""
    if not phases.size:
        return phases, phases
    belongs = _member(phases, readings["meter"], readings["ts_us"]) & _first_of_key(phases)
    return phases[belongs], phases[~belongs]


def rows_at(rows: Rows, pairs: Ints) -> Rows:
    """The first row of each (meter, instant) pair (k, 2) among rows sorted by meter and instant."""
    if not pairs.shape[0]:
        return rows[:0]
    return rows[_member(rows, pairs[:, 0], pairs[:, 1]) & _first_of_key(rows)]


def runs(rows: Rows) -> Stretches:
    """New rows, sorted by meter and instant, as stretches without a hole longer than a day."""
    if not rows.size:
        none = np.zeros(0, dtype=np.int64)
        return Stretches(none, none, none)
    breaks = (np.diff(rows["meter"]) != 0) | (np.diff(rows["ts_us"]) > DAY_US)
    starts = np.concatenate(([0], np.flatnonzero(breaks) + 1))
    ends = np.concatenate((starts[1:] - 1, [rows.size - 1]))
    return Stretches(rows["meter"][starts].astype(np.int64), rows["ts_us"][starts], rows["ts_us"][ends])


def following(stretches: Stretches, latest: Mapping[int, int]) -> tuple[npt.NDArray[np.bool_], Ints]:
    """Which stretches are later than all that was stored of their meter before, and the reading before each of these.

    (n,) bool and (n,) int64 [µs UTC]; the smallest integer where nothing is before, or the stretch is not later.
    """
    lowest = np.iinfo(np.int64).min
    newest = np.array([latest.get(m, lowest) for m in stretches.meter.tolist()], dtype=np.int64)
    later = stretches.first_us > newest
    earlier_run = np.full(newest.size, lowest, dtype=np.int64)
    same = stretches.meter[1:] == stretches.meter[:-1]
    earlier_run[1:][same] = stretches.last_us[:-1][same]
    return later, np.where(later, np.maximum(newest, earlier_run), lowest)


def reaching(stretches: Stretches, before: Ints, after: Ints, most_days: int) -> Stretches:
    """Stretches that reach back to the reading before them and on to the one after.

    before, after: (n,) int64 instants of the neighbours; the smallest, the largest integer where there is none. The
    energy between two readings is shared out over all days between them, so all of these change. Without a neighbour
    (or with one further away than `most_days`) a stretch begins 1 µs early: a midnight register ends the day before.
    """
    bound = most_days * DAY_US
    first = np.where(before >= stretches.first_us - bound, before, stretches.first_us - 1)
    far = (before != np.iinfo(np.int64).min) & (before < stretches.first_us - bound)
    first = np.where(far, stretches.first_us - bound, first)
    last = np.where(after <= stretches.last_us + bound, after - 1, stretches.last_us)
    return Stretches(stretches.meter, first, last)


def newest_of_meter(rows: Rows) -> Rows:
    """The last row of each meter of rows sorted by meter and instant."""
    return rows[np.append(np.diff(rows["meter"]) != 0, True)] if rows.size else rows


def power_at(phases: Rows, readings: Rows) -> Ints:
    """(n,) int64 [W] power of the phase rows at the readings' meter and instant; the smallest integer: not measured."""
    power = np.full(readings.size, np.iinfo(np.int64).min, dtype=np.int64)
    if phases.size and readings.size:
        keys = zip(phases["meter"].tolist(), phases["ts_us"].tolist(), strict=True)
        known = dict(zip(keys, phases["power_w"].tolist(), strict=True))
        for i, key in enumerate(zip(readings["meter"].tolist(), readings["ts_us"].tolist(), strict=True)):
            power[i] = known.get(key, power[i])
    return power


def _member(rows: Rows, meters: npt.NDArray[Any], ts_us: Ints) -> npt.NDArray[np.bool_]:
    """(n,): whether a row's meter and instant is among the given ones; by one sort of both together."""
    meter = np.concatenate((rows["meter"], meters))
    instant = np.concatenate((rows["ts_us"], ts_us))
    given = np.arange(meter.size) >= rows.size
    order = np.lexsort((instant, meter))
    breaks = (np.diff(meter[order]) != 0) | (np.diff(instant[order]) != 0)
    group = np.concatenate(([0], np.cumsum(breaks)))
    hit = np.zeros(int(group[-1]) + 1, dtype=np.bool_)
    hit[group[given[order]]] = True
    member = np.zeros(meter.size, dtype=np.bool_)
    member[order] = hit[group]
    return member[: rows.size]


def _first_of_key(rows: Rows) -> npt.NDArray[np.bool_]:
    """(n,) of rows sorted by meter and instant."""
    first = np.ones(rows.size, dtype=np.bool_)
    first[1:] = (np.diff(rows["meter"]) != 0) | (np.diff(rows["ts_us"]) != 0)
    return first


def _renumbered(
    parts: Sequence[Rows], dtype: np.dtype[Any], numbers: npt.NDArray[np.int32], offsets: Ints
) -> tuple[Rows, Ints]:
    """All rows with the store's meter numbers (-1: unknown), and to which part each belongs."""
    if not parts:
        return np.zeros(0, dtype=dtype), np.zeros(0, dtype=np.int64)
    rows = np.concatenate(parts)
    owner = np.repeat(np.arange(len(parts)), [part.size for part in parts])
    if rows.size:
        rows["meter"] = numbers[offsets[owner] + rows["meter"]]
    return rows, owner


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
