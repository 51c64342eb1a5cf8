"""Registers that a meter refuses: found by halving, remembered for its model and firmware, asked again in time."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from drivers.base import Quantity
from drivers.errors import DeviceException, IllegalAddress, PeerError, ResponseTimeout
from drivers.modbus.address import ModbusAddress
from drivers.modbus.bus import ModbusBus
from drivers.modbus.bus_settings import BusSettings
from drivers.modbus.gate import Priority
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from drivers.modbus.refusals import FirmwareKey, MeterKey, Refusal, RefusalsInMemory
from drivers.modbus.register_map import AddressRange, RegisterType, Table
from support.modbus import FakeClock, FakeLink, memory_of, outcome, run

MODELS = load_models()
SDM630 = MODELS["eastron-sdm630"]
SDM230 = MODELS["eastron-sdm230"]
ENERGY = frozenset({Quantity.IMPORT_WH, Quantity.EXPORT_WH})
FREQUENCY = AddressRange(Table.INPUT, 0x46, 0x47)
DAY_S = 86_400.0


@pytest.fixture
def told(make_spec: Any) -> MeterModel:
    """An SDM230 that tells its firmware."""
    spec = make_spec(
        quantity=Quantity.FIRMWARE, table=Table.INPUT, address=0x400, type=RegisterType.ASCII, count=2, unit="1"
    )
    return replace(SDM230, id="told", registers=(*SDM230.registers, spec))


def memory_without(model: MeterModel, *addresses: int, **values: Any) -> dict[tuple[int, int], int]:
    memory = memory_of(model, **values)
    for address in addresses:
        del memory[4, address]
    return memory


@pytest.fixture
def remembering() -> Any:
    """Makes (clock, link, bus, memory); several buses may share clock and memory."""

    def make(
        clock: FakeClock | None = None, memory: RefusalsInMemory | None = None, peer: str = "gateway:502", **given: Any
    ) -> tuple[FakeClock, FakeLink, ModbusBus, RefusalsInMemory]:
        clock, memory = clock or FakeClock(), memory or RefusalsInMemory()
        link = FakeLink(clock, peer=peer)
        bus = ModbusBus(link, BusSettings(**given), clock=clock, refusals=memory, jitter=random.Random(1))
        return clock, link, bus, memory

    return make


def test_an_address_the_meter_lacks_is_found_once_and_the_rest_is_read(setup: Any) -> None:
    _, link, bus = setup()
    memory = memory_of(SDM630, import_wh=1000)
    for address in (0x46, 0x47):  # a firmware without frequency
        del memory[4, address]
    link.meters[3] = memory
    first = run(bus.read_meter(3, SDM630))
    assert first.refused == ("frequency_hz",)
    assert first.import_wh == 1000
    assert first.voltage_v is not None
    search = len(link.asked)
    link.asked.clear()
    second = run(bus.read_meter(3, SDM630))
    assert second == replace(first, instant_us=second.instant_us, uncertainty_ms=second.uncertainty_ms)
    assert search > 4
    assert len(link.asked) == 4  # serial, below the hole, above it, phase energies
    assert not any(a <= 0x46 < a + n for _, f, a, n in link.asked if f == 4)


def test_a_hole_between_two_readable_registers_is_remembered_as_a_hole(setup: Any) -> None:
    _, link, bus = setup()
    memory = memory_of(SDM630)
    del memory[4, 0x20]  # nobody wants it, yet a block would read across it
    link.meters[3] = memory
    reading = run(bus.read_meter(3, SDM630))
    assert reading.refused == ()
    link.asked.clear()
    run(bus.read_meter(3, SDM630))
    assert len(link.asked) == 4
    assert bus.stats.exceptions == 2  # once more, to be sure


def test_another_meter_of_the_model_is_not_judged_by_the_first(setup: Any) -> None:
    _, link, bus = setup()
    lame = memory_of(SDM230)
    del lame[4, 0x46]
    link.meters = {1: lame, 2: memory_of(SDM230)}
    assert run(bus.read_meter(1, SDM230)).refused == ("frequency_hz",)
    assert run(bus.read_meter(2, SDM230)).refused == ()


def test_a_meter_that_refuses_all_is_an_error_now_and_without_a_request_the_next_time(setup: Any) -> None:
    _, link, bus = setup()
    link.meters[1] = {(4, 9999): 0}
    with pytest.raises(IllegalAddress, match="exception 2"):
        run(bus.read_meter(1, SDM230, ENERGY))
    link.asked.clear()
    with pytest.raises(IllegalAddress, match=r"known to be refused: input 0x0048\.\.0x0049, input 0x004A"):
        run(bus.read_meter(1, SDM230, ENERGY))
    assert link.asked == []


def test_a_refusal_says_who_found_it_and_when_and_ends(remembering: Any) -> None:
    clock, link, bus, memory = remembering()
    link.meters[1] = memory_without(SDM230, 0x46, 0x47)
    run(bus.read_meter(1, SDM230))
    me = MeterKey("gateway:502", 1, "eastron-sdm230")
    (found,) = memory.known(me)
    assert found == Refusal(FREQUENCY, found.found_us, me, found.found_us + round(DAY_S * 1e6))
    assert 0 < clock.now_us() - found.found_us < 1_000_000
    assert memory.known(replace(me, unit=2)) == ()


def test_without_a_firmware_an_odd_meter_hides_nothing_of_its_siblings(remembering: Any) -> None:
    _, link, bus, _ = remembering()
    link.meters = {1: memory_without(SDM230, 0x46, 0x47), 2: memory_of(SDM230)}
    assert run(bus.read_meter(1, SDM230)).refused == ("frequency_hz",)
    assert run(bus.read_meter(2, SDM230)).refused == ()


def test_one_search_is_enough_for_all_meters_of_a_firmware_on_every_bus(remembering: Any, told: MeterModel) -> None:
    clock, link, bus, memory = remembering()
    _, other_link, other_bus, _ = remembering(clock, memory, peer="other:502")
    for units, each in ((link.meters, link), (other_link.meters, other_link)):
        units |= {unit: memory_without(told, 0x46, 0x47, firmware="1.07") for unit in (1, 2)}
        each.meters[3] = memory_of(told, firmware="2.00")
    assert run(bus.read_meter(1, told)).refused == ("frequency_hz",)
    (found,) = memory.known(FirmwareKey("told", "1.07"))
    assert (found.range, found.found_by) == (FREQUENCY, MeterKey("gateway:502", 1, "told"))
    for following in (bus.read_meter(2, told), other_bus.read_meter(1, told)):
        exceptions = bus.stats.exceptions + other_bus.stats.exceptions
        reading = run(following)
        assert (reading.refused, reading.firmware) == (("frequency_hz",), "1.07")
        assert bus.stats.exceptions + other_bus.stats.exceptions == exceptions  # its firmware is read before the rest
    assert run(bus.read_meter(3, told)).refused == ()


def test_a_firmware_that_nobody_wanted_is_asked_for_once_something_is_refused(
    remembering: Any, told: MeterModel
) -> None:
    _, link, bus, memory = remembering()
    wanted = told.quantities - {Quantity.FIRMWARE}
    link.meters = {unit: memory_without(told, 0x46, 0x47, firmware="1.07") for unit in (1, 2)}
    link.meters[3] = memory_of(told, firmware="1.07")
    assert run(bus.read_meter(1, told, wanted)).refused == ("frequency_hz",)
    assert [r.range for r in memory.known(FirmwareKey("told", "1.07"))] == [FREQUENCY]
    link.asked.clear()
    assert run(bus.read_meter(2, told, wanted)).refused == ("frequency_hz",)
    assert bus.stats.refusals_found == 1
    # The block that is refused, the firmware, and then the plan that is known for it.
    assert len(link.asked) == 1 + 1 + 1 + len(told_blocks(link, bus, told, wanted))
    assert run(bus.read_meter(3, told, wanted)).refused == ()  # never refused anything: never asked for its firmware
    assert bus.health(3).firmware is None


def told_blocks(link: FakeLink, bus: ModbusBus, model: MeterModel, wanted: frozenset[Quantity]) -> list[Any]:
    """What a meter whose refusals are known is asked, but for the one block that was asked before it was."""
    kept, link.asked = link.asked, []
    run(bus.read_meter(2, model, wanted))
    asked, link.asked = link.asked, kept
    return asked[1:]


def test_a_changed_firmware_asks_afresh(remembering: Any, told: MeterModel) -> None:
    _, link, bus, _ = remembering()
    link.meters[1] = memory_without(told, 0x46, 0x47, firmware="1.07")
    assert run(bus.read_meter(1, told)).refused == ("frequency_hz",)
    link.meters[1] = memory_of(told, firmware="1.08")
    reading = run(bus.read_meter(1, told))
    assert (reading.refused, reading.firmware) == ((), "1.08")
    link.meters[1] = memory_without(told, 0x46, 0x47, firmware="1.07")  # and back
    exceptions = bus.stats.exceptions
    assert run(bus.read_meter(1, told)).refused == ("frequency_hz",)
    assert bus.stats.exceptions == exceptions


def test_what_is_over_is_asked_again_with_one_question(remembering: Any) -> None:
    clock, link, bus, memory = remembering()
    me = MeterKey("gateway:502", 1, "eastron-sdm230")
    link.meters[1] = memory_without(SDM230, 0x46, 0x47)
    run(bus.read_meter(1, SDM230))
    link.asked.clear()
    run(bus.read_meter(1, SDM230))
    usual = len(link.asked)
    clock.elapsed_s += DAY_S
    link.asked.clear()
    assert run(bus.read_meter(1, SDM230, priority=Priority.COMMAND)).refused == ("frequency_hz",)
    assert len(link.asked) == usual  # a person who waits is not kept for it
    for asked in (usual + 1, usual):
        link.asked.clear()
        assert run(bus.read_meter(1, SDM230)).refused == ("frequency_hz",)
        assert len(link.asked) == asked
    (found,) = memory.known(me)
    assert found.until_us > clock.now_us()
    clock.elapsed_s += DAY_S
    link.meters[1] = memory_of(SDM230)
    assert run(bus.read_meter(1, SDM230)).refused == ()
    assert memory.known(me) == ()
    link.asked.clear()
    assert run(bus.read_meter(1, SDM230)).refused == ()
    assert len(link.asked) == 2


def test_a_hole_that_is_over_is_asked_again_too(remembering: Any) -> None:
    clock, link, bus, memory = remembering()
    link.meters[3] = memory_without(SDM630, 0x20)
    run(bus.read_meter(3, SDM630))
    (hole,) = memory.known(MeterKey("gateway:502", 3, "eastron-sdm630"))
    clock.elapsed_s += DAY_S
    link.meters[3] = memory_of(SDM630)
    run(bus.read_meter(3, SDM630))
    assert (3, 4, hole.range.first, hole.range.last - hole.range.first + 1) in link.asked
    link.asked.clear()
    run(bus.read_meter(3, SDM630))
    assert len(link.asked) == 3


def test_a_hole_that_answers_again_makes_no_reading_of_nothing(remembering: Any) -> None:
    clock, link, bus, memory = remembering()
    me = MeterKey("gateway:502", 3, "eastron-sdm630")
    link.meters[3] = memory_of(SDM630)
    memory.remember(me, AddressRange(Table.INPUT, 0x20, 0x21), clock.now_us() - round(2 * DAY_S * 1e6), me)
    for quantity in ENERGY:
        memory.remember(me, SDM630.by_quantity[quantity].range, clock.now_us(), me)
    with pytest.raises(IllegalAddress, match="known to be refused"):
        run(bus.read_meter(3, SDM630, ENERGY))
    assert link.asked == [(3, 4, 0x20, 2)]
    assert len(memory.known(me)) == 2


def test_a_meter_that_falls_silent_at_a_refused_register_is_left_alone_with_it(remembering: Any) -> None:
    clock, link, bus, _ = remembering(retries=0)
    link.meters[1] = memory_without(SDM230, 0x46, 0x47)
    run(bus.read_meter(1, SDM230))
    clock.elapsed_s += DAY_S
    link.fault = lambda unit, function, address, count: (
        ResponseTimeout("silent", peer="x") if (address, count) == (0x46, 2) else None
    )
    assert run(bus.read_meter(1, SDM230)).refused == ("frequency_hz",)
    timeouts = bus.stats.timeouts
    assert run(bus.read_meter(1, SDM230)).refused == ("frequency_hz",)
    assert bus.stats.timeouts == timeouts == 1


@pytest.mark.parametrize("code", [2, 3])
@pytest.mark.parametrize("wanted", [None, frozenset({Quantity.FREQUENCY_HZ})], ids=["in_a_block", "alone"])
def test_a_busy_device_that_refuses_once_is_not_judged(code: int, wanted: Any, remembering: Any) -> None:
    _, link, bus, memory = remembering()
    link.meters[1] = memory_of(SDM230)
    left = [1]

    def once(unit: int, function: int, address: int, count: int) -> PeerError | None:
        if function == 4 and left and left.pop():
            error = IllegalAddress if code == 2 else DeviceException
            return error("busy", peer="x", exception_code=code)
        return None

    link.fault = once
    assert run(bus.read_meter(1, SDM230, wanted)).refused == ()
    assert memory.known(MeterKey("gateway:502", 1, "eastron-sdm230")) == ()
    assert bus.stats.refusals_found == 0


def test_a_search_that_ends_in_silence_keeps_what_it_found(remembering: Any) -> None:
    _, link, bus, _ = remembering(retries=0)
    link.meters[1] = memory_without(SDM230, 0x46, 0x47)
    link.fault = lambda unit, function, address, count: (
        ResponseTimeout("silent", peer="x") if address == 0x4A and count == 2 else None
    )
    reading = run(bus.read_meter(1, SDM230))
    assert reading.voltage_v is not None
    assert "frequency_hz" in reading.refused


def test_refusals_found_where_an_exception_may_be_anothers_need_two_rounds(remembering: Any) -> None:
    """On a link without numbers an exception tells unit and function alone."""
    clock, link, bus, memory = remembering(late_s=5.0)
    link.numbered = False
    me = MeterKey("gateway:502", 1, "eastron-sdm230")
    link.meters[1] = memory_without(SDM230, 0x46, 0x47)
    for remembered in (0, 1):
        assert run(bus.read_meter(1, SDM230)).refused == ("frequency_hz",)
        assert len(memory.known(me)) == remembered
        clock.elapsed_s += 60
    link.asked.clear()
    assert run(bus.read_meter(1, SDM230)).refused == ("frequency_hz",)
    assert len(link.asked) == 2


def test_a_refusal_that_was_once_doubted_long_ago_is_doubted_anew(remembering: Any) -> None:
    clock, link, bus, memory = remembering(late_s=5.0)
    link.numbered = False
    for rest_s in (2 * DAY_S, 60.0):
        link.meters[1] = memory_without(SDM230, 0x46, 0x47)
        run(bus.read_meter(1, SDM230))
        assert memory.known(MeterKey("gateway:502", 1, "eastron-sdm230")) == ()
        link.meters[1] = memory_of(SDM230)
        clock.elapsed_s += 60
        run(bus.read_meter(1, SDM230))
        clock.elapsed_s += rest_s


def test_raw_reads_and_refusals_have_nothing_to_do_with_each_other(remembering: Any) -> None:
    _, link, bus, memory = remembering()
    link.meters[1] = memory_without(SDM230, 0x46, 0x47)

    async def scene() -> None:
        async with bus.turn(ModbusAddress(1, SDM230)) as turn:
            with pytest.raises(IllegalAddress):
                await turn.read(FREQUENCY)

    run(scene())
    assert memory.known(MeterKey("gateway:502", 1, "eastron-sdm230")) == ()
    assert not isinstance(run(outcome(bus.read_meter(1, SDM230, ENERGY))), PeerError)
