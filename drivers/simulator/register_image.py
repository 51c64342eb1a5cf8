"""The registers that a meter shows, through the real register maps: which may be read or written, and their words."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, tzinfo
from typing import Final

from drivers.base import Quantity
from drivers.modbus.codec import Value, encode
from drivers.modbus.model import MeterModel
from drivers.modbus.register_map import ByteOrder, Limits, RegisterSpec, RegisterType, Table, WordOrder
from drivers.simulator.feature_image import FeatureImage, MeterNow
from drivers.simulator.refusal import ILLEGAL_ADDRESS, ILLEGAL_FUNCTION, ILLEGAL_VALUE, ModbusException

__all__ = ["Measured", "ModbusException", "RegisterImage"]

Measured = Callable[[frozenset[Quantity]], Mapping[Quantity, Value]]
"""What a meter measures of these quantities now."""
_COIL: Final = (0x0000, 0xFF00)


class RegisterImage:
    """How meters of one model answer."""

    def __init__(self, model: MeterModel, zone: tzinfo = UTC) -> None:
        """`zone`: that the meters are in."""
        self._limits: Limits = model.limits
        self._features = FeatureImage(model.features, zone)
        self._writes = self._features.functions
        self._tables: dict[int, list[tuple[Table, list[RegisterSpec], list[tuple[int, int]]]]] = {}
        for table in Table:
            specs = sorted((s for s in model.registers if s.table is table), key=lambda s: s.address)
            held = [(s.address, s.last) for s in specs]
            held += [(r.first, r.last) for r in self._features.ranges if r.table is table]
            if held:
                code = model.limits.function_codes[table]
                self._tables.setdefault(code, []).append((table, specs, _readable(held, model.limits)))

    def answer(self, pdu: bytes, measured: Measured, meter: MeterNow) -> bytes:
        """The answer's PDU. Raises `ModbusException` where a real meter refuses the question."""
        if pdu[0] in self._tables and len(pdu) == 5:
            address, count = struct.unpack(">HH", pdu[1:])
            table, specs = self._asked(pdu[0], address, count)
            values = measured(frozenset(s.quantity for s in specs)) if specs else {}
            out = bytearray(self.words(specs, values, address, count))
            self._features.fill(out, table, address, meter)
            return bytes((pdu[0], 2 * count)) + out
        if pdu[0] in self._writes and (told := _told(pdu)) is not None:
            self._features.write(pdu[0], *told, meter)
            return pdu[:5]
        raise ModbusException(ILLEGAL_FUNCTION)

    def request(self, function: int, address: int, count: int) -> list[RegisterSpec]:
        """The measured registers that lie wholly within a request. Raises `ModbusException` as a real meter would."""
        return self._asked(function, address, count)[1]

    def _asked(self, function: int, address: int, count: int) -> tuple[Table, list[RegisterSpec]]:
        if function not in self._tables:
            raise ModbusException(ILLEGAL_FUNCTION)
        if not 1 <= count <= self._limits.max_registers:
            raise ModbusException(ILLEGAL_VALUE)
        last = address + count - 1
        for table, specs, spans in self._tables[function]:
            forbidden = any(f.overlaps(table, address, last) for f in self._limits.forbidden)
            if not forbidden and any(low <= address and last <= high for low, high in spans):
                return table, [s for s in specs if s.address >= address and s.last <= last]
        raise ModbusException(ILLEGAL_ADDRESS)

    @staticmethod
    def words(specs: list[RegisterSpec], values: Mapping[Quantity, Value], address: int, count: int) -> bytes:
        """The registers of a request as bytes; what lies unlisted in between reads 0."""
        out = bytearray(2 * count)
        for spec in specs:
            at, value = 2 * (spec.address - address), values.get(spec.quantity)
            plain = spec.word_order is WordOrder.HIGH_FIRST and spec.byte_order is ByteOrder.BIG
            if spec.type is RegisterType.F32 and plain and isinstance(value, (int, float)):
                struct.pack_into(">f", out, at, value / spec.factor_float)
            elif value is not None:
                struct.pack_into(f">{spec.count}H", out, at, *encode(spec, value))
        return bytes(out)


def _told(pdu: bytes) -> tuple[int, tuple[int, ...]] | None:
    """Address and words of a write (Modbus Application Protocol V1.1b3, 6.5, 6.6, 6.12); None: it is cut off.

    Raises `ModbusException` where its parts do not agree.
    """
    if len(pdu) < 5:
        return None
    address, value = struct.unpack(">HH", pdu[1:5])
    if pdu[0] != 16:
        if len(pdu) != 5 or (pdu[0] == 5 and value not in _COIL):
            raise ModbusException(ILLEGAL_VALUE)
        return address, (value,)
    if len(pdu) != 6 + 2 * value or pdu[5] != 2 * value or not value:
        raise ModbusException(ILLEGAL_VALUE)
    return address, struct.unpack(f">{value}H", pdu[6:])


def _readable(held: Sequence[tuple[int, int]], limits: Limits) -> list[tuple[int, int]]:
    """Stretches of addresses that answer: listed registers and the gaps that the map says may be read across."""
    spans: list[tuple[int, int]] = []
    for low, high in sorted(held):
        if spans and low - spans[-1][1] - 1 <= limits.max_gap:
            spans[-1] = (spans[-1][0], max(high, spans[-1][1]))
        else:
            spans.append((low, high))
    return [(low - low % limits.align, high) for low, high in spans]
