"""From a message of a mapped device to readings and events: by its payload map alone, raising PayloadError alone.

A function of map, message and what earlier messages left in the DecoderState; a message is understood whole or not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from fractions import Fraction
from typing import Any, Final

import numpy as np

from drivers.base import IMPORT_TARIFFS, MeterIdentity, Quantity, ReadingFlag, tariffs
from drivers.errors import PayloadError
from drivers.events import DeviceEvent
from drivers.modbus.register_map import ENERGIES
from drivers.mqtt.columns import MeterColumns, meter_batch
from drivers.mqtt.decoded import Decoded, Events, Ignored, MeterReadings
from drivers.mqtt.decoder_state import DecoderState, FlagSeen
from drivers.mqtt.map_values import Instant, Measured, instant, measured, number, same_constant
from drivers.mqtt.payload_map import Condition, Encoding, EventRule, MessageRule, PayloadMap, Template
from drivers.mqtt.sparkplug import Document, documents
from drivers.mqtt.strict_json import decode_document
from drivers.mqtt.topics import check_name

RETAINED: Final = "a retained message does not say when it was true"
OVERTAKEN: Final = "the end of a session that a newer one has replaced"
UNCHANGED: Final = "a state that has not changed"

_PHASES: Final = (1, 2, 3)


@dataclass(frozen=True, slots=True)
class Matched:
    """The map one of whose topics a message fits."""

    map: PayloadMap
    rules: Sequence[tuple[MessageRule, Mapping[str, str]]]
    """Those that fit, in the map's order, each with what the topic names."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One reading, before it is put into columns."""

    at: Instant
    values: Mapping[Quantity, Measured]
    historical: bool


def decode_mapped(
    matched: Matched,
    topic: str,
    payload: bytes,
    received_us: int,
    *,
    state: DecoderState,
    site: tzinfo,
    retained: bool = False,
) -> Decoded:
    """What a message says; `site` is the zone of devices that stamp local time. Raises PayloadError only."""
    read: dict[Encoding, list[Document]] = {}
    for rule, named in matched.rules:
        if rule.ignore is not None and not rule.when:
            return Ignored(rule.ignore)
        if rule.encoding not in read:
            read[rule.encoding] = _read(rule.encoding, topic, payload, state)
        found = read[rule.encoding]
        if not found:
            return Ignored(OVERTAKEN)
        if all(_holds(condition, found[0].value, topic) for condition in rule.when):
            if rule.ignore is not None:
                return Ignored(rule.ignore)
            message = _Message(
                map=matched.map,
                rule=rule,
                topic=topic,
                received_us=received_us,
                state=state,
                site=site,
                retained=retained,
            )
            return message.decode(found, named)
    raise PayloadError(
        f"payload map {matched.map.map_id} has no rule for such a message", peer=topic, reason="unknown_message"
    )


def _read(encoding: Encoding, topic: str, payload: bytes, state: DecoderState) -> list[Document]:
    match encoding:
        case Encoding.SPARKPLUG_B:
            return documents(topic, payload, state)
        case Encoding.TEXT:
            try:
                return [Document(payload.decode())]
            except UnicodeDecodeError as error:
                raise PayloadError(f"not UTF-8: {error}", peer=topic, reason="not_text") from error
        case Encoding.JSON:
            return [Document(decode_document(payload, topic))]


def _holds(condition: Condition, document: Any, topic: str) -> bool:
    leaf = condition.at.find(document, topic)
    if not condition.values:
        return (leaf is not None) == condition.given
    leaves = leaf if isinstance(leaf, list) else [leaf]
    return any(same_constant(x, v) for x in leaves for v in condition.values)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Message:
    """One message under one rule."""

    map: PayloadMap
    rule: MessageRule
    topic: str
    received_us: int
    state: DecoderState
    site: tzinfo
    retained: bool

    def decode(self, found: list[Document], named: Mapping[str, str]) -> Decoded:
        device = self._device(self._names(found[0].value, named))
        read = [row for document in found if (row := self._row(document))] if self.rule.values else []
        rows = [row for row in read if not (self.retained and row.at.arrived)]
        events = self._events(found[0].value, device)
        if rows and isinstance(device, MeterIdentity):
            return MeterReadings(meter_batch(device, self._columns(rows), self.received_us), events)
        if events:
            return Events(device, events)
        if read:
            return Ignored(RETAINED)
        if self.rule.without_energy is not None:
            return Ignored(self.rule.without_energy)
        if self.rule.values:
            raise PayloadError("no import and no export register is in it", peer=self.topic, reason="no_energy")
        return Ignored(UNCHANGED)

    def _names(self, document: Any, named: Mapping[str, str]) -> dict[str, str]:
        """What topic and payload name; they must agree."""
        names = dict(named)
        for name, paths in self.rule.names.items():
            found = ((path, path.find(document, self.topic)) for path in paths)
            path, leaf = next(((p, x) for p, x in found if x is not None), (paths[0], None))
            if leaf is None:
                continue
            if isinstance(leaf, bool) or not isinstance(leaf, (str, int)):
                raise PayloadError(f"{path.text}: {str(leaf)[:40]!r} is no name", peer=self.topic, reason="wrong_type")
            if name in names and names[name] != str(leaf):
                raise PayloadError(
                    f"{path.text} is {str(leaf)[:80]!r}, the topic is of {names[name]!r}",
                    peer=self.topic,
                    reason="identity_mismatch",
                )
            names[name] = str(leaf)
        return names

    def _device(self, names: Mapping[str, str]) -> MeterIdentity | str:
        identity = self.rule.identity
        if identity is None:
            raise AssertionError("a rule that is not to be ignored has an identity")
        code = self._filled(identity, names)
        if self.rule.of == "concentrator":
            return code
        return MeterIdentity(self._filled(self.map.manufacturer, names), code)

    def _filled(self, template: Template, names: Mapping[str, str]) -> str:
        for name in template.names:
            if name not in names:
                where = self.rule.names[name][0].text if name in self.rule.names else name
                raise PayloadError(f"{where}: missing, it names the device", peer=self.topic, reason="missing_key")
            if found := [text for text in self.map.separators if text in names[name]]:
                raise PayloadError(
                    f"{name} is {names[name][:80]!r}: with {found[0]!r} in it, it could be taken for another device",
                    peer=self.topic,
                    reason="bad_name",
                )
        return check_name(template.text.format_map(names) if template.names else template.text, self.topic)

    def _row(self, document: Document) -> _Row | None:
        """None: no register was read."""
        values = {}
        for quantity, rule in self.rule.values.items():
            if (value := measured(document.value, rule, quantity, self.topic)) is not None:
                values[quantity] = value
        if Quantity.IMPORT_WH not in values and Quantity.EXPORT_WH not in values:
            return None
        return _Row(self._instant(document.value), values, document.historical)

    def _instant(self, document: Any) -> Instant:
        return instant(document, self.rule.stamps, self.received_us, self.site, self.topic)

    def _columns(self, rows: Sequence[_Row]) -> MeterColumns:
        values = [row.values for row in rows]
        return MeterColumns(
            ts_us=np.array([row.at.us for row in rows], dtype=np.int64),
            uncertainty_ms=[row.at.uncertainty_ms for row in rows],
            import_wh=[_wh(v.get(Quantity.IMPORT_WH)) for v in values],
            export_wh=[_wh(v.get(Quantity.EXPORT_WH)) for v in values],
            voltage_v=[self._per_phase(v, "voltage_l{}_v") for v in values],
            current_a=[self._per_phase(v, "current_l{}_a") for v in values],
            power_w=[_float(v.get(Quantity.POWER_W)) for v in values],
            import_phase_wh=[_phases_wh(v, "import_l{}_wh") for v in values],
            export_phase_wh=[_phases_wh(v, "export_l{}_wh") for v in values],
            import_tariff_wh=[tariffs({q: _wh(v[q]) for q in IMPORT_TARIFFS if q in v}) for v in values],
            resolution_wh=[self._resolution_wh(v) for v in values],
            flags=[int(ReadingFlag.BACKFILL) if row.historical else 0 for row in rows],
        )

    def _per_phase(self, values: Mapping[Quantity, Measured], pattern: str) -> float | list[float | None] | None:
        """Three, where the map knows of a second or third phase; else the one there is."""
        phases = [_float(values.get(Quantity(pattern.format(p)))) for p in _PHASES]
        if any(v is not None for v in phases[1:]):
            return phases
        return phases[0]

    def _resolution_wh(self, values: Mapping[Quantity, Measured]) -> float | None:
        """The coarsest of the registers read: as the map states it, or as single precision makes it."""
        steps = [Fraction(0)]
        for quantity in ENERGIES & values.keys():
            steps += [values[quantity].step, self.rule.values[quantity].resolution_wh or Fraction(0)]
        return float(max(steps)) or None

    def _events(self, document: Any, device: MeterIdentity | str) -> tuple[DeviceEvent, ...]:
        told = (self._event(rule, document, device) for rule in self.rule.events)
        return tuple(event for event in told if event is not None)

    def _event(self, rule: EventRule, document: Any, device: MeterIdentity | str) -> DeviceEvent | None:
        """The flag's change, where it changed; a field that is absent says nothing of its flag."""
        at = rule.condition.at
        if rule.condition.values and not rule.absent_clears and at.find(document, self.topic) is None:
            return None
        is_set = _holds(rule.condition, document, self.topic)
        stamp = self._instant(document)
        leaf = None if rule.value is None else rule.value.find(document, self.topic)
        value = None if leaf is None else float(number(leaf, at.text, self.topic))
        key = (self.map.map_id, str(device), rule.set.value, str(rule.phase))
        before = self.state.see_flag(key, FlagSeen(is_set, stamp.us))
        kind = rule.set if is_set else rule.cleared
        # Seen for the first time it is news only where it is set, unless the broker had kept it for who knows how long.
        unchanged = before.set == is_set if before is not None else self.retained or not is_set
        if unchanged or kind is None:
            return None
        uncertainty_ms = stamp.uncertainty_ms
        if self.retained and before is not None:  # it changed while we were away
            uncertainty_ms = max(uncertainty_ms, (stamp.us - before.at_us) // 1000)
        return DeviceEvent(
            kind=kind,
            instant_us=stamp.us,
            uncertainty_ms=uncertainty_ms,
            phase=rule.phase,
            value=value,
            detail=f"{self.map.map_id}: {at.text}",
        )


def _wh(value: Measured | None) -> int | None:
    return None if value is None else round(value.value)


def _float(value: Measured | None) -> float | None:
    return None if value is None else float(value.value)


def _phases_wh(values: Mapping[Quantity, Measured], pattern: str) -> list[int | None] | None:
    phases = [_wh(values.get(Quantity(pattern.format(p)))) for p in _PHASES]
    return None if all(v is None for v in phases) else phases
