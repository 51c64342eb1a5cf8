"""The optional tables of a register map, as strict as the rest: [clock], [relay], [tariff], [[status]], [profile].

The rule it keeps: what is read for them is within the map's own limits, and what is written can be read back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from fractions import Fraction
from itertools import combinations
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
from drivers.modbus.register_map import ENERGIES, AddressRange, Limits, RegisterSpec, Table, WordOrder

FEATURE_KEYS: Final = {"clock", "relay", "tariff", "status", "profile"}
_FORMAT_KEYS: Final = {"encoding", "fields", "bcd", "year_base", "word_order", "zone"}
_WRITE_KEYS: Final = {"function", "address", "unlock"}
_RELAY_STATES: Final = ("open", "closed")
_TARIFFS: Final = tuple(str(n) for n in range(1, 9))
_PROFILE_KEYS: Final = {
    "table", "address", "stride", "records", "period", "order", "selector", "selector_base", "stamp", "stamp_offset",
    "registers", "empty",
}  # fmt: skip
_ENCODINGS: Final = ("unix", "word_fields", "byte_fields", "iec870")
_MOST_WRITTEN: Final = 123
"""By function 16 (Modbus Application Protocol V1.1b3, section 6.12)."""
_ONE: Final = Fraction(1)
_DATE: Final = (ClockField.YEAR, ClockField.MONTH, ClockField.DAY)
_TIME: Final = (ClockField.HOUR, ClockField.MINUTE, ClockField.SECOND)
_CENTURIES: Final = (1900, 2000)
"""What two-digit years count from."""

RegisterReader = Callable[[Part], RegisterSpec]


def read_features(
    file: DataFile, top: Part, limits: Limits, register_keys: set[str], register: RegisterReader
) -> Features:
    """All optional tables of a map; `register` reads one `[[profile.registers]]`. Raises the file's error."""
    return Features(
        clock=_clock(top, limits) if top.given("clock") else None,
        relay=_switch(top, "relay", _RELAY_STATES, limits) if top.given("relay") else None,
        tariff=_switch(top, "tariff", _TARIFFS, limits) if top.given("tariff") else None,
        status=_statuses(file.parts("status", {"table", "address", "bits"}), limits),
        profile=_profile(file, top, limits, register_keys, register) if top.given("profile") else None,
    )


def _clock(top: Part, limits: Limits) -> ClockSpec:
    part = top.part("clock", {"table", "address", "resolution_s", "write"} | _FORMAT_KEYS)
    made = _format(part)
    if made.encoding != "unix" and not {ClockField.HOUR, ClockField.MINUTE} <= set(made.fields):
        part.fail("fields", "a clock tells at least hour and minute beside the date")
    spec = ClockSpec(
        table=part.enum("table", Table),
        address=_address(part, made.count),
        format=made,
        resolution_s=float(part.positive("resolution_s", default=_ONE)),
        write=_write(part, "write", (16,)) if part.given("write") else None,
    )
    _readable(part, spec.range, limits)
    if spec.write is not None:
        _writable(part, "write", spec.write.address, made.count)
    return spec


def _format(part: Part) -> ClockFormat:
    encoding: Any = part.choice("encoding", _ENCODINGS)
    told = {
        "unix": {"word_order"},
        "word_fields": {"fields", "bcd", "year_base"},
        "byte_fields": {"fields", "bcd", "year_base"},
        "iec870": {"year_base"},
    }[encoding]
    for key in ("fields", "bcd", "year_base", "word_order"):
        if part.given(key) and key not in told:
            part.fail(key, f"encoding {encoding} has none; leave {key} out")
    zone: Any = part.choice("zone", ("local", "utc"), default="utc" if encoding == "unix" else "local")
    return ClockFormat(
        encoding=encoding,
        fields=(*_DATE, *_TIME) if encoding == "iec870" else _fields(part) if "fields" in told else (),
        bcd=part.flag("bcd", default=False),
        year_base=_year_base(part, encoding),
        word_order=part.enum("word_order", WordOrder, default=WordOrder.HIGH_FIRST),
        zone=zone,
    )


def _fields(part: Part) -> tuple[ClockField, ...]:
    fields = part.items("fields")
    known = [f.value for f in ClockField]
    if any(not isinstance(f, str) or f not in known for f in fields):
        part.fail("fields", f"{fields!r}: wanted a list of {', '.join(known)}")
    named = tuple(ClockField(f) for f in fields)
    twice = any(f is not ClockField.FILLER and named.count(f) > 1 for f in named)
    if twice or not set(named) >= set(_DATE):
        part.fail("fields", f"{fields!r}: wanted at least year, month and day, each field once")
    return named


def _year_base(part: Part, encoding: str) -> int:
    if encoding == "byte_fields":
        return part.one_of("year_base", _CENTURIES)  # a byte holds no year of four digits
    if encoding == "iec870":
        return part.one_of("year_base", _CENTURIES, default=2000)
    return part.one_of("year_base", (0, *_CENTURIES), default=0)


def _write(holder: Part, key: str, functions: tuple[int, ...]) -> WriteTarget:
    part = holder.part(key, _WRITE_KEYS)
    unlock = []
    for item in part.items("unlock"):
        step = part.inline("unlock", item, {"address", "words"})
        target, words = step.integer("address", 0, 0xFFFF), tuple(_words(step, "words"))
        _writable(step, "words", target, len(words))
        unlock.append((target, words))
    function: Any = part.one_of("function", functions)
    return WriteTarget(function=function, address=part.integer("address", 0, 0xFFFF), unlock=tuple(unlock))


def _words(part: Part, key: str) -> list[int]:
    words = part.items(key)
    if not words or any(not isinstance(w, int) or isinstance(w, bool) or not 0 <= w <= 0xFFFF for w in words):
        part.fail(key, f"{words!r}: wanted a list of registers 0..0xFFFF, at least one")
    return words


def _switch(top: Part, key: str, names: tuple[str, ...], limits: Limits) -> SwitchSpec:
    part = top.part(key, {"table", "address", "mask", "states", "write", "writes"})
    write = _write(part, "write", (5, 6, 16))
    writes, states = _by_state(part, "writes", names), _by_state(part, "states", names)
    if write.function in (5, 6) and any(len(words) != 1 for words in writes.values()):
        part.fail("writes", f"function {write.function} writes exactly one register")
    if write.function == 5 and any(words[0] not in (0x0000, 0xFF00) for words in writes.values()):
        part.fail("writes", "function 5 writes 0x0000 (off) or 0xFF00 (on)")
    _writable(part, "writes", write.address, max(map(len, writes.values())))
    for one, other in combinations(writes, 2):
        if writes[one] == writes[other]:
            part.fail("writes", f"{one} and {other} write the same: a command says which state it wants")
    if unread := sorted(writes.keys() - states.keys()):
        part.fail("states", f"no value says {', '.join(unread)}: it could not be read back")
    mask = part.integer("mask", 1, 0xFFFF, default=0xFFFF)
    values = [v for group in states.values() for v in group]
    if len(set(values)) != len(values) or any(v & ~mask for v in values):
        part.fail("states", f"{dict(states)!r}: each value stands for one state and lies within the mask 0x{mask:04X}")
    state = StateSpec(table=part.enum("table", Table), address=_address(part, 1), mask=mask)
    _readable(part, state.range, limits)
    return SwitchSpec(write=write, writes=writes, state=state, states=states)


def _by_state(holder: Part, key: str, names: tuple[str, ...]) -> Mapping[str, tuple[int, ...]]:
    part = holder.part(key, names)
    found = {name: tuple(_words(part, name)) for name in names if part.given(name)}
    if len(found) < 2:
        holder.fail(key, f"wanted at least two of {', '.join(names)}")
    return MappingProxyType(found)


def _statuses(parts: list[Part], limits: Limits) -> tuple[StatusSpec, ...]:
    specs: list[StatusSpec] = []
    for part in parts:
        spec = _status(part)
        _readable(part, spec.range, limits)
        if any(spec.range == other.range for other in specs):
            part.fail("address", f"{spec.range} is given twice; one table tells all bits of a register")
        specs.append(spec)
    return tuple(specs)


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


def _profile(
    file: DataFile, top: Part, limits: Limits, register_keys: set[str], register: RegisterReader
) -> ProfileSpec:
    part = top.part("profile", _PROFILE_KEYS)
    table = part.enum("table", Table)
    stride = part.integer("stride", 1, 0xFFFF)
    period_s = _period_s(part)
    order: Any = part.choice("order", ("newest_first", "ring"))
    stamp = _format(part.part("stamp", _FORMAT_KEYS)) if part.given("stamp") else None
    if stamp is None and (order != "newest_first" or period_s != DAY_S):
        part.fail("stamp", "missing; only a daily profile, newest record first, can do without one")
    if stamp is None and part.given("stamp_offset"):
        part.fail("stamp_offset", "there is no stamp; leave it out")
    offset = part.integer("stamp_offset", 0, 0xFFFF, default=0)
    if stamp is not None and offset + stamp.count > stride:
        part.fail("stamp_offset", f"the stamp ends behind a record of {stride} registers")
    taken = [] if stamp is None else [(AddressRange(table, offset, offset + stamp.count - 1), "the stamp")]
    parts = file.parts("profile.registers", register_keys)
    specs = _stored(part, parts, register, table=table, stride=stride, taken=taken)
    selector = _write(part, "selector", (6, 16)) if part.given("selector") else None
    if selector is None and part.given("selector_base"):
        part.fail("selector_base", "there is no selector; leave it out")
    records = part.integer("records", 1, 100_000)
    address = _address(part, stride if selector is not None else stride * records)
    used = max([spec.last for spec in specs] + [held.last for held, _ in taken])
    _readable(part, AddressRange(table, address, address + used), limits)
    return ProfileSpec(
        table=table,
        address=address,
        stride=stride,
        records=records,
        period_s=period_s,
        order=order,
        selector=selector,
        selector_base=part.integer("selector_base", 0, 0xFFFF, default=0),
        stamp=stamp,
        stamp_offset=offset,
        registers=specs,
        empty=part.integer("empty", 0, 0xFFFF, default=0xFFFF),
    )


def _period_s(part: Part) -> int:
    if part.is_text("period"):
        part.choice("period", ("day",))
        return DAY_S
    return part.integer("period", 60, DAY_S)


def _stored(
    holder: Part,
    parts: list[Part],
    register: RegisterReader,
    *,
    table: Table,
    stride: int,
    taken: list[tuple[AddressRange, str]],
) -> tuple[RegisterSpec, ...]:
    """The energies of a record; `taken`: what else stands in it. Raises the file's error."""
    if not parts:
        holder.fail("registers", "wanted at least one [[profile.registers]] table")
    specs: list[RegisterSpec] = []
    used = list(taken)
    for part in parts:
        part.inherit_key("table", holder)
        spec = register(part)
        if spec.table is not table:
            part.fail("table", f"{spec.table.value!r}: the profile stands in {table.value}")
        if spec.quantity not in ENERGIES:
            part.fail("quantity", f"{spec.quantity.value!r}: a profile stores energies")
        if any(spec.quantity is other.quantity for other in specs):
            part.fail("quantity", f"{spec.quantity.value!r} is given twice; each quantity has one register")
        if spec.last >= stride:
            part.fail("address", f"ends at offset {spec.last} of a record of {stride} registers")
        for held, by in used:
            if held.overlaps(spec.table, spec.address, spec.last):
                part.fail("address", f"{spec.quantity.value} at {spec.range} overlaps {by} at {held}")
        used.append((spec.range, spec.quantity.value))
        specs.append(spec)
    return tuple(specs)


def _readable(part: Part, wanted: AddressRange, limits: Limits) -> None:
    """Fail where a request for just these registers is outside the map's own limits."""
    count = wanted.last - wanted.first + 1
    if count > limits.max_registers:
        part.fail("address", f"{wanted} is {count} registers long, a request may be {limits.max_registers}")
    if wanted.first % limits.align or count % limits.align:
        part.fail("address", f"{wanted}: first address and length must be multiples of {limits.align}")
    for closed in limits.forbidden:
        if closed.overlaps(wanted.table, wanted.first, wanted.last):
            part.fail("address", f"{wanted} lies in {closed}, which must not be asked for")


def _writable(part: Part, key: str, address: int, count: int) -> None:
    """Fail where these registers cannot be written at once."""
    if count > _MOST_WRITTEN:
        part.fail(key, f"{count} registers: one write takes {_MOST_WRITTEN} at the most")
    if address + count > 0x10000:
        part.fail(key, f"{count} registers from 0x{address:04X} end behind the last one, 0xFFFF")


def _address(part: Part, count: int) -> int:
    address = part.integer("address", 0, 0xFFFF)
    if address + count > 0x10000:
        part.fail("address", f"{count} registers from 0x{address:04X} end behind the last one, 0xFFFF")
    return address
