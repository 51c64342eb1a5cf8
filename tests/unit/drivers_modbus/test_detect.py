"""Guessing the model: every shipped model is recognised by what it shows, strict about addresses or not."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from drivers.base import Quantity
from drivers.errors import DeviceException, IllegalAddress, ResponseTimeout
from drivers.modbus.bus import BusSettings, ModbusBus
from drivers.modbus.codec import Value
from drivers.modbus.detect import best, detect, scan, weigh
from drivers.modbus.link import Answer
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from drivers.modbus.register_map import Table, dimension
from drivers.simulator.register_image import ModbusException, RegisterImage

MODELS = load_models()
UNIT = 7


def live_values(model: MeterModel) -> dict[Quantity, Value]:
    """What a meter of this model shows on a loaded network; the parts agree with their totals."""
    phases = range(1, model.phases + 1)
    powers = {p: 400.0 * p for p in phases}
    values: dict[Quantity, Value] = {
        Quantity.POWER_W: sum(powers.values()),
        Quantity.IMPORT_WH: sum(1_000_000 * p for p in phases),
        Quantity.EXPORT_WH: 0,
        Quantity.FREQUENCY_HZ: 50.0,
        Quantity.POWER_FACTOR: 0.9,
        Quantity.CT_RATIO: 40,
    }
    for p in phases:
        values |= {
            Quantity(f"voltage_l{p}_v"): 230.0 + p,
            Quantity(f"current_l{p}_a"): powers[p] / (230.0 + p) / 0.9,
            Quantity(f"power_l{p}_w"): powers[p],
            Quantity(f"import_l{p}_wh"): 1_000_000 * p,
            Quantity(f"export_l{p}_wh"): 0,
        }
    for spec in model.registers:
        if spec.quantity in (Quantity.SERIAL, Quantity.FIRMWARE):
            values[spec.quantity] = "21"
        elif dimension(spec.quantity) == "1" and spec.quantity not in values:
            values[spec.quantity] = 1
    return values


@dataclass
class Meter:
    """One meter behind a link; `strict`: an address that its map does not list is refused, else it reads 0."""

    model: MeterModel
    strict: bool
    peer: str = "gateway:502"
    connected: bool = True
    numbered: bool = True

    async def connect(self, timeout_s: float) -> None: ...

    async def close(self) -> None: ...

    async def write(self, **_: Any) -> Answer:
        raise AssertionError("looking at a meter writes nothing")

    async def read(self, *, unit: int, function: int, address: int, count: int, timeout_s: float) -> Answer:
        peer = f"{self.peer} unit {unit}"
        if unit != UNIT:
            raise ResponseTimeout("no answer", peer=peer)
        image, values = RegisterImage(self.model), live_values(self.model)
        try:
            specs = image.request(function, address, count)
        except ModbusException as refusal:
            if self.strict:
                error: Callable[..., DeviceException] = IllegalAddress if refusal.code == 2 else DeviceException
                raise error("refused", peer=peer, exception_code=refusal.code) from refusal
            tables = [t for t in Table if self.model.limits.function_codes[t] == function]
            specs = [
                s
                for s in self.model.registers
                if s.table in tables and s.address >= address and s.last < address + count
            ]
        data = image.words(specs, values, address, count)
        words = tuple(int.from_bytes(data[i : i + 2], "big") for i in range(0, len(data), 2))
        return Answer(words, 1_795_000_000_000_000, 20_000)


def bus_of(model: MeterModel, *, strict: bool) -> ModbusBus:
    return ModbusBus(Meter(model, strict), BusSettings(retries=0), jitter=random.Random(1))


@pytest.mark.parametrize("strict", [True, False], ids=["refuses", "reads_zero"])
@pytest.mark.parametrize("model_id", MODELS)
def test_the_right_model_is_among_the_best(model_id: str, strict: bool) -> None:
    guesses = asyncio.run(detect(bus_of(MODELS[model_id], strict=strict), UNIT, MODELS.values()))
    assert [g.model_id for g in guesses if g.model_id == model_id], "every model is tried"
    assert model_id in [g.model_id for g in best(guesses)], [(g.model_id, g.score, g.reasons) for g in guesses[:4]]


def test_most_models_are_told_alone() -> None:
    """Variants of one maker share registers and are told together; across makers nothing is mixed up."""
    for model_id, model in MODELS.items():
        winners = [g.model_id for g in best(asyncio.run(detect(bus_of(model, strict=True), UNIT, MODELS.values())))]
        makers = {MODELS[w].manufacturer for w in winners}
        assert makers == {model.manufacturer}, (model_id, winners)


def test_a_dead_bus_is_silence_not_a_guess() -> None:
    with pytest.raises(ResponseTimeout):
        asyncio.run(detect(bus_of(MODELS["eastron-sdm630"], strict=True), UNIT + 1, MODELS.values()))


def test_scan_finds_who_answers_and_says_how() -> None:
    asked: list[int] = []
    bus = bus_of(MODELS["acrel-dtsd1352"], strict=True)  # holding registers only: a refusal is an answer, too
    found = asyncio.run(scan(bus, MODELS.values(), range(1, 12), told=asked.append))
    assert [(f.unit, f.detail) for f in found] == [(UNIT, "exception 1")]
    assert asked == list(range(1, 12))


def test_reasons_say_what_speaks_for_and_against() -> None:
    model = MODELS["eastron-sdm120"]
    good, why = weigh(model, {Quantity.VOLTAGE_L1_V: 231.0, Quantity.FREQUENCY_HZ: 50.0, Quantity.IMPORT_WH: 5}, [])
    bad, wrong = weigh(model, {Quantity.VOLTAGE_L1_V: 1.6e7, Quantity.IMPORT_WH: -5}, [Quantity.FREQUENCY_HZ])
    assert good > 5 > 0 > bad
    assert "+ voltage_l1_v = 231" in why
    assert {"− refused: frequency_hz", "− import_wh = -5", "− no voltage of a network on any phase"} <= set(wrong)
