"""The optional tables of a register map, as strict as the rest: [clock], [relay], [tariff], [[status]], [profile]."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from types import MappingProxyType
from typing import Any, Final

from drivers.data_file import DataFile, Part
from drivers.events import EventKind
from drivers.modbus.features import (
    DAY_S,
    ClockField,
    ClockFormat,
    ClockSpec,
    Features,
    ProfileSpec,
    StateSpec,
    StatusSpec,
    SwitchSpec,
    WriteTarget,
)
from drivers.modbus.register_map import RegisterSpec, Table, WordOrder

FEATURE_KEYS: Final = {"clock", "relay", "tariff", "status", "profile"}
_FORMAT_KEYS: Final = {"encoding", "fields", "bcd", "year_base", "word_order", "zone"}
_WRITE_KEYS: Final = {"function", "address", "unlock"}
_RELAY_STATES: Final = ("open", "closed")
_TARIFFS: Final = tuple(str(n) for n in range(1, 9))
_PROFILE_KEYS: Final = {
    "table", "address", "stride", "records", "period", "order", "selector", "selector_base", "stamp", "stamp_offset",
    "registers",
}  # fmt: skip
_ONE: Final = Fraction(1)
_DATE: Final = {ClockField.YEAR, ClockField.MONTH, ClockField.DAY}

RegisterReader = Callable[[Part], RegisterSpec]


def read_features(file: DataFile, top: Part, register_keys: set[str], register: RegisterReader) -> Features:
    """All optional tables of a map; `register` reads one `[[profile.registers]]`. Raises the file's error."""
    return Features(
        clock=_clock(top) if top.given("clock") else None,
        relay=_switch(top, "relay", _RELAY_STATES) if top.given("relay") else None,
        tariff=_switch(top, "tariff", _TARIFFS) if top.given("tariff") else None,
        status=tuple(_status(part) for part in file.parts("status", {"table", "address", "bits"})),
        profile=_profile(file, top, register_keys, register) if top.given("profile") else None,
    )


def _clock(top: Part) -> ClockSpec:
    part = top.part("clock", {"table", "address", "resolution_s", "write"} | _FORMAT_KEYS)
    made = _format(part)
    return ClockSpec(
        table=part.enum("table", Table),
        address=_address(part, made.count),
        format=made,
        resolution_s=float(part.positive("resolution_s", default=_ONE)),
        write=_write(part, "write", (16,)) if part.given("write") else None,
    )


def _format(part: Part) -> ClockFormat:
    encoding: Any = part.choice("encoding", ("unix", "word_fields", "byte_fields"))
    fields = part.items("fields")
    known = [f.value for f in ClockField]
    if any(not isinstance(f, str) or f not in known for f in fields):
        part.fail("fields", f"{fields!r}: wanted a list of {', '.join(known)}")
    named = tuple(ClockField(f) for f in fields)
    twice = {f for f in named if f is not ClockField.FILLER and named.count(f) > 1}
    if encoding == "unix" and named:
        part.fail("fields", "encoding unix has none; leave fields out")
    if encoding != "unix" and (twice or not set(named) >= _DATE):
        part.fail("fields", f"{fields!r}: wanted at least year, month and day, each field once")
    bcd = part.flag("bcd", default=False)
    zone: Any = part.choice("zone", ("local", "utc"), default="utc" if encoding == "unix" else "local")
    return ClockFormat(
        encoding=encoding,
        fields=named,
        bcd=bcd,
        year_base=part.integer("year_base", 0, 2000, default=0),
        word_order=part.enum("word_order", WordOrder, default=WordOrder.HIGH_FIRST),
        zone=zone,
    )


def _write(holder: Part, key: str, functions: tuple[int, ...]) -> WriteTarget:
    part = holder.part(key, _WRITE_KEYS)
    unlock = []
    for item in part.items("unlock"):
        step = part.inline("unlock", item, {"address", "words"})
        unlock.append((step.integer("address", 0, 0xFFFF), tuple(_words(step, "words"))))
    function: Any = part.one_of("function", functions)
    return WriteTarget(function=function, address=part.integer("address", 0, 0xFFFF), unlock=tuple(unlock))


def _words(part: Part, key: str) -> list[int]:
    words = part.items(key)
    if not words or any(not isinstance(w, int) or isinstance(w, bool) or not 0 <= w <= 0xFFFF for w in words):
        part.fail(key, f"{words!r}: wanted a list of registers 0..0xFFFF, at least one")
    return words


def _switch(top: Part, key: str, names: tuple[str, ...]) -> SwitchSpec:
    part = top.part(key, {"table", "address", "mask", "states", "write", "writes"})
    write = _write(part, "write", (5, 6, 16))
    writes, states = _by_state(part, "writes", names), _by_state(part, "states", names)
    if write.function in (5, 6) and any(len(words) != 1 for words in writes.values()):
        part.fail("writes", f"function {write.function} writes exactly one register")
    if write.function == 5 and any(words[0] not in (0x0000, 0xFF00) for words in writes.values()):
        part.fail("writes", "function 5 writes 0x0000 (off) or 0xFF00 (on)")
    if writes.keys() - states.keys():
        part.fail(
            "states", f"no value says {', '.join(sorted(writes.keys() - states.keys()))}: it could not be read back"
        )
    mask = part.integer("mask", 1, 0xFFFF, default=0xFFFF)
    values = [v for group in states.values() for v in group]
    if len(set(values)) != len(values) or any(v & ~mask for v in values):
        part.fail("states", f"{dict(states)!r}: each value stands for one state and lies within the mask 0x{mask:04X}")
    return SwitchSpec(
        write=write,
        writes=writes,
        state=StateSpec(table=part.enum("table", Table), address=_address(part, 1), mask=mask),
        states=states,
    )


def _by_state(holder: Part, key: str, names: tuple[str, ...]) -> Mapping[str, tuple[int, ...]]:
    part = holder.part(key, names)
    found = {name: tuple(_words(part, name)) for name in names if part.given(name)}
    if len(found) < 2:
        holder.fail(key, f"wanted at least two of {', '.join(names)}")
    return MappingProxyType(found)


def _status(part: Part) -> StatusSpec:
    bits: dict[int, tuple[EventKind, EventKind | None]] = {}
    for item in part.items("bits"):
        entry = part.inline("bits", item, {"bit", "set", "cleared"})
        bit = entry.integer("bit", 0, 15)
        if bit in bits:
            part.fail("bits", f"bit {bit} is given twice")
        cleared = entry.enum("cleared", EventKind) if entry.given("cleared") else None
        bits[bit] = entry.enum("set", EventKind), cleared
    if not bits:
        part.fail("bits", "wanted a list of { bit = 0, set = …, cleared = … }, at least one")
    return StatusSpec(table=part.enum("table", Table), address=_address(part, 1), bits=MappingProxyType(bits))


def _profile(file: DataFile, top: Part, register_keys: set[str], register: RegisterReader) -> ProfileSpec:
    part = top.part("profile", _PROFILE_KEYS)
    parts = file.parts("profile.registers", register_keys)
    if not parts:
        part.fail("registers", "wanted at least one [[profile.registers]] table")
    stride = part.integer("stride", 1, 125)
    specs = tuple(register(p) for p in parts)
    for p, spec in zip(parts, specs, strict=True):
        if spec.last >= stride:
            p.fail("address", f"ends at offset {spec.last} of a record of {stride} registers")
    daily = part.is_text("period") and part.choice("period", ("day",))
    period_s = DAY_S if daily else part.integer("period", 60, DAY_S)
    order: Any = part.choice("order", ("newest_first", "ring"))
    stamp = _format(part.part("stamp", _FORMAT_KEYS)) if part.given("stamp") else None
    if stamp is None and (order != "newest_first" or period_s != DAY_S):
        part.fail("stamp", "missing; only a daily profile, newest record first, can do without one")
    offset = part.integer("stamp_offset", 0, 124, default=0)
    if stamp is not None and offset + stamp.count > stride:
        part.fail("stamp_offset", f"the stamp ends behind a record of {stride} registers")
    selector = _write(part, "selector", (6, 16)) if part.given("selector") else None
    records = part.integer("records", 1, 100_000)
    return ProfileSpec(
        table=part.enum("table", Table),
        address=_address(part, stride if selector is not None else stride * records),
        stride=stride,
        records=records,
        period_s=period_s,
        order=order,
        selector=selector,
        selector_base=part.integer("selector_base", 0, 0xFFFF, default=0),
        stamp=stamp,
        stamp_offset=offset,
        registers=specs,
    )


def _address(part: Part, count: int) -> int:
    address = part.integer("address", 0, 0xFFFF)
    if address + count > 0x10000:
        part.fail("address", f"{count} registers from 0x{address:04X} end behind the last one, 0xFFFF")
    return address
