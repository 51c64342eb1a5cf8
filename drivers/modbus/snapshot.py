"""What one visit to a meter brought, and the register reading that it makes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from drivers.base import Phases3, Phases3f, Quantity, RegisterReading, tariffs
from drivers.errors import PeerError
from drivers.modbus.codec import Value, decode, step
from drivers.modbus.link import Answer
from drivers.modbus.model import MeterModel
from drivers.modbus.plan import Block
from drivers.modbus.register_map import ENERGIES


@dataclass(frozen=True)
class Snapshot:
    """The answers of one visit."""

    model: MeterModel
    answers: tuple[tuple[Block, Answer], ...]
    """In the order in which they came; at least one."""
    missing: tuple[Quantity, ...]
    """Wanted, in the model, and refused or not answered."""
    ended_by: PeerError | None = None
    """What stopped the visit before its end, if anything did; what came before it stands."""

    @cached_property
    def words(self) -> Mapping[Quantity, tuple[int, ...]]:
        """The raw registers of each quantity that was answered."""
        return {s.quantity: block.words_of(s, a.words) for block, a in self.answers for s in block.specs}

    @cached_property
    def values(self) -> Mapping[Quantity, Value | None]:
        """Each answered quantity in its own unit; None where the meter says that it has no value."""
        return {s.quantity: decode(s, b.words_of(s, a.words)) for b, a in self.answers for s in b.specs}

    def span_us(self) -> tuple[int, int]:
        """From the first request to the last answer that carry energies (any, where none does) [UTC µs].

        Voltages read beside them may be older or newer by a request; nothing is interpolated from those.
        """
        carrying = [a for b, a in self.answers if any(s.quantity in ENERGIES for s in b.specs)]
        chosen = carrying or [a for _, a in self.answers]
        return min(a.sent_us for a in chosen), max(a.received_us for a in chosen)


def to_reading(snapshot: Snapshot) -> RegisterReading:
    """The reading that a snapshot makes; absent stays absent."""
    values = snapshot.values
    begin_us, end_us = snapshot.span_us()
    steps = [
        step(snapshot.model.by_quantity[q], value)
        for q, value in values.items()
        if q in ENERGIES and isinstance(value, int)
    ]
    serial, firmware = values.get(Quantity.SERIAL), values.get(Quantity.FIRMWARE)
    return RegisterReading(
        instant_us=(begin_us + end_us) // 2,
        uncertainty_ms=-(-(end_us - begin_us) // 2000),
        import_wh=_whole(values, Quantity.IMPORT_WH),
        export_wh=_whole(values, Quantity.EXPORT_WH),
        import_phase_wh=_wholes(values, Quantity.IMPORT_L1_WH, Quantity.IMPORT_L2_WH, Quantity.IMPORT_L3_WH),
        export_phase_wh=_wholes(values, Quantity.EXPORT_L1_WH, Quantity.EXPORT_L2_WH, Quantity.EXPORT_L3_WH),
        import_tariff_wh=tariffs(values),
        voltage_v=_numbers(values, Quantity.VOLTAGE_L1_V, Quantity.VOLTAGE_L2_V, Quantity.VOLTAGE_L3_V),
        current_a=_numbers(values, Quantity.CURRENT_L1_A, Quantity.CURRENT_L2_A, Quantity.CURRENT_L3_A),
        power_w=_number(values, Quantity.POWER_W),
        resolution_wh=max(steps, default=None),
        serial=serial if isinstance(serial, str) else None,
        firmware=firmware if isinstance(firmware, str) else None,
        refused=tuple(
            sorted({q.value for q in snapshot.missing} | {q.value for q, value in values.items() if value is None})
        ),
    )


def _whole(values: Mapping[Quantity, Value | None], quantity: Quantity) -> int | None:
    value = values.get(quantity)
    return value if isinstance(value, int) else None


def _number(values: Mapping[Quantity, Value | None], quantity: Quantity) -> float | None:
    value = values.get(quantity)
    return float(value) if isinstance(value, (int, float)) else None


def _wholes(values: Mapping[Quantity, Value | None], l1: Quantity, l2: Quantity, l3: Quantity) -> Phases3 | None:
    phases = (_whole(values, l1), _whole(values, l2), _whole(values, l3))
    return None if phases == (None, None, None) else phases


def _numbers(values: Mapping[Quantity, Value | None], l1: Quantity, l2: Quantity, l3: Quantity) -> Phases3f | None:
    phases = (_number(values, l1), _number(values, l2), _number(values, l3))
    return None if phases == (None, None, None) else phases
