"""From an MQTT message of the own format to readings: pure, typed, strict; understood whole or not at all.

`decode` raises nothing but `PayloadError`; its `reason` is one of REASONS, its text names what is wrong and where.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec

from drivers.base import MeterIdentity, ReadingBatch, ReadingFlag
from drivers.errors import PayloadError
from drivers.events import DeviceEvent
from drivers.mqtt import topics
from drivers.mqtt.columns import UNCERTAINTY_MS, MeterColumns, instants, meter_batch, rising_instants
from drivers.mqtt.decoded import REASONS, ConcentratorState, Decoded, Events, MeterReadings, ProfileUpload
from drivers.mqtt.messages import BatchMessage, ColumnsMessage, EventMessage, ProfileMessage, ReadingMessage
from drivers.mqtt.profile import profile_upload
from drivers.mqtt.strict_json import decode_typed

__all__ = ["REASONS", "ConcentratorState", "Decoded", "Events", "MeterReadings", "ProfileUpload", "decode", "seq_of"]

_SEQ: Final = re.compile(rb'"seq"\s*:\s*([0-9]{1,16})(?![0-9.eE])')
_SUSPECT: Final = int(ReadingFlag.CLOCK_SUSPECT)
_VALUE_COLUMNS: Final = (
    "import_wh", "export_wh", "voltage_v", "current_a", "power_w", "import_phase_wh", "export_phase_wh",
    "import_tariff_wh",
)  # fmt: skip
_reading_decoder = msgspec.json.Decoder(ReadingMessage)
_batch_decoder = msgspec.json.Decoder(BatchMessage)
_columns_decoder = msgspec.json.Decoder(ColumnsMessage)
_profile_decoder = msgspec.json.Decoder(ProfileMessage)
_event_decoder: Final[msgspec.json.Decoder[EventMessage | list[EventMessage]]] = msgspec.json.Decoder(
    EventMessage | list[EventMessage]
)


def decode(topic: str, payload: bytes, *, prefix: str, received_us: int) -> Decoded:
    """What a message says. `received_us` [µs UTC] tells late profiles and fast clocks. Raises PayloadError only."""
    match topics.parse(topic, prefix):
        case topics.MeterTopic(meter, "event"):
            return Events(meter, _told(payload, topic, meter=str(meter)))
        case topics.MeterTopic(meter, kind):
            return MeterReadings(_readings(meter, kind, payload, topic, received_us))
        case topics.ConcentratorTopic(code, "event"):
            return Events(code, _told(payload, topic, concentrator=code))
        case topics.ConcentratorTopic(code, "profile"):
            profile = decode_typed(_profile_decoder, payload, topic)
            _same(profile.concentrator, code, topic, "concentrator")
            return profile_upload(profile, code, topic, received_us)
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


def _same(named: str | None, wanted: str | None, topic: str, key: str) -> None:
    if named is not None and named != wanted:
        of = "another device" if wanted is None else repr(wanted)
        raise PayloadError(f"{key} is {named[:80]!r}, the topic is of {of}", peer=topic, reason="identity_mismatch")


def _readings(
    meter: MeterIdentity, kind: topics.MeterKind, payload: bytes, topic: str, received_us: int
) -> ReadingBatch:
    if kind == "columns":
        return _columns_batch(decode_typed(_columns_decoder, payload, topic), meter, topic, received_us)
    if kind == "batch":
        batch = decode_typed(_batch_decoder, payload, topic)
        _same(batch.meter, str(meter), topic, "meter")
        return _readings_batch(batch.readings, meter, topic, received_us, lambda i: f"readings[{i}].")
    reading = decode_typed(_reading_decoder, payload, topic)
    return _readings_batch([reading], meter, topic, received_us, lambda _: "")


def _readings_batch(
    readings: Sequence[ReadingMessage], meter: MeterIdentity, topic: str, received_us: int, where: Callable[[int], str]
) -> ReadingBatch:
    for i, r in enumerate(readings):
        _same(r.meter, str(meter), topic, f"{where(i)}meter")
        if r.import_wh is None and r.export_wh is None:
            raise PayloadError(
                f"{where(i)}import_wh and {where(i)}export_wh are both absent", peer=topic, reason="no_energy"
            )
    values: dict[str, Any] = {}
    for name in (*_VALUE_COLUMNS, "resolution_wh"):
        column = [getattr(r, name) for r in readings]
        if column.count(None) < len(column):
            values[name] = column
    columns = MeterColumns(
        ts_us=instants([r.ts for r in readings], topic, lambda i: f"{where(i)}ts"),
        flags=[_SUSPECT if r.clock_suspect else 0 for r in readings]
        if any(r.clock_suspect for r in readings)
        else None,
        **values,
    )
    return meter_batch(meter, columns, received_us)


def _columns_batch(message: ColumnsMessage, meter: MeterIdentity, topic: str, received_us: int) -> ReadingBatch:
    _same(message.meter, str(meter), topic, "meter")
    ts_us = rising_instants(message.ts, topic)
    values: dict[str, Any] = {name: getattr(message, name) for name in _VALUE_COLUMNS}
    for name, column in values.items():
        if column is not None and len(column) != ts_us.size:
            raise PayloadError(
                f"{name} has {len(column)} values for {ts_us.size} instants", peer=topic, reason="bad_shape"
            )
    columns = MeterColumns(
        ts_us=ts_us,
        resolution_wh=[message.resolution_wh] * ts_us.size,
        flags=[_SUSPECT if message.clock_suspect else 0] * ts_us.size,
        **values,
    )
    batch = meter_batch(meter, columns, received_us)
    if not len(batch):
        raise PayloadError("import_wh and export_wh are absent throughout", peer=topic, reason="no_energy")
    return batch


def _told(
    payload: bytes, topic: str, *, meter: str | None = None, concentrator: str | None = None
) -> tuple[DeviceEvent, ...]:
    found = decode_typed(_event_decoder, payload, topic)
    messages = found if isinstance(found, list) else [found]
    if not messages:
        raise PayloadError("an empty list tells no event", peer=topic, reason="bad_shape")
    for i, m in enumerate(messages):
        where = f"[{i}]." if isinstance(found, list) else ""
        _same(m.meter, meter, topic, f"{where}meter")
        _same(m.concentrator, concentrator, topic, f"{where}concentrator")
    ts_us = instants([m.ts for m in messages], topic, lambda i: f"[{i}].ts" if isinstance(found, list) else "ts")
    return tuple(
        DeviceEvent(
            kind=m.kind,
            instant_us=int(ts),
            uncertainty_ms=UNCERTAINTY_MS,
            phase=m.phase,
            value=m.value,
            detail=m.detail or "",
        )
        for m, ts in zip(messages, ts_us, strict=True)
    )
