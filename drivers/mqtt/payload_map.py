"""Payload maps as types: where in a foreign device's messages the values stand. Read from TOML (map_file.py), no code.

The rules that every map keeps: topic and payload name the same device, units become Wh, V, A, W exactly, and an instant
is the device's own where it tells one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import tzinfo
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from string import Formatter
from types import MappingProxyType
from typing import Final, Literal

from drivers.base import Quantity
from drivers.events import EventKind
from drivers.modbus.register_map import UNITS as REGISTER_UNITS
from drivers.mqtt.document import Path
from drivers.mqtt.topic_pattern import TopicPattern

UNITS: Final[Mapping[str, tuple[str, Fraction]]] = MappingProxyType(
    {**REGISTER_UNITS, "Wmin": ("wh", Fraction(1, 60)), "J": ("wh", Fraction(1, 3600))}
)
"""Unit as the maker writes it → the suffix that the quantity's name ends in, and the factor to that unit."""

QUANTITIES: Final = tuple(
    Quantity(name)
    for name in (
        "import_wh", "import_l1_wh", "import_l2_wh", "import_l3_wh",
        "export_wh", "export_l1_wh", "export_l2_wh", "export_l3_wh",
        "voltage_l1_v", "voltage_l2_v", "voltage_l3_v",
        "current_l1_a", "current_l2_a", "current_l3_a",
        "power_w",
        "import_t1_wh", "import_t2_wh", "import_t3_wh", "import_t4_wh",
        "import_t5_wh", "import_t6_wh", "import_t7_wh", "import_t8_wh",
    )
)  # fmt: skip
"""What a reading has room for."""

Constant = str | int | bool | Decimal
"""What a map can compare a field with."""


class Encoding(StrEnum):
    """How a payload is written."""

    JSON = "json"
    TEXT = "text"
    """One bare word or number, UTF-8."""
    SPARKPLUG_B = "sparkplug_b"
    """Protobuf; its document is `{timestamp, metrics = {name = value}, stamps = {name = ms}}`."""


class StampFormat(StrEnum):
    """How an instant is written."""

    RFC3339 = "rfc3339"
    UNIX_S = "unix_s"
    UNIX_MS = "unix_ms"
    LOCAL = "local"
    """YYYY-MM-DDThh:mm:ss without an offset, in the zone that the map names."""
    ARRIVAL = "arrival"
    """None was sent: when the message came in."""


@dataclass(frozen=True, slots=True)
class Template:
    """A text made of what topic and payload name: `{device}:{channel}`."""

    text: str
    names: tuple[str, ...]
    separators: frozenset[str] = frozenset()
    """The texts behind its names."""

    @staticmethod
    def parse(text: str) -> Template:
        """Raises ValueError when braces do not pair up, or a name is followed directly by another."""
        names: list[str] = []
        separators: set[str] = set()
        for literal, name, spec, conversion in Formatter().parse(text):
            if names and literal:
                separators.add(literal)
            if name is None:
                continue
            if not name.isidentifier() or spec or conversion:
                raise ValueError(f"{{{name}}} is no name")
            if names and not literal:
                raise ValueError(f"{{{names[-1]}}} and {{{name}}} need a text between them")
            names.append(name)
        return Template(text, tuple(names), frozenset(separators))


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """What has to stand at a place."""

    at: Path
    values: tuple[Constant, ...] = ()
    """One of these (of a list: one of its elements is); empty: see `given`."""
    given: bool = True
    """Whether there has to be something, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueRule:
    """Where a quantity stands and how it is written."""

    paths: tuple[Path, ...]
    """The first that gives something counts; with `added` all of them do, and each must be there."""
    added: bool = False
    unit: str
    """As the maker writes it; a key of UNITS."""
    factor: Fraction
    """Number × factor = value in the quantity's own unit; sign and scale are in it."""
    resolution_wh: Fraction | None = None
    """Step of an energy register, where the map states it."""
    text: bool = False
    """The number is written as a text."""
    scaler: Path | None = None
    """Where the power of ten stands that the number has to be multiplied with (DLMS)."""
    absent: tuple[Constant, ...] = ()
    """Values that mean *not measured*; null always does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StampRule:
    """Where the instant stands and how it is written."""

    format: StampFormat
    at: Path | None
    """None: StampFormat.ARRIVAL."""
    uncertainty_ms: int
    absent: tuple[Constant, ...] = ()
    """Values that mean that the device does not know; null always does."""
    zone: tzinfo | None = None
    """Of StampFormat.LOCAL; None: the zone of the site."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRule:
    """A flag and what its changes mean: the kinds are a pair, one message may set it and another one clear it."""

    condition: Condition
    set: EventKind
    """It came to be so."""
    cleared: EventKind | None = None
    """It is so no longer."""
    phase: int | None = None
    value: Path | None = None
    """Where a number stands that goes with it."""
    absent_clears: bool = False
    """Whether a field that is not there says that the flag is not set; else it says nothing."""


@dataclass(frozen=True, kw_only=True)
class MessageRule:
    """One kind of message of a device."""

    topic: TopicPattern
    encoding: Encoding
    when: tuple[Condition, ...] = ()
    """All of them; messages for which one does not hold are for a later rule of the same topic."""
    ignore: str | None = None
    """Why there is nothing in it for us."""
    of: Literal["meter", "concentrator"] = "meter"
    identity: Template | None = None
    """Serial, or code of the concentrator; None: ignored."""
    names: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)
    """What the payload names, at the first place that gives something; a name that the topic has too must agree."""
    stamps: tuple[StampRule, ...] = ()
    values: Mapping[Quantity, ValueRule] = field(default_factory=dict)
    without_energy: str | None = None
    """Why a message without a register is nothing for us; None: it is an error."""
    events: tuple[EventRule, ...] = ()
    line: int | None = field(default=None, compare=False)
    """Where its topic stands in the map's file."""

    @cached_property
    def arrives(self) -> bool:
        """Whether some of its messages are stamped when they arrive."""
        return any(s.format is StampFormat.ARRIVAL for s in self.stamps)


@dataclass(frozen=True, kw_only=True)
class PayloadMap:
    """How one kind of device publishes."""

    map_id: str
    name: str
    manufacturer: Template
    messages: tuple[MessageRule, ...]
    """In order: the first whose topic fits and whose conditions hold."""
    manual: str
    """The maker's own documentation, and the place in it."""
    sources: tuple[str, ...]
    notes: str = ""
    file: str = ""

    @cached_property
    def separators(self) -> frozenset[str]:
        """What no name may hold: `a:0` could be taken for channel 0 of `a`, and speak for it."""
        templates = (self.manufacturer, *(rule.identity for rule in self.messages if rule.identity is not None))
        return frozenset().union(*(template.separators for template in templates))
