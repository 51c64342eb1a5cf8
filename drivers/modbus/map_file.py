"""Reads register maps from TOML, strictly: whatever is not understood is an error that a person can act on.

Every message names the file, the line where it can be found, the key, the value and what would be right. The format is
described in `maps/README.md`; a new model is a file dropped into a directory, never a change here.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from fractions import Fraction
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from drivers.base import Quantity
from drivers.data_file import DataFile, DataFileError, Part, data_files, read_text
from drivers.modbus.map_features import FEATURE_KEYS, read_features
from drivers.modbus.model import Manual, MeterModel
from drivers.modbus.plan import PlanError, plan
from drivers.modbus.register_map import (
    ENERGIES,
    REGISTERS_OF,
    TEXTS,
    UNITS,
    AddressRange,
    ByteOrder,
    Limits,
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
    "manual", "sources", "limits", "defaults", "registers", *FEATURE_KEYS,
}  # fmt: skip
_LIMIT_KEYS: Final = {"max_registers", "max_gap", "align", "forbidden", "function_codes"}
_DEFAULT_KEYS: Final = {"table", "type", "word_order", "byte_order", "invalid", "unit", "scale", "resolution"}
_REGISTER_KEYS: Final = _DEFAULT_KEYS | {"quantity", "address", "count", "terms"}
_FUNCTION_CODES: Final = {Table.INPUT: 4, Table.HOLDING: 3}


class RegisterMapError(DataFileError):
    """A register map is wrong; says where and what would be right."""

    code = "register_map"


def load_models(extra_dir: Path | None = None) -> Mapping[str, MeterModel]:
    """Every model by its id: the shipped ones and, if given, those of `*.toml` in `extra_dir`.

    Raises `RegisterMapError` for the first map that is wrong, for an id met twice, or if `extra_dir` is no directory.
    """
    sources = data_files(files("drivers.modbus").joinpath("maps"), extra_dir, RegisterMapError, "register maps")
    models: dict[str, MeterModel] = {}
    origin: dict[str, str] = {}
    for source in sources:
        model = parse_model(read_text(source, RegisterMapError), file=str(source))
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
    return parse_model(read_text(path, RegisterMapError), file=str(path))


def parse_model(text: str, *, file: str) -> MeterModel:
    """One map from its TOML text; `file` is what messages call it. Raises `RegisterMapError`."""
    return _Reader(DataFile(text, file=file, error=RegisterMapError)).model()


class _Reader:
    """One file's values, each checked where it is taken out."""

    def __init__(self, file: DataFile) -> None:
        self._file = file

    def model(self) -> MeterModel:
        top = self._file.top(_MODEL_KEYS)
        manual = top.part("manual", {"title", "where"})
        defaults = top.part("defaults", _DEFAULT_KEYS, optional=True)
        limits = self._limits(top.part("limits", _LIMIT_KEYS))
        parts = self._file.parts("registers", _REGISTER_KEYS)
        if not parts:
            top.fail("registers", "wanted at least one [[registers]] table")
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
            features=read_features(self._file, top, limits, _REGISTER_KEYS, lambda p: self._register(p, defaults)),
        )

    def _limits(self, part: Part) -> Limits:
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

    def _range(self, part: Part, item: object) -> AddressRange:
        entry = part.inline("forbidden", item, {"table", "first", "last"})
        first = entry.integer("first", 0, 0xFFFF)
        return AddressRange(entry.enum("table", Table), first, entry.integer("last", first, 0xFFFF))

    def _register(self, part: Part, defaults: Part) -> RegisterSpec:
        part.inherit(defaults)
        quantity = part.enum("quantity", Quantity)
        kind = part.enum("type", RegisterType)
        count = REGISTERS_OF.get(kind) or part.integer("count", 1, 16)
        if kind in REGISTERS_OF and part.given("count"):
            part.fail("count", f"type {kind.value} is always {count} registers long; leave count out")
        if kind in {RegisterType.ASCII, RegisterType.DOTTED} and quantity not in TEXTS:
            part.fail("type", f"{kind.value} is text, {quantity.value} is a number")
        terms = part.integer("terms", 1, 8, default=1)
        if terms > 1 and (quantity not in ENERGIES or kind not in REGISTERS_OF):
            part.fail("terms", "only energies in numbers of a fixed length are added up")
        count *= terms
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
            invalid=tuple(part.bits("invalid", count // terms)),
            terms=terms,
        )

    def _agree(self, parts: list[Part], specs: list[RegisterSpec], limits: Limits) -> None:
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
