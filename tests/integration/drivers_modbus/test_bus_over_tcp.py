"""Whole meters read over real sockets from a foreign server: every map, refused registers, faults one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from drivers.base import Quantity
from drivers.errors import ResponseTimeout
from drivers.modbus.bus import BusSettings, ModbusBus
from drivers.modbus.client import ModbusTcpClient
from drivers.modbus.map_file import load_models
from drivers.modbus.probe import probe
from drivers.registry import open_bus
from support.answer_faults import SPOILT, byte_by_byte, closed, foreign_register, twice

MODELS = load_models()
SDM630 = MODELS["eastron-sdm630"]
SDM120 = MODELS["eastron-sdm120"]
SHORT_S = 0.25
"""Long against a loopback answer (< 5 ms), short for a test that waits it out."""


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(coroutine, 30))


def test_every_shipped_model_is_read_from_a_foreign_server(bench: Any) -> None:
    async def scene() -> None:
        values = {
            Quantity.IMPORT_WH: 1_234_000,  # some meters show whole kWh
            Quantity.EXPORT_WH: 5_000,
            Quantity.VOLTAGE_L1_V: 230.0,
            Quantity.FREQUENCY_HZ: 50.0,
            Quantity.CT_RATIO: 40,
        }
        units = dict(enumerate(MODELS.values(), start=1))
        devices = [bench.device(unit, bench.words_of(model, values)) for unit, model in units.items()]
        async with bench.serving(devices) as port:
            bus = open_bus(f"modbus+tcp://127.0.0.1:{port}")
            for unit, model in units.items():
                before = asyncio.get_running_loop().time()
                reading = await bus.read_meter(unit, model)
                assert reading.import_wh == 1_234_000
                assert reading.export_wh == 5_000
                assert reading.voltage_v is not None
                assert reading.voltage_v[0] == pytest.approx(230.0, abs=1e-3)
                assert reading.serial == ("210001" if Quantity.SERIAL in model.quantities else None)
                assert reading.uncertainty_ms <= 1000 * (asyncio.get_running_loop().time() - before) + 1
            report = await probe(bus, 1, units[1])
            assert {v.quantity for v in report.values} | set(report.missing) == units[1].quantities
            assert all(r.span_ms > 0 for r in report.requests)
            assert bus.stats.connects == 1
            await bus.close()

    run(scene())


def test_the_bus_reads_right_whatever_happens_to_single_answers(bench: Any) -> None:
    """Every fault once, on a bus of three meters of which one is dead: all readings that come are right."""

    async def scene() -> None:
        values = {unit: {Quantity.IMPORT_WH: 1000 * unit, Quantity.EXPORT_WH: 0} for unit in (1, 3)}
        devices = [bench.device(unit, bench.words_of(SDM120, v)) for unit, v in values.items()]
        async with bench.serving(devices) as upstream:
            proxy = bench.proxy(upstream, dead={2})
            async with proxy.listening() as port:
                settings = BusSettings(timeout_s=SHORT_S, retries=1, backoff_s=0.01)
                bus = ModbusBus(ModbusTcpClient("127.0.0.1", port), settings)
                faults = [f for f, *_ in SPOILT] + [twice, foreign_register, byte_by_byte]
                for fault in faults:
                    proxy.held.clear()
                    proxy.faults.append(fault)
                    for unit in (1, 3):
                        reading = await bus.read_meter(unit, SDM120)
                        assert reading.import_wh == 1000 * unit
                        assert reading.serial == "210001"
                        assert reading.refused == ()
                    assert not proxy.faults
                with pytest.raises(ResponseTimeout):
                    await bus.read_meter(2, SDM120)
                assert (await bus.read_meter(3, SDM120)).import_wh == 3000
                assert (
                    bus.stats.malformed == 7
                )  # the first block is asked with function 3, so that fault changes nothing
                assert bus.stats.connections_lost == 2
                await bus.close()

    run(scene())


def test_an_address_that_the_meter_lacks_is_bisected_over_the_wire(bench: Any) -> None:
    async def scene() -> None:
        words = bench.words_of(SDM630, {Quantity.IMPORT_WH: 5000})
        inputs = next(w for t, w in words.items() if t.value == "input")
        for address in range(0x15A, 0x160):  # a firmware without imports per phase
            del inputs[address]
        async with bench.serving([bench.device(3, words, fill_to=0x100)]) as port:
            bus = open_bus(f"modbus+tcp://127.0.0.1:{port}")
            first = await bus.read_meter(3, SDM630)
            assert first.import_wh == 5000
            assert first.refused == ("import_l1_wh", "import_l2_wh", "import_l3_wh")
            assert first.import_phase_wh is None
            assert first.export_phase_wh is not None
            asked = bus.stats.requests
            assert (await bus.read_meter(3, SDM630)).refused == first.refused
            assert bus.stats.requests == asked + 3
            await bus.close()

    run(scene())


def test_a_wire_that_breaks_in_mid_round_is_mended(bench: Any) -> None:
    async def scene() -> None:
        device = bench.device(3, bench.words_of(SDM120, {Quantity.IMPORT_WH: 7000}))
        async with bench.serving([device]) as upstream:
            proxy = bench.proxy(upstream)
            async with proxy.listening() as port:
                bus = ModbusBus(ModbusTcpClient("127.0.0.1", port), BusSettings(timeout_s=SHORT_S, retries=1))
                for _ in range(5):
                    proxy.faults.append(closed)
                    assert (await bus.read_meter(3, SDM120)).import_wh == 7000
                assert proxy.connections == 6
                assert bus.stats.connections_lost == 5
                await bus.close()

    run(scene())
