"""Turns on a bus: raw reads, writes that are never repeated, who goes first, and what a backfill lets in between."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from drivers.base import Quantity
from drivers.errors import ConnectionFailed, DeviceException, IllegalAddress, PeerError, ResponseTimeout
from drivers.modbus.address import ModbusAddress
from drivers.modbus.features import WriteTarget
from drivers.modbus.gate import Priority, PriorityGate
from drivers.modbus.map_file import load_models
from drivers.modbus.register_map import AddressRange, Table
from support.modbus import memory_of, outcome, run

MODELS = load_models()
SDM630 = MODELS["eastron-sdm630"]
SDM230 = MODELS["eastron-sdm230"]
ENERGY = frozenset({Quantity.IMPORT_WH, Quantity.EXPORT_WH})
COMMAND = ModbusAddress(1, SDM230, Priority.COMMAND)
RELAY = WriteTarget(function=6, address=0x20)


def holding(address: int, count: int = 1) -> AddressRange:
    return AddressRange(Table.HOLDING, address, address + count - 1)


def test_a_turn_reads_writes_and_reads_back_with_nobody_in_between(setup: Any) -> None:
    _, link, bus = setup()
    link.meters = {1: memory_of(SDM230) | {(3, 0x20): 0}, 2: memory_of(SDM230)}
    link.before = lambda unit: asyncio.sleep(0)

    async def command() -> tuple[int, ...]:
        async with bus.turn(COMMAND) as turn:
            assert (await turn.read(holding(0x20))).words == (0,)
            answer = await turn.write(RELAY, (1,))
            assert (answer.words, answer.span_us) == ((1,), 50_000)
            snapshot = await turn.visit(ENERGY)
            assert set(snapshot.values) == ENERGY
            return (await turn.read(holding(0x20))).words

    async def scene() -> None:
        words, reading = await asyncio.gather(command(), bus.read_meter(2, SDM230))
        assert words == (1,)
        assert reading.import_wh is not None

    run(scene())
    assert [unit for unit, *_ in link.asked] == [1, 1, 1, 2, 2]
    assert link.written == [(1, 6, 0x20, (1,))]


def test_what_unlocks_is_written_just_before(setup: Any) -> None:
    _, link, bus = setup()
    link.meters[1] = memory_of(SDM230)
    target = WriteTarget(function=16, address=0x20, unlock=((0x30, (1, 2, 3)), (0x40, (7,))))

    async def scene() -> None:
        async with bus.turn(COMMAND) as turn:
            await turn.write(target, (9, 9))

    run(scene())
    assert link.written == [(1, 16, 0x30, (1, 2, 3)), (1, 16, 0x40, (7,)), (1, 16, 0x20, (9, 9))]


@pytest.mark.parametrize(
    "error",
    [
        ResponseTimeout("silent", peer="x"),
        ConnectionFailed("lost", peer="x"),
        DeviceException("busy", peer="x", exception_code=6),
    ],
)
def test_a_write_is_never_repeated(error: PeerError, setup: Any) -> None:
    _, link, bus = setup(retries=5)
    link.meters[1] = memory_of(SDM230)
    link.fault = lambda *_: error
    unlocked = WriteTarget(function=6, address=0x20, unlock=((0x30, (1,)),))

    async def scene(target: WriteTarget) -> None:
        async with bus.turn(COMMAND) as turn:
            await turn.write(target, (1,))

    for target in (RELAY, unlocked):  # nothing is written after an unlocking that failed
        link.written.clear()
        with pytest.raises(type(error)):
            run(scene(target))
        assert len(link.written) == 1


def test_a_write_is_given_all_the_time_there_is(setup: Any) -> None:
    clock, link, bus = setup(timeout_s=2.0, timeout_min_s=0.1)
    link.meters[1] = memory_of(SDM230)

    async def scene() -> None:
        for _ in range(5):
            await bus.read_meter(1, SDM230)
        del link.meters[1]
        before = clock.elapsed_s
        with pytest.raises(ResponseTimeout):
            async with bus.turn(COMMAND) as turn:
                await turn.write(RELAY, (1,))
        assert clock.elapsed_s - before == 2.0

    run(scene())


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (ResponseTimeout("silent", peer="x"), True),
        (DeviceException("busy", peer="x", exception_code=6), True),
        (None, False),
    ],
)
def test_a_refusal_of_one_write_is_not_taken_for_that_of_the_next(
    error: PeerError | None, waits: bool, setup: Any
) -> None:
    """On a link without numbers an exception tells unit and function alone."""
    clock, link, bus = setup(late_s=5.0)
    link.meters[1], link.numbered = memory_of(SDM230), False

    async def scene() -> None:
        async with bus.turn(COMMAND) as turn:
            link.fault = lambda *_: error
            outcome_of_first = await outcome(turn.write(WriteTarget(function=6, address=0x10), (1,)))
            assert outcome_of_first is error or error is None
            link.fault = lambda *_: None
            await turn.write(WriteTarget(function=16, address=0x30), (1,))  # of another function
            assert clock.slept == []
            await turn.write(RELAY, (1,))
            assert clock.slept == ([pytest.approx(5.0 - 0.05)] if waits else [])

    run(scene())


def test_way_can_be_made_before_a_write_that_has_to_leave_at_once(setup: Any) -> None:
    """What waits within the write would write a clock's time when it is no longer true."""
    clock, link, bus = setup(late_s=5.0)
    link.meters[1], link.numbered = memory_of(SDM230), False
    target = WriteTarget(function=16, address=0x20, unlock=((0x30, (1,)),))

    async def scene() -> None:
        async with bus.turn(COMMAND) as turn:
            link.fault = lambda *_: ResponseTimeout("silent", peer="x")
            assert isinstance(await outcome(turn.write(target, (1, 2))), ResponseTimeout)
            link.fault = lambda *_: None
            assert turn.write_waits(target, (3, 4))
            await turn.make_way(target, (3, 4))
            assert clock.slept == [pytest.approx(5.0)]
            assert not turn.write_waits(target, (3, 4))
            await turn.write(target, (3, 4))
            assert len(clock.slept) == 1
            link.connected = False
            assert turn.write_waits(WriteTarget(function=6, address=0x40), (1,))

    run(scene())


def test_the_echo_of_a_write_is_not_taken_for_that_of_the_next(setup: Any) -> None:
    clock, link, bus = setup(late_s=5.0)
    link.meters[1], link.numbered = memory_of(SDM230), False

    async def scene() -> None:
        async with bus.turn(COMMAND) as turn:
            for word in (1, 0):  # these look different
                await turn.write(RELAY, (word,))
            assert clock.slept == []
            await turn.write(RELAY, (1,))
            assert clock.slept == [pytest.approx(5.0 - 0.05)]

    run(scene())


def test_a_raw_read_is_tried_again_and_waits_as_told(setup: Any) -> None:
    clock, link, bus = setup(timeout_s=2.0, retries=1)
    link.meters[1] = memory_of(SDM230) | {(3, 0x20): 5}
    errors: list[PeerError] = [ResponseTimeout("silent", peer="x")]
    link.fault = lambda *_: errors.pop() if errors else None

    async def scene() -> None:
        async with bus.turn(COMMAND) as turn:
            assert (await turn.read(holding(0x20))).words == (5,)
            with pytest.raises(IllegalAddress):
                await turn.read(holding(0x9999))
            del link.meters[1]
            before = clock.elapsed_s
            with pytest.raises(ResponseTimeout):
                await turn.read(holding(0x20), timeout_s=0.25)
            assert clock.elapsed_s - before == pytest.approx(0.25 + 2.0 + 0.25 - 0.25)

    run(scene())


def test_the_urgent_go_first_and_nobody_interrupts_a_visit(setup: Any) -> None:
    _, link, bus = setup()
    link.meters = {unit: memory_of(SDM630) for unit in (1, 2, 3, 4)}
    order = [(1, Priority.HOUSEHOLD), (2, Priority.BACKFILL), (3, Priority.AREA_METER), (4, Priority.COMMAND)]
    link.before = lambda unit: asyncio.sleep(0)

    async def all_at_once() -> None:
        await asyncio.gather(*(bus.read_meter(unit, SDM630, priority=p) for unit, p in order))

    run(all_at_once())
    assert [unit for unit, *_ in link.asked] == [1] * 3 + [4] * 3 + [3] * 3 + [2] * 3


def test_a_backfill_holds_the_bus_for_one_question_while_someone_more_urgent_waits(setup: Any) -> None:
    _, link, bus = setup()
    link.meters = {unit: memory_of(SDM230) | {(3, a): a for a in range(0x100, 0x200)} for unit in (1, 2, 3)}
    held = asyncio.Event()

    async def hold(unit: int) -> None:
        await asyncio.sleep(0)
        if len(link.asked) == 2:
            await held.wait()

    link.before = hold

    async def backfill() -> None:
        async with bus.turn(ModbusAddress(1, SDM230, Priority.BACKFILL)) as turn:
            for address in range(0x100, 0x10A):
                assert (await turn.read(holding(address))).words == (address,)

    async def scene() -> None:
        long = asyncio.create_task(backfill())
        while len(link.asked) < 2:
            await asyncio.sleep(0)
        other_backfill = asyncio.create_task(bus.read_meter(3, SDM230, ENERGY, priority=Priority.BACKFILL))
        household = asyncio.create_task(bus.read_meter(2, SDM230, ENERGY))
        await asyncio.sleep(0)
        held.set()
        await asyncio.gather(long, other_backfill, household)

    run(scene())
    units = [unit for unit, *_ in link.asked]
    # The third question was on the wire when the household came; among backfills it is then the other's turn.
    assert units == [1, 1, 1, 2, 3] + [1] * 7


def test_who_gives_up_while_it_lets_others_go_first_leaves_the_bus_to_them() -> None:
    async def scene() -> list[str]:
        gate, log, free = PriorityGate(), [], asyncio.Event()

        async def slow() -> None:
            async with gate.turn(Priority.BACKFILL) as hold:
                log.append("slow")
                await asyncio.sleep(0)
                await hold.give_way()
                log.append("slow again")

        async def urgent() -> None:
            async with gate.turn(Priority.COMMAND):
                log.append("urgent")
                await free.wait()

        one, other = asyncio.create_task(slow()), asyncio.create_task(urgent())
        while "urgent" not in log:
            await asyncio.sleep(0)
        one.cancel()
        await asyncio.gather(one, return_exceptions=True)
        third = asyncio.create_task(urgent())
        await asyncio.sleep(0)
        assert log == ["slow", "urgent"]  # the bus is still the urgent one's
        free.set()
        await asyncio.gather(other, third)
        return log

    assert run(scene()) == ["slow", "urgent", "urgent"]


def test_rest_between_frames_and_after_answers(setup: Any) -> None:
    clock, link, bus = setup(inter_frame_s=0.004, turnaround_s=0.02, retries=1, timeout_s=0.5)
    link.meters[1] = memory_of(SDM630)
    run(bus.read_meter(1, SDM630))
    assert clock.slept == [pytest.approx(0.02)] * 2
    clock.slept.clear()
    clock.elapsed_s += 1
    assert isinstance(run(outcome(bus.read_meter(9, SDM230))), ResponseTimeout)
    assert clock.slept == [pytest.approx(0.004)]  # before the retry: nobody spoke, so nobody needs to turn around


def test_a_turn_that_asks_nothing_says_nothing_about_the_meter(setup: Any) -> None:
    _, link, bus = setup()

    async def scene() -> None:
        async with bus.turn(COMMAND):
            pass

    run(scene())
    health = bus.health(1)
    assert (health.failures, health.timeouts, health.successes) == (0, 0, 0)
    assert link.asked == []
