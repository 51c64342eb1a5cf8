"""What hangs where, and since when, by the codes that people use; the store's own numbers stay in the store.

The rule it keeps: what can change holds from an instant to an instant (`valid_to` None = still), half open at the end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from headend.domain.unmetered import UnmeteredLoad

MeterId = tuple[str, str]
"""Manufacturer and serial: what makes a meter unique."""
InstallationId = tuple[str, MeterId, datetime]
"""Usage point, meter and the instant from which it served there."""

CATEGORIES = ("residential", "production", "commercial", "irrigation", "public_lighting", "temporary", "none")
"""What supply is used for; `none` belongs to the transformer's own usage point."""
KINDS = ("customer", "shared", "area")
"""One customer, several behind one meter, or the transformer itself."""
PHASES = ("L1", "L2", "L3", "L123")


@dataclass(frozen=True, slots=True)
class Station:
    """A local supply station."""

    station: str
    name: str


@dataclass(frozen=True, slots=True)
class Area:
    """All that hangs on one distribution transformer's low-voltage side."""

    area: str
    station: str
    name: str
    transformer_kva: Decimal | None
    high_loss_rate: float | None
    """None: the default of the settings; the same for the next."""
    negative_loss_rate: float | None


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """The place where one customer is supplied."""

    usage_point: str
    kind: str
    category: str
    name: str
    phase: str | None
    """None: not known."""
    rated_current_a: int | None


@dataclass(frozen=True, slots=True)
class Category:
    """What a usage point is billed as."""

    usage_point: str
    category: str
    valid_from: datetime | None
    """None: since ever."""
    valid_to: datetime | None


@dataclass(frozen=True, slots=True)
class Membership:
    """A usage point hangs on an area, directly or behind a shared usage point."""

    usage_point: str
    area: str
    behind: str | None
    valid_from: datetime
    valid_to: datetime | None


@dataclass(frozen=True, slots=True)
class Meter:
    """A device."""

    manufacturer: str
    serial: str
    model: str
    """Id of the register map where the meter is read over Modbus."""
    phases: int
    digits: int
    """The register rolls over at 10^digits × resolution_wh."""
    resolution_wh: int
    accuracy_class: Decimal | None = None
    """Limit of its error [%]; None: the default of its kind."""

    @property
    def key(self) -> MeterId:
        """Manufacturer and serial."""
        return self.manufacturer, self.serial

    @property
    def rollover_wh(self) -> int:
        """The register's first value that does not fit."""
        return int(10**self.digits * self.resolution_wh)


@dataclass(frozen=True, slots=True)
class Installation:
    """A meter serves a usage point."""

    usage_point: str
    manufacturer: str
    serial: str
    valid_from: datetime
    valid_to: datetime | None
    multiplier: Decimal
    """Current × voltage transformer ratio that the register does not hold."""
    sign: int
    """-1: wired the other way round."""
    start_import_wh: int | None
    start_export_wh: int | None
    seal: str | None

    @property
    def key(self) -> InstallationId:
        """What makes it unique."""
        return self.usage_point, (self.manufacturer, self.serial), self.valid_from

    def overlaps(self, other: Installation) -> bool:
        """Whether both hold at some instant."""
        return overlap(self.valid_from, self.valid_to, other.valid_from, other.valid_to)


@dataclass(frozen=True, slots=True)
class Concentrator:
    """Collects an area's meters and uploads their stored profiles."""

    concentrator: str
    area: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """How a meter is reached."""

    manufacturer: str
    serial: str
    protocol: str
    bus: str | None
    """URI of the bus, in its one spelling; None on MQTT."""
    unit: int | None
    concentrator: str | None

    @property
    def meter(self) -> MeterId:
        """Whose endpoint it is."""
        return self.manufacturer, self.serial


@dataclass(frozen=True, slots=True)
class Premises:
    """A door behind a shared meter that the rollout gives a meter of its own."""

    premises: str
    area: str
    shared_usage_point: str
    usage_point: str
    label: str
    has_production: bool


@dataclass(frozen=True, slots=True)
class Feeder:
    """A medium-voltage line that transformer areas hang on."""

    feeder: str
    station: str
    name: str


@dataclass(frozen=True, slots=True)
class AreaFeeder:
    """An area hangs on a feeder."""

    area: str
    feeder: str
    valid_from: datetime
    valid_to: datetime | None

    @property
    def key(self) -> tuple[str, datetime]:
        """What makes it unique."""
        return self.area, self.valid_from


@dataclass(slots=True)
class Topology:
    """All of it as stored; the importer works on it as on a sketch of what will be."""

    stations: dict[str, Station] = field(default_factory=dict)
    areas: dict[str, Area] = field(default_factory=dict)
    usage_points: dict[str, UsagePoint] = field(default_factory=dict)
    memberships: dict[str, list[Membership]] = field(default_factory=dict)
    """By usage point, oldest first."""
    meters: dict[MeterId, Meter] = field(default_factory=dict)
    installations: dict[InstallationId, Installation] = field(default_factory=dict)
    concentrators: dict[str, Concentrator] = field(default_factory=dict)
    endpoints: dict[tuple[MeterId, str], Endpoint] = field(default_factory=dict)
    """By meter and protocol."""
    premises: dict[str, Premises] = field(default_factory=dict)
    feeders: dict[str, Feeder] = field(default_factory=dict)
    area_feeders: dict[tuple[str, datetime], AreaFeeder] = field(default_factory=dict)
    unmetered_loads: dict[tuple[str, datetime], UnmeteredLoad] = field(default_factory=dict)
    categories: dict[str, list[Category]] = field(default_factory=dict)
    """By usage point, oldest first; one that is not here is since ever what the usage point says."""


@dataclass(frozen=True, slots=True)
class TopologyChanges:
    """What an import does, by noun (`station`, `area`, `usage_point`, `membership`, `meter`, `installation` …)."""

    added: Mapping[str, Sequence[Any]]
    changed: Mapping[str, Sequence[Any]]
    """Of `installation`: open ones that get their `valid_to`."""

    def __bool__(self) -> bool:
        return any(self.added.values()) or any(self.changed.values())


@dataclass(frozen=True, slots=True)
class PollTarget:
    """A meter that is read over Modbus, and where."""

    meter_id: int
    manufacturer: str
    serial: str
    model: str
    bus: str
    """URI, such as `modbus+tcp://10.1.2.3:502`; meters with the same one share a connection."""
    unit: int
    is_area_meter: bool
    area: str | None
    """Code of the area whose meters are read close together with this one; None: it hangs nowhere."""


def overlap(from_a: datetime, to_a: datetime | None, from_b: datetime, to_b: datetime | None) -> bool:
    """Whether two half-open spans have an instant in common; None = without end."""
    return (to_b is None or from_a < to_b) and (to_a is None or from_b < to_a)
