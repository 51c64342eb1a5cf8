"""When rounds begin: on the grid, never two at once, what was missed, how area meters and few buses at a time go."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from support.polling import Polling, metric

Make = Callable[..., Any]
MIN = timedelta(minutes=1)


def _at(hour: int, minute: int, second: float = 0.0) -> datetime:
    return datetime(2026, 11, 20, hour, minute, tzinfo=UTC) + timedelta(seconds=second)


def test_a_first_round_soon_then_on_the_grid(time: Any, scripted: Make, target: Make) -> None:
    before = metric("ticks_missed", reason="late_round")
    bus = scripted({1: "1"})
    began = time.now
    Polling(time, bus, [target(1)], offset_s=3.5).run(began + 60 * MIN)
    assert [at for at, _, _ in bus.visits] == [
        began + timedelta(seconds=3.5),  # a fleet that starts does not fire at once either
        *(_at(4, minute, 3.5) for minute in (15, 30, 45)),
        _at(5, 0, 3.5),
    ]
    assert metric("ticks_missed", reason="late_round") == before
    assert max(time.slept) <= 30  # a wall clock that is set while it waits is noticed


def test_a_late_round_starts_no_second_one_and_missed_ticks_are_counted(
    time: Any, scripted: Make, target: Make
) -> None:
    before = metric("ticks_missed", reason="late_round")
    bus = scripted({1: "1", 2: "2"}, visit_s=70.0)  # a round takes 140 s, ticks come each 60 s
    Polling(time, bus, [target(1), target(2)], period_s=60).run(time.now + timedelta(seconds=600))
    starts = [at for at, unit, _ in bus.visits if unit == 1]
    assert {at.second for at in starts[1:]} == {0}
    gaps = {(b - a).total_seconds() for a, b in itertools.pairwise(starts[1:])}
    assert gaps == {180.0}
    assert metric("ticks_missed", reason="late_round") - before == 2 * (len(starts) - 1)


def test_a_late_round_may_be_made_up_for_at_once_and_only_once(time: Any, scripted: Make, target: Make) -> None:
    before = metric("ticks_missed", reason="late_round")
    slow = iter([150.0, 5.0, 5.0, 5.0])  # the first round, from 04:00:07, runs over the ticks 04:01 and 04:02

    def answer() -> str:
        time.now += timedelta(seconds=next(slow))
        return "1"

    bus = scripted({1: answer}, visit_s=0.0)
    polling = Polling(time, bus, [target(1)], period_s=60, missed_tick="at_once")
    polling.run(_at(4, 4, 1))
    assert [at for at, _, _ in bus.visits] == [
        _at(4, 0, 7),
        _at(4, 2, 37),  # for 04:02, at once; 04:01 is missed
        _at(4, 3),
        _at(4, 4),
    ]
    assert metric("ticks_missed", reason="late_round") - before == 1


def test_a_round_that_is_always_late_goes_on_without_a_rest_where_told_so(
    time: Any, scripted: Make, target: Make
) -> None:
    bus = scripted({1: "1"}, visit_s=70.0)
    Polling(time, bus, [target(1)], period_s=60, missed_tick="at_once").run(time.now + timedelta(seconds=400))
    starts = [at for at, _, _ in bus.visits]
    assert {(b - a).total_seconds() for a, b in itertools.pairwise(starts)} == {70.0}


def test_area_meters_may_be_read_more_often(time: Any, scripted: Make, target: Make) -> None:
    before = metric("ticks_missed", reason="late_round")
    bus = scripted({1: "1", 2: "2"})
    polling = Polling(time, bus, [target(1, area_meter=True), target(2)], area_period_s=300)
    polling.run(_at(4, 31))
    assert [(at.minute, unit) for at, unit, _ in bus.visits if at > _at(4, 1)] == [
        (5, 1), (10, 1), (15, 1), (15, 2), (20, 1), (25, 1), (30, 1), (30, 2),
    ]  # fmt: skip
    assert [len(r.outcomes) for r in polling.reports] == [2, 1, 1, 2, 1, 1, 2]
    assert metric("ticks_missed", reason="late_round") == before


@pytest.mark.parametrize(("policy", "seen"), [("skip", [(30, 2)]), ("at_once", [(22, 2), (30, 2)])])
def test_a_bus_without_an_area_meter_misses_only_what_was_for_it(
    time: Any, scripted: Make, target: Make, policy: Any, seen: list[tuple[int, int]]
) -> None:
    before = metric("ticks_missed", reason="late_round")
    slow = iter([22 * 60.0 - 7, 1.0, 1.0])  # 04:00:07 to 04:22 over 04:05, 04:10, 04:15 and 04:20

    def answer() -> str:
        time.now += timedelta(seconds=next(slow))
        return "2"

    bus = scripted({2: answer}, visit_s=0.0)
    Polling(time, bus, [target(2)], area_period_s=300, missed_tick=policy).run(_at(4, 31))
    assert [(at.minute, unit) for at, unit, _ in bus.visits[1:]] == seen
    assert metric("ticks_missed", reason="late_round") - before == (1 if policy == "skip" else 0)


def test_a_clock_set_back_while_it_waits_costs_no_round(time: Any, scripted: Make, target: Make) -> None:
    bus = scripted({1: "1"})
    polling = Polling(time, bus, [target(1)])

    async def scenario() -> None:
        task = asyncio.create_task(polling.poller.run())
        async with asyncio.timeout(10):
            while time.now < _at(4, 14):
                await asyncio.sleep(0)
            time.now -= 10 * MIN
            while len(bus.visits) < 3:
                await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())
    assert [at for at, _, _ in bus.visits[1:3]] == [_at(4, 15), _at(4, 30)]


def test_few_buses_at_once_where_told_so(time: Any, scripted: Make, target: Make) -> None:
    async def scenario() -> tuple[int, int]:
        limit = asyncio.Semaphore(2)
        busy = most = done = 0

        class Counting(type(scripted({}))):  # type: ignore[misc]
            async def read_meter(self, *rest: Any, **named: Any) -> Any:
                nonlocal busy, most, done
                busy += 1
                most = max(most, busy)
                answer = await super().read_meter(*rest, **named)
                busy -= 1
                done += 1
                return answer

        targets = [target(1), target(2)]
        fleet = [Polling(time, Counting(time, {1: "1", 2: "2"}), targets, limit=limit) for _ in range(6)]
        await asyncio.gather(*(polling.poller.poll() for polling in fleet))
        return most, done

    assert asyncio.run(scenario()) == (2, 12)
