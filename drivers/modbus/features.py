"""What a meter can do beside being measured, as data: clock, relay, tariff, status bits, stored profiles.

The rule it keeps: everything here is optional, and nothing is written to a meter that its map does not describe. Types
only; `map_features` reads them from a map, `feature_codec` turns registers into values and back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from drivers.events import EventKind
from drivers.modbus.register_map import AddressRange, RegisterSpec, Table, WordOrder

DAY_S: Final = 86_400


class ClockField(StrEnum):
    """A part of a date and time; `filler` is read over and written as 0."""

    YEAR = "year"
    """With `year_base` added."""
    MONTH = "month"
    DAY = "day"
    HOUR = "hour"
    MINUTE = "minute"
    SECOND = "second"
    WEEKDAY = "weekday"
    """Read over; written as 1 = Monday … 7 = Sunday."""
    FILLER = "filler"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockFormat:
    """How a date and time is written in registers."""

    encoding: Literal["unix", "word_fields", "byte_fields", "iec870"]
    """`unix`: u32 seconds since 1970; fields one to a register, or one to a byte (high byte first).

    `iec870`: four registers as in IEC 60870-5-4 (Schneider's DATETIME): year in bits 0–6; month 8–11, weekday 5–7 and
    day 0–4; hour 8–12 and minute 0–5; milliseconds of the minute.
    """
    fields: tuple[ClockField, ...] = ()
    """What it tells, in the order in which it is stored; empty for `unix`."""
    bcd: bool = False
    """Each field as packed decimal digits."""
    year_base: int = 0
    """Year 0 of the register."""
    word_order: WordOrder = WordOrder.HIGH_FIRST
    """Of `unix`."""
    zone: Literal["local", "utc"] = "local"
    """`local`: the zone that the installation is in; whoever decodes hands it in."""

    @property
    def count(self) -> int:
        """Length [registers]."""
        fixed = {"unix": 2, "iec870": 4, "word_fields": len(self.fields)}
        return fixed.get(self.encoding, -(-len(self.fields) // 2))


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteTarget:
    """Where and how something is written."""

    function: Literal[5, 6, 16]
    """Write single coil, single register, multiple registers."""
    address: int
    """0-based, as on the wire."""
    unlock: tuple[tuple[int, tuple[int, ...]], ...] = ()
    """(address, words) written with function 16 just before, where the meter wants a password or a mode first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSpec:
    """The meter's own clock."""

    table: Table
    address: int
    """0-based, as on the wire."""
    format: ClockFormat
    resolution_s: float = 1.0
    write: WriteTarget | None = None
    """None: the map knows no way to set it."""

    @property
    def range(self) -> AddressRange:
        """The registers it stands in."""
        return AddressRange(self.table, self.address, self.address + self.format.count - 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpec:
    """A register whose bits name a state: relay, tariff in force."""

    table: Table
    address: int
    mask: int = 0xFFFF
    """Bits of the one register that count."""

    @property
    def range(self) -> AddressRange:
        """The register it stands in."""
        return AddressRange(self.table, self.address, self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchSpec:
    """Something that can be switched, and how its state is read back."""

    write: WriteTarget
    writes: Mapping[str, tuple[int, ...]]
    """State (`open`, `closed`; `1`, `2` …) → words to write (function 5: 0x0000 or 0xFF00)."""
    state: StateSpec
    states: Mapping[str, tuple[int, ...]]
    """State → values of the masked state register that mean it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StatusSpec:
    """A register whose bits say what the meter notices itself."""

    table: Table
    address: int
    bits: Mapping[int, tuple[EventKind, EventKind | None]]
    """Bit (0 = lowest) → event when it is set, event when it is cleared again (None: not told)."""

    @property
    def range(self) -> AddressRange:
        """The register it stands in."""
        return AddressRange(self.table, self.address, self.address)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileSpec:
    """Registers that the meter stores for itself, so that a gap can be read back."""

    table: Table
    address: int
    """First register of record 0, 0-based (for a selected one: of the window that shows it)."""
    stride: int
    """Registers from one record to the next; of the whole window, for a selected one."""
    records: int
    """How many the meter keeps."""
    period_s: int
    """From one record to the next; DAY_S: frozen at local midnight."""
    order: Literal["newest_first", "ring"]
    """`newest_first`: record 0 is the newest; `ring`: any order, each record's own stamp decides."""
    selector: WriteTarget | None = None
    """Where the number of the record to show is written (from `selector_base`); None: all are readable in place."""
    selector_base: int = 0
    stamp: ClockFormat | None = None
    """How each record says when it was frozen; None: record i is i midnights old (daily, newest first, only)."""
    stamp_offset: int = 0
    """Registers from the record's start."""
    registers: tuple[RegisterSpec, ...]
    """Energies; `address` is the offset from the record's start."""
    empty: int = 0xFFFF
    """A record whose stamp registers all hold this, or all 0, was never filled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Features:
    """All that a map describes beside measurements."""

    clock: ClockSpec | None = None
    relay: SwitchSpec | None = None
    """States `open` and `closed`."""
    tariff: SwitchSpec | None = None
    """States `1` … `8`: the number of the tariff in force."""
    status: tuple[StatusSpec, ...] = ()
    profile: ProfileSpec | None = None


NO_FEATURES: Final = Features()
"""A meter that is only measured."""
