"""What a person in the field is shown of one meter, and what is said to look wrong."""

from __future__ import annotations

from typing import Any

from drivers.base import Quantity
from drivers.modbus.map_file import load_models
from drivers.modbus.probe import plausibility, probe
from drivers.modbus.register_map import Table
from support.modbus import memory_of, run

DTSU666 = load_models()["chint-dtsu666"]


def test_a_probe_shows_values_units_registers_and_timing(setup: Any) -> None:
    _, link, bus = setup()
    link.meters[3] = memory_of(
        DTSU666, import_wh=4000, import_l1_wh=1000, import_l2_wh=1000, import_l3_wh=2000, voltage_l1_v=12.0,
        voltage_l2_v=230.0, voltage_l3_v=230.0, power_factor=0.9, frequency_hz=50.0,
    )  # fmt: skip
    report = run(probe(bus, 3, DTSU666))
    by_name = {v.quantity.value: v for v in report.values}
    energy = by_name["import_wh"]
    assert (energy.value, energy.unit, energy.table, energy.address) == (4000, "Wh", Table.HOLDING, 0x101E)
    assert energy.words == (0x4080, 0x0000)
    assert by_name["voltage_l1_v"].unit == "V"
    assert [r.span_ms for r in report.requests] == [50.0] * len(link.asked)
    assert report.missing == ()
    assert report.remarks == ("voltage_l1_v = 12: outside 80..300 V",)


def test_what_looks_wrong_is_said_in_words() -> None:
    q = Quantity
    assert plausibility({q.VOLTAGE_L1_V: 230.0, q.FREQUENCY_HZ: 50.0, q.POWER_FACTOR: -0.94, q.IMPORT_WH: 5}) == ()
    remarks = plausibility(
        {
            q.VOLTAGE_L1_V: 0.0, q.FREQUENCY_HZ: 0.0, q.POWER_FACTOR: 900.0, q.EXPORT_WH: -4, q.SERIAL: None,
            q.IMPORT_WH: 9000, q.IMPORT_L1_WH: 1000, q.IMPORT_L2_WH: 1000, q.IMPORT_L3_WH: 1000,
        }
    )  # fmt: skip
    assert remarks == (
        "frequency_hz = 0: outside 45..65 Hz",
        "power_factor = 900: outside -1..1",
        "export_wh = -4: a cumulative register below zero",
        "serial: the meter says that it has no value",
        "no voltage on any phase: not connected, or the wrong model",
        "phase imports sum to 3000 Wh, the total says 9000 Wh",
    )
