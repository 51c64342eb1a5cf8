"""Energies as people type them, and what they read."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import pytest

from headend.domain.quality import ValidationFlag
from headend.web import edit_words, text

SHANGHAI = ZoneInfo("Asia/Shanghai")


def test_energies_in_kwh_to_the_wh() -> None:
    assert edit_words.energies_wh("0.12, 3\n 0.001；1,5") == [120, 3000, 1, 1000, 5000]
    assert edit_words.energies_wh("  ") == []
    for typed in ("0.0001", "x", "NaN", "1e400", "Infinity"):
        with pytest.raises(edit_words.Unreadable):
            edit_words.energy_wh(typed)


def test_a_refusal_in_the_units_of_the_page() -> None:
    said = "from 2026-03-02T05:00+08:00 to 2026-03-02T05:15+08:00 the registers say 1100 Wh"
    assert text.plainly(said, SHANGHAI) == ("from 2026-03-02 05:00 to 2026-03-02 05:15 the registers say 1.100 kWh")


def test_the_thresholds_of_the_rule_that_set_a_flag() -> None:
    spike = {"version": 2, "flag": 1024, "enabled": True, "factor": 3.0, "floor_wh": 500}
    rules = {
        "rules": {"spike": spike | {"category": {"irrigation": {"factor": 9.0}}}},
        "estimation": {"line": {"version": 1, "flag": 262144, "code": "line"}},
    }
    assert edit_words.thresholds(rules, ValidationFlag.SPIKE, "residential") == "factor 3, floor Wh 500, version 2"
    assert edit_words.thresholds(rules, ValidationFlag.SPIKE, "irrigation") == "factor 9, floor Wh 500, version 2"
    assert edit_words.thresholds(rules, ValidationFlag.BY_LINE, "none") == "version 1"
    assert edit_words.thresholds({}, ValidationFlag.SPIKE, "none") == ""
