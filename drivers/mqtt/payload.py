"""From an MQTT message of the own format to readings: pure, typed, strict; understood whole or not at all.

`decode` raises nothing but `PayloadError`; its `reason` is one of REASONS, its text names what is wrong and where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import Any, Final, TypeVar

import msgspec
import numpy as np
import numpy.typing as npt

from drivers.base import (
    ABSENT,
    ABSENT_DV,
    PHASE_DTYPE,
    READING_DTYPE,
    MeterIdentity,
    ReadingBatch,
    ReadingFlag,
    Source,
    empty,
)
from drivers.errors import PayloadError
from drivers.mqtt import topics
from drivers.mqtt.messages import BatchMessage, ProfileMessage, ReadingMessage

REASONS: Final = frozenset(
    {
        "unknown_topic",
        "bad_name",
        "not_json",
        "wrong_type",
        "unknown_key",
        "missing_key",
        "out_of_range",
        "bad_timestamp",
        "bad_shape",
        "bad_state",
        "identity_mismatch",
        "no_energy",
    }
)
UNCERTAINTY_MS: Final = 500
"""Devices stamp to the second: half of it on both sides."""
BACKFILL_US: Final = 3600 * 1_000_000
"""A profile instant this long before the upload arrived came after the fact."""
CLOCK_AHEAD_US: Final = 60 * 1_000_000
"""A reading stamped this long after it arrived has a clock that is off."""
FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 2099

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_SEQ = re.compile(rb'"seq"\s*:\s*([0-9]{1,16})(?![0-9.eE])')
_M = TypeVar("_M", ReadingMessage, BatchMessage, ProfileMessage)
_readings = msgspec.json.Decoder(ReadingMessage)
_batches = msgspec.json.Decoder(BatchMessage)
_profiles = msgspec.json.Decoder(ProfileMessage)


@dataclass(frozen=True, slots=True)
class MeterReadings:
    """What a meter published for itself."""

    batch: ReadingBatch


@dataclass(frozen=True, slots=True)
class ProfileUpload:
    """One upload of a concentrator."""

    concentrator: str
    seq: int
    backlog: int
    batch: ReadingBatch


@dataclass(frozen=True, slots=True)
class ConcentratorState:
    """A concentrator came, or its last will says that it went."""

    concentrator: str
    online: bool


Decoded = MeterReadings | ProfileUpload | ConcentratorState


def decode(topic: str, payload: bytes, *, prefix: str, received_us: int) -> Decoded:
    """What a message says. `received_us` [µs UTC] tells late profiles and fast clocks. Raises PayloadError only."""
    match topics.parse(topic, prefix):
        case topics.MeterTopic(meter, "reading"):
            message = _typed(_readings, payload, topic)
            return MeterReadings(_readings_batch([message], meter, topic, received_us, lambda _: ""))
        case topics.MeterTopic(meter, _):
            batch = _typed(_batches, payload, topic)
            _same(batch.meter, str(meter), topic, "meter")
            return MeterReadings(
                _readings_batch(batch.readings, meter, topic, received_us, lambda i: f"readings[{i}].")
            )
        case topics.ConcentratorTopic(code, "profile"):
            return _profile(_typed(_profiles, payload, topic), code, topic, received_us)
        case topics.ConcentratorTopic(code, _):
            if payload not in (b"online", b"offline"):
                raise PayloadError(f"{payload[:40]!r} is neither online nor offline", peer=topic, reason="bad_state")
            return ConcentratorState(code, payload == b"online")
    raise AssertionError("topics.parse returns one of these")


def seq_of(topic: str, payload: bytes, *, prefix: str) -> tuple[str, int] | None:
    """Concentrator and upload number of a profile that could not be decoded, where they can still be read."""
    try:
        parsed = topics.parse(topic, prefix)
    except PayloadError:
        return None
    if not isinstance(parsed, topics.ConcentratorTopic) or parsed.kind != "profile":
        return None
    found = _SEQ.findall(payload)
    return (parsed.code, int(found[0])) if len(set(found)) == 1 and int(found[0]) <= 2**53 else None


def _typed(decoder: msgspec.json.Decoder[_M], payload: bytes, topic: str) -> _M:
    try:
        return decoder.decode(payload)
    except msgspec.ValidationError as error:
        raise PayloadError(str(error), peer=topic, reason=_reason(str(error))) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PayloadError(f"not JSON: {error}", peer=topic, reason="not_json") from error


def _reason(complaint: str) -> str:
    """Machine word for msgspec's sentence; its wording is pinned by the tests."""
    for words, reason in (
        ("unknown field", "unknown_key"),
        ("missing required field", "missing_key"),
        ("of length", "bad_shape"),
        ("RFC3339", "bad_timestamp"),
        ("timezone", "bad_timestamp"),
        ("out of range", "out_of_range"),
        (">=", "out_of_range"),
        ("<=", "out_of_range"),
    ):
        if words in complaint:
            return reason
    return "wrong_type"


def _same(named: str | None, wanted: str, topic: str, key: str) -> None:
    if named is not None and named != wanted:
        raise PayloadError(
            f"{key} is {named[:80]!r}, the topic is of {wanted!r}", peer=topic, reason="identity_mismatch"
        )


def _instants(stamps: Sequence[datetime], topic: str, where: Callable[[int], str]) -> npt.NDArray[np.int64]:
    """(n,) int64 [µs UTC] of aware instants of this century."""
    for i, stamp in enumerate(stamps):
        if not FIRST_YEAR <= stamp.year <= LAST_YEAR:
            raise PayloadError(
                f"{where(i)}: {stamp.isoformat()} is outside {FIRST_YEAR} to {LAST_YEAR}",
                peer=topic,
                reason="bad_timestamp",
            )
    return np.array([(stamp - _EPOCH) // _US for stamp in stamps], dtype=np.int64)


def _int_column(values: Iterable[int | None]) -> npt.NDArray[np.int64]:
    return np.array([ABSENT if v is None else v for v in values], dtype=np.int64)


def _scaled(values: Iterable[float | None], factor: float, absent: int) -> npt.NDArray[np.int64]:
    """Rounded `factor` × values, `absent` where there is none; the messages' ranges keep them far from overflow."""
    column = np.array([np.nan if v is None else v for v in values], dtype=np.float64) * factor
    missing = np.isnan(column)
    column[missing] = 0.0
    return np.where(missing, absent, np.rint(column).astype(np.int64))


def _flag_clocks(rows: npt.NDArray[Any], received_us: int) -> None:
    rows["flags"][rows["ts_us"] > received_us + CLOCK_AHEAD_US] |= np.int16(ReadingFlag.CLOCK_SUSPECT)


def _readings_batch(
    readings: Sequence[ReadingMessage], meter: MeterIdentity, topic: str, received_us: int, where: Callable[[int], str]
) -> ReadingBatch:
    for i, r in enumerate(readings):
        _same(r.meter, str(meter), topic, f"{where(i)}meter")
        if r.import_wh is None and r.export_wh is None:
            raise PayloadError(
                f"{where(i)}import_wh and {where(i)}export_wh are both absent", peer=topic, reason="no_energy"
            )
    rows = empty(READING_DTYPE, len(readings))
    rows["ts_us"] = _instants([r.ts for r in readings], topic, lambda i: f"{where(i)}ts")
    rows["uncertainty_ms"] = UNCERTAINTY_MS
    rows["import_wh"] = _int_column(r.import_wh for r in readings)
    rows["export_wh"] = _int_column(r.export_wh for r in readings)
    rows["voltage_dv"] = _scaled((_mean(r.voltage_v) for r in readings), 10, ABSENT_DV)
    rows["source"] = int(Source.MQTT)
    rows["flags"][[r.clock_suspect for r in readings]] = int(ReadingFlag.CLOCK_SUSPECT)
    _flag_clocks(rows, received_us)
    detailed = [i for i, r in enumerate(readings) if _has_detail(r)]
    phases = empty(PHASE_DTYPE, len(detailed))
    if detailed:
        picked = [readings[i] for i in detailed]
        phases["ts_us"] = rows["ts_us"][detailed]
        phases["import_wh"] = _int_column(chain.from_iterable(_three(r.import_phase_wh) for r in picked)).reshape(-1, 3)
        phases["export_wh"] = _int_column(chain.from_iterable(_three(r.export_phase_wh) for r in picked)).reshape(-1, 3)
        volts = chain.from_iterable(_three(r.voltage_v) for r in picked)
        phases["voltage_dv"] = _scaled(volts, 10, ABSENT_DV).reshape(-1, 3)
        amperes = chain.from_iterable(_three(r.current_a) for r in picked)
        phases["current_ma"] = _scaled(amperes, 1000, ABSENT).reshape(-1, 3)
        phases["power_w"] = _scaled((r.power_w for r in picked), 1, ABSENT)
    return ReadingBatch((meter,), rows, phases)


def _has_detail(r: ReadingMessage) -> bool:
    """Whether a reading measured what the narrow row has no place for."""
    return (
        r.power_w is not None
        or r.current_a is not None
        or r.import_phase_wh is not None
        or r.export_phase_wh is not None
        or isinstance(r.voltage_v, list)
    )


def _three(value: Any) -> Sequence[Any]:
    """Per phase; a single number stands in the first place."""
    return value if isinstance(value, list) else (value, None, None)


def _mean(value: float | Sequence[float | None] | None) -> float | None:
    if value is None or isinstance(value, float):
        return value
    present = [v for v in value if v is not None]
    return sum(present) / len(present) if present else None


def _profile(message: ProfileMessage, code: str, topic: str, received_us: int) -> ProfileUpload:
    _same(message.concentrator, code, topic, "concentrator")
    meters = tuple(topics.parse_identity(m, topic, f"meters[{i}]") for i, m in enumerate(message.meters))
    index = {identity: i for i, identity in enumerate(meters)}
    if len(index) != len(meters):
        twice = next(str(m) for i, m in enumerate(meters) if index[m] != i)
        raise PayloadError(f"meters: {twice} stands twice", peer=topic, reason="bad_shape")
    ts_us = _instants(message.ts, topic, lambda i: f"ts[{i}]")
    if (late := np.flatnonzero(np.diff(ts_us) <= 0)).size:
        raise PayloadError(f"ts[{late[0] + 1}] is not after ts[{late[0]}]", peer=topic, reason="bad_shape")
    shape = (len(meters), ts_us.size)
    grid = empty(READING_DTYPE, len(meters) * ts_us.size)
    grid["meter"] = np.repeat(np.arange(len(meters), dtype=np.int32), ts_us.size)
    grid["ts_us"] = np.tile(ts_us, len(meters))
    grid["uncertainty_ms"] = UNCERTAINTY_MS
    for name in ("import_wh", "export_wh"):
        if (columns := getattr(message, name)) is not None:
            _check_shape(columns, shape, topic, name)
            grid[name] = _int_column(chain.from_iterable(columns))
    if message.voltage_v is not None:
        _check_shape(message.voltage_v, shape, topic, "voltage_v")
        grid["voltage_dv"] = _scaled(chain.from_iterable(message.voltage_v), 10, ABSENT_DV)
    grid["source"] = int(Source.CONCENTRATOR)
    grid["flags"][grid["ts_us"] < received_us - BACKFILL_US] = int(ReadingFlag.BACKFILL)
    _flag_clocks(grid, received_us)
    read = (grid["import_wh"] != ABSENT) | (grid["export_wh"] != ABSENT)
    if not read.any():
        raise PayloadError("import_wh and export_wh are absent throughout", peer=topic, reason="no_energy")
    phases = _profile_phases(message, index, ts_us, topic)
    if phases.size:
        phases = phases[read.reshape(shape)[phases["meter"], np.searchsorted(ts_us, phases["ts_us"])]]
    return ProfileUpload(code, message.seq, message.backlog, ReadingBatch(meters, grid[read], phases))


def _check_shape(columns: Sequence[Sequence[object]], shape: tuple[int, int], topic: str, name: str) -> None:
    if len(columns) != shape[0]:
        raise PayloadError(f"{name} has {len(columns)} rows for {shape[0]} meters", peer=topic, reason="bad_shape")
    for i, column in enumerate(columns):
        if len(column) != shape[1]:
            raise PayloadError(
                f"{name}[{i}] has {len(column)} values for {shape[1]} instants", peer=topic, reason="bad_shape"
            )


def _profile_phases(
    message: ProfileMessage, index: dict[MeterIdentity, int], ts_us: npt.NDArray[np.int64], topic: str
) -> npt.NDArray[Any]:
    """(k,) PHASE_DTYPE: a row per meter and instant that has any per-phase value."""
    found = [empty(PHASE_DTYPE, 0)]
    for name, columns in (message.phases or {}).items():
        where = f"phases[{name[:80]!r}]"
        meter = index.get(topics.parse_identity(name, topic, where))
        if meter is None:
            raise PayloadError(f"{where} is not among meters", peer=topic, reason="bad_shape")
        rows = empty(PHASE_DTYPE, ts_us.size)
        rows["meter"], rows["ts_us"] = meter, ts_us
        measured = np.zeros(ts_us.size, dtype=np.bool_)
        for key in ("import_wh", "export_wh", "voltage_v"):
            triples = getattr(columns, key)
            if triples is None:
                continue
            if len(triples) != ts_us.size:
                raise PayloadError(
                    f"{where}.{key} has {len(triples)} values for {ts_us.size} instants", peer=topic, reason="bad_shape"
                )
            flat = chain.from_iterable(_three(t) for t in triples)
            target, values = (
                ("voltage_dv", _scaled(flat, 10, ABSENT_DV)) if key == "voltage_v" else (key, _int_column(flat))
            )
            rows[target] = values.reshape(-1, 3)
            measured |= (rows[target] != np.iinfo(rows[target].dtype).min).any(axis=1)
        found.append(rows[measured])
    return np.concatenate(found)
