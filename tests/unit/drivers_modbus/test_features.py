"""The optional tables of a register map, and what can be wrong in them."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from drivers.base import Quantity
from drivers.events import EventKind
from drivers.modbus.features import DAY_S, NO_FEATURES
from drivers.modbus.map_file import RegisterMapError, parse_model
from drivers.modbus.register_map import AddressRange, Table

PLAIN = '''\
id = "acme-2"
manufacturer = "Acme"
name = "Two"
phases = 1
transformer_ratio = "none"
firmware_notes = """
Two lines, in which
table = "nothing"
[clock]
is no key and no table.
"""
sources = ["another list"]
manual = { title = "Acme Two manual 1.0", where = "page 7" }

[limits]
max_registers = 20
forbidden = [{ table = "holding", first = 0x50, last = 0x5F }]

[defaults]
table = "holding"

[[registers]]
quantity = "import_wh"
address = 0
type = "u32"
unit = "kWh"
'''
RICH = (
    PLAIN
    + """
[clock]
table = "holding"
address = 0x3C
encoding = "byte_fields"
fields = ["year", "month", "day", "hour", "minute", "second"]
year_base = 2000
resolution_s = 1
write = { function = 16, address = 0x3C, unlock = [{ address = 0x30, words = [1, 2] }] }

[relay]
table = "holding"
address = 0x40
mask = 0x0003
states = { open = [1], closed = [2, 3] }
writes = { open = [0xAA], closed = [0x55] }

[relay.write]
function = 6
address = 0x41

[tariff]
table = "input"
address = 0x42
write.function = 16
write.address = 0x43

[tariff.states]
1 = [1]
2 = [2]

[tariff.writes]
1 = [0, 1]
2 = [0, 2]

[[status]]
table = "holding"
address = 0x44
bits = [{ bit = 0, set = "phase_lost", cleared = "phase_restored" }]

[[status]]
table = "holding"
address = 0x45
bits = [
  { bit = 1, set = "cover_opened" },
  { bit = 15, set = "reversed_current" },
]

[profile]
table = "input"
address = 0x6000
stride = 10
records = 31
period = "day"
order = "newest_first"
stamp = { encoding = "byte_fields", fields = ["year", "month", "day", "hour"], year_base = 2000 }

[[profile.registers]]
quantity = "import_wh"
address = 2
type = "u32"
scale = 0.01
unit = "kWh"

[[profile.registers]]
quantity = "export_wh"
address = 4
type = "u32"
scale = 0.01
unit = "kWh"
"""
)


def test_a_map_without_them_has_none() -> None:
    assert parse_model(PLAIN, file="acme.toml").features == NO_FEATURES


def test_all_tables_are_read_whole() -> None:
    features = parse_model(RICH, file="acme.toml").features
    clock = features.clock
    assert clock is not None
    assert clock.range == AddressRange(Table.HOLDING, 0x3C, 0x3E)
    assert clock.format.year_base == 2000
    assert clock.format.zone == "local"
    assert clock.write is not None
    assert (clock.write.function, clock.write.address, clock.write.unlock) == (16, 0x3C, ((0x30, (1, 2)),))
    relay = features.relay
    assert relay is not None
    assert (relay.state.range, relay.state.mask) == (AddressRange(Table.HOLDING, 0x40, 0x40), 3)
    assert (relay.write.function, relay.write.address) == (6, 0x41)
    assert relay.writes == {"open": (0xAA,), "closed": (0x55,)}
    assert relay.states == {"open": (1,), "closed": (2, 3)}
    tariff = features.tariff
    assert tariff is not None
    assert tariff.writes == {"1": (0, 1), "2": (0, 2)}
    assert tariff.write.address == 0x43
    first, second = features.status
    assert first.bits == {0: (EventKind.PHASE_LOST, EventKind.PHASE_RESTORED)}
    assert second.bits == {1: (EventKind.COVER_OPENED, None), 15: (EventKind.REVERSED_CURRENT, None)}
    profile = features.profile
    assert profile is not None
    assert (profile.table, profile.address, profile.stride, profile.records) == (Table.INPUT, 0x6000, 10, 31)
    assert (profile.period_s, profile.order, profile.empty) == (DAY_S, "newest_first", 0xFFFF)
    assert [(s.quantity, s.table, s.address, s.factor) for s in profile.registers] == [
        (Quantity.IMPORT_WH, Table.INPUT, 2, 10),
        (Quantity.EXPORT_WH, Table.INPUT, 4, 10),
    ]


@pytest.mark.parametrize(
    ("old", "new", "on", "message"),
    [
        # clock
        (
            "address = 0x3C\nencoding",
            "address = 0x5F\nencoding",
            "address = 0x5F",
            "clock.address: .*0x005F..0x0061 lies",
        ),
        (
            "address = 0x3C\nencoding",
            "address = 0xFFFE\nencoding",
            "0xFFFE",
            "clock.address: 3 registers from 0xFFFE end",
        ),
        ('"hour", "minute", "second"]', '"hour"]', "fields =", "clock.fields: a clock tells at least hour and minute"),
        (
            '["year", "month", "day", "hour", "m',
            '["year", "day", "hour", "m',
            "fields =",
            "at least year, month and day",
        ),
        ('"minute", "second"]', '"minute", "minute"]', "fields =", "clock.fields: .*each field once"),
        ('"minute", "second"]', '"minute", "era"]', "fields =", "clock.fields: .*wanted a list of year, month"),
        ("year_base = 2000\nres", "res", "[clock]", "clock.year_base: missing; wanted one of 1900, 2000"),
        (
            "year_base = 2000\nres",
            "year_base = 24\nres",
            "year_base = 24",
            "clock.year_base: 24: wanted one of 1900, 2000",
        ),
        ('encoding = "byte_fields"\nf', 'encoding = "bytes"\nf', '"bytes"', "'bytes': wanted one of unix, word_fields"),
        ('encoding = "byte_fields"\nf', 'encoding = "unix"\nf', "fields =", "clock.fields: encoding unix has none"),
        (
            'encoding = "byte_fields"\nf',
            'word_order = "low_first"\nencoding = "byte_fields"\nf',
            "word_order",
            "has none",
        ),
        (
            "resolution_s = 1",
            "resolution_s = 0",
            "resolution_s",
            "clock.resolution_s: 0: wanted a number greater than 0",
        ),
        (
            "{ function = 16, address = 0x3C,",
            "{ function = 6, address = 0x3C,",
            "write =",
            "clock.write.function: 6: wanted",
        ),
        ("words = [1, 2]", "words = []", "write =", "clock.write.unlock.words: .*wanted a list of registers"),
        ("words = [1, 2]", "word = [1, 2]", "write =", "clock.write.unlock.word: unknown key"),
        (
            "words = [1, 2]",
            f"words = {[0] * 124}",
            "write =",
            "clock.write.unlock.words: 124 registers: one write takes",
        ),
        (
            "{ address = 0x30,",
            "{ address = 0xFFFF,",
            "write =",
            "clock.write.unlock.words: 2 registers from 0xFFFF end",
        ),
        ("16, address = 0x3C,", "16, address = 0xFFFE,", "write =", "clock.write: 3 registers from 0xFFFE end behind"),
        # relay
        ("mask = 0x0003", "mask = 0", "mask =", "relay.mask: 0: wanted a whole number 1..65535"),
        ("mask = 0x0003", "mask = 0x0001", "states = { open", "relay.states: .*lies within the mask 0x0001"),
        ("closed = [2, 3]", "closed = [1]", "states = { open", "relay.states: .*each value stands for one state"),
        (
            "closed = [2, 3] }",
            "shut = [2, 3] }",
            "states = { open",
            "relay.states.shut: unknown key; known here: closed, open",
        ),
        (", closed = [2, 3]", "", "states = { open", "relay.states: wanted at least two of open, closed"),
        ("closed = [0x55]", "closed = [0xAA]", "writes = { open", "relay.writes: open and closed write the same"),
        (
            "closed = [0x55]",
            "closed = [0, 0x55]",
            "writes = { open",
            "relay.writes: function 6 writes exactly one register",
        ),
        ("closed = [0x55]", "closed = [0x10000]", "writes = { open", "relay.writes.closed: .*registers 0..0xFFFF"),
        (
            "function = 6",
            "function = 5",
            "writes = { open",
            "relay.writes: function 5 writes 0x0000 .off. or 0xFF00 .on.",
        ),
        ("function = 6", "function = 3", "function = 3", "relay.write.function: 3: wanted one of 5, 6, 16"),
        ("address = 0x41", "", "[relay.write]", "relay.write.address: missing"),
        ("address = 0x40", "address = 0x50", "address = 0x50", "relay.address: .*must not be asked for"),
        # tariff
        ("2 = [2]", "9 = [2]", "9 = [2]", "tariff.states.9: unknown key; known here: 1, 2, 3"),
        ("2 = [2]", "3 = [2]", "[tariff.states]", "tariff.states: no value says 2: it could not be read back"),
        (
            "write.address = 0x43",
            "write.address = -1",
            "write.address",
            "tariff.write.address: -1: wanted a whole number",
        ),
        ("2 = [0, 2]", f"2 = {[0] * 124}", "[tariff.writes]", "tariff.writes: 124 registers: one write takes 123"),
        # status
        ("bit = 15", "bit = 16", "bits = [\n", r"status\[2\].bits.bit: 16: wanted a whole number 0..15"),
        ("bit = 15", "bit = 1", "bits = [\n", r"status\[2\].bits: bit 1 is given twice"),
        ('set = "phase_lost"', 'set = "phase_gone"', "bits = [{", r"status\[1\].bits.set: 'phase_gone': wanted one of"),
        ("address = 0x45", "address = 0x44", "0x44", r"status\[2\].address: holding 0x0044..0x0044 is given twice"),
        (
            'bits = [{ bit = 0, set = "phase_lost", cleared = "phase_restored" }]',
            "bits = []",
            "bits = []",
            "at least one",
        ),
        ("[[status]]", "[status]", None, "not TOML"),
        # profile
        (
            "stride = 10",
            "stride = 5",
            "address = 4",
            r"profile.registers\[2\].address: ends at offset 5 of a record of 5",
        ),
        ("stride = 10", "stride = 1", "[profile]", "profile.stamp_offset: the stamp ends behind a record of 1"),
        (
            "stride = 10\nrecords = 31",
            "stride = 2000\nrecords = 31",
            "0x6000",
            "profile.address: 62000 registers from 0x6000",
        ),
        ('period = "day"', "period = 900", "stride", None),
        ('period = "day"', 'period = "week"', "period =", "profile.period: 'week': wanted one of day"),
        ('period = "day"', "period = 30", "period =", "profile.period: 30: wanted a whole number 60..86400"),
        (
            'order = "newest_first"',
            'order = "oldest"',
            "order =",
            "profile.order: 'oldest': wanted one of newest_first, ring",
        ),
        ("stamp = {", "stamp_offset = 9\nstamp = {", "stamp_offset =", "profile.stamp_offset: the stamp ends behind"),
        ('"hour"], year_base = 2000 }', '"hour"] }', "stamp = {", "profile.stamp.year_base: missing"),
        ("address = 2\n", "address = 1\n", "address = 1", r"registers\[1\].address: import_wh .* overlaps the stamp"),
        ("address = 4\n", "address = 3\n", "address = 3", r"registers\[2\].address: export_wh .* overlaps import_wh"),
        (
            'quantity = "export_wh"',
            'quantity = "import_wh"',
            "import_wh",
            r"registers\[2\].quantity: 'import_wh' is given twice",
        ),
        (
            'quantity = "export_wh"\naddress = 4\ntype = "u32"\nscale = 0.01\nunit = "kWh"',
            'quantity = "voltage_l1_v"\naddress = 4\ntype = "u16"\nunit = "V"',
            'quantity = "voltage_l1_v"',
            r"profile.registers\[2\].quantity: 'voltage_l1_v': a profile stores energies",
        ),
        (
            "address = 4\n",
            'address = 4\ntable = "holding"\n',
            "table =",
            r"registers\[2\].table: 'holding': the profile stands in",
        ),
        (
            "records = 31",
            "records = 31\nselector_base = 1",
            "selector_base",
            "profile.selector_base: there is no selector",
        ),
        ("[[profile.registers]]", "[[profile.register]]", "[[profile.register]]", "profile.register: unknown key"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(old: str, new: str, on: str | None, message: str | None) -> None:
    assert old in RICH
    text = RICH.replace(old, new)
    if message is None:  # right as well
        parse_model(text, file="acme.toml")
        return
    with pytest.raises(RegisterMapError, match=message) as caught:
        parse_model(text, file="acme.toml")
    if on is None:
        return
    assert caught.value.line is not None
    assert on.strip() in text.splitlines()[caught.value.line - 1], caught.value
    assert str(caught.value).startswith(f"acme.toml:{caught.value.line}: {caught.value.key}: ")


def test_the_second_table_of_a_name_is_meant_by_its_line() -> None:
    text = RICH.replace("bit = 15", "bit = 16")
    with pytest.raises(RegisterMapError) as caught:
        parse_model(text, file="acme.toml")
    lines = text.splitlines()
    assert lines[caught.value.line - 1] == "bits = ["  # type: ignore[operator]
    assert caught.value.line > lines.index("address = 0x45")  # type: ignore[operator]


def test_the_example_in_the_readme_is_right() -> None:
    readme = files("drivers.modbus").joinpath("maps", "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```toml\n(.*?)```", readme, re.DOTALL)
    features = parse_model(PLAIN + example, file="README.md").features
    assert features.clock is not None
    assert features.relay is not None
    assert features.status
    assert features.profile is not None


def test_a_daily_profile_may_do_without_a_stamp() -> None:
    stamp = next(line for line in RICH.splitlines() if line.startswith("stamp ="))
    profile = parse_model(RICH.replace(stamp, ""), file="acme.toml").features.profile
    assert profile is not None
    assert profile.stamp is None
    for change in (('order = "newest_first"', 'order = "ring"'), ('period = "day"', "period = 3600")):
        with pytest.raises(
            RegisterMapError, match=r"profile.stamp: missing; only a daily profile, newest record first"
        ):
            parse_model(RICH.replace(stamp, "").replace(*change), file="acme.toml")
    with pytest.raises(RegisterMapError, match=r"profile.stamp_offset: there is no stamp; leave it out"):
        parse_model(RICH.replace(stamp, "stamp_offset = 1"), file="acme.toml")


def test_a_selected_profile_is_one_window() -> None:
    selected = RICH.replace(
        "records = 31", "records = 9000\nselector = { function = 6, address = 0x5FFF }\nselector_base = 1"
    )
    profile = parse_model(selected, file="acme.toml").features.profile
    assert profile is not None
    assert profile.selector is not None
    assert (profile.selector.address, profile.selector_base, profile.records) == (0x5FFF, 1, 9000)


def test_pairs_of_registers_hold_for_features_too() -> None:
    aligned = RICH.replace("max_registers = 20", "max_registers = 20\nalign = 2")
    with pytest.raises(RegisterMapError, match=r"clock.address: holding 0x003C..0x003E: .* must be multiples of 2"):
        parse_model(aligned, file="acme.toml")
    even = PLAIN.replace("max_registers = 20", "max_registers = 20\nalign = 2")
    even += '[clock]\ntable = "holding"\naddress = 0x3C\nencoding = "iec870"\n'
    assert parse_model(even, file="acme.toml").features.clock is not None
    with pytest.raises(RegisterMapError, match=r"clock.address: holding 0x003D..0x0040: first address and length"):
        parse_model(even.replace("0x3C", "0x3D"), file="acme.toml")


# Clocks: SECONDS are whole, local time is without the hour that is told twice.
