"""What may be wrong in a simulated neighbourhood: one type a kind of fault, as a scenario's `[[faults]]` have it.

Energy faults are what a balance can show. Data faults (`counted = false`) spoil readings or tell events; none of them
changes what flows.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Code = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
Share = Annotated[float, Meta(ge=0, le=1)]
Day = Annotated[float, Meta(ge=0)]
Household = Annotated[int, Meta(ge=1)]
Seconds = Annotated[float, Meta(gt=0, le=86_400)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9._-]{1,64}$")]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; an unknown key is an error."""


class PlantedFault(Table, frozen=True, kw_only=True, tag_field="kind"):
    """Something wrong with one meter, from `onset_day` (days after the start of history, 0 = always)."""

    area: Code
    """Where the meter is listed, or the area concerned."""
    counted: bool = True
    """Whether the balance can show it: false for what only spoils data."""


class UnderRegistering(PlantedFault, frozen=True, kw_only=True, tag="under_registering"):
    """Tampered with or bypassed in part: registers `factor` of what flows."""

    household: Household
    factor: Annotated[float, Meta(ge=0, lt=1)]
    onset_day: Day = 0.0


class Stuck(PlantedFault, frozen=True, kw_only=True, tag="stuck"):
    """The register stands still."""

    household: Household
    onset_day: Day = 0.0


class WrongMultiplier(PlantedFault, frozen=True, kw_only=True, tag="wrong_multiplier"):
    """Behind current transformers of ratio `true_multiplier` that the head-end's list does not know (it says 1)."""

    household: Household
    true_multiplier: Annotated[float, Meta(gt=0)]
    onset_day: Day = 0.0


class WrongArea(PlantedFault, frozen=True, kw_only=True, tag="wrong_area"):
    """Listed in `area`, hangs on `true_area`."""

    household: Household
    true_area: Code


class DirectTap(PlantedFault, frozen=True, kw_only=True, tag="direct_tap"):
    """A load that no meter sees."""

    base_w: Annotated[float, Meta(ge=0)]
    evening_w: Annotated[float, Meta(ge=0)]
    """On top of the base around 20:00."""
    phase: Annotated[int, Meta(ge=1, le=3)] = 1
    onset_day: Day = 0.0


class AreaMeterRatio(PlantedFault, frozen=True, kw_only=True, tag="area_meter_ratio"):
    """The area meter's registers show `factor` of what they should."""

    factor: Annotated[float, Meta(gt=0)]
    onset_day: Day = 0.0


class PacketLoss(PlantedFault, frozen=True, kw_only=True, tag="packet_loss"):
    """This share of the meter's readings never arrives."""

    household: Household
    rate: Annotated[float, Meta(gt=0, lt=1)]
    onset_day: Day = 0.0
    counted: bool = False


class ClockDrift(PlantedFault, frozen=True, kw_only=True, tag="clock_drift"):
    """The meter's clock runs ahead."""

    household: Household
    lead_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    """At the start of history."""
    lead_s_per_day: Annotated[float, Meta(ge=0, le=600)] = 0.0
    counted: bool = False


class DeadConcentrator(PlantedFault, frozen=True, kw_only=True, tag="dead_concentrator"):
    """The area's concentrator sends nothing of this day and later."""

    onset_day: Annotated[int, Meta(ge=0)]
    counted: bool = False


class PickedFault(PlantedFault, frozen=True, kw_only=True):
    """Sits on one meter that its kind needs to be reached in a certain way.

    Without a `household` it is the area's first that fits and that nothing else is planted on: right for any seed.
    """

    household: Household | None = None
    counted: bool = False


class MeterClock(PickedFault, frozen=True, kw_only=True, tag="meter_clock"):
    """The clock in the registers of a Modbus meter runs away; its freezes are broadcast and stay right."""

    model: str
    """Of the meter that hangs there in place of the usual one: its map has a clock."""
    offset_s: Annotated[float, Meta(ge=-3600, le=3600)] = 0.0
    """At the start of history; positive: ahead."""
    drift_ppm: Annotated[float, Meta(ge=-500, le=500)] = 0.0


class CoverOpened(PickedFault, frozen=True, kw_only=True, tag="cover_opened"):
    """Somebody opened the cover of a meter that publishes for itself."""

    onset_day: Day = 0.0
    lasts_s: Seconds | None = None
    """None: it was not closed again."""


class PowerFailure(PickedFault, frozen=True, kw_only=True, tag="power_failure"):
    """The supply of a meter that publishes for itself fails: a last gasp, silence, a word of its return.

    Shorter than a step of the physics, which know nothing of it.
    """

    at_s: Annotated[float, Meta(ge=0)]
    """After the first start."""
    lasts_s: Annotated[float, Meta(gt=0, lt=900)]


class OverVoltage(PickedFault, frozen=True, kw_only=True, tag="over_voltage"):
    """One phase of a three-phase Modbus meter is too high, as where the neutral is loose; power stays what it was."""

    phase: Annotated[int, Meta(ge=1, le=3)]
    rise_v: Annotated[float, Meta(gt=0, le=170)]
    at_s: float = 0.0
    """After the first start; negative: before."""
    lasts_s: Seconds


class SilentMeter(PickedFault, frozen=True, kw_only=True, tag="silent_meter"):
    """Never answers on its bus; the concentrator reads it all the same."""


class Stranger(PlantedFault, frozen=True, kw_only=True, tag="stranger"):
    """A meter that nobody imported publishes under its own topics, as it left its factory: a Shelly Pro 3EM.

    It hangs in the line of the area's first three-phase household.
    """

    device: Name
    """Its topics begin with it."""
    period_s: Annotated[float, Meta(ge=1, le=3600)] = 10.0
    counted: bool = False


Fault = (
    UnderRegistering
    | Stuck
    | WrongMultiplier
    | WrongArea
    | DirectTap
    | AreaMeterRatio
    | PacketLoss
    | ClockDrift
    | DeadConcentrator
    | MeterClock
    | CoverOpened
    | PowerFailure
    | OverVoltage
    | SilentMeter
    | Stranger
)
HouseholdFault = (UnderRegistering, Stuck, WrongMultiplier, WrongArea, PacketLoss, ClockDrift)
"""Their households are plain ones: single-phase, without panels."""
