"""Reads one meter for a person in the field: decoded values, raw registers, timing, and what looks wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from drivers.base import Quantity
from drivers.modbus.bus import ModbusAddress, ModbusBus
from drivers.modbus.codec import Value
from drivers.modbus.gate import Priority
from drivers.modbus.model import MeterModel
from drivers.modbus.register_map import Table, dimension

_UNIT_NAMES: Final = {"wh": "Wh", "v": "V", "a": "A", "w": "W", "hz": "Hz", "1": ""}
_VOLTAGE_V: Final = (80.0, 300.0)
"""Line-to-neutral voltages of low-voltage networks, with room for a brown-out."""
_FREQUENCY_HZ: Final = (45.0, 65.0)
_VOLTAGES: Final = (Quantity.VOLTAGE_L1_V, Quantity.VOLTAGE_L2_V, Quantity.VOLTAGE_L3_V)


@dataclass(frozen=True, slots=True)
class ProbedValue:
    """One quantity as it was found."""

    quantity: Quantity
    value: Value | None
    """In `unit`; None where the meter says that it has no value."""
    unit: str
    table: Table
    address: int
    """First register, 0-based."""
    words: tuple[int, ...]
    """The raw registers."""


@dataclass(frozen=True, slots=True)
class ProbedRequest:
    """One request and how long its answer took."""

    table: Table
    address: int
    count: int
    sent_us: int
    """UTC, microseconds since 1970."""
    span_ms: float


@dataclass(frozen=True, slots=True)
class ProbeReport:
    """All that one visit found."""

    peer: str
    unit: int
    model_id: str
    values: tuple[ProbedValue, ...]
    """By table and address."""
    missing: tuple[Quantity, ...]
    """In the model, and refused or not answered."""
    requests: tuple[ProbedRequest, ...]
    remarks: tuple[str, ...]
    """What looks wrong, in words; empty where nothing does."""


async def probe(
    bus: ModbusBus, unit: int, model: MeterModel, quantities: frozenset[Quantity] | None = None
) -> ProbeReport:
    """Read a meter once, before everybody who waits. Raises `PeerError` when nothing at all could be read."""
    snapshot = await bus.visit(ModbusAddress(unit, model, Priority.COMMAND), quantities)
    values, words = snapshot.values, snapshot.words
    remarks = list(plausibility(values))
    if snapshot.ended_by is not None:
        remarks.append(f"not read to the end: {snapshot.ended_by}")
    return ProbeReport(
        peer=bus.peer,
        unit=unit,
        model_id=model.id,
        values=tuple(
            ProbedValue(
                quantity=s.quantity,
                value=values[s.quantity],
                unit=_UNIT_NAMES[dimension(s.quantity)],
                table=s.table,
                address=s.address,
                words=words[s.quantity],
            )
            for s in model.registers
            if s.quantity in values
        ),
        missing=snapshot.missing,
        requests=tuple(
            ProbedRequest(b.table, b.address, b.count, a.sent_us, a.span_us / 1000) for b, a in snapshot.answers
        ),
        remarks=tuple(remarks),
    )


def plausibility(values: Mapping[Quantity, Value | None]) -> tuple[str, ...]:
    """What a meter of the right model on a live network would hardly show; empty where all is plausible."""
    remarks = []
    for quantity, value in values.items():
        if value is None:
            remarks.append(f"{quantity.value}: the meter says that it has no value")
        elif not isinstance(value, str) and (wrong := _implausible(quantity, value)):
            remarks.append(f"{quantity.value} = {value:g}: {wrong}")
    voltages = [v for q in _VOLTAGES if isinstance(v := values.get(q), float)]
    if voltages and max(voltages) < 1.0:
        remarks.append("no voltage on any phase: not connected, or the wrong model")
    phases = [values.get(q) for q in (Quantity.IMPORT_L1_WH, Quantity.IMPORT_L2_WH, Quantity.IMPORT_L3_WH)]
    total, known = values.get(Quantity.IMPORT_WH), [p for p in phases if isinstance(p, int)]
    if isinstance(total, int) and len(known) == 3 and abs(sum(known) - total) > max(100, total // 100):
        remarks.append(f"phase imports sum to {sum(known)} Wh, the total says {total} Wh")
    return tuple(remarks)


def _implausible(quantity: Quantity, value: float) -> str | None:
    kind = dimension(quantity)
    if kind == "wh" and value < 0:
        return "a cumulative register below zero"
    if kind == "v" and value >= 1.0 and not _VOLTAGE_V[0] <= value <= _VOLTAGE_V[1]:
        return f"outside {_VOLTAGE_V[0]:g}..{_VOLTAGE_V[1]:g} V"
    if kind == "hz" and not _FREQUENCY_HZ[0] <= value <= _FREQUENCY_HZ[1]:
        return f"outside {_FREQUENCY_HZ[0]:g}..{_FREQUENCY_HZ[1]:g} Hz"
    if quantity is Quantity.POWER_FACTOR and abs(value) > 1.0:
        return "outside -1..1"
    return None
