"""What the Modbus unit tests share: specifications without a file, a clock and a link under the test's hand."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from fractions import Fraction
from types import MappingProxyType
from typing import Any

import pytest

from drivers.base import Quantity
from drivers.errors import ConnectionFailed, IllegalAddress, PeerError, ResponseTimeout
from drivers.modbus.bus import BusSettings, ModbusBus
from drivers.modbus.link import Answer
from drivers.modbus.register_map import REGISTERS_OF, ByteOrder, Limits, RegisterSpec, RegisterType, Table, WordOrder

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


START_US = 1_795_000_000_000_000


class FakeClock:
    def __init__(self) -> None:
        self.elapsed_s = 0.0
        self.slept: list[float] = []

    def now_us(self) -> int:
        return START_US + round(self.elapsed_s * 1e6)

    def monotonic(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.elapsed_s += seconds


@dataclass
class FakeLink:
    """Meters as tables of words; `fault` may raise instead of letting a request through."""

    clock: FakeClock
    meters: dict[int, dict[tuple[int, int], int]] = field(default_factory=dict)
    answer_s: float = 0.05
    connected: bool = False
    fault: Callable[[int, int, int, int], PeerError | None] = lambda unit, function, address, count: None
    connect_fails: int = 0
    asked: list[tuple[int, int, int, int]] = field(default_factory=list)
    connects: list[float] = field(default_factory=list)
    closes: int = 0
    peer: str = "gateway:502"
    before: Callable[[int], Awaitable[None]] | None = None
    """Awaited with the unit before each request: lets a test hold one up."""

    async def connect(self, timeout_s: float) -> None:
        self.connects.append(self.clock.elapsed_s)
        if self.connect_fails:
            self.connect_fails -= 1
            self.clock.elapsed_s += timeout_s
            raise ConnectionFailed("refused", peer=self.peer)
        self.connected = True

    async def close(self) -> None:
        self.closes += 1
        self.connected = False

    async def read(self, *, unit: int, function: int, address: int, count: int, timeout_s: float) -> Answer:
        assert self.connected
        if self.before is not None:
            await self.before(unit)
        self.asked.append((unit, function, address, count))
        sent_us = self.clock.now_us()
        if error := self.fault(unit, function, address, count):
            if isinstance(error, ConnectionFailed):
                self.connected = False
            raise error
        meter = self.meters.get(unit)
        if meter is None:
            self.clock.elapsed_s += timeout_s
            raise ResponseTimeout("no answer", peer=f"{self.peer} unit {unit}")
        self.clock.elapsed_s += self.answer_s
        words = [meter.get((function, a)) for a in range(address, address + count)]
        if None in words:
            raise IllegalAddress("exception 2", peer=f"{self.peer} unit {unit}", exception_code=2)
        return Answer(tuple(w for w in words if w is not None), sent_us, round(self.answer_s * 1e6))


@pytest.fixture
def setup() -> Callable[..., tuple[FakeClock, FakeLink, ModbusBus]]:
    """Makes (clock, link, bus) with the bus settings given."""

    def make(**settings: Any) -> tuple[FakeClock, FakeLink, ModbusBus]:
        clock = FakeClock()
        link = FakeLink(clock)
        return clock, link, ModbusBus(link, BusSettings(**settings), clock=clock, jitter=random.Random(1))

    return make
