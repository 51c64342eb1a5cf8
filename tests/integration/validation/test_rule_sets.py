"""A stored flag leads to the rule, the version and the threshold that set it, whatever the settings say since."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from headend.billing.service import BillingService
from headend.domain.quality import ValidationFlag as F
from headend.settlement.rulebook import RuleSet
from headend.store import rule_sets
from headend.store.errors import StoreError
from headend.store.pool import Store
from support.field import DAY0, T0
from support.ward import Ward


def _document(ward: Ward, number: int) -> dict[str, Any]:
    with ward.store.transaction() as connection:
        return rule_sets.get(connection, [number])[number].rules


def _bill(ward: Ward) -> list[int]:
    """Make what is final into batches: the numbers of the new ones."""
    ward.field.run("update balance_day set final = true")
    return BillingService(ward.store, ward.field.settings, lambda: T0 + timedelta(days=40)).make_batches()


def test_a_flag_leads_to_the_threshold_that_set_it(ward: Ward) -> None:
    ward.read(ward.total, lambda k: 11)
    home, works = ward.house("HOME"), ward.house("WORKS", "production")
    for meter in (home, works):
        ward.read(meter, {40: 1000, 80: 3000})
    ward.settle()
    assert ward.slots("HOME", F.SPIKE) == [40, 80]
    assert ward.slots("WORKS", F.SPIKE) == [40, 80], "the third-highest is 128 Wh"
    first = ward.row("HOME")["rules"]
    spike = _document(ward, first)["rules"]["spike"]
    assert (spike["flag"], spike["version"], spike["factor"], spike["floor_wh"]) == (F.SPIKE, 1, 3.0, 500.0)
    assert spike["category"]["production"] == {"factor": 6.0}

    ward.configure(spike={"floor_wh": 2000.0}, category={"production": {"spike": {"factor": 50.0}}})
    ward.settle()
    assert (ward.slots("HOME", F.SPIKE), ward.slots("WORKS", F.SPIKE)) == ([80], [])
    second = ward.row("HOME")["rules"]
    assert second not in {1, first}
    assert _document(ward, second)["rules"]["spike"]["floor_wh"] == 2000.0
    assert _document(ward, second)["rules"]["spike"]["category"]["production"] == {"factor": 50.0}
    assert _document(ward, first)["rules"]["spike"]["floor_wh"] == 500.0, "what judged before is kept"

    ward.configure()
    ward.settle()
    assert ward.row("HOME")["rules"] == first, "the same rules are the same set"
    assert ward.field.one("select count(*) from validation_rule_set") == 3


def test_other_rules_that_find_the_same_change_nothing_else(ward: Ward) -> None:
    ward.read(ward.total, lambda k: 11, days=3)
    home = ward.house("HOME")
    ward.read(home, {40: 3000}, days=3)
    days = [DAY0 + timedelta(days=d) for d in range(3)]
    ward.settle(*days)
    before = {code: [ward.row(code, day) for day in days] for code in ("HOME", "SUM")}
    assert len(_bill(ward)) == 1, "what is final is billed"
    balances = ward.field.rows("select area_id, day, changed_at from balance_day order by day")
    ward.configure(spike={"floor_wh": 501.0})
    assert ward.settle(days[1], after=timedelta(days=31)) == 1, "nothing is passed on"
    for code, rows in before.items():
        for day, was in zip(days, rows, strict=True):
            now = ward.row(code, day)
            assert (now["rules"] != was["rules"]) == (day == days[1])
            assert now | {"rules": 0} == was | {"rules": 0}, "not even settled_at"
    assert ward.field.rows("select area_id, day, changed_at from balance_day order by day") == balances
    assert _bill(ward) == [], "no reason for billing to be told again"


def test_workers_that_begin_at_once_agree_on_the_number(store: Store) -> None:
    rule_set = RuleSet({"rules": {"a": 1}})
    numbers: list[int] = []
    start = threading.Barrier(6)

    def begin() -> None:
        start.wait()
        with store.transaction() as connection:
            numbers.append(rule_sets.number_of(connection, rule_set.digest, rule_set.canonical, T0))

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(numbers) == 6
    assert len(set(numbers)) == 1
    with store.transaction() as connection:
        kept = rule_sets.get(connection, numbers)[numbers[0]]
        assert (kept.rules, kept.first_used_at) == ({"rules": {"a": 1}}, T0)
        assert rule_sets.known(connection, rule_set.digest) == numbers[0]
        assert rule_sets.known(connection, RuleSet({}).digest) is None
        assert rule_sets.get(connection, [999]) == {}


def test_a_rule_set_is_never_rewritten(store: Store) -> None:
    for statement in ("update validation_rule_set set rules = '{}'", "delete from validation_rule_set"):
        with pytest.raises(StoreError), store.transaction() as connection:
            connection.execute(statement.encode())


def test_days_that_were_settled_before_lead_to_a_set_that_says_so(store: Store) -> None:
    found = store.rows(b"select rules, first_used_at from validation_rule_set where rule_set_id = 1")
    assert found == [{"rules": {"note": "before rule sets were kept"}, "first_used_at": None}]


def test_disabled_rules_are_named_too(make_ward: Callable[..., Ward]) -> None:
    ward = make_ward(spike={"enabled": False})
    ward.read(ward.total, lambda k: 11)
    ward.read(ward.house("HOME"), {40: 3000})
    ward.settle()
    assert ward.slots("HOME", F.SPIKE) == []
    assert _document(ward, ward.row("HOME")["rules"])["rules"]["spike"]["enabled"] is False
