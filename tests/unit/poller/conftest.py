"""A clock that tests move, and a bus that answers from a script: what the unit tests of polling share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from drivers.base import RegisterReading
from drivers.errors import ResponseTimeout
from drivers.modbus.gate import Priority
from headend.domain.topology import PollTarget
from support.polling import URI

START = datetime(2026, 11, 20, 4, 0, 7, tzinfo=UTC)


class Time:
    """Wall clock and sleep in one: sleeping is what lets time pass."""

    def __init__(self) -> None:
        self.now = START
        self.slept: list[float] = []

    def __call__(self) -> datetime:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += timedelta(seconds=seconds)
        await asyncio.sleep(0)


class ScriptedBus:
    """Answers each unit as told: a serial, an error, or nothing within the time-out; each visit takes a while."""

    peer = "10.0.0.1:502"

    def __init__(self, time: Time, answers: dict[int, Any], visit_s: float = 0.1) -> None:
        self.time = time
        self.answers = answers
        self.visit_s = visit_s
        self.visits: list[tuple[datetime, int, Priority]] = []

    def health(self, unit: int) -> None:
        """Nothing is learnt here."""

    async def read_meter(self, unit: int, model: Any, quantities: Any, *, priority: Priority) -> RegisterReading:
        self.visits.append((self.time.now, unit, priority))
        await self.time.sleep(self.visit_s)
        answer = self.answers[unit]
        if callable(answer):
            answer = answer()
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, RegisterReading):
            return answer
        return RegisterReading(
            instant_us=int(self.time.now.timestamp() * 1e6), uncertainty_ms=9, import_wh=unit, serial=answer
        )


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def scripted(time: Time) -> Callable[..., ScriptedBus]:
    def make(answers: dict[int, Any], visit_s: float = 0.1) -> ScriptedBus:
        return ScriptedBus(time, answers, visit_s)

    return make


@pytest.fixture
def silence() -> ResponseTimeout:
    return ResponseTimeout("no answer within 1 s", peer="10.0.0.1:502 unit 9")


@pytest.fixture
def target() -> Callable[..., PollTarget]:
    def make(
        unit: int,
        serial: str | None = None,
        *,
        area_meter: bool = False,
        area: str | None = "A",
        model: str = "eastron-sdm120",
    ) -> PollTarget:
        return PollTarget(unit, "Eastron", serial or str(unit), model, URI, unit, area_meter, area)

    return make
