"""Which clocks are read after a round, and when again; by a bus and a store that are only played."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import Mock
from zoneinfo import ZoneInfo

import pytest
from structlog.testing import capture_logs

from drivers.base import Quantity
from drivers.errors import ResponseTimeout
from drivers.modbus.features import ClockSpec
from drivers.modbus.gate import Priority
from drivers.modbus.link import Answer
from drivers.modbus.map_file import load_models
from headend.domain.topology import PollTarget
from headend.ingest import clock_check
from headend.ingest.clock_check import ClockCheck
from headend.store.errors import StoreUnavailable
from support.switchable import PLAIN, SWITCHABLE, write_models

BUS = "modbus+tcp://10.0.0.1:502"


def target(meter_id: int, model: str = SWITCHABLE, bus: str = BUS) -> PollTarget:
    return PollTarget(meter_id, "Eastron", f"12000{meter_id}", model, bus, meter_id, False, "A")


class Played:
    """A bus, a store and a clock."""

    def __init__(self, models: Any) -> None:
        self.now = datetime(2026, 11, 25, 12, 0, tzinfo=UTC)
        self.silent: set[int] = set()
        self.away = False
        self.known: dict[int, datetime] = {}
        self.asked: list[tuple[int, Priority]] = []
        self.kept: list[tuple[int, int | None, bool]] = []
        book = Mock(zone=ZoneInfo("Asia/Shanghai"))
        book.read = lambda _, target, offset, *, model_sets, now: self.kept.append(
            (target.meter_id, offset.offset_ms, model_sets)
        )
        self.check = ClockCheck(
            self, models, lambda _: self, book, every_s=86_400, clock=lambda: self.now  # type: ignore[arg-type, return-value]
        )  # fmt: skip

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self.away:
            raise StoreUnavailable("away")
        yield

    @asynccontextmanager
    async def turn(self, address: Any) -> AsyncIterator[Any]:
        self.asked.append((address.unit, address.priority))

        async def read(where: Any) -> Answer:
            if address.unit in self.silent:
                raise ResponseTimeout("no answer", peer="10.0.0.1:502")
            spec = ClockSpec(table=where.table, address=where.first, format=address.model.features.clock.format)
            assert spec.range == where
            return Answer((2026, 11, 25, 20, 0, 2), round(self.now.timestamp() * 1e6), 0)

        async def visit(_: Any) -> Any:
            return Mock(values={Quantity.SERIAL: f"12000{address.unit}"})

        yield Mock(read=read, visit=visit)

    def after(self, *targets: PollTarget) -> list[int]:
        """Who is asked after a round in which these were read."""
        self.asked.clear()
        asyncio.run(self.check.check(targets))
        return [unit for unit, _ in self.asked]


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    made = Played(load_models(write_models(tmp_path / "models")))
    monkeypatch.setattr(clock_check.clocks, "read_last", lambda _: made.known)
    return made


def test_each_once_a_day_and_behind_every_poll(played: Played) -> None:
    played.known = {2: played.now - timedelta(hours=23)}
    assert played.after(target(1), target(2)) == [1]
    assert played.asked == [(1, Priority.BACKFILL)]
    assert played.kept == [(1, 2500, True)]
    assert played.after(target(1), target(2)) == []
    played.now += timedelta(hours=1, seconds=1)
    assert played.after(target(1), target(2)) == [2]
    played.now += timedelta(hours=24)
    assert played.after(target(1), target(2)) == [1, 2]


def test_what_is_not_read_is_tried_again_after_an_hour_and_said_once(
    played: Played,
) -> None:
    played.silent = {1}
    with capture_logs() as said:
        assert played.after(target(1)) == [1]
        assert played.after(target(1)) == []
        played.now += timedelta(hours=1)
        assert played.after(target(1)) == [1]
    assert [line["event"] for line in said] == ["clock not read"]
    played.silent = set()
    played.now += timedelta(hours=1)
    assert played.after(target(1)) == [1]
    assert [meter for meter, _, _ in played.kept] == [1]


def test_what_was_read_while_our_own_clock_was_ahead_is_read_again(played: Played) -> None:
    played.known = {1: played.now + timedelta(days=40), 2: played.now - timedelta(hours=1)}
    assert played.after(target(1), target(2)) == [1]
    assert played.after(target(1), target(2)) == []


def test_while_the_database_is_away_nobody_is_asked(played: Played) -> None:
    played.away = True
    assert played.after(target(1)) == []
    played.away = False
    assert played.after(target(1)) == [1]
    played.away = True
    played.now += timedelta(days=2)
    assert played.after(target(1)) == [1]  # read, and not kept: again in an hour
    played.away = False
    played.now += timedelta(hours=1)
    assert played.after(target(1)) == [1]


def test_only_meters_with_a_clock_and_buses_side_by_side(played: Played) -> None:
    other = "modbus+tcp://10.0.0.2:502"

    async def scenario(done: Callable[[], bool]) -> None:
        task = asyncio.create_task(played.check.run())
        played.check.after_round([target(1), target(2, PLAIN), target(3, "gone"), target(4, bus=other)])
        async with asyncio.timeout(5):
            while not done():
                await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario(lambda: len(played.kept) == 2))
    assert sorted(unit for unit, _ in played.asked) == [1, 4]
