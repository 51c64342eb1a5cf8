"""Links without numbers: no answer is ever taken for another question's, however late or often it comes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from drivers.base import Quantity
from drivers.errors import PeerError
from drivers.modbus.address import ModbusAddress
from drivers.modbus.bus import ModbusBus
from drivers.modbus.bus_settings import BusSettings
from drivers.modbus.gate import Priority
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from drivers.modbus.plan import Block
from drivers.modbus.refusals import MeterKey, RefusalsInMemory
from drivers.modbus.register_map import AddressRange, RegisterSpec, Table
from drivers.modbus.shapes import ShapesAsked, longer
from support.modbus import FakeClock, run
from support.spoilt_line import Fate, SpoiltLine, word

LATE_S = 5.0
TIMEOUT_S = 0.5
SDM230 = load_models()["eastron-sdm230"]
QUANTITIES = [Quantity.VOLTAGE_L1_V, Quantity.VOLTAGE_L2_V, Quantity.VOLTAGE_L3_V, Quantity.CURRENT_L1_A,
              Quantity.CURRENT_L2_A, Quantity.CURRENT_L3_A, Quantity.POWER_W, Quantity.IMPORT_WH]  # fmt: skip


def model_of(specs: Sequence[RegisterSpec], limits: Any) -> MeterModel:
    return replace(SDM230, id="test", registers=tuple(specs), limits=limits)


def twins(make_spec: Any, make_limits: Any, max_gap: int) -> MeterModel:
    """Blocks that look alike but for their address: what RTU cannot tell apart."""
    specs = [
        make_spec(quantity=q, address=40 * (i // 2) + 2 * (i % 2), count=2, scale=Fraction(1), unit=unit)
        for i, q in enumerate(QUANTITIES)
        for unit in [
            "V" if q.value.endswith("_v") else "A" if q.value.endswith("_a") else "Wh" if "wh" in q.value else "W"
        ]
    ]
    return model_of(specs, make_limits(max_gap=max_gap, forbidden=(AddressRange(Table.INPUT, 44, 44),)))


@dataclass(frozen=True)
class Step:
    """One thing that happens: a pause, then a visit or a raw read of one unit."""

    pause_s: float
    unit: int
    quantities: frozenset[Quantity] | None
    priority: Priority
    raw: AddressRange | None


async def play(bus: ModbusBus, clock: FakeClock, model: MeterModel, steps: Sequence[Step]) -> int:
    """Do them all; every word that comes is that of its own register. Returns how many came."""
    came = 0
    for step in steps:
        clock.elapsed_s += step.pause_s
        address = ModbusAddress(step.unit, model, step.priority)
        try:
            if step.raw is None:
                snapshot = await bus.visit(address, step.quantities)
                for quantity, words in snapshot.words.items():
                    spec = model.by_quantity[quantity]
                    assert words == tuple(word(step.unit, 4, a) for a in range(spec.address, spec.last + 1))
                    came += 1
            else:
                async with bus.turn(address) as turn:
                    answer = await turn.read(step.raw)
                assert answer.words == tuple(word(step.unit, 4, a) for a in range(step.raw.first, step.raw.last + 1))
                came += 1
        except PeerError:
            pass
    return came


fates = st.builds(
    Fate,
    delay_s=st.sampled_from([0.01, 0.05, 0.3, 0.6, 0.9, 1.1, 2.0, 4.0, LATE_S - 0.01]),
    lost=st.sampled_from([False] * 5 + [True]),
    again_s=st.lists(st.floats(0.02, LATE_S - 0.02), max_size=2).map(tuple),
    exception=st.sampled_from([None] * 9 + [2, 6]),
)
steps = st.builds(
    Step,
    pause_s=st.sampled_from([0.0, 0.0, 0.1, 1.0, LATE_S, 60.0]),
    unit=st.integers(1, 2),
    quantities=st.none() | st.sets(st.sampled_from(QUANTITIES), min_size=1).map(frozenset),
    priority=st.sampled_from(list(Priority)),
    raw=st.none() | st.sampled_from([AddressRange(Table.INPUT, a, a + 1) for a in (0, 2, 40, 80)]),
)


@seed(20261123)
@settings(max_examples=400, deadline=None)
@given(
    line=st.lists(fates, min_size=5, max_size=60),
    script=st.lists(steps, min_size=2, max_size=12),
    max_gap=st.sampled_from([0, 3, 40]),
    retries=st.integers(0, 2),
    missing=st.sets(st.tuples(st.integers(1, 2), st.integers(0, 130)), max_size=3).map(frozenset),
)
def test_no_answer_is_ever_taken_for_another_questions(
    line: list[Fate], script: list[Step], max_gap: int, retries: int, missing: Any, make_spec: Any, make_limits: Any
) -> None:
    clock, memory = FakeClock(), RefusalsInMemory()
    link = SpoiltLine(clock, iter(line), missing)
    given_settings = BusSettings(timeout_s=TIMEOUT_S, timeout_min_s=0.1, retries=retries, late_s=LATE_S)
    bus = ModbusBus(link, given_settings, clock=clock, refusals=memory, jitter=random.Random(1))
    model = twins(make_spec, make_limits, max_gap)
    run(play(bus, clock, model, script))
    assert len(link.mistaken) <= bus.stats.doubted  # only copies of known answers get so far, and none is believed
    for unit in (1, 2):
        for refusal in memory.known(MeterKey("line", unit, "test")):
            assert any(refusal.range.first <= address <= refusal.range.last for u, address in missing if u == unit), (
                "a refusal was remembered that nobody meant"
            )
    for _, _, address, count in link.asked:
        assert not address <= 44 < address + count  # forbidden, whatever the need for another shape


def random_life(late_s: float, make_spec: Any, make_limits: Any) -> tuple[SpoiltLine, ModbusBus, int]:
    """A week of trouble on one line, the same for every setting."""
    rng = random.Random(20261123)

    def trouble() -> Iterator[Fate]:
        while True:
            again = tuple(rng.uniform(0.02, LATE_S - 0.02) for _ in range(rng.choice([0, 0, 0, 1, 2])))
            delay_s = rng.choice([0.02, 0.05, 0.05, 0.1, rng.uniform(0.3, LATE_S - 0.01)])
            yield Fate(delay_s, rng.random() < 0.05, again, 2 if rng.random() < 0.02 else None)

    clock = FakeClock()
    link = SpoiltLine(clock, trouble())
    given_settings = BusSettings(timeout_s=TIMEOUT_S, timeout_min_s=0.1, retries=1, late_s=late_s)
    bus = ModbusBus(link, given_settings, clock=clock, jitter=random.Random(1))
    model = twins(make_spec, make_limits, max_gap=3)
    script = [
        Step(rng.choice([0.0, 0.0, 0.2, 3.0, 60.0]), rng.randint(1, 3), None, Priority.HOUSEHOLD, None)
        for _ in range(600)
    ]
    try:
        came = run(play(bus, clock, model, script))
    except AssertionError:
        came = -1
    return link, bus, came


def test_without_the_rule_answers_are_taken_for_others_and_with_it_they_are_not(
    make_spec: Any, make_limits: Any
) -> None:
    link, _, came = random_life(0.0, make_spec, make_limits)
    assert link.mistaken, "the line is not spoilt enough to show anything"
    assert came == -1, "a wrong value must be seen as one"
    link, bus, came = random_life(LATE_S, make_spec, make_limits)
    assert len(link.mistaken) <= bus.stats.doubted
    assert came > 3000
    assert bus.stats.reshaped > 500
    assert bus.stats.timeouts > 100


def test_a_retry_looks_other_than_the_question_whose_answer_may_still_come(make_spec: Any, make_limits: Any) -> None:
    clock = FakeClock()
    link = SpoiltLine(clock, iter([Fate(0.6), Fate(0.2)]))
    bus = ModbusBus(link, BusSettings(timeout_s=0.5, retries=1, late_s=LATE_S), clock=clock)
    model = twins(make_spec, make_limits, max_gap=3)
    reading = run(bus.visit(ModbusAddress(1, model), frozenset({Quantity.VOLTAGE_L1_V})))
    assert reading.words[Quantity.VOLTAGE_L1_V] == (word(1, 4, 0), word(1, 4, 1))
    assert link.asked == [(1, 4, 0, 2), (1, 4, 0, 4)]
    assert bus.stats.reshaped == 1


def test_padding_that_a_meter_refuses_is_not_tried_again_and_not_held_against_the_block(
    make_spec: Any, make_limits: Any
) -> None:
    clock, memory = FakeClock(), RefusalsInMemory()
    link = SpoiltLine(clock, iter([]), missing=frozenset({(1, 9)}))
    bus = ModbusBus(link, BusSettings(timeout_s=0.5, late_s=LATE_S), clock=clock, refusals=memory)
    specs = [make_spec(quantity=q, address=7 + i, count=1) for i, q in enumerate(QUANTITIES[:2])]
    model = model_of(specs, make_limits(max_gap=3))
    for _ in range(3):
        assert run(bus.visit(ModbusAddress(1, model))).missing == ()
    assert [(a, n) for _, _, a, n in link.asked] == [(7, 2), (7, 3), (5, 4), (4, 5)]
    assert memory.known(MeterKey("line", 1, "test")) == ()
    assert clock.elapsed_s < LATE_S


def test_a_retry_that_cannot_look_other_is_left_to_the_next_round(make_spec: Any, make_limits: Any) -> None:
    clock = FakeClock()
    link = SpoiltLine(clock, iter([Fate(0.6)]))
    bus = ModbusBus(link, BusSettings(timeout_s=0.5, retries=3, late_s=LATE_S), clock=clock)
    model = model_of([make_spec(quantity=Quantity.POWER_W, address=7, count=1)], make_limits(max_gap=0))
    with pytest.raises(PeerError, match="no answer"):
        run(bus.visit(ModbusAddress(1, model)))
    assert (len(link.asked), clock.elapsed_s) == (1, 0.5)
    run(bus.visit(ModbusAddress(1, model)))  # the next question waits the late answer out
    assert clock.elapsed_s == pytest.approx(0.5 + LATE_S + 0.05)
    assert (link.mistaken, bus.stats.waited_out) == ([], 1)


def test_an_exception_that_comes_again_makes_nobody_remember_a_refusal(make_spec: Any, make_limits: Any) -> None:
    """It has no length to tell it by: the second copy of one for a block passes for one of a half."""
    clock, memory = FakeClock(), RefusalsInMemory()
    link = SpoiltLine(clock, iter([Fate(0.05, again_s=(0.15, 0.2), exception=2), Fate(0.3)]))
    bus = ModbusBus(link, BusSettings(timeout_s=0.5, late_s=LATE_S), clock=clock, refusals=memory)
    specs = [make_spec(quantity=q, address=i, count=1) for i, q in enumerate(QUANTITIES[:2])]
    model = model_of(specs, make_limits(max_gap=3))
    first = run(bus.visit(ModbusAddress(1, model)))
    assert first.missing == (QUANTITIES[0],)  # absent this time; better than wrong
    assert memory.known(MeterKey("line", 1, "test")) == ()
    clock.elapsed_s += 60
    assert run(bus.visit(ModbusAddress(1, model))).missing == ()


def test_where_every_exception_comes_twice_only_what_is_missing_is_remembered(make_spec: Any, make_limits: Any) -> None:
    """A gateway that repeats itself does so in every round: seeing the same twice proves nothing."""

    class Repeating(SpoiltLine):
        async def read(self, *, unit: int, function: int, address: int, count: int, timeout_s: float) -> Any:
            missing = any((unit, a) in self.missing for a in range(address, address + count))
            self.fates = iter([Fate(0.05, again_s=(0.2,)) if missing else Fate(0.3)])
            return await super().read(unit=unit, function=function, address=address, count=count, timeout_s=timeout_s)

    clock, memory = FakeClock(), RefusalsInMemory()
    link = Repeating(clock, iter([]), missing=frozenset({(1, 1)}))
    bus = ModbusBus(link, BusSettings(timeout_s=0.5, late_s=LATE_S), clock=clock, refusals=memory)
    specs = [make_spec(quantity=q, address=i, count=1) for i, q in enumerate(QUANTITIES[:3])]
    model = model_of(specs, make_limits())
    for _ in range(6):
        last = run(bus.visit(ModbusAddress(1, model)))
        clock.elapsed_s += 900
    assert [r.range for r in memory.known(MeterKey("line", 1, "test"))] == [AddressRange(Table.INPUT, 1, 1)]
    assert last.missing == (QUANTITIES[1],)
    assert bus.stats.refusals_found == 1


def test_a_doubted_refusal_is_over_once_the_registers_answer(make_spec: Any, make_limits: Any) -> None:
    clock, memory = FakeClock(), RefusalsInMemory()
    link = SpoiltLine(clock, iter([Fate(0.05), Fate(0.05), Fate(0.05), Fate(0.05, exception=2)]))
    bus = ModbusBus(link, BusSettings(timeout_s=0.5, late_s=LATE_S), clock=clock, refusals=memory)
    model = model_of([make_spec(quantity=Quantity.POWER_W, address=7, count=1)], make_limits())
    here = ModbusAddress(1, model)
    link.missing = frozenset({(1, 7)})
    with pytest.raises(PeerError):
        run(bus.visit(here))
    link.missing = frozenset()
    clock.elapsed_s += 900
    assert run(bus.visit(here)).missing == ()
    clock.elapsed_s += 900
    assert run(bus.visit(here)).missing == ()  # it was refused once, and again in another mood, and has it for all that
    assert memory.known(MeterKey("line", 1, "test")) == ()


def test_others_have_the_bus_while_a_question_waits_for_late_answers(make_spec: Any, make_limits: Any) -> None:
    clock = FakeClock()
    link = SpoiltLine(clock, iter([]))
    bus = ModbusBus(link, BusSettings(late_s=LATE_S), clock=clock)
    model = model_of([make_spec(quantity=Quantity.POWER_W, address=7, count=1)], make_limits(max_gap=0))
    sleeping, go = asyncio.Event(), asyncio.Event()

    async def sleep(seconds: float) -> None:
        sleeping.set()
        await go.wait()
        clock.elapsed_s += seconds

    async def scene() -> list[int]:
        await bus.visit(ModbusAddress(1, model))
        clock.sleep = sleep  # type: ignore[method-assign]
        waiting = asyncio.create_task(bus.visit(ModbusAddress(1, model)))
        await sleeping.wait()
        await bus.visit(ModbusAddress(2, model))
        go.set()
        await waiting
        return [unit for unit, *_ in link.asked]

    assert run(scene()) == [1, 1, 2, 1]  # the second answer has the words of the first: it is doubted, and asked again


def test_blocks_of_one_length_are_read_without_waiting_on_a_line_that_is_well(make_spec: Any, make_limits: Any) -> None:
    clock = FakeClock()
    link = SpoiltLine(clock, iter([]))
    bus = ModbusBus(link, BusSettings(late_s=LATE_S), clock=clock)
    model = twins(make_spec, make_limits, max_gap=0)
    snapshot = run(bus.visit(ModbusAddress(1, model)))
    assert not snapshot.missing
    assert len({count for *_, count in link.asked}) == 1, "they cannot be told apart by their length"
    assert (bus.stats.waited_out, bus.stats.doubted) == (0, 0)
    assert clock.elapsed_s == pytest.approx(0.05 * len(link.asked))


def test_a_copy_of_a_known_answer_is_doubted_and_not_believed(make_spec: Any, make_limits: Any) -> None:
    clock = FakeClock()
    link = SpoiltLine(clock, iter([Fate(0.05, again_s=(0.1,)), Fate(0.3)]))  # the copy overtakes the second answer
    bus = ModbusBus(link, BusSettings(late_s=LATE_S), clock=clock)
    specs = [make_spec(quantity=q, address=20 * i, count=2) for i, q in enumerate(QUANTITIES[:2])]
    snapshot = run(bus.visit(ModbusAddress(1, model_of(specs, make_limits(max_gap=0)))))
    assert snapshot.words[QUANTITIES[1]] == (word(1, 4, 20), word(1, 4, 21))
    assert (bus.stats.doubted, bus.stats.waited_out) == (1, 1)
    assert [a for _, _, a, _ in link.asked] == [0, 20, 20]


def test_whoever_a_backfill_lets_go_first_may_ask_the_same_shape(make_spec: Any, make_limits: Any) -> None:
    """The answer to the household's question comes again while the backfill waits for its own."""
    clock = FakeClock()
    link = SpoiltLine(clock, iter([Fate(), Fate(0.05, again_s=(0.08,)), Fate(0.1)]))
    bus = ModbusBus(link, BusSettings(late_s=LATE_S), clock=clock)
    specs = [make_spec(quantity=q, address=20 * i, count=2) for i, q in enumerate(QUANTITIES[:2])]
    model = model_of(specs, make_limits(max_gap=3))
    household: list[asyncio.Task[Any]] = []

    async def scene() -> None:
        async with bus.turn(ModbusAddress(1, model, Priority.BACKFILL)) as turn:
            await turn.read(AddressRange(Table.INPUT, 40, 42))
            household.append(asyncio.create_task(bus.visit(ModbusAddress(1, model), frozenset({QUANTITIES[0]}))))
            await asyncio.sleep(0)  # it waits for the bus now
            answer = await turn.read(AddressRange(Table.INPUT, 60, 61))
            assert answer.words == (word(1, 4, 60), word(1, 4, 61))
        await household[0]

    run(scene())
    assert link.mistaken == []
    assert [a for _, _, a, _ in link.asked] == [40, 0, 60]


def test_numbered_links_need_none_of_this(make_spec: Any, make_limits: Any) -> None:
    clock = FakeClock()
    link = SpoiltLine(clock, iter([]), numbered=True)
    bus = ModbusBus(link, BusSettings(late_s=LATE_S), clock=clock)
    model = twins(make_spec, make_limits, max_gap=3)
    for _ in range(3):
        run(bus.visit(ModbusAddress(1, model)))
    assert {count for *_, count in link.asked} == {4}
    assert clock.elapsed_s == pytest.approx(12 * 0.05)


def test_a_shape_is_free_again_once_its_time_is_over() -> None:
    shapes = ShapesAsked(5.0)
    assert shapes.wait_s((1, 4, 2), 100.0) == 0
    shapes.ended((1, 4, 2), 100.0)
    assert shapes.wait_s((1, 4, 2), 102.0) == 3.0
    assert shapes.wait_s((1, 4, 3), 102.0) == shapes.wait_s((2, 4, 2), 102.0) == shapes.wait_s((1, 3, 2), 102.0) == 0
    for unit in range(2000):
        shapes.ended((unit % 250, unit, 1), 100.0 + unit)
    assert shapes.wait_s((1, 4, 2), 105.0) == 0
    assert len(shapes._until) < 300  # what is over is swept out


def test_words_that_cannot_come_again_are_not_kept() -> None:
    shapes = ShapesAsked(5.0)
    for second in range(2000):  # one meter, read every second, whose register counts
        shapes.ended((1, 4, 2), float(second), (0, second))
    assert shapes.may_be_again((1, 4, 2), (0, 1999), 2000.0)
    assert not shapes.may_be_again((1, 4, 2), (0, 1), 2000.0)
    assert len(shapes._until[1, 4, 2]) <= 6


@st.composite
def _maps(draw: Any) -> tuple[list[tuple[int, int]], dict[str, Any], list[tuple[int, int]], int]:
    align = draw(st.sampled_from([1, 2]))
    spans, address = [], align * draw(st.integers(0, 4))
    for _ in range(draw(st.integers(1, 5))):
        count = align * draw(st.integers(1, 3))
        spans.append((address, count))
        address += count + align * draw(st.integers(0, 4))
    limits = {"max_registers": draw(st.integers(8, 20)), "max_gap": draw(st.integers(0, 6)), "align": align}
    closed = [(a, a + draw(st.integers(0, 2))) for a in draw(st.lists(st.integers(0, 40), max_size=2))]
    return spans, limits, closed, draw(st.integers(0, len(spans) - 1))


@seed(20261123)
@settings(max_examples=300, deadline=None)
@given(case=_maps())
def test_padding_keeps_to_every_limit_of_the_map_and_misses_no_length(
    case: Any, make_spec: Any, make_limits: Any
) -> None:
    spans, given_limits, closed, which = case
    limits = make_limits(**given_limits)
    specs = [make_spec(quantity=list(Quantity)[i], address=a, count=n) for i, (a, n) in enumerate(spans)]
    shut = [AddressRange(Table.INPUT, *c) for c in closed]
    spec = specs[which]
    block = Block(Table.INPUT, spec.address, spec.count, (spec,))
    found = list(longer(block, model_of(specs, limits), shut))
    listed = {a for s in specs for a in range(s.address, s.last + 1)}
    lengths = set()
    for first in range(60):  # an independent statement of what is allowed, over all there is
        for last in range(first, 60):
            if first > spec.address or last < spec.last or (first, last) == (spec.address, spec.last):
                continue
            added = [a for a in range(first, last + 1) if not spec.address <= a <= spec.last]
            gaps = "".join("." if a in listed else "x" for a in range(first, last + 1)).split(".")
            if (
                last - first + 1 <= limits.max_registers
                and first % limits.align == 0
                and (last + 1) % limits.align == 0
                and not any(c.first <= a <= c.last for c in shut for a in added)
                and all(len(gap) <= limits.max_gap for gap in gaps)
                and not any(s.address < first <= s.last or s.address <= last < s.last for s in specs)
            ):
                lengths.add(last - first + 1)
    assert [b.count for b in found] == sorted(lengths)
    for b in found:
        assert b.address <= spec.address
        assert b.range.last >= spec.last
        assert b.specs == (spec,)
