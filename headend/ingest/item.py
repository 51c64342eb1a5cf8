"""What the writer takes and gives: one message, or one polling round, is one item and is stored whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import msgspec

from drivers.base import MeterIdentity, ReadingBatch, RegisterReading, Source, batch_of
from drivers.events import DeviceEvent
from headend.ingest.status_events import StatusWord

Channel = Literal["mqtt", "modbus"]


@dataclass(frozen=True, slots=True)
class QuarantineEntry:
    """Why an item, or a part of it, could not be stored as readings."""

    reason: str
    """Machine word."""
    detail: str
    """For a person: what and where."""


@dataclass(frozen=True, slots=True)
class Upload:
    """The concentrator's bookkeeping that comes with a profile."""

    concentrator: str
    seq: int
    backlog: int | None
    """None: the upload could be read no further than its number."""


@dataclass(frozen=True, slots=True)
class Presence:
    """A concentrator came or went."""

    concentrator: str
    online: bool
    kept: bool = False
    """The broker had kept the word: who knows since when; nothing was heard just now."""


@dataclass(frozen=True, slots=True)
class Told:
    """Events that a device told."""

    device: MeterIdentity | str
    """A meter, or the code of a concentrator."""
    events: tuple[DeviceEvent, ...]


@dataclass(frozen=True, slots=True)
class Stranger:
    """A device that the item speaks of and that whoever made the item knows not to be imported."""

    meter: MeterIdentity
    model_guess: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One message or round on its way into the store."""

    channel: Channel
    origin: str
    """The topic, or `host:port unit`."""
    received_us: int
    """UTC, µs since 1970."""
    payload: bytes
    """The whole of it, for the quarantine."""
    batch: ReadingBatch | None = None
    quarantine: tuple[QuarantineEntry, ...] = ()
    """What is known to be wrong with it before it meets the store."""
    upload: Upload | None = None
    presence: Presence | None = None
    told: tuple[Told, ...] = ()
    status: tuple[StatusWord, ...] = ()
    ignored: str | None = None
    """Why there is nothing in it for us, where that is so."""
    strangers: tuple[Stranger, ...] = ()
    """Besides the meters of `batch`, which the writer looks up itself."""
    replayed: bool = False
    """It comes from the quarantine, not from the field."""

    def __len__(self) -> int:
        return 0 if self.batch is None else len(self.batch)


@dataclass(frozen=True, slots=True)
class WriteResult:
    """What became of a batch of items; all of it is committed."""

    received: int = 0
    """Readings in the items."""
    stored: int = 0
    duplicates: int = 0
    """Stored already, with the same values."""
    completed: int = 0
    """Stored already, and given a value that they lacked; counted among the duplicates (or the revised) too."""
    revised: int = 0
    """Stored already with another value: noted, the first one stays."""
    late: int = 0
    """Among the stored: older than the newest reading of their meter was."""
    refused: int = 0
    """Not stored; their messages are in the quarantine."""
    quarantined: Mapping[int, tuple[QuarantineEntry, ...]] = field(default_factory=dict)
    """Place of an item → why it (or a part of it) is in the quarantine."""


class PolledReading(msgspec.Struct, omit_defaults=True):
    """A polled reading as the quarantine keeps it."""

    manufacturer: str
    serial: str
    reading: RegisterReading


def polled(readings: Sequence[tuple[MeterIdentity, RegisterReading]], *, origin: str, received_us: int) -> Item:
    """One polling round as an item; its payload, should it be quarantined, is the readings as JSON."""
    kept = [PolledReading(identity.manufacturer, identity.serial, reading) for identity, reading in readings]
    return Item(
        channel="modbus",
        origin=origin,
        received_us=received_us,
        payload=msgspec.json.encode(kept),
        batch=batch_of(readings, Source.MODBUS) if readings else None,
    )


def polled_again(payload: bytes, *, origin: str, received_us: int) -> Item:
    """The round that `polled` had made, from its payload. Raises msgspec.DecodeError when it is something else."""
    kept = msgspec.json.decode(payload, type=list[PolledReading], strict=False)
    readings = [(MeterIdentity(k.manufacturer, k.serial), k.reading) for k in kept]
    return polled(readings, origin=origin, received_us=received_us)


def refused(item: Item, error: Exception) -> Item:
    """What is left of an item that the database refused for what is in it: the whole of it in the quarantine."""
    return Item(
        channel=item.channel,
        origin=item.origin,
        received_us=item.received_us,
        payload=item.payload,
        quarantine=(*item.quarantine, QuarantineEntry("store_refused", str(error))),
        upload=item.upload,
    )
