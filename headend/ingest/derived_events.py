"""Events that readings show without their device saying so: voltage bands, a phase that is gone, current in reverse.

Pure numpy. One event when an episode begins and one when it ends, with a hysteresis between the two limits; where a
meter stands between batches is a number of bits, handed in and out. What is told is what the data show: a phase is
lost only where another one of the same meter is live, and current flows in reverse only where the meter does not feed
in as a matter of course.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from drivers.base import ABSENT, ABSENT_DV
from drivers.events import DeviceEvent, EventKind

Rows = npt.NDArray[Any]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Marks = npt.NDArray[np.int8]

LIVE: Final = 1.3
"""Another phase is live from so many times the limit of a lost one: Chinese practice calls a phase cut below 60 % and
short of voltage below 78 % of the nominal."""
PLACES: Final = 4
"""0: the meter as a whole, or its only phase; 1..3: a phase of several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    """Limits of the episodes, as the meter shows the values (no transformer ratio)."""

    over_voltage_v: float
    under_voltage_v: float
    hysteresis_v: float
    """An episode ends so far inside its limit."""
    phase_lost_v: float
    """Below this a phase is not there, and its voltage is not *under* its band."""
    reversed_a: float
    """A current of less than this, either way, says nothing of its direction."""
    reversed_w: float
    feeds_in_wh: float
    """A meter whose export register stands above this feeds in as a matter of course."""


@dataclass(frozen=True, slots=True)
class _Condition:
    """One kind of episode; its places have the bits `first_bit` … `first_bit` + 3."""

    first_bit: int
    begins: EventKind
    ends: EventKind


_OVER: Final = _Condition(0, EventKind.OVER_VOLTAGE, EventKind.OVER_VOLTAGE_ENDED)
_UNDER: Final = _Condition(4, EventKind.UNDER_VOLTAGE, EventKind.UNDER_VOLTAGE_ENDED)
_LOST: Final = _Condition(8, EventKind.PHASE_LOST, EventKind.PHASE_RESTORED)
_REVERSED: Final = _Condition(12, EventKind.REVERSED_CURRENT, EventKind.REVERSED_CURRENT_ENDED)


@dataclass(frozen=True, slots=True)
class _Values:
    """What readings measured; NaN: not measured."""

    volts: Floats
    """(n, 4)"""
    amperes: Floats
    """(n, 4)"""
    watts: Floats
    """(n,)"""
    several: Bools
    """(n,) whether voltages of several phases are there."""
    feeds_in: Bools
    """(n,) whether the export register says that feeding in is a matter of course."""


@dataclass(frozen=True, slots=True)
class Derived:
    """What a batch showed."""

    events: tuple[tuple[int, DeviceEvent], ...]
    """meter_id and event, in order of meter and time."""
    open: Mapping[int, int]
    """meter_id → bits of the episodes that are open afterwards, for the meters where that has changed; 0: none."""


def derive(rows: Rows, phases: Rows, latest_us: Mapping[int, int], open_: Mapping[int, int], bands: Bands) -> Derived:
    """What new readings show that those before them did not.

    rows: (n,) READING_DTYPE sorted by meter and instant, each newer than all that was stored of its meter; phases:
    (k,) PHASE_DTYPE, sorted alike, each of a reading in rows and at most one of each. latest_us: meter → instant of
    the last reading before [µs UTC]; open_: meter → bits that were open then.
    """
    if not rows.size:
        return Derived((), {})
    was = np.array([open_.get(m, 0) for m in rows["meter"].tolist()], dtype=np.int64) if open_ else None
    found: list[tuple[int, int, DeviceEvent]] = []
    now_open = dict(open_)
    for condition, place, marks, values in _marks(_measured(rows, phases, bands), bands):
        bit = 1 << (condition.first_bit + place)
        if not (marks > 0).any() and (was is None or not (was & bit).any()):
            continue  # most batches: nothing stands open, nothing begins
        before = np.zeros(rows.size, dtype=np.bool_) if was is None else (was & bit) != 0
        for at, begins in _changes(rows["meter"], marks, before):
            meter = int(rows["meter"][at])
            uncertainty_ms, detail = _since(rows, at, latest_us)
            event = DeviceEvent(
                kind=condition.begins if begins else condition.ends,
                instant_us=int(rows["ts_us"][at]),
                uncertainty_ms=uncertainty_ms,
                phase=place or None,
                value=float(values[at]),
                detail=detail,
            )
            found.append((at, meter, event))
            now_open[meter] = now_open.get(meter, 0) | bit if begins else now_open.get(meter, 0) & ~bit
    found.sort(key=lambda f: f[0])
    changed = {m: bits for m, bits in now_open.items() if bits != open_.get(m, 0)}
    return Derived(tuple((meter, event) for _, meter, event in found), changed)


def speaking(rows: Rows, phase_of: Ints, open_: Mapping[int, int], bands: Bands) -> Bools:
    """(n,) rows of the meters of which `derive` may have something to tell: most batches have none.

    rows: as `derive` takes them; phase_of: (k,) places in rows of the readings that come with phases.
    """
    decivolts = rows["voltage_dv"]
    outside = (decivolts > 10 * bands.over_voltage_v) | (decivolts < 10 * bands.under_voltage_v)
    outside &= decivolts != ABSENT_DV
    outside[phase_of] = True
    if not open_:
        return np.isin(rows["meter"], rows["meter"][outside]) if outside.any() else outside
    return np.isin(rows["meter"], np.concatenate((rows["meter"][outside], np.fromiter(open_, dtype=np.int64))))


def _measured(rows: Rows, phases: Rows, bands: Bands) -> _Values:
    volts, amperes = np.full((rows.size, PLACES), np.nan), np.full((rows.size, PLACES), np.nan)
    watts = np.full(rows.size, np.nan)
    volts[:, 0] = np.where(rows["voltage_dv"] == ABSENT_DV, np.nan, rows["voltage_dv"] / 10)
    several = np.zeros(rows.size, dtype=np.bool_)
    if phases.size:
        at = _places(rows, phases)
        own = np.where(phases["voltage_dv"] == ABSENT_DV, np.nan, phases["voltage_dv"] / 10)
        polyphase = np.isfinite(own).sum(axis=1) > 1
        several[at] = polyphase
        volts[at[polyphase], 0] = np.nan  # the mean says nothing that the phases do not
        volts[at[polyphase], 1:] = own[polyphase]
        amperes[at, 1:] = np.where(phases["current_ma"] == ABSENT, np.nan, phases["current_ma"] / 1000)
        watts[at] = np.where(phases["power_w"] == ABSENT, np.nan, phases["power_w"])
    feeds_in = (rows["export_wh"] != ABSENT) & (rows["export_wh"] > bands.feeds_in_wh)
    return _Values(volts, amperes, watts, several, feeds_in)


def _places(rows: Rows, phases: Rows) -> Ints:
    """(k,) where in rows the reading of each phase row stands; both sorted by meter and instant."""
    meter = np.concatenate((rows["meter"], phases["meter"]))
    instant = np.concatenate((rows["ts_us"], phases["ts_us"]))
    order = np.lexsort((np.arange(meter.size), instant, meter))  # a reading stands just before its phases
    reading = np.maximum.accumulate(np.where(order < rows.size, order, 0))
    return np.asarray(reading[order >= rows.size], dtype=np.int64)


def _marks(seen: _Values, bands: Bands) -> Iterator[tuple[_Condition, int, Marks, Floats]]:
    """Per condition and place: (n,) 1 where it holds, −1 where it does not, 0 where the reading says neither; and what
    was measured.
    """
    with np.errstate(invalid="ignore"):  # NaN: neither
        for place in range(PLACES):
            v = seen.volts[:, place]
            if not np.isfinite(v).any():
                continue
            yield _OVER, place, _mark(v > bands.over_voltage_v, v <= bands.over_voltage_v - bands.hysteresis_v), v
            under = (v >= bands.phase_lost_v) & (v < bands.under_voltage_v)
            yield _UNDER, place, _mark(under, v >= bands.under_voltage_v + bands.hysteresis_v), v
            if place:
                others = np.delete(seen.volts[:, 1:], place - 1, axis=1)
                live = seen.several & (np.nan_to_num(others, nan=0.0).max(axis=1) >= LIVE * bands.phase_lost_v)
                lost = live & (v < bands.phase_lost_v)
                yield _LOST, place, _mark(lost, v >= bands.phase_lost_v + bands.hysteresis_v), v
        for place in range(1, PLACES):
            a = seen.amperes[:, place]
            if not np.isfinite(a).any():
                continue
            others = np.delete(seen.amperes[:, 1:], place - 1, axis=1)
            forward = np.nan_to_num(others, nan=0.0).max(axis=1) >= bands.reversed_a
            reverse = (a <= -bands.reversed_a) & forward & ~seen.feeds_in
            yield _REVERSED, place, _mark(reverse, a >= bands.reversed_a), a
        if np.isfinite(seen.watts).any():
            reverse = (seen.watts <= -bands.reversed_w) & ~seen.feeds_in
            yield _REVERSED, 0, _mark(reverse, seen.watts >= bands.reversed_w), seen.watts


def _mark(holds: npt.NDArray[np.bool_], ended: npt.NDArray[np.bool_]) -> Marks:
    return holds.astype(np.int8) - (ended & ~holds).astype(np.int8)


def _changes(meter: Ints, marks: Marks, before: npt.NDArray[np.bool_]) -> Iterator[tuple[int, bool]]:
    """Where an episode begins (True) or ends (False). meter: (n,) sorted; before: (n,) whether it was open."""
    first = np.ones(meter.size, dtype=np.bool_)
    first[1:] = meter[1:] != meter[:-1]
    start = np.maximum.accumulate(np.where(first, np.arange(meter.size), 0))
    said = np.maximum.accumulate(np.where(marks != 0, np.arange(meter.size), -1))
    holds = np.where(said >= start, marks[said] > 0, before)  # the last word that this meter's readings gave
    earlier = np.where(first, before, np.roll(holds, 1))
    for at in np.flatnonzero(holds != earlier).tolist():
        yield at, bool(holds[at])


def _since(rows: Rows, at: int, latest_us: Mapping[int, int]) -> tuple[int, str]:
    """How long before its reading an event may have happened [ms], and what is to be said where nobody knows."""
    instant_us, meter = int(rows["ts_us"][at]), int(rows["meter"][at])
    before_us = int(rows["ts_us"][at - 1]) if at and rows["meter"][at - 1] == meter else latest_us.get(meter)
    own_ms = int(rows["uncertainty_ms"][at])
    if before_us is None:
        return own_ms, "seen in the meter's first reading"
    return own_ms - ((before_us - instant_us) // 1000), ""
