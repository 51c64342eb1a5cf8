"""What the Modbus unit tests share: specifications without a file, and a bus on a link under the test's hand."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import pytest

from drivers.base import Quantity
from drivers.modbus.bus import BusSettings, ModbusBus
from drivers.modbus.register_map import REGISTERS_OF, ByteOrder, Limits, RegisterSpec, RegisterType, Table, WordOrder
from support.modbus import FakeClock, FakeLink

FUNCTION_CODES = MappingProxyType({Table.INPUT: 4, Table.HOLDING: 3})


@pytest.fixture(scope="session")
def make_spec() -> Any:
    def make(**given: Any) -> RegisterSpec:
        kind = given.get("type", RegisterType.U16)
        values: dict[str, Any] = {
            "quantity": Quantity.POWER_W,
            "table": Table.INPUT,
            "address": 0,
            "type": kind,
            "count": REGISTERS_OF.get(kind, 1),
            "word_order": WordOrder.HIGH_FIRST,
            "byte_order": ByteOrder.BIG,
            "scale": Fraction(1),
            "unit": "W",
            "resolution": Fraction(0),
        }
        return RegisterSpec(**values | given)

    return make


@pytest.fixture(scope="session")
def make_limits() -> Any:
    def make(**given: Any) -> Limits:
        return Limits(**{"max_registers": 125, "function_codes": FUNCTION_CODES} | given)

    return make


@pytest.fixture
def setup() -> Callable[..., tuple[FakeClock, FakeLink, ModbusBus]]:
    """Makes (clock, link, bus) with the bus settings given."""

    def make(**settings: Any) -> tuple[FakeClock, FakeLink, ModbusBus]:
        clock = FakeClock()
        link = FakeLink(clock)
        return clock, link, ModbusBus(link, BusSettings(**settings), clock=clock, jitter=random.Random(1))

    return make
