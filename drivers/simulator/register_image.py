"""The registers that a meter shows, through the real register maps: which may be read, and their words."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from itertools import pairwise

from drivers.base import Quantity
from drivers.modbus.codec import Value, encode
from drivers.modbus.model import MeterModel
from drivers.modbus.register_map import ByteOrder, Limits, RegisterSpec, RegisterType, Table, WordOrder


class ModbusException(Exception):
    """The answer is an exception (Modbus Application Protocol V1.1b3, section 7)."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


ILLEGAL_FUNCTION, ILLEGAL_ADDRESS, ILLEGAL_VALUE, TARGET_SILENT = 1, 2, 3, 11


class RegisterImage:
    """How meters of one model answer."""

    def __init__(self, model: MeterModel) -> None:
        self._limits: Limits = model.limits
        self._tables: dict[int, list[tuple[Table, list[RegisterSpec], list[tuple[int, int]]]]] = {}
        for table in Table:
            specs = sorted((s for s in model.registers if s.table is table), key=lambda s: s.address)
            if specs:
                code = model.limits.function_codes[table]
                self._tables.setdefault(code, []).append((table, specs, _readable(specs, model.limits)))

    def request(self, function: int, address: int, count: int) -> list[RegisterSpec]:
        """The registers that lie wholly within a request. Raises `ModbusException` where a real meter refuses it."""
        if function not in self._tables:
            raise ModbusException(ILLEGAL_FUNCTION)
        if not 1 <= count <= self._limits.max_registers:
            raise ModbusException(ILLEGAL_VALUE)
        last = address + count - 1
        for table, specs, spans in self._tables[function]:
            forbidden = any(f.overlaps(table, address, last) for f in self._limits.forbidden)
            if not forbidden and any(low <= address and last <= high for low, high in spans):
                return [s for s in specs if s.address >= address and s.last <= last]
        raise ModbusException(ILLEGAL_ADDRESS)

    @staticmethod
    def words(specs: list[RegisterSpec], values: Mapping[Quantity, Value], address: int, count: int) -> bytes:
        """The registers of a request as bytes; what lies unlisted in between reads 0."""
        out = bytearray(2 * count)
        for spec in specs:
            at, value = 2 * (spec.address - address), values.get(spec.quantity)
            plain = spec.word_order is WordOrder.HIGH_FIRST and spec.byte_order is ByteOrder.BIG
            if spec.type is RegisterType.F32 and plain and isinstance(value, (int, float)):
                struct.pack_into(">f", out, at, value / float(spec.factor))
            elif value is not None:
                struct.pack_into(f">{spec.count}H", out, at, *encode(spec, value))
        return bytes(out)


def _readable(specs: list[RegisterSpec], limits: Limits) -> list[tuple[int, int]]:
    """Stretches of addresses that answer: listed registers and the gaps that the map says may be read across."""
    spans = [(specs[0].address, specs[0].last)]
    for before, after in pairwise(specs):
        if after.address - before.last - 1 <= limits.max_gap:
            spans[-1] = (spans[-1][0], after.last)
        else:
            spans.append((after.address, after.last))
    return [(low - low % limits.align, high) for low, high in spans]
