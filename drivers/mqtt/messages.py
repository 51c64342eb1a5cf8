"""The own format's messages as types: what msgspec checks while it decodes, the same rules as `schema/*.json`.

Energies are integer Wh as the register shows them. A key that is not known is an error: a misspelt one would otherwise
be a measurement lost in silence.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from drivers.base import MAX_TARIFFS
from drivers.events import EventKind

MAX_REGISTER_WH: Final = 10**15
"""12 digits of a register that counts in kWh."""
MAX_VOLTAGE_V: Final = 1000.0
MAX_CURRENT_A: Final = 1_000_000.0
MAX_POWER_W: Final = 1e9
MAX_RESOLUTION_WH: Final = 1e6
MAX_SEQ: Final = 2**53
"""Every JSON library keeps integers so far."""
MAX_DETAIL: Final = 500
"""Characters of what a device says of an event."""

Instant = Annotated[datetime, Meta(tz=True)]
"""RFC 3339 with its offset or Z."""
RegisterWh = Annotated[int, Meta(ge=0, le=MAX_REGISTER_WH)]
VoltageV = Annotated[float, Meta(ge=0, le=MAX_VOLTAGE_V)]
CurrentA = Annotated[float, Meta(ge=-MAX_CURRENT_A, le=MAX_CURRENT_A)]
PowerW = Annotated[float, Meta(ge=-MAX_POWER_W, le=MAX_POWER_W)]
ResolutionWh = Annotated[float, Meta(gt=0, le=MAX_RESOLUTION_WH)]
"""Step of the energy registers; tolerances are made of it. A register in whole kWh says 1000."""
PhasesWh = Annotated[list[RegisterWh | None], Meta(min_length=3, max_length=3)]
PhasesV = Annotated[list[VoltageV | None], Meta(min_length=3, max_length=3)]
PhasesA = Annotated[list[CurrentA | None], Meta(min_length=3, max_length=3)]
TariffsWh = Annotated[list[RegisterWh | None], Meta(min_length=1, max_length=MAX_TARIFFS)]
"""Per rate, the first one first."""
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
    import_tariff_wh: TariffsWh | None = None
    resolution_wh: ResolutionWh | None = None
    clock_suspect: bool = False
    """The device itself says that its clock is off."""


class BatchMessage(Message):
    """Several readings of one meter (`…/batch`)."""

    readings: Annotated[list[ReadingMessage], Meta(min_length=1)]
    meter: str | None = None


class ColumnsMessage(Message):
    """Several readings of one meter in columns (`…/columns`): a value per instant, null: absent."""

    ts: Annotated[list[Instant], Meta(min_length=1)]
    """Strictly rising."""
    meter: str | None = None
    import_wh: list[RegisterWh | None] | None = None
    export_wh: list[RegisterWh | None] | None = None
    voltage_v: list[VoltageV | PhasesV | None] | None = None
    current_a: list[CurrentA | PhasesA | None] | None = None
    power_w: list[PowerW | None] | None = None
    import_phase_wh: list[PhasesWh | None] | None = None
    export_phase_wh: list[PhasesWh | None] | None = None
    import_tariff_wh: list[TariffsWh | None] | None = None
    resolution_wh: ResolutionWh | None = None
    clock_suspect: bool = False
    """Of all these instants."""


class PhaseColumns(Message):
    """Columns per phase and rate of one meter of a profile: a list per instant; null: nothing such at that instant."""

    import_wh: list[PhasesWh | None] | None = None
    export_wh: list[PhasesWh | None] | None = None
    voltage_v: list[PhasesV | None] | None = None
    import_tariff_wh: list[TariffsWh | None] | None = None


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
    resolution_wh: list[ResolutionWh | None] | None = None
    """One per meter."""
    phases: dict[str, PhaseColumns] | None = None
    """For the meters that measure per phase, or count per rate."""


class EventMessage(Message):
    """What a device noticed (`…/event`); a message is one of them, or a list."""

    kind: EventKind
    ts: Instant
    """When it happened."""
    meter: str | None = None
    """On a meter's topic, optional; it must be the topic's."""
    concentrator: str | None = None
    """On a concentrator's topic, optional; it must be the topic's."""
    phase: Annotated[int, Meta(ge=1, le=3)] | None = None
    """Where it concerns one phase."""
    value: Annotated[float, Meta(ge=-1e12, le=1e12)] | None = None
    """In the unit of the kind: volts for voltages, seconds for clocks."""
    detail: Annotated[str, Meta(max_length=MAX_DETAIL)] | None = None
    """For a person."""


class ConfirmMessage(Message):
    """Head-end to concentrator (`…/confirm`): these uploads are committed and need not be kept."""

    confirmed: list[Seq]


def encode(message: Message) -> bytes:
    """A message as it travels: JSON, UTF-8."""
    return msgspec.json.encode(message)
