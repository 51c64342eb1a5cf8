"""Registers as data: where a quantity stands, how it is written there, and what a request may be like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from typing import Final

from drivers.base import Quantity


class Table(StrEnum):
    """The two register tables of the Modbus data model (Modbus Application Protocol V1.1b3, section 4.3)."""

    INPUT = "input"
    """Read-only; function code 4 unless the model says otherwise."""
    HOLDING = "holding"
    """Read-write; function code 3 unless the model says otherwise."""


class RegisterType(StrEnum):
    """How bits become a number."""

    U16 = "u16"
    S16 = "s16"
    U32 = "u32"
    S32 = "s32"
    U64 = "u64"
    S64 = "s64"
    F32 = "f32"
    F64 = "f64"
    BCD = "bcd"
    """Four decimal digits to the register; `count` says how many registers."""
    ASCII = "ascii"
    """Two characters to the register, padded with blanks or (wherever it stands) NUL; `count` says how many."""
    DOTTED = "dotted"
    """A number to the register, told with points between: a version; `count` says how many registers."""


class WordOrder(StrEnum):
    """Which register of several holds the high bits."""

    HIGH_FIRST = "high_first"
    LOW_FIRST = "low_first"


class ByteOrder(StrEnum):
    """Which byte of a register holds the high bits; the Modbus standard says big."""

    BIG = "big"
    LITTLE = "little"


class TransformerRatio(StrEnum):
    """What the device itself does with the ratio of current (and voltage) transformers set in it."""

    NONE = "none"
    """Connected directly: there is no ratio."""
    NOT_APPLIED = "not_applied"
    """Registers are on the secondary side; the installation's multiplier makes them primary."""
    APPLIED = "applied"
    """Registers are already on the primary side; the installation's multiplier must be 1."""


REGISTERS_OF: Final[Mapping[RegisterType, int]] = {
    RegisterType.U16: 1,
    RegisterType.S16: 1,
    RegisterType.U32: 2,
    RegisterType.S32: 2,
    RegisterType.F32: 2,
    RegisterType.U64: 4,
    RegisterType.S64: 4,
    RegisterType.F64: 4,
}
"""Length in registers of the types that have a fixed one."""

UNITS: Final[Mapping[str, tuple[str, Fraction]]] = {
    "Wh": ("wh", Fraction(1)),
    "kWh": ("wh", Fraction(1000)),
    "MWh": ("wh", Fraction(1_000_000)),
    "V": ("v", Fraction(1)),
    "kV": ("v", Fraction(1000)),
    "mV": ("v", Fraction(1, 1000)),
    "A": ("a", Fraction(1)),
    "mA": ("a", Fraction(1, 1000)),
    "W": ("w", Fraction(1)),
    "kW": ("w", Fraction(1000)),
    "MW": ("w", Fraction(1_000_000)),
    "Hz": ("hz", Fraction(1)),
    "1": ("1", Fraction(1)),
}
"""Unit as the manual writes it → the suffix that the quantity's name ends in, and the factor to that unit."""

ENERGIES: Final = frozenset(q for q in Quantity if q.value.endswith("_wh"))
"""Cumulative registers, delivered as integer Wh."""
TEXTS: Final = frozenset({Quantity.SERIAL, Quantity.FIRMWARE})
"""Delivered as text, however they are written."""


def dimension(quantity: Quantity) -> str:
    """The unit suffix in a quantity's name (`wh`, `v`, `a`, `w`, `hz`), or `1` for a bare number or text."""
    suffix = quantity.value.rpartition("_")[2]
    return suffix if suffix in {"wh", "v", "a", "w", "hz"} else "1"


@dataclass(frozen=True, slots=True, order=True)
class AddressRange:
    """Registers `first..last` of one table, both ends included."""

    table: Table
    first: int
    """0-based, as on the wire."""
    last: int

    def overlaps(self, table: Table, first: int, last: int) -> bool:
        """Whether any register of `first..last` of `table` lies within."""
        return self.table is table and self.first <= last and first <= self.last

    def __str__(self) -> str:
        return f"{self.table.value} 0x{self.first:04X}..0x{self.last:04X}"


@dataclass(frozen=True, kw_only=True)
class RegisterSpec:
    """One quantity: where it stands and how it is written."""

    quantity: Quantity
    table: Table
    address: int
    """First register, 0-based, as on the wire."""
    type: RegisterType
    count: int
    """Length [registers]."""
    word_order: WordOrder
    byte_order: ByteOrder
    scale: Fraction
    """Register value × scale = value in `unit`."""
    unit: str
    """As the manual writes it; a key of UNITS."""
    resolution: Fraction
    """Smallest step of the register, in the quantity's own unit (an energy's in Wh)."""
    invalid: tuple[int, ...] = ()
    """Bit patterns (as one unsigned number, high word first) that mean *no value*; NaN and infinity always do."""
    terms: int = 1
    """Values of `type` one after the other that are added: the tariffs of a meter that keeps no total."""

    @cached_property
    def term(self) -> RegisterSpec:
        """One value of several that are added."""
        return replace(self, count=self.count // self.terms, terms=1)

    @cached_property
    def last(self) -> int:
        """Last register, included."""
        return self.address + self.count - 1

    @cached_property
    def factor(self) -> Fraction:
        """Register value × factor = value in the quantity's own unit."""
        return self.scale * UNITS[self.unit][1]

    @cached_property
    def factor_float(self) -> float:
        """`factor`, for registers that are floats themselves."""
        return float(self.factor)

    @cached_property
    def range(self) -> AddressRange:
        """The registers it stands in."""
        return AddressRange(self.table, self.address, self.last)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one request to this model may be like."""

    max_registers: int
    """Most registers in one answer; the protocol's own limit is 125."""
    max_gap: int = 0
    """Most unwanted registers in a row that a request may read across to merge two blocks."""
    align: int = 1
    """First address and length must be multiples of it (meters that hold floats only: 2)."""
    forbidden: tuple[AddressRange, ...] = ()
    """Registers that must never be asked for, not even in between."""
    function_codes: Mapping[Table, int]
    """Function code that reads each table: 3 or 4."""
