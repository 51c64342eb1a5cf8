"""What a message from the field can say, whatever format it came in; and the words for why one was not understood."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from drivers.base import MeterIdentity, ReadingBatch
from drivers.events import DeviceEvent

REASONS: Final = frozenset(
    {
        "unknown_topic",
        "too_large",
        "bad_name",
        "not_json",
        "not_sparkplug",
        "not_text",
        "wrong_type",
        "unknown_key",
        "missing_key",
        "duplicate_key",
        "out_of_range",
        "bad_timestamp",
        "bad_shape",
        "bad_state",
        "identity_mismatch",
        "no_energy",
        "unknown_alias",
        "unknown_message",
    }
)
"""Every reason that a PayloadError of the decoders gives."""


@dataclass(frozen=True, slots=True)
class MeterReadings:
    """What a meter published for itself."""

    batch: ReadingBatch
    """Of one meter."""
    events: tuple[DeviceEvent, ...] = ()
    """What the same message told besides, of the same meter."""


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


@dataclass(frozen=True, slots=True)
class Events:
    """What a device noticed; no readings."""

    device: MeterIdentity | str
    """A meter, or the code of a concentrator."""
    events: tuple[DeviceEvent, ...]
    """At least one, in the order told."""


@dataclass(frozen=True, slots=True)
class Ignored:
    """Understood, and nothing in it for us: to be acknowledged and counted, neither stored nor quarantined."""

    reason: str
    """For a person; a fixed sentence of the rule that says so, fit for a counter's label."""


Decoded = MeterReadings | ProfileUpload | ConcentratorState | Events | Ignored
