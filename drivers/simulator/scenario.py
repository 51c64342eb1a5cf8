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
from drivers.simulator.faults import Code, Fault, HouseholdFault, PickedFault, Share, Table, WrongArea

INTERVAL_S: Final = 900
"""Freezes of meters and steps of the physics [s]."""


class ScenarioError(DriverConfigError):
    """A scenario cannot be used; the message names file, key and what would be right."""

    code = "scenario"


class Station(Table, frozen=True, kw_only=True):
    """The local supply station of all areas."""

    code: Code
    name: str


class Modbus(Table, frozen=True, kw_only=True):
    """How the gateways answer."""

    delay_ms: tuple[Annotated[float, Meta(ge=0)], Annotated[float, Meta(ge=0)]] = (5.0, 30.0)
    """Least and longest time from question to answer; one question at a time on each gateway."""
    gateway_timeout_ms: Annotated[float, Meta(ge=0)] = 300.0
    """How long a gateway waits for a unit that is not there before it says so."""
    relay_ms: Annotated[float, Meta(ge=0)] = 400.0
    """How long a relay's motor takes; until then the state read back is the old one."""


class Clocks(Table, frozen=True, kw_only=True):
    """The clocks in the registers of Modbus meters that have one; each meter draws its own within these bounds."""

    offset_s: Annotated[float, Meta(ge=0, le=3600)] = 1.0
    """Furthest off at the start of history."""
    drift_ppm: Annotated[float, Meta(ge=0, le=500)] = 0.5


class Accuracy(Table, frozen=True, kw_only=True):
    """How far meters are off for good: each draws its gain from a normal distribution, cut off at the most that passes.

    A meter that passed acceptance has the limit of its class at its 99 % quantile: SD = limit / 2.576. Behind current
    transformers their error adds in squares: class 0.5S behind class 0.5S is 0.27 %. The defaults are a careful
    utility's: households spread well inside class 1, area meters calibrated together with their transformers.
    """

    household_gain_sd: Share = 0.004
    household_gain_most: Share = 0.01
    area_gain_sd: Share = 0.0025
    area_gain_most: Share = 0.005
    phase_gain_sd: Share = 0.0008
    """Of each measuring channel besides: the phases of one meter differ."""


class Live(Table, frozen=True, kw_only=True):
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
    event_tellings: Annotated[int, Meta(ge=1, le=100)] = 4
    """A meter that publishes for itself tells an event so often: nobody confirms it."""
    event_again_s: Annotated[float, Meta(gt=0)] = 4.0
    """The first rest between two tellings; doubles."""


class TcpGateway(Table, frozen=True, kw_only=True, tag_field="kind", tag="tcp"):
    """Speaks Modbus TCP, and says so when a unit behind it does not answer."""


class RtuGateway(Table, frozen=True, kw_only=True, tag_field="kind", tag="rtu+tcp"):
    """Transparent: passes RTU frames through; a unit that does not answer is silence."""


class ModemGateway(Table, frozen=True, kw_only=True, tag_field="kind", tag="dialin"):
    """A modem that connects to the head-end, says its IMEI and passes RTU frames through."""

    imei: Annotated[str, Meta(pattern=r"^[0-9]{15}$")]
    beat_s: Annotated[float, Meta(gt=0, le=3600)] = 20.0
    """A heartbeat so often."""
    again_s: Annotated[float, Meta(gt=0)] = 1.0
    """First rest before it connects again; doubles up to `again_most_s`."""
    again_most_s: Annotated[float, Meta(gt=0)] = 30.0


Gateway = TcpGateway | RtuGateway | ModemGateway


class Links(Table, frozen=True, kw_only=True):
    """How households are reached; those of neither share are read by the concentrator only, as all are."""

    modbus: Share = 0.4
    mqtt: Share = 0.2


class Shared(Table, frozen=True, kw_only=True):
    """A shared meter: several premises behind one register, their own meters in stock beside them."""

    premises: Annotated[int, Meta(ge=1, le=60)]
    with_production: Annotated[int, Meta(ge=0, le=60)] = 0


class Area(Table, frozen=True, kw_only=True):
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
    gateway: Gateway = TcpGateway()
    """What its Modbus meters hang on."""
    makes: tuple[str, ...] = ()
    """Models that hang in the place of usual ones: each at the first household on Modbus that it fits and that nothing
    is planted on."""
    shared: Shared | None = None


class Scenario(Table, frozen=True, kw_only=True):
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
    clocks: Clocks = Clocks()
    accuracy: Accuracy = Accuracy()
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
    imeis = [a.gateway.imei for a in scenario.areas if isinstance(a.gateway, ModemGateway)]
    if len(set(imeis)) < len(imeis):
        return "areas: an imei is given twice; each modem has its own"
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
        number = fault.household if isinstance(fault, (*HouseholdFault, PickedFault)) else None
        if number is not None and number > areas[fault.area].households:
            return f"{where}.household: {number}; {fault.area} has 1..{areas[fault.area].households}"
        if isinstance(fault, WrongArea) and (fault.true_area not in areas or fault.true_area == fault.area):
            return f"{where}.true_area: {fault.true_area!r} must be another area; known: {', '.join(areas)}"
        onset = getattr(fault, "onset_day", 0.0)
        if onset >= scenario.history_days:
            return f"{where}.onset_day: {onset:g}; history has {scenario.history_days} days"
    return None
