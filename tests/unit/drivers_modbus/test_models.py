"""Every shipped model decodes a frame: recorded ones where the sources have them, else computed by hand."""

from __future__ import annotations

import pytest

from drivers.base import Quantity
from drivers.modbus.codec import decode, encode, step
from drivers.modbus.map_file import load_models
from drivers.modbus.model import MeterModel
from drivers.modbus.plan import plan
from drivers.modbus.register_map import ENERGIES, RegisterType, Table, TransformerRatio

MODELS = load_models()

FRAMES = [
    # (model, quantity, function, address, registers as hex, value): the answer's data bytes of one request.
    # Manual's own example, section 3.8.1 of both Eastron texts: 01 04 00 00 00 02 → 43 66 33 34, 230.2 V.
    ("eastron-sdm630", "voltage_l1_v", 4, 0x0000, "43663334", 230.2),
    ("eastron-sdm120", "voltage_l1_v", 4, 0x0000, "43663334", 230.2),
    ("eastron-sdm230", "voltage_l1_v", 4, 0x0000, "43663334", 230.2),
    # Computed by hand: 1551.37 kWh = 1.51501… × 2^10 → 44C1EBD7; 1551.369995 kWh.
    ("eastron-sdm630", "import_wh", 4, 0x0048, "44C1EBD7", 1_551_370),
    ("eastron-sdm120", "import_wh", 4, 0x0048, "44C1EBD7", 1_551_370),
    ("eastron-sdm230", "export_wh", 4, 0x004A, "44C1EBD7", 1_551_370),
    ("eastron-sdm630", "import_l3_wh", 4, 0x015E, "3F800000", 1_000),
    ("eastron-sdm630", "export_l1_wh", 4, 0x0160, "3F000000", 500),
    ("eastron-sdm630", "power_w", 4, 0x0034, "C4EFF666", -1919.7),
    ("eastron-sdm630", "serial", 3, 0xFC00, "01406F40", "21000000"),
    ("eastron-sdm120", "serial", 3, 0xFC00, "01406F40", "21000000"),
    # Recorded between an inverter and a DTSU666 (github.com/pacraf/foxess_chint_modbus_bridge).
    ("chint-dtsu666", "power_w", 3, 0x2012, "45000000", 204.8),
    ("chint-dtsu666", "export_wh", 3, 0x1028, "440D370A", 564_860),
    ("chint-dtsu666", "ct_ratio", 3, 0x0006, "0001", 1),
    # Computed by hand from the manual's scales: 2301.5 × 0.1 V, 1234 × 0.001 A.
    ("chint-dtsu666", "voltage_l2_v", 3, 0x2008, "450FD800", 230.15),
    ("chint-dtsu666", "current_l1_a", 3, 0x200C, "449A4000", 1.234),
    ("chint-dtsu666", "import_l2_wh", 3, 0x1022, "41480000", 12_500),
    ("chint-ddsu666", "power_w", 3, 0x2004, "BE49BA5E", -197.0),
    ("chint-ddsu666", "import_wh", 3, 0x4000, "43EF3EFA", 478_492),
    ("chint-ddsu666", "voltage_l1_v", 3, 0x2000, "43663334", 230.2),
    # Computed by hand from the manual's scales: 0.01 kWh, 0.1 V, 0.01 A, 0.001 kW signed.
    ("acrel-dtsd1352", "import_wh", 3, 0x000A, "0001E240", 1_234_560),
    ("acrel-dtsd1352", "export_wh", 3, 0x0014, "00000007", 70),
    ("acrel-dtsd1352", "voltage_l3_v", 3, 0x0063, "08FE", 230.2),
    ("acrel-dtsd1352", "current_l1_a", 3, 0x0064, "0640", 16.0),
    ("acrel-dtsd1352", "power_w", 3, 0x016A, "FFFFF9F2", -1550.0),
    ("acrel-dtsd1352", "ct_ratio", 3, 0x008E, "0028", 40),
]


@pytest.mark.parametrize(("model_id", "name", "function", "address", "data", "value"), FRAMES)
def test_a_frame_decodes_to_its_value(
    model_id: str, name: str, function: int, address: int, data: str, value: float | str
) -> None:
    model = MODELS[model_id]
    spec = model.by_quantity[Quantity(name)]
    assert model.limits.function_codes[spec.table] == function
    assert spec.address == address
    words = [int(data[i : i + 4], 16) for i in range(0, len(data), 4)]
    decoded = decode(spec, words)
    assert decoded == (pytest.approx(value, abs=1e-3) if isinstance(value, float) else value)
    assert type(decoded) is type(value)


def test_every_model_has_a_frame_here_and_its_sources() -> None:
    assert {f[0] for f in FRAMES} == set(MODELS)
    for model in MODELS.values():
        assert len(model.sources) >= 2
        assert model.manual.title.startswith((model.manufacturer, "Eastron"))


@pytest.mark.parametrize("model", MODELS.values(), ids=str)
def test_every_register_speaks_both_ways(model: MeterModel) -> None:
    for spec in model.registers:
        value = "21000000" if spec.quantity is Quantity.SERIAL else 100 if spec.quantity in ENERGIES else 1.0
        assert decode(spec, encode(spec, value)) == pytest.approx(value) if value != "21000000" else value
        if spec.quantity in ENERGIES:
            assert 1 <= step(spec, 0) <= 10


@pytest.mark.parametrize("model", MODELS.values(), ids=str)
def test_every_model_has_what_a_head_end_lives_on(model: MeterModel) -> None:
    voltages = {Quantity.VOLTAGE_L1_V, Quantity.VOLTAGE_L2_V, Quantity.VOLTAGE_L3_V}
    assert {Quantity.IMPORT_WH, Quantity.EXPORT_WH, Quantity.VOLTAGE_L1_V} <= model.quantities
    assert len(voltages & model.quantities) == model.phases
    if model.transformer_ratio is not TransformerRatio.NONE and model.phases == 3:
        assert Quantity.CT_RATIO in model.quantities


def test_merged_blocks_save_most_of_the_requests() -> None:
    sdm630 = MODELS["eastron-sdm630"]
    blocks = plan(sdm630.registers, sdm630.limits)
    assert [str(b) for b in blocks] == [
        "holding 0xFC00..0xFC01",
        "input 0x0000..0x004B",
        "input 0x015A..0x0165",
    ]
    assert len(sdm630.registers) == 21
    assert all(s.type is not RegisterType.F32 for s in sdm630.registers if s.table is Table.HOLDING)
