"""Payload maps are read strictly: every error names file, line, key, value and what would be right."""

from __future__ import annotations

from pathlib import Path

import pytest

from drivers.mqtt.map_file import PayloadMapError, load_maps, parse_map

GOOD = """\
id = "acme"
name = "Acme"
sources = ["a recording"]
[manual]
title = "Manual"
where = "page 1"
[identity]
manufacturer = "Acme"
serial = "{serial}"
[[messages]]
topic = "acme/{serial}/state"
ignore = "no register in it"
[[messages]]
topic = "acme/{serial}"
timestamps = [{ at = "t", format = "unix_s", uncertainty_ms = 500 }]
import_wh = { at = "e", unit = "kWh" }
voltage_l1_v = { at = "u", unit = "V" }
"""
STAMPS = 'timestamps = [{ at = "t", format = "unix_s", uncertainty_ms = 500 }]'


def test_the_good_one_is_read() -> None:
    read = parse_map(GOOD, file="acme.toml")
    assert (read.map_id, len(read.messages)) == ("acme", 2)
    assert read.manual == "Manual, page 1"


@pytest.mark.parametrize(
    ("old", "new", "line", "key", "says"),
    [
        ('id = "acme"', 'id = "Acme!"', 1, "id", "lower case"),
        ('name = "Acme"', 'name = "Acme"\nnmae = 1', 3, "nmae", "unknown key"),
        ('sources = ["a recording"]', "sources = []", 3, "sources", "at least one"),
        ('where = "page 1"', "", 4, "manual.where", "missing"),
        ('serial = "{serial}"', 'serial = "{serial"', 9, "identity.serial", "expected '}'"),
        ('serial = "{serial}"', 'serial = "{a}{b}"', 9, "identity.serial", "text between"),
        ('serial = "{serial}"', 'serial = "{other}"', 14, "@.topic", "{other} of '{other}' is neither"),
        ('manufacturer = "Acme"', 'manufacturer = "{maker}"', 14, "@.topic", "{maker}"),
        ('topic = "acme/{serial}"', 'topic = "acme/#"', 14, "@.topic", "no level"),
        ('topic = "acme/{serial}"', 'topic = "{a}/{serial}"', 14, "@.topic", "every topic would fit"),
        ('topic = "acme/{serial}"', 'topic = "acme/{serial}/state"', 14, "@.topic", "an earlier rule"),
        ('topic = "acme/{serial}/state"', 'topic = "acme/{device}"', 14, "@.topic", "an earlier rule (acme/{device})"),
        ('topic = "acme/{serial}"', 'topic = "$share/group/{serial}"', 14, "@.topic", "the broker's own"),
        ('unit = "kWh"', 'unit = "kWh", scale = 1e999999999', 16, "@.import_wh.scale", "between 1E-30 and 1E+30"),
        ('ignore = "no register in it"', 'ignore = "x"\nof = "meter"', 13, "messages[1].of", "leave it out"),
        (STAMPS, "", 13, "@.timestamps", "missing"),
        ('format = "unix_s"', 'format = "unix"', 15, "@.timestamps.format", "one of rfc3339"),
        ('format = "unix_s"', 'format = "local"', 15, "@.timestamps.zone", "Europe/Vienna"),
        ('format = "unix_s"', 'format = "local", zone = "Mars"', 15, "@.timestamps.zone", "IANA"),
        ('format = "unix_s"', 'zone = "site", format = "unix_s"', 15, "@.timestamps.zone", "belongs to local"),
        ('at = "t", format = "unix_s"', 'at = "t", format = "arrival"', 15, "@.timestamps.format", "no field"),
        ("uncertainty_ms = 500", "uncertainty_ms = -1", 15, "@.timestamps.uncertainty_ms", "0..604800000"),
        ('import_wh = { at = "e", unit = "kWh" }', "", 14, "@.topic", "without a register"),
        ('unit = "kWh"', 'unit = "V"', 16, "@.import_wh.unit", "one of Wh, kWh"),
        ('at = "e"', 'at = "e["', 16, "@.import_wh.at", "cannot be read from '['"),
        ('at = "e"', "at = []", 16, "@.import_wh.at", "at least one"),
        ('at = "e"', 'at = "e", scale = 0', 16, "@.import_wh.scale", "greater than 0"),
        ('at = "e"', 'at = "e", sign = 2', 16, "@.import_wh.sign", "one of 1, -1"),
        ('at = "e"', 'at = "e", factor = 2', 16, "@.import_wh.factor", "unknown key"),
        ('at = "u", unit = "V"', 'at = "u", unit = "V", resolution = 1', 17, "@.voltage_l1_v.resolution",
         "registers of"),
        ('import_wh = { at = "e", unit = "kWh" }', "import_wh = 3", 16, "@.import_wh", "inline tables"),
        (STAMPS, STAMPS + '\nwhen = [{ at = "x" }]', 16, "@.when.at", "either is"),
        (STAMPS, STAMPS + '\nwhen = [{ at = "x", is = [[1]] }]', 16, "@.when.is", "wanted a text"),
        (STAMPS, STAMPS + '\nwhen = [{ at = "x", is = [] }]', 16, "@.when.is", "an empty list holds for nothing"),
        (STAMPS, STAMPS + '\nnames = "x"', 16, "@.names", "{ name ="),
        (STAMPS, STAMPS + '\nof = "concentrator"', 16, "@.of", "no concentrator"),
        (STAMPS, STAMPS + '\nof = "area"', 16, "@.of", "one of meter, concentrator"),
        (STAMPS, STAMPS + '\nencoding = "text"', 14, "@.topic", "its only place is $"),
        (STAMPS, STAMPS + '\nencoding = "xml"', 16, "@.encoding", "one of json, text, sparkplug_b"),
        (STAMPS, STAMPS + '\nevents = [{ at = "x", is = 1, set = "boom" }]', 16, "@.events.set", "cover_opened"),
        (STAMPS, STAMPS + '\nevents = [{ at = "x", is = 1, set = "phase_lost", phase = 4 }]', 16, "@.events.phase",
         "1..3"),
        (STAMPS, STAMPS + '\nimport_l4_wh = { at = "x", unit = "Wh" }', 16, "@.import_l4_wh", "unknown key"),
    ],
)  # fmt: skip
def test_a_wrong_map_says_where_and_what(old: str, new: str, line: int, key: str, says: str) -> None:
    assert old in GOOD
    with pytest.raises(PayloadMapError) as wrong:
        parse_map(GOOD.replace(old, new, 1), file="acme.toml")
    where = f"acme.toml:{line}: {key.replace('@', 'messages[2]')}: "
    assert str(wrong.value).startswith(where), str(wrong.value)
    assert says in str(wrong.value)


def test_no_toml_and_no_messages() -> None:
    with pytest.raises(PayloadMapError, match=r"acme\.toml: not TOML"):
        parse_map("id =", file="acme.toml")
    with pytest.raises(PayloadMapError, match=r"messages: wanted at least one"):
        parse_map(GOOD.partition("[[messages]]")[0], file="acme.toml")


def test_maps_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "acme.toml").write_text(GOOD, encoding="utf-8")
    built_in = [m.map_id for m in load_maps()]
    assert [m.map_id for m in load_maps(tmp_path)] == [*built_in, "acme"]
    assert [m.map_id for m in load_maps(tmp_path, only=["acme", "tasmota-energy"])] == ["acme", "tasmota-energy"]
    assert load_maps(only=[]) == ()
    with pytest.raises(PayloadMapError, match="there is no payload map 'fritz'; known are amsreader"):
        load_maps(only=["fritz"])
    with pytest.raises(PayloadMapError, match="no such directory"):
        load_maps(tmp_path / "nothing")
    (tmp_path / "again.toml").write_text(GOOD.replace('"acme"', '"tasmota-energy"'), encoding="utf-8")
    with pytest.raises(
        PayloadMapError, match=r"again\.toml: id: 'tasmota-energy' is already taken by .*tasmota-energy\.toml"
    ):
        load_maps(tmp_path)
