"""What a simulated neighbourhood is made of: frozen types of a scenario and the TOML reader that checks them.

The rule it keeps: whatever is not understood is an error that names file, key and what would be right.
"""

from __future__ import annotations

import hashlib
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final
from zoneinfo import ZoneInfo

import msgspec
from msgspec import Meta

from drivers.errors import DriverConfigError

INTERVAL_S: Final = 900
"""Freezes of meters and steps of the physics [s]."""

Code = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,31}$")]
Share = Annotated[float, Meta(ge=0, le=1)]
Day = Annotated[float, Meta(ge=0)]


class ScenarioError(DriverConfigError):
    """A scenario cannot be used; the message names file, key and what would be right."""

    code = "scenario"


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file; an unknown key is an error."""


class Station(_Table, frozen=True, kw_only=True):
    """The local supply station of all areas."""

    code: Code
    name: str


class Modbus(_Table, frozen=True, kw_only=True):
    """How the gateways answer."""

    delay_ms: tuple[Annotated[float, Meta(ge=0)], Annotated[float, Meta(ge=0)]] = (5.0, 30.0)
    """Least and longest time from question to answer; one question at a time on each gateway."""
    gateway_timeout_ms: Annotated[float, Meta(ge=0)] = 300.0
    """How long a gateway waits for a unit that is not there before it says so."""


class Live(_Table, frozen=True, kw_only=True):
    """What is sent at real time."""

    single_publish_s: Annotated[float, Meta(gt=0)] = 30.0
    """Period of the meters that publish for themselves."""
    collect_s: Annotated[int, Meta(ge=61, le=600)] = 75
    """A concentrator has read its meters so long after each freeze; their clocks are within ± 60 s."""
    upload_meters: Annotated[int, Meta(ge=1, le=240)] = 60
    """Most meters in one uploaded day."""
    window: Annotated[int, Meta(ge=1, le=100)] = 8
    """Most unconfirmed uploads on the way from one concentrator."""
    resend_s: Annotated[float, Meta(gt=0)] = 10.0
    """An upload that is not confirmed for so long is sent again."""


class Links(_Table, frozen=True, kw_only=True):
    """How households are reached; those of neither share are read by the concentrator only, as all are."""

    modbus: Share = 0.4
    mqtt: Share = 0.2


class Shared(_Table, frozen=True, kw_only=True):
    """A shared meter: several premises behind one register, their own meters in stock beside them."""

    premises: Annotated[int, Meta(ge=1, le=60)]
    with_production: Annotated[int, Meta(ge=0, le=60)] = 0


class Area(_Table, frozen=True, kw_only=True):
    """One transformer area."""

    code: Code
    name: str
    households: Annotated[int, Meta(ge=1, le=190)]
    """With a meter of their own, workshops included."""
    workshops: Annotated[int, Meta(ge=0, le=100)] = 0
    """Of these, small production premises; three-phase."""
    feeders: Annotated[int, Meta(ge=1, le=12)] = 3
    three_phase_share: Share = 0.08
    pv_share: Share = 0.1
    transformer_kva: Annotated[float, Meta(gt=0)] = 200.0
    ct_ratio: Annotated[int, Meta(ge=1, le=1000)] = 60
    """Of the area meter's current transformers; its registers are secondary."""
    span_m: Annotated[float, Meta(gt=0)] = 45.0
    """Between two poles."""
    rollovers: Annotated[int, Meta(ge=0)] = 0
    """So many concentrator-only households start close to their register's end."""
    links: Links = Links()
    shared: Shared | None = None


class _Fault(_Table, frozen=True, kw_only=True, tag_field="kind"):
    """Something wrong with one meter, from `onset_day` (days after the start of history, 0 = always)."""

    area: Code
    """Where the meter is listed, or the area concerned."""
    counted: bool = True
    """Whether the balance can show it: false for what only spoils data."""


class UnderRegistering(_Fault, frozen=True, kw_only=True, tag="under_registering"):
    """Tampered with or bypassed in part: registers `factor` of what flows."""

    household: Annotated[int, Meta(ge=1)]
    factor: Annotated[float, Meta(ge=0, lt=1)]
    onset_day: Day = 0.0


class Stuck(_Fault, frozen=True, kw_only=True, tag="stuck"):
    """The register stands still."""

    household: Annotated[int, Meta(ge=1)]
    onset_day: Day = 0.0


class WrongMultiplier(_Fault, frozen=True, kw_only=True, tag="wrong_multiplier"):
    """Behind current transformers of ratio `true_multiplier` that the head-end's list does not know (it says 1)."""

    household: Annotated[int, Meta(ge=1)]
    true_multiplier: Annotated[float, Meta(gt=0)]
    onset_day: Day = 0.0


class WrongArea(_Fault, frozen=True, kw_only=True, tag="wrong_area"):
    """Listed in `area`, hangs on `true_area`."""

    household: Annotated[int, Meta(ge=1)]
    true_area: Code


class DirectTap(_Fault, frozen=True, kw_only=True, tag="direct_tap"):
    """A load that no meter sees."""

    base_w: Annotated[float, Meta(ge=0)]
    evening_w: Annotated[float, Meta(ge=0)]
    """On top of the base around 20:00."""
    phase: Annotated[int, Meta(ge=1, le=3)] = 1
    onset_day: Day = 0.0


class AreaMeterRatio(_Fault, frozen=True, kw_only=True, tag="area_meter_ratio"):
    """The area meter's registers show `factor` of what they should."""

    factor: Annotated[float, Meta(gt=0)]
    onset_day: Day = 0.0


class PacketLoss(_Fault, frozen=True, kw_only=True, tag="packet_loss"):
    """This share of the meter's readings never arrives."""

    household: Annotated[int, Meta(ge=1)]
    rate: Annotated[float, Meta(gt=0, lt=1)]
    onset_day: Day = 0.0
    counted: bool = False


class ClockDrift(_Fault, frozen=True, kw_only=True, tag="clock_drift"):
    """The meter's clock runs ahead."""

    household: Annotated[int, Meta(ge=1)]
    lead_s: Annotated[float, Meta(ge=0, le=3600)] = 0.0
    """At the start of history."""
    lead_s_per_day: Annotated[float, Meta(ge=0, le=600)] = 0.0
    counted: bool = False


class DeadConcentrator(_Fault, frozen=True, kw_only=True, tag="dead_concentrator"):
    """The area's concentrator sends nothing of this day and later."""

    onset_day: Annotated[int, Meta(ge=0)]
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
)
HouseholdFault = (UnderRegistering, Stuck, WrongMultiplier, WrongArea, PacketLoss, ClockDrift)


class Scenario(_Table, frozen=True, kw_only=True):
    """The whole neighbourhood."""

    title: str
    seed: Annotated[int, Meta(ge=0)]
    zone: str
    station: Station
    areas: Annotated[tuple[Area, ...], Meta(min_length=1)]
    faults: tuple[Fault, ...] = ()
    history_days: Annotated[int, Meta(ge=1, le=800)] = 28
    """Full local days before the first start."""
    busbar_v: Annotated[float, Meta(ge=100, le=300)] = 230.0
    """Phase to neutral at the transformer, on average."""
    latitude_deg: Annotated[float, Meta(ge=-66, le=66)] = 31.2
    modbus: Modbus = Modbus()
    live: Live = Live()

    @property
    def tz(self) -> ZoneInfo:
        """The zone of local days."""
        return ZoneInfo(self.zone)

    def fingerprint(self) -> str:
        """Changes whenever anything in it does."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


def demo_scenario() -> Path:
    """The packaged scenario of the demonstration."""
    return Path(str(files("drivers.simulator").joinpath("scenarios", "demo.toml")))


def load_scenario(path: Path) -> Scenario:
    """Read and check a scenario whole. Raises `ScenarioError`."""
    try:
        return parse_scenario(path.read_text(encoding="utf-8"), file=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: cannot be read: {error}") from error


def parse_scenario(text: str, *, file: str) -> Scenario:
    """A scenario from its TOML text; `file` is what messages call it. Raises `ScenarioError`."""
    try:
        scenario = msgspec.convert(tomllib.loads(text), type=Scenario, strict=True)
    except tomllib.TOMLDecodeError as error:
        raise ScenarioError(f"{file}: not TOML: {error}") from error
    except msgspec.ValidationError as error:
        raise ScenarioError(f"{file}: {error}") from error
    if complaint := _complaint(scenario):
        raise ScenarioError(f"{file}: {complaint}")
    return scenario


def _complaint(scenario: Scenario) -> str | None:
    """The first thing that does not fit together, or None."""
    try:
        ZoneInfo(scenario.zone)
    except (KeyError, ValueError, OSError):
        return f"zone: {scenario.zone!r} is no time zone of the IANA database, such as Asia/Shanghai"
    low, high = scenario.modbus.delay_ms
    if low > high:
        return f"modbus.delay_ms: {low} is above {high}; wanted least and longest"
    areas = {a.code: a for a in scenario.areas}
    for i, area in enumerate(scenario.areas):
        if complaint := _area_complaint(area):
            return f"areas[{i}].{complaint}"
    if len(areas) < len(scenario.areas):
        return "areas: a code is given twice"
    return _fault_complaint(scenario, areas)


def _area_complaint(area: Area) -> str | None:
    premises, production = (area.shared.premises, area.shared.with_production) if area.shared else (0, 0)
    if area.workshops > area.households:
        return f"workshops: {area.workshops} of {area.households} households"
    if area.links.modbus + area.links.mqtt > 1:
        return f"links: modbus + mqtt is {area.links.modbus + area.links.mqtt:g}; wanted at most 1"
    if production > premises:
        return f"shared.with_production: {production} of {premises} premises"
    if area.households + premises > 200:
        return f"households: {area.households} and {premises} premises; one gateway has unit ids for 200 meters"
    return None


def _fault_complaint(scenario: Scenario, areas: dict[str, Area]) -> str | None:
    for i, fault in enumerate(scenario.faults):
        where = f"faults[{i}]"
        if fault.area not in areas:
            return f"{where}.area: {fault.area!r} is no area; known: {', '.join(areas)}"
        if isinstance(fault, HouseholdFault) and fault.household > areas[fault.area].households:
            return f"{where}.household: {fault.household}; {fault.area} has 1..{areas[fault.area].households}"
        if isinstance(fault, WrongArea) and (fault.true_area not in areas or fault.true_area == fault.area):
            return f"{where}.true_area: {fault.true_area!r} must be another area; known: {', '.join(areas)}"
        onset = getattr(fault, "onset_day", 0.0)
        if onset >= scenario.history_days:
            return f"{where}.onset_day: {onset:g}; history has {scenario.history_days} days"
    return None
