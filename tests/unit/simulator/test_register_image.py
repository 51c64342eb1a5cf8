"""Registers as each model shows them: the same words as the codec's, and the refusals of a real meter."""

from __future__ import annotations

import struct

import pytest

from drivers.base import Quantity
from drivers.modbus.codec import decode, encode
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from drivers.modbus.plan import plan
from drivers.modbus.register_map import ENERGIES, RegisterSpec, RegisterType
from drivers.simulator.register_image import ModbusException, RegisterImage

MODELS = load_models()
FLOATS = {RegisterType.F32, RegisterType.F64}


def value_of(spec: RegisterSpec) -> int | float | str:
    """Something plausible of each."""
    quantity = spec.quantity
    if quantity is Quantity.SERIAL:
        return "21000017"
    if quantity is Quantity.FIRMWARE:
        return "1.0.2.7" if spec.type is RegisterType.DOTTED else "12"
    if quantity in ENERGIES:
        return 4_321_870
    return 7 if quantity is Quantity.CT_RATIO else 0.93 if quantity is Quantity.POWER_FACTOR else 229.5


@pytest.mark.parametrize("model", MODELS.values(), ids=lambda m: m.id)
def test_every_planned_request_is_answered_with_the_codecs_words(model: MeterModel) -> None:
    image, values = RegisterImage(model), {s.quantity: value_of(s) for s in model.registers}
    for block in plan(list(model.registers), model.limits):
        specs = image.request(model.limits.function_codes[block.table], block.address, block.count)
        assert set(block.specs) <= set(specs)
        data = image.words(specs, values, block.address, block.count)
        words = struct.unpack(f">{block.count}H", data)
        for spec in block.specs:
            part = words[spec.address - block.address : spec.address - block.address + spec.count]
            assert part == encode(spec, values[spec.quantity])
            if spec.quantity in ENERGIES:
                step_wh = 1 if spec.type in FLOATS else spec.factor  # every Wh below 8,000 kWh survives a float
                assert decode(spec, part) == round(4_321_870 / step_wh) * step_wh


@pytest.mark.parametrize(
    ("function", "address", "count", "code"),
    [
        (3, 0x0000, 2, 2),  # voltages are input registers, not holding ones
        (4, 0x0048, 0, 3),
        (4, 0x0048, 82, 3),  # above what this model answers at once
        (4, 0x0400, 2, 2),
        (4, 0x0162, 20, 2),  # runs out of the list
        (6, 0x0048, 2, 1),
    ],
)
def test_refusals(function: int, address: int, count: int, code: int) -> None:
    with pytest.raises(ModbusException) as refusal:
        RegisterImage(MODELS["eastron-sdm630"]).request(function, address, count)
    assert refusal.value.code == code
