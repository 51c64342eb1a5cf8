"""The own format's messages as types: what msgspec checks while it decodes, the same rules as `schema/*.json`.

Energies are integer Wh as the register shows them. A key that is not known is an error: a misspelt one would otherwise
be a measurement lost in silence.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

MAX_REGISTER_WH: Final = 10**15
"""12 digits of a register that counts in kWh."""
MAX_VOLTAGE_V: Final = 1000.0
MAX_CURRENT_A: Final = 1_000_000.0
MAX_POWER_W: Final = 1e9
MAX_SEQ: Final = 2**53
"""Every JSON library keeps integers so far."""

Instant = Annotated[datetime, Meta(tz=True)]
"""RFC 3339 with its offset or Z."""
RegisterWh = Annotated[int, Meta(ge=0, le=MAX_REGISTER_WH)]
VoltageV = Annotated[float, Meta(ge=0, le=MAX_VOLTAGE_V)]
CurrentA = Annotated[float, Meta(ge=-MAX_CURRENT_A, le=MAX_CURRENT_A)]
PowerW = Annotated[float, Meta(ge=-MAX_POWER_W, le=MAX_POWER_W)]
PhasesWh = Annotated[list[RegisterWh | None], Meta(min_length=3, max_length=3)]
PhasesV = Annotated[list[VoltageV | None], Meta(min_length=3, max_length=3)]
PhasesA = Annotated[list[CurrentA | None], Meta(min_length=3, max_length=3)]
Seq = Annotated[int, Meta(ge=0, le=MAX_SEQ)]


class Message(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Base: strict about its keys."""


class ReadingMessage(Message):
    """One meter's registers at one instant (`…/reading`)."""

    ts: Instant
    meter: str | None = None
    """MANUFACTURER/SERIAL; optional, but it must be the topic's."""
    import_wh: RegisterWh | None = None
    export_wh: RegisterWh | None = None
    voltage_v: VoltageV | PhasesV | None = None
    """One number of a single-phase meter, or three."""
    current_a: CurrentA | PhasesA | None = None
    power_w: PowerW | None = None
    import_phase_wh: PhasesWh | None = None
    export_phase_wh: PhasesWh | None = None
    clock_suspect: bool = False
    """The device itself says that its clock is off."""


class BatchMessage(Message):
    """Several readings of one meter (`…/batch`)."""

    readings: Annotated[list[ReadingMessage], Meta(min_length=1)]
    meter: str | None = None


class PhaseColumns(Message):
    """Per-phase columns of one meter of a profile: a triple per instant; null: nothing per phase at that instant."""

    import_wh: list[PhasesWh | None] | None = None
    export_wh: list[PhasesWh | None] | None = None
    voltage_v: list[PhasesV | None] | None = None


class ProfileMessage(Message):
    """A concentrator's stored profile in columns (`…/profile`): a row per meter, a column per instant, null: absent."""

    format: Literal["headend.profile/1"]
    seq: Seq
    """Rises by one per upload of this concentrator, for ever."""
    meters: Annotated[list[str], Meta(min_length=1)]
    """MANUFACTURER/SERIAL."""
    ts: Annotated[list[Instant], Meta(min_length=1)]
    """Strictly rising."""
    backlog: Seq
    """Uploads that the concentrator still keeps behind this one."""
    concentrator: str | None = None
    """Optional, but it must be the topic's."""
    import_wh: list[list[RegisterWh | None]] | None = None
    export_wh: list[list[RegisterWh | None]] | None = None
    voltage_v: list[list[VoltageV | None]] | None = None
    """Mean over the profile interval that ends at the instant."""
    phases: dict[str, PhaseColumns] | None = None
    """For the meters that measure per phase."""


class ConfirmMessage(Message):
    """Head-end to concentrator (`…/confirm`): these uploads are committed and need not be kept."""

    confirmed: list[Seq]


def encode(message: Message) -> bytes:
    """A message as it travels: JSON, UTF-8."""
    return msgspec.json.encode(message)
