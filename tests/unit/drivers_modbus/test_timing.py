"""How long the bus waits: learnt from answers, bounded by settings, widened by silence."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from drivers.base import Quantity
from drivers.errors import ResponseTimeout
from drivers.modbus.bus_settings import BusSettings
from drivers.modbus.map_file import load_models
from drivers.modbus.timing import Patience, ResponseTimes
from support.modbus import memory_of, outcome, run

SDM230 = load_models()["eastron-sdm230"]
ENERGY = frozenset({Quantity.IMPORT_WH, Quantity.EXPORT_WH})


def patience(neighbours: ResponseTimes | None = None, **given: Any) -> Patience:
    return Patience(BusSettings(**{"timeout_s": 1.0, "timeout_min_s": 0.01} | given), neighbours or ResponseTimes())


def test_the_estimator_is_that_of_rfc_6298() -> None:
    """Numbers worked out by hand after section 2: R = 100 ms, then R' = 180 ms."""
    times = ResponseTimes()
    assert times.bound_s(2) is None
    times.observe(2, 0.100)
    assert (times.smoothed_s, times.bound_s(2)) == (0.1, pytest.approx(0.1 + 4 * 0.05))
    times.observe(2, 0.180)
    # RTTVAR = 3/4 × 50 + 1/4 × |100 − 180| = 57.5; SRTT = 7/8 × 100 + 1/8 × 180 = 110
    assert times.smoothed_s == pytest.approx(0.110)
    assert times.bound_s(2) == pytest.approx(0.110 + 4 * 0.0575)


def test_a_meter_not_met_yet_waits_as_long_as_its_neighbours_take_once() -> None:
    neighbours = ResponseTimes()
    fresh = patience(neighbours)
    assert fresh.timeout_s(10) == 1.0  # nobody is known
    neighbours.observe(10, 0.02)
    assert fresh.timeout_s(10) == pytest.approx(0.06)
    fresh.timed_out()
    assert fresh.timeout_s(10) == 1.0  # the guess was wrong: it may be a slow one


def test_silence_doubles_the_wait_up_to_the_longest_and_an_answer_ends_that() -> None:
    known = patience(timeout_s=0.5)
    known.answered(4, 0.02, certain=True)
    waits = []
    for _ in range(6):
        waits.append(known.timeout_s(4))
        known.timed_out()
    assert waits == pytest.approx([0.06, 0.12, 0.24, 0.48, 0.5, 0.5])
    known.answered(4, 0.3, certain=True)
    assert known.timeout_s(4) < 0.5


def test_an_answer_that_may_be_another_tries_teaches_nothing() -> None:
    """Karn's rule, both halves: no sample, and the widened wait stays until an answer is certain."""
    known = patience()
    known.answered(4, 0.02, certain=True)
    known.timed_out()
    known.answered(4, 0.001, certain=False)
    assert known.smoothed_s == 0.02
    assert known.timeout_s(4) == pytest.approx(0.12)


def test_no_wait_is_shorter_than_the_least_or_longer_than_the_most() -> None:
    quick = patience(timeout_min_s=0.2)
    for _ in range(100):
        quick.answered(2, 0.001, certain=True)
    assert quick.timeout_s(2) == 0.2
    assert patience(timeout_s=0.05, timeout_min_s=0.2).timeout_s(2) == 0.05
    slow = patience()
    slow.answered(2, 30.0, certain=True)
    assert slow.timeout_s(2) == 1.0


@seed(20261123)
@settings(max_examples=300, deadline=None)
@given(
    own_s=st.floats(0.001, 2.0),
    a_register_s=st.floats(0.0, 0.02),
    met=st.lists(st.integers(1, 125), min_size=1, max_size=6),
    asked=st.integers(1, 125),
)
def test_a_length_not_met_yet_is_never_cut_off(own_s: float, a_register_s: float, met: list[int], asked: int) -> None:
    """Any meter that takes some time of its own and some for each register, in whatever order lengths are met."""
    times = ResponseTimes()
    for count in met:
        times.observe(count, own_s + a_register_s * count)
    bound_s = times.bound_s(asked)
    assert bound_s is not None
    assert bound_s >= (own_s + a_register_s * asked) * (1 - 1e-9)


@seed(20261123)
@settings(max_examples=200, deadline=None)
@given(mean_s=st.floats(0.02, 0.3), spread=st.floats(0.0, 0.5), n=st.integers(30, 120))
def test_a_meter_with_steady_jitter_is_hardly_ever_cut_off(mean_s: float, spread: float, n: int) -> None:
    rng = random.Random(20261123)
    known, cut = patience(timeout_s=10.0), 0
    for _ in range(n):
        response_s = mean_s * rng.uniform(1 - spread, 1 + spread)
        cut += response_s > known.timeout_s(10)
        known.answered(10, response_s, certain=True)
    assert cut == 0


def test_a_dead_meter_costs_a_fast_bus_little_and_a_slow_one_is_not_cut_off(setup: Any) -> None:
    clock, link, bus = setup(timeout_s=3.0, retries=0, timeout_min_s=0.1)
    link.meters = {1: memory_of(SDM230), 2: memory_of(SDM230)}
    link.answer_s = 0.02

    async def scene() -> None:
        for _ in range(10):
            await bus.read_meter(1, SDM230, ENERGY)
        before = clock.elapsed_s
        assert isinstance(await outcome(bus.read_meter(9, SDM230, ENERGY)), ResponseTimeout)
        assert clock.elapsed_s - before == pytest.approx(0.1)  # not 3 s
        await bus.read_meter(1, SDM230, ENERGY)
        # Unit 2 answers after 0.8 s: longer than its neighbours would make one think.
        link.answer_s_of[2] = 0.8
        assert isinstance(await outcome(bus.read_meter(2, SDM230, ENERGY)), ResponseTimeout)
        for _ in range(5):
            assert (await bus.read_meter(2, SDM230, ENERGY)).import_wh is not None
        health = bus.health(2)
        assert health is not None
        assert health.response_ms == pytest.approx(800)
        assert 800 < health.timeout_ms < 3000

    run(scene())


def test_a_neighbour_does_not_pay_for_the_gateway_that_still_waits_for_a_dead_meter(setup: Any) -> None:
    """A gateway asks one question at a time: given up here, a question keeps it busy there for its own time-out."""
    clock, link, bus = setup(timeout_s=1.0, retries=0, timeout_min_s=0.1)
    link.meters = {1: memory_of(SDM230), 2: memory_of(SDM230)}
    link.answer_s = 0.02
    link.gateway_waits_s = 0.9

    async def scene() -> None:
        for _ in range(5):
            for unit in (1, 2):
                await bus.read_meter(unit, SDM230, ENERGY)
        for dead in ((7,), (7, 8, 9), (9, 7)):
            for unit in dead:
                assert isinstance(await outcome(bus.read_meter(unit, SDM230, ENERGY)), ResponseTimeout)
            assert (await bus.read_meter(1, SDM230, ENERGY)).import_wh is not None
        health = bus.health(1)
        assert health is not None
        assert health.timeouts == 0
        assert health.response_ms == pytest.approx(20)  # what it waited behind the dead one is not its own

    run(scene())
    assert clock.elapsed_s < 13 * 0.02 + 6 * 1.0  # what a fixed time-out of 1 s costs, and no more
