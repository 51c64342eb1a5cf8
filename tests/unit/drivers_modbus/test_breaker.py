"""Dead meters rest, dead gateways do not make them; counted requests and simulated time."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import pytest

from drivers.base import Quantity
from drivers.errors import (
    ConnectionFailed,
    DeviceException,
    DriverConfigError,
    MalformedResponse,
    MeterResting,
    PeerError,
    ResponseTimeout,
)
from drivers.modbus.address import ModbusAddress
from drivers.modbus.breaker import Breaker
from drivers.modbus.bus_settings import BusSettings
from drivers.modbus.gate import Priority
from drivers.modbus.health import BreakerState
from drivers.modbus.map_file import load_models
from support.modbus import FakeClock, FakeLink, memory_of, outcome, run

SDM230 = load_models()["eastron-sdm230"]
IMPORT = frozenset({Quantity.IMPORT_WH})


def exception(code: int) -> DeviceException:
    return DeviceException("exception", peer="x", exception_code=code)


async def rounds(bus: Any, clock: FakeClock, units: Any, until_s: float, period_s: float) -> list[list[Any]]:
    """All units once each period, until the clock says `until_s`."""
    brought = []
    while clock.elapsed_s < until_s:
        began = clock.elapsed_s
        brought.append([await outcome(bus.read_meter(unit, SDM230)) for unit in units])
        clock.elapsed_s = max(clock.elapsed_s, began + period_s)
    return brought


def test_a_breaker_opens_rests_longer_and_longer_and_closes_at_an_answer() -> None:
    settings = BusSettings(breaker_failures=2, breaker_backoff_s=10, breaker_backoff_max_s=35)
    breaker = Breaker(settings, random.Random(20261123))
    breaker.failed(0)
    assert breaker.count(1) is False
    breaker.failed(2)
    assert breaker.count(3) is True
    now, rests = 3.0, []
    for _ in range(5):
        assert breaker.next_probe_at is not None
        rests.append(breaker.next_probe_at - now)
        assert breaker.state(breaker.next_probe_at - 1e-9) is BreakerState.OPEN
        now = breaker.next_probe_at
        assert breaker.state(now) is BreakerState.HALF_OPEN
        breaker.failed(now)
        breaker.count(now)
    for rest, most in zip(rests, (10, 20, 35, 35, 35), strict=True):
        assert most / 2 <= rest <= most
    assert len(set(rests)) == 5  # jittered
    assert (breaker.failures, breaker.opened_at) == (7, 3)
    breaker.answered()
    assert breaker.state(now) is BreakerState.CLOSED
    assert breaker.failures == 0


@pytest.mark.parametrize("dead", [{7}, {1, 4, 9, 20}, {1, 2, 3, 4, 5, 6}, set(range(1, 20))])
def test_k_dead_of_n_cost_at_most_one_question_each_per_rest_never_the_round(dead: set[int], setup: Any) -> None:
    rest_s, most_s, period_s = 60.0, 600.0, 30.0
    clock, link, bus = setup(
        timeout_s=1.0, retries=1, breaker_failures=3, breaker_backoff_s=rest_s, breaker_backoff_max_s=most_s
    )
    units = range(1, 21)
    link.meters = {unit: memory_of(SDM230) for unit in units if unit not in dead}

    async def scene() -> float:
        await rounds(bus, clock, units, 3 * period_s, period_s)  # found out
        await bus.read_meter(next(iter(link.meters)), SDM230)  # the last of a round as well
        assert bus.stats.breakers_opened == len(dead)
        opened_at = clock.elapsed_s
        for round_ in await rounds(bus, clock, units, 2 * 3600, period_s):  # every living meter, every round
            assert [unit for unit, got in zip(units, round_, strict=True) if isinstance(got, PeerError)] == sorted(dead)
        return opened_at

    opened_at = run(scene())
    for unit in dead:
        asked_at = [at for (u, *_), at in zip(link.asked, link.asked_at, strict=True) if u == unit and at >= opened_at]
        for i, (one, next_one) in enumerate(pairwise(asked_at), start=1):
            assert next_one - one >= min(most_s, rest_s * 2**i) / 2, (unit, i)
        assert 2 * 3600 / most_s <= len(asked_at) <= 2 * 3600 / (most_s / 2) + 4


def test_the_cost_of_a_round_with_dead_meters_is_that_of_the_living_and_the_probes(setup: Any) -> None:
    clock, link, bus = setup(timeout_s=1.0, retries=2, breaker_failures=2, breaker_backoff_s=300)
    units, dead = range(1, 51), {10, 30}
    link.meters = {unit: memory_of(SDM230) for unit in units if unit not in dead}

    async def scene() -> None:
        await rounds(bus, clock, units, 300, 100)
        for _ in range(20):
            probes, requests, began = bus.stats.probes, bus.stats.requests, clock.elapsed_s
            await rounds(bus, clock, units, began + 1, 100)
            probed = bus.stats.probes - probes
            assert bus.stats.requests - requests == 48 * 2 + probed
            assert probed <= 2
        assert bus.stats.rested > 0

    run(scene())
    assert bus.stats.retries == 2 * 2  # of the dead in the first round; none for those who were silent before


def open_one(setup: Any, **given: Any) -> tuple[FakeClock, FakeLink, Any]:
    """A bus on which unit 2 rests and unit 1 answers."""
    clock, link, bus = setup(**{"retries": 0, "breaker_failures": 2, "breaker_backoff_s": 100} | given)
    link.meters[1] = memory_of(SDM230)

    async def scene() -> None:
        for _ in range(2):
            await outcome(bus.read_meter(2, SDM230))
            await bus.read_meter(1, SDM230)

    run(scene())
    return clock, link, bus


def test_a_resting_meter_is_not_asked_and_the_error_says_since_when_and_until(setup: Any) -> None:
    clock, link, bus = open_one(setup)
    asked = len(link.asked)
    with pytest.raises(
        MeterResting, match=r"unit 2: not asked: 2 visits in a row brought nothing.* is due in \d+ s"
    ) as e:
        run(bus.read_meter(2, SDM230))
    assert e.value.code == "resting"
    assert len(link.asked) == asked
    health = bus.health(2)
    assert (health.state, health.failures) == (BreakerState.OPEN, 2)
    assert (e.value.since_us, e.value.next_probe_us) == (health.since_us, health.next_probe_us)
    assert health.since_us <= clock.now_us() < health.next_probe_us
    with pytest.raises(MeterResting):
        run(backfill(bus))


async def backfill(bus: Any) -> None:
    async with bus.turn(ModbusAddress(2, SDM230, Priority.BACKFILL)):
        raise AssertionError("a turn that cannot ask anything must not begin")


def test_a_probe_is_the_smallest_question_and_its_answer_brings_the_whole_visit(setup: Any) -> None:
    clock, link, bus = open_one(setup)
    clock.elapsed_s += 100
    assert bus.health(2).state is BreakerState.HALF_OPEN
    link.asked.clear()
    assert isinstance(run(outcome(bus.read_meter(2, SDM230))), ResponseTimeout)
    sizes = sorted(count for *_, count in {(f, a, n) for _, f, a, n in blocks_of(link, bus)})
    assert [count for *_, count in link.asked if count] == [sizes[0]]
    assert isinstance(run(outcome(bus.read_meter(2, SDM230))), MeterResting)
    clock.elapsed_s += 200
    link.meters[2] = memory_of(SDM230)
    link.asked.clear()
    reading = run(bus.read_meter(2, SDM230))
    assert reading.refused == ()
    assert link.asked[0][3] == sizes[0]
    assert len(link.asked) == 2
    health = bus.health(2)
    assert (health.state, health.failures, health.since_us, health.next_probe_us) == (
        BreakerState.CLOSED,
        0,
        None,
        None,
    )


def blocks_of(link: FakeLink, bus: Any) -> list[tuple[int, int, int, int]]:
    """What a visit to a living meter asks."""
    kept, link.asked = link.asked, []
    run(bus.read_meter(1, SDM230))
    asked, link.asked = link.asked, kept
    return asked


def test_a_person_who_waits_may_always_ask_one_question_and_gets_all_if_it_is_answered(setup: Any) -> None:
    _, link, bus = open_one(setup, retries=3)
    asked = len(link.asked)
    got = run(outcome(bus.read_meter(2, SDM230, priority=Priority.COMMAND)))
    assert isinstance(got, ResponseTimeout)
    assert len(link.asked) == asked + 1
    link.meters[2] = memory_of(SDM230)
    assert run(bus.read_meter(2, SDM230, priority=Priority.COMMAND)).import_wh is not None
    assert run(bus.read_meter(2, SDM230)).import_wh is not None


@pytest.mark.parametrize(
    "illness",
    [
        exception(10),
        exception(11),
        ConnectionFailed("lost", peer="x"),
        ResponseTimeout("no answer", peer="x"),
    ],
    ids=["no_path", "no_response", "connection", "silence"],
)
def test_a_dead_gateway_opens_nobodys_breaker(illness: PeerError, setup: Any) -> None:
    clock, link, bus = setup(retries=1, breaker_failures=2, backoff_s=1, backoff_max_s=2)
    units = range(1, 11)
    link.meters = {unit: memory_of(SDM230) for unit in units}

    async def scene() -> None:
        for _ in range(4):  # it dies and comes back, again and again, in the middle of a round too
            await rounds(bus, clock, units, clock.elapsed_s + 100, 50)
            for unit in (1, 2, 3):
                await bus.read_meter(unit, SDM230)
            link.fault = lambda *_: illness
            await rounds(bus, clock, range(4, 11), clock.elapsed_s + 1, 50)
            for round_ in await rounds(bus, clock, units, clock.elapsed_s + 500, 50):
                assert not any(isinstance(got, MeterResting) for got in round_)
            assert bus.ill or isinstance(illness, ConnectionFailed)
            link.fault = lambda *_: None
            clock.elapsed_s += 5
            (round_,) = await rounds(bus, clock, units, clock.elapsed_s + 1, 50)
            assert not [got for got in round_ if isinstance(got, PeerError)]
            assert not bus.ill
        assert bus.stats.breakers_opened == 0
        assert {bus.health(unit).failures for unit in units} == {0}

    run(scene())


def test_a_gateway_that_is_up_for_moments_is_held_against_nobody(setup: Any) -> None:
    clock, link, bus = setup(retries=0, breaker_failures=2)
    units = range(1, 11)
    link.meters = {unit: memory_of(SDM230) for unit in units}

    async def scene() -> None:
        await rounds(bus, clock, units, 1, 50)
        for _ in range(4):
            link.fault = lambda *_: ResponseTimeout("no answer", peer="x")
            await rounds(bus, clock, units, clock.elapsed_s + 1, 50)
            link.fault = lambda *_: None
            await bus.read_meter(1, SDM230)
            assert {bus.health(unit).failures for unit in units} == {0}

    run(scene())
    assert bus.stats.breakers_opened == 0


def test_a_meter_that_was_taken_away_does_not_hide_that_the_bus_is_ill(setup: Any) -> None:
    clock, link, bus = setup(retries=0)
    link.meters = {1: memory_of(SDM230), 2: memory_of(SDM230)}

    async def scene() -> None:
        await rounds(bus, clock, (1, 2), 1, 50)  # unit 2 is never asked again
        clock.elapsed_s += 2 * 86_400
        await bus.read_meter(1, SDM230)
        assert not bus.ill
        link.meters.clear()
        for _ in range(3):
            await rounds(bus, clock, (1,), clock.elapsed_s + 1, 50)
            assert bus.ill
            clock.elapsed_s += 2 * 86_400

    run(scene())


def test_a_lost_connection_and_a_visit_that_broke_off_are_no_failures_of_the_meter(setup: Any) -> None:
    clock, link, bus = setup(retries=0, breaker_failures=2, backoff_s=0.001)
    link.meters = {1: memory_of(SDM230), 2: memory_of(SDM230), 3: memory_of(SDM230)}

    def fault(unit: int, function: int, address: int, count: int) -> PeerError | None:
        if unit == 2:
            return ConnectionFailed("lost", peer="x")
        return ResponseTimeout("silent", peer="x") if unit == 3 and address >= 0x46 else None

    async def scene() -> None:
        link.fault = fault
        for _ in range(5):
            await rounds(bus, clock, (1, 2, 3), clock.elapsed_s + 1, 50)
        await bus.read_meter(1, SDM230)
        assert [bus.health(unit).failures for unit in (1, 2, 3)] == [0, 0, 0]
        assert bus.health(3).timeouts == 5

    run(scene())


def test_probes_of_resting_meters_say_nothing_about_the_connection(setup: Any) -> None:
    clock, link, bus = setup(retries=0, breaker_failures=2, breaker_backoff_s=100, reconnect_after=4)
    units, dead = range(1, 11), range(2, 8)
    link.meters = {unit: memory_of(SDM230) for unit in units if unit not in dead}

    async def scene() -> None:
        for _ in range(2):
            await rounds(bus, clock, units, clock.elapsed_s + 1, 50)
        await bus.read_meter(1, SDM230)
        assert bus.stats.breakers_opened == len(dead)
        closes = link.closes
        for _ in range(3):
            clock.elapsed_s += 1000
            probes = bus.stats.probes
            await rounds(bus, clock, units, clock.elapsed_s + 1, 50)
            assert bus.stats.probes == probes + len(dead)
        assert link.closes == closes

    run(scene())


def test_a_probe_that_is_answered_by_rubbish_is_not_repeated(setup: Any) -> None:
    clock, link, bus = open_one(setup, retries=3)
    clock.elapsed_s += 100
    link.fault = lambda unit, *_: MalformedResponse("rubbish", peer="x") if unit == 2 else None
    asked = len(link.asked)
    assert isinstance(run(outcome(bus.read_meter(2, SDM230))), MalformedResponse)
    assert len(link.asked) == asked + 1


def test_the_only_meter_of_a_bus_is_asked_every_time_and_once(setup: Any) -> None:
    """Nobody else could say that it is the meter; nobody else is kept waiting either."""
    clock, link, bus = setup(retries=2, reconnect_after=100)
    link.meters[1] = memory_of(SDM230)

    async def scene() -> None:
        await bus.read_meter(1, SDM230)
        del link.meters[1]
        for i in range(8):
            asked = len(link.asked)
            assert isinstance(await outcome(bus.read_meter(1, SDM230)), ResponseTimeout)
            assert len(link.asked) - asked == (3 if i == 0 else 1)
            clock.elapsed_s += 900
        assert link.closes == 1  # a gateway that hangs on this connection gets another one

    run(scene())


def test_a_dead_meter_among_dead_neighbours_is_found_out_once_one_of_them_answers(setup: Any) -> None:
    clock, link, bus = setup(retries=0, breaker_failures=2, breaker_backoff_s=1000, breaker_backoff_max_s=1000)
    link.meters[9] = memory_of(SDM230)

    async def scene() -> None:
        for _ in range(2):
            await rounds(bus, clock, range(1, 10), clock.elapsed_s + 1, 50)
        assert {bus.health(unit).state for unit in range(1, 9)} == {BreakerState.OPEN}
        assert bus.health(9).state is BreakerState.CLOSED

    run(scene())


def test_health_tells_what_was_learnt(setup: Any) -> None:
    clock, link, bus = setup(timeout_s=1.0, timeout_min_s=0.1, retries=1)
    link.meters[1] = memory_of(SDM230)
    assert bus.health(1) is None
    run(bus.read_meter(1, SDM230, IMPORT))
    health = bus.health(1)
    assert (health.unit, health.successes, health.timeouts, health.retries) == (1, 1, 0, 1)
    assert health.response_ms == 50
    assert health.timeout_ms == pytest.approx(50 + 4 * 25)
    assert health.last_answer_us == clock.now_us()


def test_retries_are_for_those_who_usually_answer(setup: Any) -> None:
    _, link, bus = setup(retries=1, retry_share=0.5, breaker_failures=100)
    link.meters = {1: memory_of(SDM230), 2: memory_of(SDM230)}
    turns = {"n": 0}

    def flaky(unit: int, *_: int) -> PeerError | None:
        turns["n"] += unit == 1
        return ResponseTimeout("lost", peer="x") if unit == 1 and turns["n"] % 4 else None

    async def scene() -> None:
        await bus.read_meter(1, SDM230, IMPORT)
        link.fault = flaky
        for _ in range(20):  # three of four questions are lost
            await outcome(bus.read_meter(1, SDM230, IMPORT))
            await bus.read_meter(2, SDM230, IMPORT)
        link.fault = lambda *_: None
        await bus.read_meter(1, SDM230, IMPORT)
        assert bus.health(1).retries == 0  # it answered just now, and mostly does not
        assert bus.health(2).retries == 1
        for _ in range(8):
            await bus.read_meter(1, SDM230, IMPORT)
        assert bus.health(1).retries == 1

    run(scene())


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [
        ("breaker_failures", 1, "2 or more"),
        ("breaker_backoff_s", 0, "greater than 0"),
        ("retry_share", 1.5, r"0\.\.1"),
        ("late_s", -1, "0 or more"),
        ("timeout_min_s", 0, "greater than 0"),
    ],
)
def test_wrong_settings_are_named(key: str, value: float, wanted: str) -> None:
    with pytest.raises(DriverConfigError, match=f"{key} = {value}: wanted.*{wanted}"):
        BusSettings(**{key: value})
