"""A round as the spool keeps it on disk: MessagePack of typed records, compressed, with the version of their layout.

The rule it keeps: a record says no more and no less than the round did, or is not believed at all. The layout is spelt
out here, apart from the classes of the service, so that a field renamed there cannot turn what lies on disk into
"not measured"; a change of it is a new VERSION. zlib's own checksum tells a record that the disk has spoilt.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import msgspec

from drivers.base import MeterIdentity, Phases3, Phases3f, ReadingFlag, RegisterReading, Tariffs
from drivers.events import EventKind
from headend.domain.topology import PollTarget
from headend.ingest.poll_round import Mismatch, Rejected, RoundResult
from headend.ingest.status_events import StatusWord

VERSION: Final = 2
_LEVEL: Final = 1
"""zlib: half the bytes for a microsecond a reading; higher levels give 1 % more."""


class SpoiledRecord(Exception):
    """Not a record that this program can read."""


@dataclass(frozen=True, slots=True)
class Spoiled:
    """A record that cannot be read: it goes to the quarantine whole."""

    packed: bytes
    bus: str
    """Of its round, as the spool knows it; the same for the next."""
    began_us: int
    """UTC, µs since 1970."""
    reason: str
    """Why, for a person."""

    def __len__(self) -> int:
        return 0


class _Record(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    """Positions, not names: half the size again."""


class _Reading1(_Record):
    """As layout 1 had it: no meter was asked for registers per rate then."""

    manufacturer: str
    serial: str
    instant_us: int
    uncertainty_ms: int
    import_wh: int | None
    export_wh: int | None
    import_phase_wh: Phases3 | None
    export_phase_wh: Phases3 | None
    voltage_v: Phases3f | None
    current_a: Phases3f | None
    power_w: float | None
    resolution_wh: float | None
    told_serial: str | None
    firmware: str | None
    flags: int
    refused: tuple[str, ...]


class _Reading(_Reading1):
    import_tariff_wh: Tariffs | None


class _Target(_Record):
    meter_id: int
    manufacturer: str
    serial: str
    model: str
    bus: str
    unit: int
    is_area_meter: bool
    area: str | None


class _Rejected(_Record):
    target: _Target
    reason: str
    detail: str
    number: int
    words: tuple[int, ...]


class _Status(_Record):
    manufacturer: str
    serial: str
    register: str
    word: int
    bits: dict[int, tuple[EventKind, EventKind | None]]
    instant_us: int
    uncertainty_ms: int


_R = TypeVar("_R", bound=_Reading1)


class _Round(_Record, Generic[_R]):
    bus: str
    began_us: int
    readings: list[_R]
    mismatches: list[tuple[_Target, _R]]
    rejected: list[_Rejected]
    status: list[_Status]


_encoder = msgspec.msgpack.Encoder()
_decoders: Final[Mapping[int, msgspec.msgpack.Decoder[Any]]] = {
    1: msgspec.msgpack.Decoder(_Round[_Reading1]),
    VERSION: msgspec.msgpack.Decoder(_Round[_Reading]),
}
"""By layout: what an older program left on disk is still stored."""


def pack(result: RoundResult) -> bytes:
    """The record of a round, in the layout of VERSION."""
    record = _Round(
        result.bus,
        result.began_us,
        [_reading(identity, reading) for identity, reading in result.readings],
        [(_target(m.target), _reading(_who(m.target), m.reading)) for m in result.mismatches],
        [_Rejected(_target(r.target), r.reason, r.detail, r.number, r.words) for r in result.rejected],
        [_status(word) for word in result.status],
    )
    return zlib.compress(_encoder.encode(record), _LEVEL)


def unpack(version: int, packed: bytes) -> RoundResult:
    """The round of a record. Raises SpoiledRecord for another layout, and for what is not as it was written."""
    decoder = _decoders.get(version)
    if decoder is None:
        raise SpoiledRecord(f"written in layout {version}; this program reads {' and '.join(map(str, _decoders))}")
    try:
        record: _Round[_Reading1] = decoder.decode(zlib.decompress(packed))
        return RoundResult(
            record.bus,
            record.began_us,
            [(MeterIdentity(r.manufacturer, r.serial), _reading_of(r)) for r in record.readings],
            [Mismatch(_target_of(target), _reading_of(reading)) for target, reading in record.mismatches],
            [Rejected(_target_of(r.target), r.reason, r.detail, r.number, r.words) for r in record.rejected],
            [_status_of(word) for word in record.status],
        )
    except (zlib.error, msgspec.MsgspecError, ValueError) as error:
        raise SpoiledRecord(f"not as it was written: {error}") from error


def _who(target: PollTarget) -> MeterIdentity:
    return MeterIdentity(target.manufacturer, target.serial)


def _reading(identity: MeterIdentity, r: RegisterReading) -> _Reading:
    return _Reading(
        identity.manufacturer,
        identity.serial,
        r.instant_us,
        r.uncertainty_ms,
        r.import_wh,
        r.export_wh,
        r.import_phase_wh,
        r.export_phase_wh,
        r.voltage_v,
        r.current_a,
        r.power_w,
        r.resolution_wh,
        r.serial,
        r.firmware,
        int(r.flags),
        r.refused,
        r.import_tariff_wh,
    )


def _reading_of(r: _Reading1) -> RegisterReading:
    return RegisterReading(
        instant_us=r.instant_us,
        uncertainty_ms=r.uncertainty_ms,
        import_wh=r.import_wh,
        export_wh=r.export_wh,
        import_phase_wh=r.import_phase_wh,
        export_phase_wh=r.export_phase_wh,
        voltage_v=r.voltage_v,
        current_a=r.current_a,
        power_w=r.power_w,
        resolution_wh=r.resolution_wh,
        serial=r.told_serial,
        firmware=r.firmware,
        flags=ReadingFlag(r.flags),
        refused=r.refused,
        import_tariff_wh=r.import_tariff_wh if isinstance(r, _Reading) else None,
    )


def _target(t: PollTarget) -> _Target:
    return _Target(t.meter_id, t.manufacturer, t.serial, t.model, t.bus, t.unit, t.is_area_meter, t.area)


def _target_of(t: _Target) -> PollTarget:
    return PollTarget(t.meter_id, t.manufacturer, t.serial, t.model, t.bus, t.unit, t.is_area_meter, t.area)


def _status(w: StatusWord) -> _Status:
    return _Status(
        w.meter.manufacturer, w.meter.serial, w.register, w.word, dict(w.bits), w.instant_us, w.uncertainty_ms
    )


def _status_of(w: _Status) -> StatusWord:
    return StatusWord(
        meter=MeterIdentity(w.manufacturer, w.serial),
        register=w.register,
        word=w.word,
        bits=w.bits,
        instant_us=w.instant_us,
        uncertainty_ms=w.uncertainty_ms,
    )
