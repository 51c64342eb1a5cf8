"""A clock and links under a test's hand, and the registers of meters behind them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

from drivers.base import Quantity
from drivers.errors import ConnectionFailed, IllegalAddress, PeerError, ResponseTimeout
from drivers.modbus.codec import encode
from drivers.modbus.link import Answer
from drivers.modbus.model import MeterModel
from drivers.modbus.register_map import TEXTS, Table

T = TypeVar("T")


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result, within half a minute of real time."""
    return asyncio.run(asyncio.wait_for(coroutine, 30))


async def outcome(coroutine: Coroutine[Any, Any, T]) -> T | PeerError:
    """What came, or why nothing did."""
    try:
        return await coroutine
    except PeerError as error:
        return error


def memory_of(model: MeterModel, **values: Any) -> dict[tuple[int, int], int]:
    """All registers of a model (and the unlisted ones between them), holding `values` or the register's own address."""
    words: dict[tuple[int, int], int] = {}
    codes = model.limits.function_codes
    for table in Table:
        specs = [s for s in model.registers if s.table is table]
        for spec in specs:
            if spec.quantity in TEXTS:
                value: Any = values.get(spec.quantity.value, "210001" if spec.quantity is Quantity.SERIAL else "1")
            else:
                value = values.get(spec.quantity.value, float(spec.address % 200))
            for i, word in enumerate(encode(spec, value)):
                words[codes[table], spec.address + i] = word
        for first, second in itertools.pairwise(specs):
            if second.address - first.last < 60:
                for address in range(first.last + 1, second.address):
                    words.setdefault((codes[table], address), 0xDEAD)
    return words


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
    answer_s_of: dict[int, float] = field(default_factory=dict)
    """Of single units, where it is another."""
    gateway_waits_s: float = 0.0
    """How long after a question to nobody the gateway takes no other."""
    _busy_until: float = 0.0
    connected: bool = False
    fault: Callable[[int, int, int, int], PeerError | None] = lambda unit, function, address, count: None
    connect_fails: int = 0
    asked: list[tuple[int, int, int, int]] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)
    """When, in the order of `asked`."""
    connects: list[float] = field(default_factory=list)
    closes: int = 0
    peer: str = "gateway:502"
    numbered: bool = True
    written: list[tuple[int, int, int, tuple[int, ...]]] = field(default_factory=list)
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
        self.asked_at.append(self.clock.elapsed_s)
        sent_us = self.clock.now_us()
        if error := self.fault(unit, function, address, count):
            if isinstance(error, ConnectionFailed):
                self.connected = False
            raise error
        meter = self.meters.get(unit)
        begins = max(self.clock.elapsed_s, self._busy_until)
        took_s = begins - self.clock.elapsed_s + self.answer_s_of.get(unit, self.answer_s)
        if meter is None:
            self._busy_until = begins + self.gateway_waits_s
        if meter is None or took_s > timeout_s:
            self.clock.elapsed_s += timeout_s
            raise ResponseTimeout("no answer", peer=f"{self.peer} unit {unit}")
        self.clock.elapsed_s += took_s
        words = [meter.get((function, a)) for a in range(address, address + count)]
        if None in words:
            raise IllegalAddress("exception 2", peer=f"{self.peer} unit {unit}", exception_code=2)
        return Answer(tuple(w for w in words if w is not None), sent_us, round(took_s * 1e6))

    async def write(
        self, *, unit: int, function: int, address: int, words: tuple[int, ...], timeout_s: float
    ) -> Answer:
        assert self.connected
        self.written.append((unit, function, address, words))
        sent_us = self.clock.now_us()
        if error := self.fault(unit, function, address, len(words)):
            raise error
        meter = self.meters.get(unit)
        if meter is None:
            self.clock.elapsed_s += timeout_s
            raise ResponseTimeout("no answer", peer=f"{self.peer} unit {unit}")
        self.clock.elapsed_s += self.answer_s
        for i, word in enumerate(words):
            meter[3, address + i] = word
        return Answer(words, sent_us, round(self.answer_s * 1e6))
