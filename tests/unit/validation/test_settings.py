"""The [validation] tables: as the rules describe themselves, merged by category, and refused where they are wrong."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import annotated_types
import numpy as np
import pytest

from headend.domain.topology import CATEGORIES
from headend.settings import SettingsError, Validation, load_settings
from headend.settings.validation import CATEGORY_DEFAULTS, RuleTables
from headend.settlement.rulebook import Rulebook, RuleSet, everything
from reconciliation.registers import GridRules
from reconciliation.validation import RULES, Flag

ALWAYS_ON = {"rollover", "reset", "meter_swap", "missing"}
"""They state what the registers are, and have no threshold."""
DSN = '[database]\ndsn = "dbname=headend"\n'


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("HEADEND_") and "__" in n]:
        monkeypatch.delenv(name)


def _index(*categories: str) -> np.ndarray:
    return np.array([CATEGORIES.index(c) for c in categories], dtype=np.int64)


def test_settings_and_rules_say_the_same() -> None:
    tables = {name: f for name, f in Validation.model_fields.items() if name != "category"}
    assert set(tables) == set(RULES) - ALWAYS_ON
    for code, table in tables.items():
        model: Any = table.annotation
        keys = {name: f for name, f in model.model_fields.items() if name != "enabled"}
        assert list(keys) == [t.name for t in RULES[code].thresholds], code
        for threshold in RULES[code].thresholds:
            key = keys[threshold.name]
            bounds: dict[str, Any] = {}
            for limit in key.metadata:
                bounds |= {name: getattr(limit, name) for name in ("ge", "gt", "le", "lt") if hasattr(limit, name)}
            least = bounds.get("ge", bounds.get("gt"))
            assert (key.get_default(), least, bounds["le"]) == (
                threshold.default, threshold.least, threshold.most,
            ), f"{code}.{threshold.name}"  # fmt: skip
            assert key.description, f"{code}.{threshold.name}"
    assert annotated_types.Ge in {
        type(m) for m in RuleTables.model_fields["spike"].annotation.model_fields["factor"].metadata
    }  # type: ignore[union-attr]


def test_every_flag_of_a_rule_has_one_rule() -> None:
    flags = [rule.flag for rule in RULES.values()]
    assert len(set(flags)) == len(flags)
    not_by_rules = {Flag.NONE, Flag.EDIT_REFUSED, Flag.BY_LINE, Flag.BY_REFERENCE_DAYS, Flag.EVENLY, Flag.SET_ASIDE}
    assert set(flags) | not_by_rules == set(Flag) | {Flag.NONE}


def test_a_category_inherits_what_it_does_not_say() -> None:
    told = Validation.model_validate(
        {"spike": {"factor": 4.0, "floor_wh": 700}, "category": {"production": {"spike": {"floor_wh": 900}}}}
    )
    assert (told.spike.factor, told.spike.floor_wh) == (4.0, 700)
    assert (told.category.residential.spike.factor, told.category.residential.spike.floor_wh) == (4.0, 700)
    assert (told.category.production.spike.factor, told.category.production.spike.floor_wh) == (6.0, 900), (
        "the factor as it is delivered for production"
    )
    plain = Validation()
    for category in CATEGORIES:
        differs = CATEGORY_DEFAULTS.get(category, {})
        for rule in RuleTables.model_fields:
            own, for_all = getattr(getattr(plain.category, category), rule), getattr(plain, rule)
            assert own.model_dump() == for_all.model_dump() | dict(differs.get(rule, {})), f"{category}.{rule}"


@pytest.mark.parametrize(
    ("text", "key", "right"),
    [
        ("[validation.spik]\nfactor = 3", "validation.spik", "unknown key; known are above_capacity, before_"),
        ("[validation.spike]\nfactr = 3", "validation.spike.factr", "unknown key; known are enabled, factor, floor_wh"),
        ("[validation.spike]\nfactor = 0.5", "validation.spike.factor = 0.5", "greater than or equal to 1"),
        (
            "[validation.category.production.spike]\nfactr = 3",
            "validation.category.production.spike.factr",
            "unknown key; known are enabled, factor, floor_wh",
        ),
        ("[validation.category.works.spike]\nfactor = 3", "validation.category.works", "known are commercial"),
        ("[validation.category]\nproduction = 3", "validation.category.production = 3", "valid dictionary"),
        (
            "[validation.category.none.register_decreased]\nskew_s = 3",
            "validation.category.none.register_decreased",
            "unknown key; known are above_capacity",
        ),
        ("[validation.voltage_band]\nlow_v = 260", "validation.voltage_band", "low_v = 260 has to be less than high_v"),
        ("[validation.spike]\nenabled = 2", "validation.spike.enabled = 2", "valid boolean"),
    ],
)  # fmt: skip
def test_a_wrong_key_is_named_once(tmp_path: Path, text: str, key: str, right: str) -> None:
    file = tmp_path / "headend.toml"
    file.write_text(DSN + text, encoding="utf-8")
    with pytest.raises(SettingsError) as refused:
        load_settings(file)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{file}: {key}: ")
    assert right in line


def test_a_variable_wins_over_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "headend.toml"
    file.write_text(DSN + "[validation.spike]\nfactor = 4.0\nfloor_wh = 600", encoding="utf-8")
    monkeypatch.setenv("HEADEND_VALIDATION__SPIKE__FACTOR", "5")
    monkeypatch.setenv("HEADEND_VALIDATION__CATEGORY__PRODUCTION__ZERO_DAYS__DAYS", "30")
    told = load_settings(file).validation
    assert (told.spike.factor, told.spike.floor_wh, told.category.residential.spike.factor) == (5, 600, 5)
    assert (told.category.production.zero_days.days, told.category.commercial.zero_days.days) == (30, 7)


def test_limits_are_one_number_where_all_categories_agree() -> None:
    book = Rulebook(Validation())
    assert book.limit("voltage_band", "low_v", _index("production", "none")) == 195.5
    factors = book.limit("spike", "factor", _index("production", "residential"))
    assert np.asarray(factors).tolist() == [6.0, 3.0]
    assert book.runs("zero_days", _index("temporary", "residential")).tolist() == [False, True]
    assert (book.extreme("zero_days", "days", highest=True), book.extreme("zero_days", "days", highest=False)) == (
        14,
        7,
    )


def test_the_document_names_every_rule_with_version_flag_and_thresholds() -> None:
    document = everything(Rulebook(Validation()), GridRules()).document
    assert set(document["rules"]) == set(RULES)
    assert document["rules"]["spike"] == {
        "version": 1, "flag": 1024, "enabled": True, "factor": 3.0, "floor_wh": 500.0,
        "category": {"production": {"factor": 6.0}, "irrigation": {"enabled": False}},
    }  # fmt: skip
    assert document["rules"]["rollover"] == {"version": 1, "flag": 2}
    assert document["rules"]["register_decreased"]["rollover_share"] == 0.1
    assert document["estimation"]["by_line"] == {"version": 1, "flag": int(Flag.BY_LINE)}
    assert document["registers"]["tolerance_s"] == 900


def test_documents_are_told_apart_by_what_they_say() -> None:
    def digest(**tables: Any) -> bytes:
        return everything(Rulebook(Validation.model_validate(tables)), GridRules()).digest

    assert digest() == digest(spike={"factor": 3.0}, category={"production": {"spike": {"factor": 6}}})
    others = [
        digest(spike={"factor": 3.5}),
        digest(category={"production": {"spike": {"factor": 5}}}),
        digest(spike={"enabled": False}),
        everything(Rulebook(Validation()), GridRules(line_gap_us=3600_000_000)).digest,
    ]
    assert len({digest(), *others}) == 5
    assert RuleSet({"b": 1, "a": {"d": 1, "c": 2}}).canonical == '{"a":{"c":2,"d":1},"b":1}'
