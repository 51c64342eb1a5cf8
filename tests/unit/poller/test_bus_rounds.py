"""Rounds of one bus: order, dead meters, exchanged meters, missed ticks, and a queue that is full."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import REGISTRY

from drivers.base import RegisterReading
from drivers.errors import ConnectionFailed
from drivers.modbus.gate import Priority
from drivers.modbus.map_file import load_models
from headend.ingest.poll_bus import BusPoller, RoundResult, by_bus, same_serial
from headend.ingest.poll_grid import stagger_us
from headend.ingest.poll_outbox import Outbox

MODELS = load_models()
Make = Callable[..., Any]


def _metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"headend_modbus_{name}_total", labels) or 0.0


class Polling:
    """A poller on a scripted bus with its results."""

    def __init__(self, time: Any, bus: Any, targets: Sequence[Any], *, period_s: int = 900, hold: int = 1000) -> None:
        self.rounds: list[RoundResult] = []
        self.box: Outbox[RoundResult] = Outbox(self._write, hold=hold, sleep=time.sleep)
        self.poller = BusPoller(bus, MODELS, self.box, period_s=period_s, clock=time, sleep=time.sleep)
        self.poller.targets = tuple(targets)

    async def _write(self, items: Sequence[RoundResult]) -> None:
        self.rounds += items

    def once(self) -> RoundResult:
        async def scenario() -> RoundResult:
            result = await self.poller.poll()
            await self.box.flush()
            assert result is not None
            return result

        return asyncio.run(scenario())


def test_area_meters_come_first(time: Any, scripted: Make, target: Make) -> None:
    bus = scripted({1: "1", 2: "2", 3: "3"})
    result = Polling(time, bus, [target(1), target(2), target(3, area=True)]).once()
    assert [(unit, priority) for _, unit, priority in bus.visits] == [
        (3, Priority.AREA_METER),
        (1, Priority.HOUSEHOLD),
        (2, Priority.HOUSEHOLD),
    ]
    assert [identity.serial for identity, _ in result.readings] == ["3", "1", "2"]


def test_a_dead_meter_is_counted_and_the_rest_is_read(time: Any, scripted: Make, target: Make, silence: Any) -> None:
    before = _metric("reads", outcome="timeout"), _metric("reads", outcome="ok")
    polling = Polling(time, scripted({1: silence, 2: "2", 3: silence, 4: "4"}), [target(u) for u in (1, 2, 3, 4)])
    result = polling.once()
    assert [identity.serial for identity, _ in result.readings] == ["2", "4"]
    assert result.failed == 2
    assert (_metric("reads", outcome="timeout"), _metric("reads", outcome="ok")) == (before[0] + 2, before[1] + 2)


def test_a_connection_that_breaks_in_a_round_costs_nobody_the_round(time: Any, scripted: Make, target: Make) -> None:
    before = _metric("reads", outcome="connection")
    down_until = time.now + timedelta(seconds=2.5)

    def behind_the_gateway(serial: str) -> Any:
        def answer() -> Any:
            return serial if time.now >= down_until else ConnectionFailed("down", peer="10.0.0.1:502")

        return answer

    bus = scripted({1: "1", 2: behind_the_gateway("2"), 3: behind_the_gateway("3")})
    result = Polling(time, bus, [target(1), target(2), target(3)]).once()
    assert [identity.serial for identity, _ in result.readings] == ["1", "2", "3"]
    assert [unit for _, unit, _ in bus.visits] == [1, 2, 3, 2, 3, 2, 3]
    assert result.failed == 0
    assert _metric("reads", outcome="connection") == before


def test_a_gateway_that_stays_away_is_left_in_time_for_the_next_round(time: Any, scripted: Make, target: Make) -> None:
    before = _metric("reads", outcome="connection")
    began = time.now
    away = ConnectionFailed("refused", peer="10.0.0.1:502")
    result = Polling(time, scripted({1: away, 2: away}, visit_s=0.0), [target(1), target(2)], period_s=60).once()
    assert result.failed == 2
    assert _metric("reads", outcome="connection") == before + 2
    assert timedelta(seconds=10) < time.now - began <= timedelta(seconds=30)


def test_another_serial_is_kept_apart(time: Any, scripted: Make, target: Make) -> None:
    before = _metric("reads", outcome="serial_mismatch")
    result = Polling(time, scripted({1: "120001", 2: "999"}), [target(1, "0120001"), target(2, "120002")]).once()
    assert [identity.serial for identity, _ in result.readings] == ["0120001"]
    assert [(m.target.serial, m.reading.serial) for m in result.mismatches] == [("120002", "999")]
    assert result.mismatches[0].detail == ("the store expects Eastron/120002 here, the meter says its serial is 999")
    assert _metric("reads", outcome="serial_mismatch") == before + 1


def test_a_meter_that_cannot_tell_its_serial_is_believed(time: Any, scripted: Make, target: Make) -> None:
    assert len(Polling(time, scripted({1: None}), [target(1)]).once().readings) == 1


def test_a_reading_without_any_register_is_no_reading(time: Any, scripted: Make, target: Make) -> None:
    before = _metric("reads", outcome="no_registers")
    voltage_only = RegisterReading(
        instant_us=1, uncertainty_ms=1, voltage_v=(230.0, None, None), refused=("import_wh",)
    )
    polling = Polling(time, scripted({1: voltage_only, 2: "2"}), [target(1), target(2)])
    assert [identity.serial for identity, _ in polling.once().readings] == ["2"]
    assert _metric("reads", outcome="no_registers") == before + 1


def test_a_model_without_a_map_is_counted(time: Any, scripted: Make, target: Make) -> None:
    before = _metric("reads", outcome="unknown_model")
    polling = Polling(time, scripted({2: "2"}), [target(1, model="no-such"), target(2)])
    assert [identity.serial for identity, _ in polling.once().readings] == ["2"]
    assert _metric("reads", outcome="unknown_model") == before + 1


@pytest.mark.parametrize(
    ("stored", "told", "same"),
    [("00120001", "120001", True), ("ab12 ", "AB12", True), ("120001", "120010", False), ("1200", "12", False)],
)
def test_same_serial(stored: str, told: str, same: bool) -> None:
    assert same_serial(stored, told) is same


def _run(polling: Polling, time: Any, until: datetime) -> None:
    async def scenario() -> None:
        task = asyncio.create_task(polling.poller.run())
        async with asyncio.timeout(10):
            while time.now < until:
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await polling.box.flush()

    asyncio.run(scenario())


def test_a_first_round_at_once_then_on_the_grid(time: Any, scripted: Make, target: Make) -> None:
    before = _metric("ticks_missed", reason="late_round")
    bus = scripted({1: "1"})
    began = time.now
    _run(Polling(time, bus, [target(1)]), time, began + timedelta(hours=1))
    offset = timedelta(microseconds=stagger_us(bus.peer, 900))
    assert [at for at, _, _ in bus.visits] == [
        began,
        *(datetime(2026, 11, 20, 4, minute, tzinfo=UTC) + offset for minute in (15, 30, 45)),
        datetime(2026, 11, 20, 5, 0, tzinfo=UTC) + offset,
    ]
    assert _metric("ticks_missed", reason="late_round") == before
    assert max(time.slept) <= 30  # a wall clock that is set while it waits is noticed


def test_a_late_round_starts_no_second_one_and_missed_ticks_are_counted(
    time: Any, scripted: Make, target: Make
) -> None:
    before = _metric("ticks_missed", reason="late_round")
    bus = scripted({1: "1", 2: "2"}, visit_s=70.0)  # a round takes 140 s, ticks come each 60 s
    _run(Polling(time, bus, [target(1), target(2)], period_s=60), time, time.now + timedelta(seconds=600))
    starts = [at for at, unit, _ in bus.visits if unit == 1]
    gaps = {(b - a).total_seconds() for a, b in itertools.pairwise(starts[1:])}
    assert gaps == {180.0}
    assert _metric("ticks_missed", reason="late_round") - before == 2 * (len(starts) - 1)


def test_what_was_read_before_a_stop_is_kept(time: Any, scripted: Make, target: Make) -> None:
    async def scenario() -> None:
        asleep = asyncio.Event()

        class Stuck(type(scripted({}))):  # type: ignore[misc]
            async def read_meter(self, unit: int, *rest: Any, **named: Any) -> Any:
                if unit == 2:
                    asleep.set()
                    await asyncio.Event().wait()
                return await super().read_meter(unit, *rest, **named)

        polling = Polling(time, Stuck(time, {1: "1"}), [target(1), target(2)])
        task = asyncio.create_task(polling.poller.run())
        await asleep.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await polling.box.flush()
        assert [identity.serial for identity, _ in polling.rounds[0].readings] == ["1"]

    asyncio.run(scenario())


def test_polling_pauses_while_the_queue_is_full(time: Any, scripted: Make, target: Make) -> None:
    before = _metric("ticks_missed", reason="store_away")
    bus = scripted({1: "1", 2: "2"})
    polling = Polling(time, bus, [target(1), target(2)], hold=2)

    async def scenario() -> None:
        await polling.poller.poll()
        await polling.poller.poll()
        assert len(bus.visits) == 2
        await polling.box.flush()
        await polling.poller.poll()

    asyncio.run(scenario())
    assert len(bus.visits) == 4
    assert _metric("ticks_missed", reason="store_away") == before + 1


def test_meters_of_one_gateway_share_a_bus(target: Make) -> None:
    assert {bus: [t.unit for t in members] for bus, members in by_bus([target(1), target(2)]).items()} == {
        ("10.0.0.1", 502): [1, 2]
    }
