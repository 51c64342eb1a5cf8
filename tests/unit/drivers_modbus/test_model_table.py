"""The README's table of meter models says what the maps say."""

from __future__ import annotations

from dataclasses import replace

import pytest

from drivers.modbus.features import NO_FEATURES, ClockFormat, ClockSpec, WriteTarget
from drivers.modbus.map_file import load_models
from drivers.modbus.model_table import beside, markdown, row
from drivers.modbus.register_map import Table
from support.model_table import BEGIN, END, README, with_table


def test_the_readme_shows_the_maps_as_they_are() -> None:
    text = README.read_text(encoding="utf-8")
    assert text.count(BEGIN) == text.count(END) == 1
    assert text == with_table(text), "run: python tests/support/model_table.py"


def test_a_row_says_what_a_person_chooses_by() -> None:
    cells = row(load_models()["eastron-sdm630"])
    assert cells[:4] == ("eastron-sdm630", "Eastron SDM630-Modbus V2", "3", "none")
    assert cells[4] == (
        "import, export, power, power factor, frequency, serial; per phase import, export, voltage, current, power"
    )
    assert "section 1.2.1" in cells[6]
    assert "nmakel/sdm_modbus" in cells[7]


@pytest.mark.parametrize(("write", "said"), [(None, "clock"), (WriteTarget(function=16, address=0), "clock (set)")])
def test_what_a_meter_can_beside_being_measured(write: WriteTarget | None, said: str) -> None:
    clock = ClockSpec(table=Table.HOLDING, address=0, format=ClockFormat(encoding="unix"), write=write)
    assert beside(NO_FEATURES) == "–"
    assert beside(replace(NO_FEATURES, clock=clock)) == said


def test_a_bar_in_a_name_breaks_no_table() -> None:
    model = replace(load_models()["eastron-sdm630"], name="one | two")
    lines = markdown([model]).splitlines()
    assert len(lines) == 3
    assert r"one \| two" in lines[2]
