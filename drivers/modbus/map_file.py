"""Reads register maps from TOML, strictly: whatever is not understood is an error that a person can act on.

Every message names the file, the line where it can be found, the key, the value and what would be right. The format is
described in `maps/README.md`; a new model is a file dropped into a directory, never a change here.
"""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from enum import StrEnum
from fractions import Fraction
from importlib.resources import files
from importlib.resources.abc import Traversable
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, NoReturn, TypeVar

from drivers.base import Quantity
from drivers.errors import DriverConfigError
from drivers.modbus.plan import PlanError, plan
from drivers.modbus.register_map import (
    ENERGIES,
    REGISTERS_OF,
    UNITS,
    AddressRange,
    ByteOrder,
    Limits,
    Manual,
    MeterModel,
    RegisterSpec,
    RegisterType,
    Table,
    TransformerRatio,
    WordOrder,
    dimension,
)

_E = TypeVar("_E", bound=StrEnum)
_MODEL_KEYS: Final = {
    "id", "manufacturer", "name", "phases", "transformer_ratio", "firmware_notes",
    "manual", "sources", "limits", "defaults", "registers",
}  # fmt: skip
_LIMIT_KEYS: Final = {"max_registers", "max_gap", "align", "forbidden", "function_codes"}
_DEFAULT_KEYS: Final = {"table", "type", "word_order", "byte_order", "invalid", "unit", "scale", "resolution"}
_REGISTER_KEYS: Final = _DEFAULT_KEYS | {"quantity", "address", "count"}
_FUNCTION_CODES: Final = {Table.INPUT: 4, Table.HOLDING: 3}


class RegisterMapError(DriverConfigError):
    """A register map is wrong; says where and what would be right."""

    code = "register_map"

    def __init__(self, message: str, *, file: str, line: int | None = None, key: str | None = None) -> None:
        where = file if line is None else f"{file}:{line}"
        super().__init__(f"{where}: {message}" if key is None else f"{where}: {key}: {message}")
        self.file = file
        self.line = line
        self.key = key


def load_models(extra_dir: Path | None = None) -> Mapping[str, MeterModel]:
    """Every model by its id: the shipped ones and, if given, those of `*.toml` in `extra_dir`.

    Raises `RegisterMapError` for the first map that is wrong, for an id met twice, or if `extra_dir` is no directory.
    """
    sources: list[Traversable | Path] = sorted(
        (f for f in files("drivers.modbus").joinpath("maps").iterdir() if f.name.endswith(".toml")),
        key=lambda f: f.name,
    )
    if extra_dir is not None:
        if not extra_dir.is_dir():
            raise RegisterMapError("no such directory; it should hold register maps (*.toml)", file=str(extra_dir))
        sources += sorted(extra_dir.glob("*.toml"))
    models: dict[str, MeterModel] = {}
    origin: dict[str, str] = {}
    for source in sources:
        model = parse_model(_text(source), file=str(source))
        if model.id in models:
            raise RegisterMapError(
                f"{model.id!r} is already taken by {origin[model.id]}; a model needs an id of its own",
                file=str(source),
                key="id",
            )
        models[model.id], origin[model.id] = model, str(source)
    return MappingProxyType(models)


def load_model(path: Path) -> MeterModel:
    """One map from a file. Raises `RegisterMapError` when it is wrong or cannot be read."""
    return parse_model(_text(path), file=str(path))


def parse_model(text: str, *, file: str) -> MeterModel:
    """One map from its TOML text; `file` is what messages call it. Raises `RegisterMapError`."""
    try:
        data = tomllib.loads(text, parse_float=Decimal)
    except tomllib.TOMLDecodeError as error:
        raise RegisterMapError(f"not TOML: {error}", file=file) from error
    return _Reader(file, text.splitlines()).model(data)


def _text(source: Traversable | Path) -> str:
    try:
        return source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RegisterMapError(f"cannot be read: {error}", file=str(source)) from error


class _Reader:
    """One file's values, each checked where it is taken out."""

    def __init__(self, file: str, lines: list[str]) -> None:
        self._file = file
        self._lines = lines

    def model(self, data: dict[str, Any]) -> MeterModel:
        top = _Part(self, data, "", 0, _MODEL_KEYS)
        manual = top.part("manual", {"title", "where"})
        defaults = top.part("defaults", _DEFAULT_KEYS, optional=True)
        limits = self._limits(top.part("limits", _LIMIT_KEYS))
        registers = data.get("registers")
        if not isinstance(registers, list) or not registers:
            top.fail("registers", "wanted at least one [[registers]] table")
        parts = [_Part(self, r, "registers", i, _REGISTER_KEYS) for i, r in enumerate(registers)]
        specs = [self._register(part, defaults) for part in parts]
        self._agree(parts, specs, limits)
        return MeterModel(
            id=top.matching("id", lambda s: s.replace("-", "").isalnum() and s == s.lower(), "lower case, digits, -"),
            manufacturer=top.text("manufacturer"),
            name=top.text("name"),
            phases=top.one_of("phases", (1, 3)),
            transformer_ratio=top.enum("transformer_ratio", TransformerRatio),
            manual=Manual(title=manual.text("title"), where=manual.text("where")),
            sources=top.texts("sources"),
            firmware_notes=top.text("firmware_notes"),
            limits=limits,
            registers=tuple(sorted(specs, key=lambda s: (s.table.value, s.address))),
        )

    def _limits(self, part: _Part) -> Limits:
        codes = part.part("function_codes", {t.value for t in Table}, optional=True)
        return Limits(
            max_registers=part.integer("max_registers", 1, 125),
            max_gap=part.integer("max_gap", 0, 124, default=0),
            align=part.one_of("align", (1, 2, 4), default=1),
            forbidden=tuple(self._range(part, item) for item in part.items("forbidden")),
            function_codes=MappingProxyType(
                {t: codes.one_of(t.value, (3, 4), default=code) for t, code in _FUNCTION_CODES.items()}
            ),
        )

    def _range(self, part: _Part, item: object) -> AddressRange:
        if not isinstance(item, dict):
            part.fail("forbidden", f"{item!r}: wanted {{ table = …, first = …, last = … }}")
        entry = _Part(self, item, "limits.forbidden", 0, {"table", "first", "last"})
        first = entry.integer("first", 0, 0xFFFF)
        return AddressRange(entry.enum("table", Table), first, entry.integer("last", first, 0xFFFF))

    def _register(self, part: _Part, defaults: _Part) -> RegisterSpec:
        part.inherit(defaults)
        quantity = part.enum("quantity", Quantity)
        kind = part.enum("type", RegisterType)
        count = REGISTERS_OF.get(kind) or part.integer("count", 1, 16)
        if kind in REGISTERS_OF and part.given("count"):
            part.fail("count", f"type {kind.value} is always {count} registers long; leave count out")
        if kind is RegisterType.ASCII and quantity is not Quantity.SERIAL:
            part.fail("type", f"ascii is text, {quantity.value} is a number")
        address = part.integer("address", 0, 0xFFFF)
        if address + count > 0x10000:
            part.fail("address", f"{count} registers from 0x{address:04X} end behind the last one, 0xFFFF")
        unit = part.matching("unit", UNITS.__contains__, f"one of {', '.join(UNITS)}", default="1")
        if UNITS[unit][0] != dimension(quantity):
            right = ", ".join(u for u, (d, _) in UNITS.items() if d == dimension(quantity))
            part.fail("unit", f"{unit!r} cannot be the unit of {quantity.value}; wanted one of {right}")
        scale = part.positive("scale", default=Fraction(1))
        factor = UNITS[unit][1]
        if not part.given("resolution") and quantity in ENERGIES and kind in {RegisterType.F32, RegisterType.F64}:
            part.fail("resolution", f"missing; a {kind.value} energy register needs its smallest step, in {unit}")
        default_step = Fraction(0) if kind in {RegisterType.F32, RegisterType.F64} else scale
        return RegisterSpec(
            quantity=quantity,
            table=part.enum("table", Table),
            address=address,
            type=kind,
            count=count,
            word_order=part.enum("word_order", WordOrder, default=WordOrder.HIGH_FIRST),
            byte_order=part.enum("byte_order", ByteOrder, default=ByteOrder.BIG),
            scale=scale,
            unit=unit,
            resolution=part.positive("resolution", default=default_step) * factor,
            invalid=tuple(part.bits("invalid", count)),
        )

    def _agree(self, parts: list[_Part], specs: list[RegisterSpec], limits: Limits) -> None:
        by_quantity: dict[Quantity, int] = {}
        for i, spec in enumerate(specs):
            if spec.quantity in by_quantity:
                parts[i].fail("quantity", f"{spec.quantity.value!r} is given twice; each quantity has one register")
            by_quantity[spec.quantity] = i
            try:
                plan([spec], limits)
            except PlanError as error:
                parts[i].fail("address", f"cannot be read within [limits]: {error}")
        order = sorted(range(len(specs)), key=lambda i: (specs[i].table.value, specs[i].address))
        for a, b in pairwise(order):
            if specs[a].range.overlaps(specs[b].table, specs[b].address, specs[b].last):
                parts[b].fail(
                    "address",
                    f"{specs[b].quantity.value} at {specs[b].range} overlaps "
                    f"{specs[a].quantity.value} at {specs[a].range}",
                )

    def fail(self, key: str, message: str, *, table: str, index: int) -> NoReturn:
        dotted = ".".join(p for p in (f"{table}[{index + 1}]" if table == "registers" else table, key) if p)
        raise RegisterMapError(message, file=self._file, line=self._line(table, index, key), key=dotted)

    def _line(self, table: str, index: int, key: str) -> int | None:
        """The line that gives `key` in the index-th table of that name, else the table's own line."""
        inside, seen, head = table == "", -1, None
        for number, raw in enumerate(self._lines, start=1):
            line = raw.strip()
            if line.startswith("["):
                inside = line.split("#")[0].strip().strip("[]").strip() == table
                seen += inside
                if inside and seen == index:
                    head = number
            elif inside and (table == "" or seen == index) and line.split("=")[0].strip().strip("\"'") == key:
                return number
        if head is None and "." in table:  # an inline table: the line of the key that holds it
            parent, _, name = table.rpartition(".")
            return self._line(parent, 0, name)
        return head


class _Part:
    """One TOML table of a map."""

    def __init__(self, reader: _Reader, data: object, table: str, index: int, keys: Iterable[str]) -> None:
        self._reader, self._table, self._index = reader, table, index
        if not isinstance(data, dict):
            self.fail("", f"{data!r}: wanted a table")
        self._data: dict[str, Any] = dict(data)
        for key in self._data:
            if key not in keys:
                self.fail(key, f"unknown key; known here: {', '.join(sorted(keys))}")

    def fail(self, key: str, message: str) -> NoReturn:
        self._reader.fail(key, message, table=self._table, index=self._index)

    def inherit(self, defaults: _Part) -> None:
        self._data = {**defaults._data, **self._data}

    def given(self, key: str) -> bool:
        return key in self._data

    def part(self, key: str, keys: Iterable[str], *, optional: bool = False) -> _Part:
        if key not in self._data and not optional:
            self.fail(key, f"missing; wanted a table [{key}] with {', '.join(sorted(keys))}")
        name = f"{self._table}.{key}" if self._table else key
        return _Part(self._reader, self._data.get(key, {}), name, 0, keys)

    def items(self, key: str) -> list[Any]:
        value = self._data.get(key, [])
        if not isinstance(value, list):
            self.fail(key, f"{value!r}: wanted a list")
        return value

    def _required(self, key: str, default: Any, wanted: str) -> Any:
        if key in self._data:
            return self._data[key]
        if default is None:
            self.fail(key, f"missing; wanted {wanted}")
        return default

    def text(self, key: str) -> str:
        return self.matching(key, lambda s: bool(s.strip()), "a text that is not empty")

    def texts(self, key: str) -> tuple[str, ...]:
        values = self.items(key)
        if not values or not all(isinstance(v, str) and v.strip() for v in values):
            self.fail(key, f"{values!r}: wanted a list of texts, at least one")
        return tuple(values)

    def matching(self, key: str, rule: Callable[[str], bool], wanted: str, *, default: str | None = None) -> str:
        value = self._required(key, default, wanted)
        if not isinstance(value, str) or not rule(value):
            self.fail(key, f"{value!r}: wanted {wanted}")
        return value

    def integer(self, key: str, low: int, high: int, *, default: int | None = None) -> int:
        value = self._required(key, default, f"a whole number {low}..{high}")
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fail(key, f"{value!r}: wanted a whole number {low}..{high}")
        return value

    def one_of(self, key: str, allowed: tuple[int, ...], *, default: int | None = None) -> int:
        wanted = f"one of {', '.join(map(str, allowed))}"
        value = self._required(key, default, wanted)
        if not isinstance(value, int) or isinstance(value, bool) or value not in allowed:
            self.fail(key, f"{value!r}: wanted {wanted}")
        return value

    def enum(self, key: str, kind: type[_E], *, default: _E | None = None) -> _E:
        wanted = f"one of {', '.join(e.value for e in kind)}"
        value = self._required(key, default, wanted)
        if not isinstance(value, str) or value not in [e.value for e in kind]:
            self.fail(key, f"{value!r}: wanted {wanted}")
        return kind(value)

    def positive(self, key: str, *, default: Fraction) -> Fraction:
        value = self._data.get(key)
        if value is None:
            return default
        if not isinstance(value, (int, Decimal)) or isinstance(value, bool) or not 0 < value < Decimal("Infinity"):
            self.fail(key, f"{value!s}: wanted a number greater than 0")
        return Fraction(value)

    def bits(self, key: str, count: int) -> list[int]:
        values = self.items(key)
        for value in values:
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 1 << 16 * count:
                self.fail(key, f"{value!r}: wanted bit patterns of {count} registers, 0..0x{(1 << 16 * count) - 1:X}")
        return values
