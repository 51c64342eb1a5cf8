"""Reads payload maps (TOML, payloads/*.toml) into `PayloadMap`, strictly: what is not understood is an error.

Every message names the file, the line where it can be found, the key, the value and what would be right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from importlib.resources import files
from pathlib import Path as FilePath
from types import MappingProxyType
from typing import Any, Final, TypeVar
from zoneinfo import ZoneInfo

from drivers.base import Quantity
from drivers.data_file import DataFile, DataFileError, Part, data_files, read_text
from drivers.events import EventKind
from drivers.modbus.register_map import ENERGIES, dimension
from drivers.mqtt.document import Path, parse_path
from drivers.mqtt.payload_map import (
    QUANTITIES,
    UNITS,
    Condition,
    Constant,
    Encoding,
    EventRule,
    MessageRule,
    PayloadMap,
    StampFormat,
    StampRule,
    Template,
    ValueRule,
)
from drivers.mqtt.topic_pattern import parse_pattern

_T = TypeVar("_T")

_MAP_KEYS: Final = {"id", "name", "encoding", "manual", "sources", "notes", "identity", "messages"}
_RULE_KEYS: Final = {"names", "of", "serial", "timestamps", "without_energy", "events"}
_MESSAGE_KEYS: Final = {"topic", "encoding", "when", "ignore"} | _RULE_KEYS | {q.value for q in QUANTITIES}
_VALUE_KEYS: Final = {"at", "added", "unit", "scale", "sign", "resolution", "text", "scaler", "absent"}
_CONDITION_KEYS: Final = {"at", "is", "given"}
_EVENT_KEYS: Final = _CONDITION_KEYS | {"set", "cleared", "phase", "value", "absent_clears"}
_STAMP_KEYS: Final = {"at", "format", "zone", "uncertainty_ms", "absent"}
_ONE: Final = Fraction(1)
_WEEK_MS: Final = 7 * 86_400_000


class PayloadMapError(DataFileError):
    """A payload map is wrong; says where and what would be right."""

    code = "payload_map"


def load_maps(directory: FilePath | None = None, *, only: Sequence[str] | None = None) -> tuple[PayloadMap, ...]:
    """The built-in maps and those of `directory`, by file name; with `only` just those ids, in its order.

    Raises PayloadMapError for the first map that is wrong, for an id met twice, an id of `only` that there is not, or
    if `directory` is none.
    """
    sources = data_files(files("drivers.mqtt").joinpath("payloads"), directory, PayloadMapError, "payload maps")
    maps: dict[str, PayloadMap] = {}
    for source in sources:
        read = parse_map(read_text(source, PayloadMapError), file=str(source))
        if read.map_id in maps:
            raise PayloadMapError(
                f"{read.map_id!r} is already taken by {maps[read.map_id].file}; a map needs an id of its own",
                file=str(source),
                key="id",
            )
        maps[read.map_id] = read
    if only is None:
        return tuple(maps.values())
    for map_id in only:
        if map_id not in maps:
            raise PayloadMapError(
                f"there is no payload map {map_id!r}; known are {', '.join(sorted(maps))}",
                file=str(directory or "built-in maps"),
            )
    return tuple(maps[map_id] for map_id in only)


def parse_map(text: str, *, file: str) -> PayloadMap:
    """One map from its TOML text; `file` is what messages call it. Raises PayloadMapError."""
    return _Reader(DataFile(text, file=file, error=PayloadMapError)).map()


class _Reader:
    """One file's values, each checked where it is taken out."""

    def __init__(self, file: DataFile) -> None:
        self._file = file

    def map(self) -> PayloadMap:
        top = self._file.top(_MAP_KEYS)
        map_id = top.matching("id", lambda s: s.replace("-", "").isalnum() and s == s.lower(), "lower case, digits, -")
        manual = top.part("manual", {"title", "where"})
        identity = top.part("identity", {"manufacturer", "serial", "concentrator"})
        templates = {
            "meter": _template(identity, "serial"),
            "concentrator": _template(identity, "concentrator") if identity.given("concentrator") else None,
        }
        manufacturer = _template(identity, "manufacturer")
        encoding = top.enum("encoding", Encoding, default=Encoding.JSON)
        parts = self._file.parts("messages", _MESSAGE_KEYS)
        if not parts:
            top.fail("messages", "wanted at least one [[messages]] table")
        rules: list[MessageRule] = []
        for part in parts:
            rule = _rule(part, encoding, templates)
            if rule.ignore is None and rule.of == "meter":
                _check_names(part, "topic", manufacturer, rule)
            _check_reachable(part, rule, rules)
            rules.append(rule)
        return PayloadMap(
            map_id=map_id,
            name=top.text("name"),
            manufacturer=manufacturer,
            messages=tuple(rules),
            manual=f"{manual.text('title')}, {manual.text('where')}",
            sources=top.texts("sources"),
            notes=top.text("notes") if top.given("notes") else "",
            file=self._file.name,
        )


def _rule(part: Part, encoding: Encoding, templates: Mapping[str, Template | None]) -> MessageRule:
    topic = _parsed(part, "topic", part.text("topic"), parse_pattern)
    encoding = part.enum("encoding", Encoding, default=encoding)
    when = tuple(_condition(part.inline("when", item, _CONDITION_KEYS)) for item in part.items("when"))
    if part.given("ignore"):
        for key in sorted(_RULE_KEYS | {q.value for q in QUANTITIES}):
            if part.given(key):
                part.fail(key, "an ignored message is not read; leave it out")
        return MessageRule(
            topic=topic, encoding=encoding, when=when, ignore=part.text("ignore"), line=part.line("topic")
        )
    of: Any = part.choice("of", ("meter", "concentrator"), default="meter")
    identity = _template(part, "serial") if part.given("serial") else templates[of]
    if identity is None:
        part.fail("of", "[identity] has no concentrator to name it by")
    values = {q: _value(part, q) for q in QUANTITIES if part.given(q.value)}
    rule = MessageRule(
        topic=topic,
        encoding=encoding,
        when=when,
        of=of,
        identity=identity,
        names=MappingProxyType(_names(part)),
        stamps=tuple(_stamps(part)),
        values=MappingProxyType(values),
        without_energy=part.text("without_energy") if part.given("without_energy") else None,
        events=tuple(_event(part.inline("events", item, _EVENT_KEYS)) for item in part.items("events")),
        line=part.line("topic"),
    )
    _check_rule(part, rule)
    return rule


def _check_rule(part: Part, rule: MessageRule) -> None:
    if not rule.values and not rule.events:
        part.fail("topic", "nothing is taken from these messages; wanted quantities, events, or ignore = the reason")
    if rule.values and not rule.values.keys() & {Quantity.IMPORT_WH, Quantity.EXPORT_WH}:
        part.fail("topic", "neither import_wh nor export_wh is taken; without a register there is no reading")
    if rule.values and rule.of == "concentrator":
        part.fail("of", "a concentrator has events, its meters have readings")
    if not rule.stamps:
        part.fail("timestamps", 'missing; wanted a list of { at, format, uncertainty_ms }, or { format = "arrival" }')
    if rule.identity is not None:
        _check_names(part, "topic", rule.identity, rule)
    if rule.encoding is Encoding.TEXT:
        for path in _paths(rule):
            if path.steps:
                part.fail("topic", f"{path.text!r}: a text is one value, its only place is $")


def _check_names(part: Part, key: str, template: Template, rule: MessageRule) -> None:
    for name in template.names:
        if name not in rule.topic.names and name not in rule.names:
            part.fail(key, f"{{{name}}} of {template.text!r} is neither in the topic nor among names")


def _check_reachable(part: Part, rule: MessageRule, before: Iterable[MessageRule]) -> None:
    for earlier in before:
        if not earlier.when and earlier.topic.covers(rule.topic):
            part.fail("topic", f"an earlier rule ({earlier.topic.text}) takes all its messages; give that one a when")
        if earlier.encoding is not rule.encoding and earlier.topic.overlaps(rule.topic) and earlier.when:
            part.fail("encoding", f"{earlier.topic.text} overlaps and is read as {earlier.encoding.value}")


def _paths(rule: MessageRule) -> Iterable[Path]:
    for value in rule.values.values():
        yield from value.paths
    yield from (path for paths in rule.names.values() for path in paths)
    yield from (s.at for s in rule.stamps if s.at is not None)
    yield from (c.at for c in rule.when)
    yield from (e.condition.at for e in rule.events)


def _value(part: Part, quantity: Quantity) -> ValueRule:
    entry = part.inline(quantity.value, part.value(quantity.value), _VALUE_KEYS)
    added = entry.flag("added", default=False)
    paths = tuple(_parsed(entry, "at", text, parse_path) for text in _texts(entry, "at"))
    suffix = dimension(quantity)
    units = [unit for unit, (of, _) in UNITS.items() if of == suffix]
    unit = entry.choice("unit", tuple(units))
    sign = entry.one_of("sign", (1, -1), default=1)
    resolution = entry.positive("resolution", default=Fraction(0))
    if resolution and quantity not in ENERGIES:
        entry.fail("resolution", "only registers of energy have one")
    factor = UNITS[unit][1]
    return ValueRule(
        paths=paths,
        added=added,
        unit=unit,
        factor=entry.positive("scale", default=_ONE) * factor * sign,
        resolution_wh=resolution * factor or None,
        text=entry.flag("text", default=False),
        scaler=_parsed(entry, "scaler", entry.text("scaler"), parse_path) if entry.given("scaler") else None,
        absent=tuple(_constants(entry, "absent")),
    )


def _names(part: Part) -> dict[str, tuple[Path, ...]]:
    given = part.value("names")
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(k.isidentifier() for k in given):
        part.fail("names", f'{given!r}: wanted {{ name = "path" }}')
    entry = part.inline("names", given, given)
    return {name: tuple(_parsed(entry, name, text, parse_path) for text in _texts(entry, name)) for name in given}


def _condition(entry: Part) -> Condition:
    if entry.given("is") == entry.given("given"):
        entry.fail("at", "wanted either is = a value (or several), or given = true or false")
    values = tuple(_constants(entry, "is"))
    if entry.given("is") and not values:
        entry.fail("is", "an empty list holds for nothing; wanted a value, or several")
    return Condition(
        at=_parsed(entry, "at", entry.text("at"), parse_path),
        values=values,
        given=entry.flag("given", default=True),
    )


def _event(entry: Part) -> EventRule:
    return EventRule(
        condition=_condition(entry),
        set=entry.enum("set", EventKind),
        cleared=entry.enum("cleared", EventKind) if entry.given("cleared") else None,
        phase=entry.integer("phase", 1, 3) if entry.given("phase") else None,
        value=_parsed(entry, "value", entry.text("value"), parse_path) if entry.given("value") else None,
        absent_clears=entry.flag("absent_clears", default=False),
    )


def _stamps(part: Part) -> Iterable[StampRule]:
    items = part.items("timestamps")
    for place, item in enumerate(items, start=1):
        entry = part.inline("timestamps", item, _STAMP_KEYS)
        kind = entry.enum("format", StampFormat)
        if kind is StampFormat.ARRIVAL and (entry.given("at") or place < len(items)):
            entry.fail("format", "arrival has no field, and comes last: it fits every message")
        if entry.given("zone") != (kind is StampFormat.LOCAL):
            entry.fail("zone", 'belongs to local, and only to it: "site", or a zone such as "Europe/Vienna"')
        zone = entry.text("zone") if entry.given("zone") else "site"
        yield StampRule(
            format=kind,
            at=None if kind is StampFormat.ARRIVAL else _parsed(entry, "at", entry.text("at"), parse_path),
            uncertainty_ms=entry.integer("uncertainty_ms", 0, _WEEK_MS),
            absent=tuple(_constants(entry, "absent")),
            zone=None if zone == "site" else _zone(entry, zone),
        )


def _zone(entry: Part, name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        entry.fail("zone", f'{name!r}: wanted "site" or a zone of the IANA database, such as "Europe/Vienna"')


def _template(part: Part, key: str) -> Template:
    return _parsed(part, key, part.text(key), Template.parse)


def _texts(part: Part, key: str) -> tuple[str, ...]:
    return (part.text(key),) if part.is_text(key) else part.texts(key)


def _constants(part: Part, key: str) -> Iterable[Constant]:
    given = part.value(key)
    for value in given if isinstance(given, list) else [] if given is None else [given]:
        if not isinstance(value, (str, int, bool, Decimal)):
            part.fail(key, f"{value!r}: wanted a text, a number, true or false, or a list of them")
        yield value


def _parsed(part: Part, key: str, text: str, parse: Callable[[str], _T]) -> _T:
    try:
        return parse(text)
    except ValueError as error:
        part.fail(key, f"{text!r}: {error}")


def overlapping(maps: Sequence[PayloadMap]) -> tuple[MessageRule, PayloadMap, MessageRule, PayloadMap] | None:
    """Two rules of different maps whose topics some topic fits both, where there are any."""
    for place, one in enumerate(maps):
        for other in maps[place + 1 :]:
            for mine in one.messages:
                for theirs in other.messages:
                    if mine.topic.overlaps(theirs.topic):
                        return mine, one, theirs, other
    return None
