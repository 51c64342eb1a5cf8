"""Register maps: everything that can be wrong in a file, and the message that a person gets for it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest

from drivers.base import Quantity
from drivers.modbus.map_file import RegisterMapError, load_model, load_models, parse_model
from drivers.modbus.register_map import AddressRange, Table, TransformerRatio

GOOD = """\
id = "acme-1"
manufacturer = "Acme"
name = "One"
phases = 1
transformer_ratio = "none"
firmware_notes = "all"
sources = ["another list"]

[manual]
title = "Acme One manual 1.0"
where = "page 7"

[limits]
max_registers = 20
max_gap = 4
forbidden = [{ table = "input", first = 0x50, last = 0x5F }]

[defaults]
table = "input"
type = "u32"

[[registers]]
quantity = "import_wh"
address = 0x0010
scale = 0.01
unit = "kWh"
invalid = [0xFFFFFFFF]

[[registers]]
quantity = "voltage_l1_v"
table = "holding"
address = 4
type = "u16"
scale = 0.1
unit = "V"
"""


def test_a_good_map_is_read_whole() -> None:
    model = parse_model(GOOD, file="acme.toml")
    assert (model.id, model.phases, model.transformer_ratio) == ("acme-1", 1, TransformerRatio.NONE)
    assert model.quantities == {Quantity.IMPORT_WH, Quantity.VOLTAGE_L1_V}
    energy = model.by_quantity[Quantity.IMPORT_WH]
    assert (energy.table, energy.address, energy.count, energy.invalid) == (Table.INPUT, 0x10, 2, (0xFFFFFFFF,))
    assert energy.factor == 10
    assert energy.resolution == 10
    assert model.by_quantity[Quantity.VOLTAGE_L1_V].factor == Fraction(1, 10)
    assert model.limits.forbidden == (AddressRange(Table.INPUT, 0x50, 0x5F),)
    assert model.limits.function_codes == {Table.INPUT: 4, Table.HOLDING: 3}


@pytest.mark.parametrize(
    ("old", "new", "on", "message"),
    [
        (
            'name = "One"',
            'name = "One"\ncolour = "red"',
            "colour =",
            "colour: unknown key; known here: clock, defaults, firmware_notes",
        ),
        ("scale = 0.1\n", "scale = 0.1\nscalee = 2\n", "scalee = 2", r"registers\[2\].scalee: unknown key"),
        (
            '[manual]\ntitle = "Acme One manual 1.0"\nwhere = "page 7"',
            "",
            None,
            r"manual: missing; wanted a table \[manual\]",
        ),
        ('where = "page 7"', "", "[manual]", "manual.where: missing; wanted a text"),
        ('where = "page 7"', 'where = " "', "where =", "manual.where: ' ': wanted a text that is not empty"),
        ('sources = ["another list"]', "sources = []", "sources =", "sources: .*wanted a list of texts, at least one"),
        ("phases = 1", "phases = 2", "phases =", "phases: 2: wanted one of 1, 3"),
        ("phases = 1", "phases = true", "phases =", "phases: True: wanted one of 1, 3"),
        ('id = "acme-1"', 'id = "Acme 1"', "id =", "id: 'Acme 1': wanted lower case"),
        (
            'transformer_ratio = "none"',
            'transformer_ratio = "maybe"',
            "maybe",
            "'maybe': wanted one of none, not_applied, applied",
        ),
        ("max_registers = 20", "max_registers = 126", "126", "limits.max_registers: 126: wanted a whole number 1..125"),
        (
            "max_registers = 20",
            "max_registers = 1",
            "address = 0x0010",
            "cannot be read within .limits.*2 registers long, a request may be 1",
        ),
        (
            "first = 0x50, last = 0x5F",
            "first = 0x5F, last = 0x50",
            "forbidden =",
            "80: wanted a whole number 95..65535",
        ),
        (
            "first = 0x50",
            "first = 0x11",
            "address = 0x0010",
            "lies in input 0x0011..0x005F, which must not be asked for",
        ),
        (
            'quantity = "import_wh"',
            'quantity = "import_kwh"',
            "import_kwh",
            "'import_kwh': wanted one of import_wh, export_wh",
        ),
        ('quantity = "voltage_l1_v"', 'quantity = "import_wh"', 'unit = "V"', "wanted one of Wh, kWh, MWh"),
        ('type = "u16"', 'type = "i16"', "i16", "'i16': wanted one of u16, s16"),
        (
            'type = "u16"',
            'type = "u16"\ncount = 1',
            "count = 1",
            "type u16 is always 1 registers long; leave count out",
        ),
        ('type = "u16"', 'type = "bcd"', "[[registers]]", "count: missing; wanted a whole number 1..16"),
        ('type = "u16"', 'type = "ascii"\ncount = 2', "ascii", "ascii is text, voltage_l1_v is a number"),
        ('type = "u16"', 'type = "dotted"\ncount = 2', "dotted", "dotted is text, voltage_l1_v is a number"),
        ("address = 0x0010", "address = 40001.5", "40001.5", "wanted a whole number 0..65535"),
        ("address = 0x0010", "address = 0xFFFF", "0xFFFF", "2 registers from 0xFFFF end behind the last one"),
        ("address = 0x0010", "", "[[registers]]", r"registers\[1\].address: missing"),
        ('unit = "kWh"', 'unit = "V"', "unit =", "'V' cannot be the unit of import_wh; wanted one of Wh, kWh, MWh"),
        ('unit = "kWh"', 'unit = "kwh"', "unit =", "'kwh': wanted one of Wh, kWh"),
        ("scale = 0.01", "scale = -0.01", "scale =", "-0.01: wanted a number greater than 0"),
        ("scale = 0.01", 'scale = "1/100"', "scale =", "1/100: wanted a number greater than 0"),
        (
            "invalid = [0xFFFFFFFF]",
            "invalid = [0x1FFFFFFFF]",
            "invalid =",
            "wanted bit patterns of 2 registers, 0..0xFFFFFFFF",
        ),
        (
            "scale = 0.01",
            'scale = 0.01\ntype = "f32"',
            "[[registers]]",
            "resolution: missing; a f32 energy register needs its smallest step, in kWh",
        ),
        (
            'table = "holding"\naddress = 4',
            "address = 0x11",
            "address = 0x11",
            "voltage_l1_v at input 0x0011..0x0011 overlaps import_wh at input 0x0010..0x0011",
        ),
        ("[[registers]]", "[registers]", None, "not TOML"),
        ("phases = 1", "phases = ", None, "not TOML: Invalid value .at line 4"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, on: str | None, message: str) -> None:
    assert old in GOOD
    text = GOOD.replace(old, new)
    with pytest.raises(RegisterMapError, match=message) as caught:
        parse_model(text, file="acme.toml")
    assert str(caught.value).startswith("acme.toml")
    if on is None:
        assert caught.value.line is None
    else:
        assert caught.value.line is not None
        assert on in text.splitlines()[caught.value.line - 1]
        assert str(caught.value).startswith(f"acme.toml:{caught.value.line}: ")


def test_a_quantity_has_one_register() -> None:
    twice = GOOD + '\n[[registers]]\nquantity = "import_wh"\naddress = 0x30\nunit = "kWh"\n'
    with pytest.raises(RegisterMapError, match=r"acme.toml:38: registers\[3\].quantity: 'import_wh' is given twice"):
        parse_model(twice, file="acme.toml")


def test_a_map_without_registers_is_none() -> None:
    with pytest.raises(RegisterMapError, match="registers: wanted at least one"):
        parse_model(GOOD[: GOOD.index("[[registers]]")], file="acme.toml")


def test_an_own_directory_adds_models(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(GOOD)
    (tmp_path / "notes.txt").write_text("not a map")
    models = load_models(tmp_path)
    assert models["acme-1"] == load_model(tmp_path / "acme.toml")
    assert set(models) == {*load_models(), "acme-1"}


def test_an_id_is_taken_once(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(GOOD.replace("acme-1", "eastron-sdm120"))
    with pytest.raises(RegisterMapError, match=r"mine.toml: id: 'eastron-sdm120' is already taken by .*maps"):
        load_models(tmp_path)


def test_a_directory_or_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(RegisterMapError, match="nowhere: no such directory"):
        load_models(tmp_path / "nowhere")
    with pytest.raises(RegisterMapError, match=r"no.toml: cannot be read"):
        load_model(tmp_path / "no.toml")
    (tmp_path / "latin.toml").write_bytes(b'id = "\xe4"')
    with pytest.raises(RegisterMapError, match=r"latin.toml: cannot be read"):
        load_models(tmp_path)
