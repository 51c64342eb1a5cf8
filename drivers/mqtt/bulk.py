"""Many messages of the own format at once, in the shapes that nearly all have; the others are left to `payload`.

The rule it keeps: it takes a message only where `payload.decode` would understand it, and then says the same of it.
Whatever is unusual (another key, values per phase, an instant with fractions, anything wrong) is not taken here, so
that one place alone says why something is not understood.

What makes it fast: a message costs one call of msgspec and a few list operations; arrays are made of all together. That
no key stands twice is seen by counting quotes: without a backslash every string has two, so the number of keys and
texts that were read says how many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET, Meta, UnsetType

from drivers.base import ABSENT, ABSENT_DV, READING_DTYPE, MeterIdentity, ReadingBatch, ReadingFlag, Source
from drivers.errors import PayloadError
from drivers.mqtt import topics
from drivers.mqtt.columns import AHEAD, CLOCK_AHEAD_US, NO_PHASES, UNCERTAINTY_MS
from drivers.mqtt.decoded import MeterReadings, ProfileUpload
from drivers.mqtt.messages import RegisterWh, Seq, VoltageV
from drivers.mqtt.profile import BACKFILL_US
from drivers.mqtt.stamps import bulk_instants

MAX_BYTES: Final = 1024 * 1024
"""Larger ones are worth the careful way."""
_KNOWN_MOST: Final = 200_000
"""Topics and names remembered; then all are forgotten."""
_NOT_SAID: Final = -1
"""A key that is not there: no message can say it, since registers and voltages are never negative."""


class _Plain(msgspec.Struct, forbid_unknown_fields=True, gc=False):
    """Base: the same strictness as in `messages`."""


class _Reading(_Plain):
    ts: str
    import_wh: RegisterWh | None = _NOT_SAID
    export_wh: RegisterWh | None = _NOT_SAID
    voltage_v: VoltageV | None = float(_NOT_SAID)


class _Batch(_Plain):
    readings: Annotated[list[_Reading], Meta(min_length=1)]


class _Columns(_Plain):
    ts: Annotated[list[str], Meta(min_length=1)]
    import_wh: list[RegisterWh | None] | UnsetType = UNSET
    export_wh: list[RegisterWh | None] | UnsetType = UNSET
    voltage_v: list[VoltageV | None] | UnsetType = UNSET


class _Profile(_Plain):
    format: Literal["headend.profile/1"]
    seq: Seq
    meters: Annotated[list[str], Meta(min_length=1)]
    ts: Annotated[list[str], Meta(min_length=1)]
    backlog: Seq
    import_wh: list[list[RegisterWh | None]] | UnsetType = UNSET
    export_wh: list[list[RegisterWh | None]] | UnsetType = UNSET
    voltage_v: list[list[VoltageV | None]] | UnsetType = UNSET


_reading = msgspec.json.Decoder(_Reading).decode
_batch = msgspec.json.Decoder(_Batch).decode
_columns = msgspec.json.Decoder(_Columns).decode
_profile = msgspec.json.Decoder(_Profile).decode
_NAMES: Final = ("import_wh", "export_wh", "voltage_v")


@dataclass(frozen=True, slots=True)
class _Taken:
    """A message whose values stand in the common columns."""

    place: int
    """Among the messages."""
    meters: tuple[MeterIdentity, ...]
    rows: int
    stamps: int
    """Per meter."""
    received_us: int
    rising: bool
    """Whether its instants have to rise."""
    upload: tuple[str, int, int] | None = None
    """Concentrator, number and backlog, where it is one."""


@dataclass(slots=True)
class _Values:
    """The common columns, a value per row; None or _NOT_SAID where there is none."""

    stamps: list[str] = field(default_factory=list)
    """A value per row of a meter's own message; once for all meters of an upload."""
    import_wh: list[Any] = field(default_factory=list)
    export_wh: list[Any] = field(default_factory=list)
    voltage_v: list[Any] = field(default_factory=list)


class BulkDecoder:
    """Remembers who speaks on which topic, and nothing of what was said."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._topics: dict[str, topics.MeterTopic | topics.ConcentratorTopic | None] = {}
        self._names: dict[str, MeterIdentity] = {}

    def decode(self, messages: Sequence[tuple[str, bytes, int, bool]]) -> dict[int, MeterReadings | ProfileUpload]:
        """Place → what it says, of those (topic, payload, received [µs UTC], kept by the broker) that it takes."""
        values, taken = _Values(), list[_Taken]()
        for place, (topic, payload, received_us, _) in enumerate(messages):
            if len(payload) > MAX_BYTES or b"\\" in payload:
                continue
            match self._speaker(topic):
                case topics.MeterTopic(meter, kind) if kind != "event":
                    count = _take_readings(kind, payload, values)
                    if count:
                        taken.append(_Taken(place, (meter,), count, count, received_us, rising=kind == "columns"))
                case topics.ConcentratorTopic(code, "profile"):
                    upload = self._take_profile(code, payload, values, place, received_us)
                    if upload is not None:
                        taken.append(upload)
                case _:
                    pass
        return _decoded(values, taken) if taken else {}

    def _speaker(self, topic: str) -> topics.MeterTopic | topics.ConcentratorTopic | None:
        try:
            return self._topics[topic]
        except KeyError:
            pass
        if len(self._topics) >= _KNOWN_MOST:
            self._topics.clear()
        try:
            found = topics.parse(topic, self._prefix)
        except PayloadError:
            found = None
        self._topics[topic] = found
        return found

    def _take_profile(self, code: str, payload: bytes, values: _Values, place: int, received_us: int) -> _Taken | None:
        try:
            message = _profile(payload)
            meters = tuple(map(self._named, message.meters))
        except (msgspec.DecodeError, UnicodeDecodeError, PayloadError):
            return None
        n, m = len(message.ts), len(meters)
        sent = [columns for name in _NAMES if (columns := getattr(message, name)) is not UNSET]
        texts = 5 + len(sent) + 1 + m + n  # keys, `format`, meters, instants
        if payload.count(b'"') != 2 * texts or len(set(meters)) != m:
            return None
        if any(len(columns) != m or set(map(len, columns)) != {n} for columns in sent):
            return None
        values.stamps += message.ts
        for name in _NAMES:
            columns, column = getattr(message, name), getattr(values, name)
            column += [_NOT_SAID] * (m * n) if columns is UNSET else chain.from_iterable(columns)
        upload = (code, message.seq, message.backlog)
        return _Taken(place, meters, m * n, n, received_us, rising=True, upload=upload)

    def _named(self, text: str) -> MeterIdentity:
        found = self._names.get(text)
        if found is None:
            if len(self._names) >= _KNOWN_MOST:
                self._names.clear()
            found = self._names[text] = topics.parse_identity(text, "", "")
        return found


def _take_readings(kind: topics.MeterKind, payload: bytes, values: _Values) -> int:
    """How many readings of one message are in the common columns now; 0: it has to go the careful way."""
    try:
        if kind == "reading":
            r = _reading(payload)
            texts = 2 + (r.import_wh != _NOT_SAID) + (r.export_wh != _NOT_SAID) + (r.voltage_v != _NOT_SAID)
            if payload.count(b'"') != 2 * texts:
                return 0
            values.stamps.append(r.ts)
            values.import_wh.append(r.import_wh)
            values.export_wh.append(r.export_wh)
            values.voltage_v.append(r.voltage_v)
            return 1
        if kind == "batch":
            return _take_batch(_batch(payload).readings, payload.count(b'"'), values)
        return _take_columns(_columns(payload), payload.count(b'"'), values)
    except (msgspec.DecodeError, UnicodeDecodeError):  # ValidationError is a DecodeError
        return 0


def _take_batch(readings: list[_Reading], quotes: int, values: _Values) -> int:
    n = len(readings)
    imported = [r.import_wh for r in readings]
    exported = [r.export_wh for r in readings]
    voltage = [r.voltage_v for r in readings]
    texts = 1 + 5 * n - sum(column.count(_NOT_SAID) for column in (imported, exported, voltage))
    if quotes != 2 * texts:
        return 0
    values.stamps += [r.ts for r in readings]
    values.import_wh += imported
    values.export_wh += exported
    values.voltage_v += voltage
    return n


def _take_columns(message: _Columns, quotes: int, values: _Values) -> int:
    n = len(message.ts)
    sent = [column for name in _NAMES if (column := getattr(message, name)) is not UNSET]
    if quotes != 2 * (1 + len(sent) + n) or any(len(column) != n for column in sent):
        return 0
    values.stamps += message.ts
    for name in _NAMES:
        column = getattr(message, name)
        getattr(values, name).extend([_NOT_SAID] * n if column is UNSET else column)
    return n


def _decoded(values: _Values, taken: Sequence[_Taken]) -> dict[int, MeterReadings | ProfileUpload]:
    """The common columns as the batches of the messages, without those that have to go the careful way after all."""
    stamped, read = bulk_instants(values.stamps)
    counts = np.array([(t.rows, t.stamps, t.received_us, t.rising) for t in taken], dtype=np.int64).reshape(-1, 4)
    row_ends, stamp_ends = np.cumsum(counts[:, 0]), np.cumsum(counts[:, 1])
    row_starts, stamp_starts = row_ends - counts[:, 0], stamp_ends - counts[:, 1]
    rows = np.zeros(len(values.import_wh), dtype=READING_DTYPE)  # all measurements are set below
    ts_us = stamped if rows.size == stamped.size else stamped[_stamp_of_row(taken, stamp_starts)]
    imported, exported = _registers(values.import_wh), _registers(values.export_wh)
    rows["ts_us"], rows["import_wh"], rows["export_wh"] = ts_us, imported, exported
    rows["voltage_dv"] = _decivolts(values.voltage_v)
    rows["uncertainty_ms"] = UNCERTAINTY_MS
    rows["source"] = int(Source.MQTT)
    received = np.repeat(counts[:, 2], counts[:, 0])
    rows["flags"] = np.where(ts_us > received + CLOCK_AHEAD_US, AHEAD, 0)
    measured = (imported != ABSENT) | (exported != ABSENT)
    # An instant that is not of the usual shape, does not rise, or has no register: for the careful way to judge.
    falls = np.zeros(stamped.size, dtype=np.bool_)
    falls[1:] = stamped[1:] <= stamped[:-1]
    falls[stamp_starts] = False
    doubtful = np.logical_or.reduceat(~read, stamp_starts)
    doubtful |= np.logical_or.reduceat(falls, stamp_starts) & (counts[:, 3] != 0)
    unmeasured = np.logical_or.reduceat(~measured, row_starts)
    found: dict[int, MeterReadings | ProfileUpload] = {}
    starts, ends = row_starts.tolist(), row_ends.tolist()
    refused = (doubtful | unmeasured).tolist()
    for t, start, end, refuse in zip(taken, starts, ends, refused, strict=True):
        if refuse:
            continue
        own = rows[start:end]
        if t.upload is None:
            found[t.place] = MeterReadings(ReadingBatch.unchecked(t.meters, own, NO_PHASES))
        else:
            code, seq, backlog = t.upload
            own["meter"] = np.repeat(np.arange(len(t.meters), dtype=np.int32), t.stamps)
            own["source"] = int(Source.CONCENTRATOR)
            own["flags"][own["ts_us"] < t.received_us - BACKFILL_US] |= np.int16(ReadingFlag.BACKFILL)
            found[t.place] = ProfileUpload(code, seq, backlog, ReadingBatch.unchecked(t.meters, own, NO_PHASES))
    return found


def _stamp_of_row(taken: Sequence[_Taken], stamp_starts: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(rows,): which of the common stamps is that of a row; an upload has its stamps once for all of its meters."""
    own = [
        np.tile(np.arange(start, start + t.stamps), len(t.meters))
        for t, start in zip(taken, stamp_starts.tolist(), strict=True)
    ]
    return np.concatenate(own)


def _registers(values: list[Any]) -> npt.NDArray[np.int64]:
    try:
        column = np.array(values, dtype=np.int64)
    except TypeError:  # a null among them
        column = np.array([_NOT_SAID if v is None else v for v in values], dtype=np.int64)
    column[column < 0] = ABSENT
    return column


def _decivolts(values: list[Any]) -> npt.NDArray[np.int16]:
    column = np.array(values, dtype=np.float64) * 10  # None becomes NaN
    missing = ~(column >= 0)
    column[missing] = 0
    found = np.rint(column).astype(np.int16)
    found[missing] = ABSENT_DV
    return found
