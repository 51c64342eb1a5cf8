"""The bus against a link under the test's hand: values, stamps, retries, silence, connections."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from drivers.base import IMPORT_TARIFFS, Quantity
from drivers.errors import (
    ConnectionFailed,
    DeviceException,
    DriverConfigError,
    MalformedResponse,
    MeterResting,
    ResponseTimeout,
)
from drivers.modbus.bus import BusSettings, ModbusAddress
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from drivers.modbus.plan import plan
from headend.ingest.poll_bus import POLLED
from support.modbus import memory_of, outcome, run

MODELS = load_models()
SDM630 = MODELS["eastron-sdm630"]
DTSD1352 = MODELS["acrel-dtsd1352"]
SDM230 = MODELS["eastron-sdm230"]
DTSU666 = MODELS["chint-dtsu666"]
ENERGY = frozenset({Quantity.IMPORT_WH, Quantity.EXPORT_WH})


def test_a_reading_holds_what_the_registers_show(setup: Any) -> None:
    _, link, bus = setup()
    link.meters[3] = memory_of(
        SDM630, import_wh=1_234_500, export_wh=500, import_l1_wh=400_000, voltage_l1_v=229.5, voltage_l3_v=231.0,
        current_l2_a=4.25, power_w=-1919.5,
    )  # fmt: skip
    reading = run(bus.read_meter(3, SDM630))
    assert (reading.import_wh, reading.export_wh) == (1_234_500, 500)
    assert reading.import_phase_wh is not None
    assert reading.import_phase_wh[0] == 400_000
    assert reading.voltage_v is not None
    assert (reading.voltage_v[0], reading.voltage_v[2]) == (229.5, 231.0)
    assert reading.current_a is not None
    assert reading.current_a[1] == 4.25
    assert reading.power_w == -1919.5
    assert reading.serial == "210001"
    assert reading.resolution_wh == 2.5
    assert reading.refused == ()
    assert len(link.asked) == 3


def test_a_single_phase_meter_fills_the_first_place(setup: Any) -> None:
    _, link, bus = setup()
    link.meters[1] = memory_of(SDM230, voltage_l1_v=230.0)
    reading = run(bus.read_meter(1, SDM230))
    assert reading.voltage_v == (230.0, None, None)
    assert reading.import_phase_wh is None


def test_registers_per_rate_come_with_the_total_in_one_request(setup: Any) -> None:
    _, link, bus = setup()
    link.meters[3] = memory_of(
        DTSD1352,
        import_wh=1_234_560,
        import_t1_wh=100_000,
        import_t2_wh=500_000,
        import_t3_wh=0,
        import_t4_wh=634_560,
        power_factor=1.0,
    )
    reading = run(bus.read_meter(3, DTSD1352, ENERGY | frozenset(IMPORT_TARIFFS)))
    assert reading.import_tariff_wh == (100_000, 500_000, 0, 634_560)
    assert reading.import_wh == sum(reading.import_tariff_wh)
    assert link.asked == [(3, 3, 0x0A, 12)]
    link.meters[4] = memory_of(SDM230, import_wh=5_000)
    assert run(bus.read_meter(4, SDM230, ENERGY | frozenset(IMPORT_TARIFFS))).import_tariff_wh is None


@pytest.mark.parametrize("model", MODELS.values(), ids=list(MODELS))
def test_rates_cost_no_shipped_model_another_request(model: MeterModel) -> None:
    without = plan(model.specs(POLLED - frozenset(IMPORT_TARIFFS)), model.limits)
    assert len(plan(model.specs(POLLED), model.limits)) == len(without)


def test_only_the_wanted_is_asked_for(setup: Any) -> None:
    _, link, bus = setup()
    link.meters[3] = memory_of(SDM630)
    reading = run(bus.read_meter(3, SDM630, ENERGY))
    assert link.asked == [(3, 4, 0x48, 4)]
    assert reading.voltage_v is None
    with pytest.raises(DriverConfigError, match="eastron-sdm230 has none of the wanted quantities: ct_ratio"):
        run(bus.read_meter(3, SDM230, frozenset({Quantity.CT_RATIO})))


def test_the_stamp_is_the_midpoint_of_the_requests_that_carry_energy(setup: Any) -> None:
    clock, link, bus = setup()
    link.meters[3] = memory_of(SDM630)
    link.answer_s = 0.1
    began_us = clock.now_us()
    reading = run(bus.read_meter(3, SDM630))
    # holding serial 0…0.1 s, input with the totals 0.1…0.2 s, phase energies 0.2…0.3 s
    assert reading.instant_us == began_us + 200_000
    assert reading.uncertainty_ms == 100
    alone = run(bus.read_meter(3, SDM630, frozenset({Quantity.SERIAL})))
    assert alone.instant_us == began_us + 350_000
    assert alone.uncertainty_ms == 50
    assert clock.elapsed_s == pytest.approx(0.4)


def test_a_dead_meter_costs_its_own_timeouts_and_its_neighbours_nothing(setup: Any) -> None:
    clock, link, bus = setup(timeout_s=1.0, retries=1)
    link.meters = {1: memory_of(SDM230), 3: memory_of(SDM230)}

    async def round_of_three() -> list[Any]:
        return [await outcome(bus.read_meter(unit, SDM230)) for unit in (1, 2, 3)]

    first, dead, last = run(round_of_three())
    assert first.import_wh is not None
    assert last.import_wh is not None
    assert isinstance(dead, ResponseTimeout)
    assert [unit for unit, *_ in link.asked].count(2) == 2  # one try, one retry, and not for its second block
    assert link.closes == 0
    assert clock.elapsed_s == pytest.approx(2 * 1.0 + 4 * 0.05)
    assert (bus.stats.requests, bus.stats.timeouts, bus.stats.connects) == (6, 2, 1)


def test_dead_meters_among_living_ones_never_cost_the_connection(setup: Any) -> None:
    _, link, bus = setup(retries=0, reconnect_after=2)
    link.meters[1] = memory_of(SDM230)

    async def rounds() -> list[Any]:
        return [await outcome(bus.read_meter(unit, SDM230)) for unit in (1, 2) * 5]

    outcomes = run(rounds())
    silent = (ResponseTimeout, MeterResting)
    assert [isinstance(o, silent) for o in outcomes] == [False, True] * 5
    assert link.closes == 0


def test_silence_from_everybody_makes_a_new_connection(setup: Any) -> None:
    _, link, bus = setup(retries=1, reconnect_after=4)

    async def two_dead() -> None:
        for unit in (1, 2):
            with pytest.raises(ResponseTimeout):
                await bus.read_meter(unit, SDM230)

    run(two_dead())
    assert link.closes == 1
    link.meters[3] = memory_of(SDM230)
    assert run(bus.read_meter(3, SDM230)).import_wh is not None
    assert bus.stats.connects == 2


def test_what_was_read_before_the_silence_is_kept(setup: Any) -> None:
    _, link, bus = setup(retries=0)
    link.meters[3] = memory_of(SDM630, import_wh=1000)
    link.fault = lambda unit, function, address, count: (
        ResponseTimeout("late", peer="x") if address >= 0x15A and function == 4 else None
    )
    reading = run(bus.read_meter(3, SDM630))
    assert reading.import_wh == 1000
    assert reading.import_phase_wh is None
    assert set(reading.refused) == {f"{way}_l{phase}_wh" for way in ("import", "export") for phase in (1, 2, 3)}


@pytest.mark.parametrize(("code", "tries"), [(6, 2), (5, 2), (11, 2), (10, 2), (1, 1), (4, 1)])
def test_busy_devices_are_asked_again_and_failed_ones_are_not(code: int, tries: int, setup: Any) -> None:
    clock, link, bus = setup(retries=1, busy_delay_s=0.2)
    link.fault = lambda *_: DeviceException("exception", peer="x", exception_code=code)
    with pytest.raises(DeviceException) as caught:
        run(bus.read_meter(1, SDM230, ENERGY))
    assert caught.value.exception_code == code
    assert len(link.asked) == tries
    assert clock.slept == [0.2] * (tries - 1)


def test_a_broken_answer_and_a_lost_connection_are_tried_again(setup: Any) -> None:
    for error in (MalformedResponse("bytes", peer="x"), ConnectionFailed("lost", peer="x")):
        _, link, bus = setup(retries=1)
        link.meters[1] = memory_of(SDM230, import_wh=77_000)
        errors = [error]
        link.fault = lambda *_, errors=errors: errors.pop() if errors else None  # type: ignore[misc]
        assert run(bus.read_meter(1, SDM230, ENERGY)).import_wh == 77_000
        assert len(link.asked) == 2


def test_a_gateway_that_is_down_is_not_waited_for_by_every_meter(setup: Any) -> None:
    clock, link, bus = setup(connect_timeout_s=5.0, backoff_s=10.0, backoff_max_s=30.0)
    link.meters[1] = memory_of(SDM230)
    link.connect_fails = 4

    async def attempt() -> str:
        with pytest.raises(ConnectionFailed) as caught:
            await bus.read_meter(1, SDM230)
        return str(caught.value)

    assert "refused" in run(attempt())
    for _ in range(50):
        assert "down; the next attempt is in" in run(attempt())
    assert clock.elapsed_s == 5.0  # one time-out for 51 meters
    waits = []
    while link.connect_fails:
        before = clock.elapsed_s
        while "down" in run(attempt()):
            clock.elapsed_s += 0.5
        waits.append(clock.elapsed_s - 5.0 - before)
    assert [w <= limit + 0.5 for w, limit in zip(waits, (10, 20, 30), strict=True)] == [True] * 3
    assert [w >= limit / 2 for w, limit in zip(waits, (10, 20, 30), strict=True)] == [True] * 3
    clock.elapsed_s += 30
    assert run(bus.read_meter(1, SDM230)).import_wh is not None


def test_who_gives_up_waiting_or_reading_leaves_the_bus_free(setup: Any) -> None:
    _, link, bus = setup()
    link.meters = {1: memory_of(SDM230), 2: memory_of(SDM230), 3: memory_of(SDM230)}
    hang = asyncio.Event()

    async def first_hangs(unit: int) -> None:
        if unit == 1:
            await hang.wait()

    link.before = first_hangs

    async def scene() -> Any:
        tasks = [asyncio.create_task(bus.read_meter(unit, SDM230)) for unit in (1, 2, 3)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.sleep(0)
        tasks[0].cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    first, second, third = run(scene())
    assert isinstance(first, asyncio.CancelledError)
    assert isinstance(second, asyncio.CancelledError)
    assert third.import_wh is not None


@pytest.mark.parametrize(
    ("key", "value"), [("timeout_s", 0), ("retries", -1), ("backoff_s", -1), ("reconnect_after", 0)]
)
def test_wrong_settings_are_named(key: str, value: float) -> None:
    with pytest.raises(DriverConfigError, match=f"{key} = {value}: wanted"):
        BusSettings(**{key: value})
    with pytest.raises(DriverConfigError, match=r"unit = 256: wanted 0\.\.255"):
        ModbusAddress(256, SDM230)


def test_a_value_the_meter_does_not_have_is_absent_and_named(setup: Any) -> None:
    _, link, bus = setup()
    memory = memory_of(DTSU666, import_wh=1000)
    memory[3, 0x2006], memory[3, 0x2007] = 0x7FC0, 0
    link.meters[1] = memory
    reading = run(bus.read_meter(1, DTSU666))
    assert reading.voltage_v is not None
    assert reading.voltage_v[0] is None
    assert reading.voltage_v[1] is not None
    assert reading.refused == ("voltage_l1_v",)


def test_a_model_that_was_changed_is_asked_as_it_is_now(setup: Any) -> None:
    """A map of the same name and quantities that was mended: reloaded, not restarted."""
    _, link, bus = setup()
    link.meters[1] = memory_of(SDM230, import_wh=5000)
    assert run(bus.read_meter(1, SDM230, ENERGY)).import_wh == 5000
    moved = tuple(replace(s, address=s.address + 0x100) if s.quantity in ENERGY else s for s in SDM230.registers)
    mended = replace(SDM230, registers=moved)
    link.meters[1] = memory_of(mended, import_wh=7000)
    assert run(bus.read_meter(1, mended, ENERGY)).import_wh == 7000
