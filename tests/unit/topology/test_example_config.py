"""The commented example of the settings names every key, with the default that the program has."""

from __future__ import annotations

import itertools
import re
import tomllib
from pathlib import Path
from typing import Any

from drivers.modbus.dialin_settings import dialin_settings
from headend.settings import Settings, load_settings
from headend.settings.sections import Section
from headend.settings.validation import CATEGORY_DEFAULTS, RuleTables

EXAMPLE = Path(__file__).parents[3] / "config" / "headend.example.toml"


def _sections() -> dict[str, type[Section]]:
    found: dict[str, type[Section]] = {}
    for name, field in Settings.model_fields.items():
        assert isinstance(field.annotation, type)
        assert issubclass(field.annotation, Section)
        found[name] = field.annotation
    return found


def _commented(text: str) -> dict[str, set[str]]:
    """Keys that stand in the example as comments, by section."""
    section, keys = "", {}
    for line in text.splitlines():
        if header := re.fullmatch(r"\[(\w+)\]", line.strip()):
            section = header[1]
        elif table := re.match(r"# \[(\w+)\.(\w+)\]", line):
            keys.setdefault(table[1], set()).add(table[2])
        elif comment := re.match(r"# (\w+) = ", line):
            keys.setdefault(section, set()).add(comment[1])
    return keys


def test_every_key_stands_there_with_its_default() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    shown, commented = tomllib.loads(text), _commented(text)
    assert set(shown) == set(_sections())
    for section, model in _sections().items():
        defaults: dict[str, Any] = {}
        without: set[str] = set()
        for key, field in model.model_fields.items():
            if field.is_required() or field.get_default() is None:
                without.add(key)
            elif (section, key) == ("validation", "category"):
                defaults[key] = CATEGORY_DEFAULTS  # what differs only: the rest is as for all
            else:
                default = field.get_default()
                told = default.model_dump() if isinstance(default, Section) else default
                defaults[key] = list(told) if isinstance(told, tuple) else told  # as TOML has it
        assert {k: v for k, v in shown[section].items() if k not in without} == defaults, section
        for key in without:
            assert (key in shown[section]) != (key in commented.get(section, set())), f"{section}.{key}"
        assert commented.get(section, set()) <= without, section


def test_what_differs_for_a_category_as_delivered_differs() -> None:
    for category, rules in CATEGORY_DEFAULTS.items():
        for rule, table in rules.items():
            for key, value in table.items():
                for_all = RuleTables.model_fields[rule].get_default().model_dump()
                assert for_all[key] != value, f"{category}.{rule}.{key}"


def test_the_listener_that_it_shows_is_one() -> None:
    text = EXAMPLE.read_text(encoding="utf-8")
    begin = text.index("# [poll.dialin]")
    lines = itertools.takewhile(lambda line: line.startswith("#"), text[begin:].splitlines())
    shown = tomllib.loads("\n".join(line.removeprefix("#") for line in lines))["poll"]["dialin"]
    assert dialin_settings(shown).port == shown["port"]


def test_the_program_accepts_it() -> None:
    assert load_settings(EXAMPLE) == Settings(database={"dsn": tomllib.loads(EXAMPLE.read_text())["database"]["dsn"]})
