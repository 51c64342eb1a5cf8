"""Any sequence of changes, corrections and withdrawals: what each of them marks is all that comes out otherwise by it.

After every one only what is marked is settled. At the end every day is settled once more, and nothing changes.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from headend.domain.changes import (
    Change,
    ChangeCategory,
    ChangeMultiplier,
    ChangeSign,
    CorrectInstallation,
    CorrectMembership,
    CorrectMeter,
    Move,
    SwapMeter,
    Undo,
    WithdrawInstallation,
    WithdrawMembership,
)
from headend.store import changes
from support.field import DAY0, QUARTER, T0
from support.yard import Yard

SEEDS = [int(seed) for seed in os.environ.get("HEADEND_CHANGES_SEEDS", "1 2 3").split()]
STEPS = int(os.environ.get("HEADEND_CHANGES_STEPS", "14"))
DAYS = 10
POINTS = ("U1", "U2", "U3", "A1-T", "A2-T")


class _Story:
    def __init__(self, yard: Yard, seed: int) -> None:
        self.yard, self.rng = yard, random.Random(seed)
        self.spares = 0
        for code in POINTS:  # holes of hours and days, some over midnight
            for _ in range(self.rng.randrange(0, 3)):
                low = T0 + self.rng.randrange(DAYS * 96) * QUARTER
                yard.run(
                    "delete from register_reading r using meter m where m.meter_id = r.meter_id and m.serial = %s "
                    "and r.ts > %s and r.ts < %s",
                    [f"M-{code}", low, low + self.rng.choice((1, 9, 40, 250)) * QUARTER],
                )
        self.all_days()
        yard.settle()

    def all_days(self) -> None:
        for area in ("A1", "A2"):
            self.yard.mark(self.yard.area_id(area), [DAY0 + timedelta(days=k) for k in range(DAYS + 1)])

    def at(self) -> Any:
        k = self.rng.randrange(-96, (DAYS + 1) * 96)
        how = self.rng.random()
        if how < 0.3:
            return T0 + (k // 96) * timedelta(days=1)
        return T0 + k * QUARTER + (timedelta(seconds=self.rng.randrange(900)) if how > 0.7 else timedelta())

    def spare(self) -> str:
        self.spares += 1
        serial = f"spare{self.spares}"
        meter = self.yard.meter(serial)
        first = self.rng.choice((0, 0, self.rng.random() * DAYS))
        self.yard.readings(meter, self.yard.hourly(first, DAYS, wh=self.rng.choice((600, 1400))), export=0)
        return serial

    def row(self, table: str) -> dict[str, Any]:
        found = self.yard.rows(
            f"select t.*, u.code from {table} t join usage_point u using (usage_point_id) order by 1"
        )
        return self.rng.choice(found)

    def swap(self) -> Change:
        return SwapMeter(
            usage_point=self.rng.choice(POINTS), at=self.at(), manufacturer="Acme", serial=self.spare(),
            end_import_wh=self.rng.choice((None, 90_000)), start_import_wh=self.rng.choice((None, 0)),
        )  # fmt: skip

    def move(self) -> Change:
        return Move(usage_point=self.rng.choice(POINTS[:3]), at=self.at(), area=self.rng.choice(("A1", "A2")))

    def multiplier(self) -> Change:
        return ChangeMultiplier(
            usage_point=self.rng.choice(POINTS), at=self.at(), multiplier=Decimal(self.rng.choice((1, 2, 40)))
        )

    def sign(self) -> Change:
        return ChangeSign(usage_point=self.rng.choice(POINTS), at=self.at(), sign=self.rng.choice((1, -1)))

    def category(self) -> Change:
        return ChangeCategory(
            usage_point=self.rng.choice(POINTS[:3]),
            at=self.at(),
            category=self.rng.choice(("production", "commercial")),
        )

    def correct_installation(self) -> Change:
        one = self.row("installation")
        given = self.rng.choice(
            (
                {"valid_from": self.at()},
                {"valid_to": self.at()},
                {"multiplier": Decimal(self.rng.choice((1, 3)))},
                {"sign": -one["sign"]},
                {"start_import_wh": self.rng.choice((None, 0, 5000))},
                {"end_import_wh": self.rng.choice((None, 90_000))},
            )
        )
        return CorrectInstallation(usage_point=one["code"], since=one["valid_from"], given=given)

    def correct_membership(self) -> Change:
        one = self.row("area_membership")
        given = self.rng.choice(
            ({"valid_from": self.at()}, {"valid_to": self.at()}, {"area": self.rng.choice(("A1", "A2"))})
        )
        return CorrectMembership(usage_point=one["code"], since=one["valid_from"], given=given)

    def withdraw_installation(self) -> Change:
        one = self.row("installation")
        return WithdrawInstallation(usage_point=one["code"], since=one["valid_from"])

    def withdraw_membership(self) -> Change:
        one = self.row("area_membership")
        return WithdrawMembership(usage_point=one["code"], since=one["valid_from"])

    def device(self) -> Change:
        serial = self.rng.choice([f"M-{code}" for code in POINTS])
        return CorrectMeter(
            manufacturer="Acme", serial=serial, digits=self.rng.choice((6, 8)), resolution_wh=self.rng.choice((1, 10))
        )

    def undo(self) -> Change:
        found = self.yard.rows("select change_id from topology_change order by number")
        return Undo(undoes=self.rng.choice(found)["change_id"]) if found else self.swap()

    @property
    def steps(self) -> Sequence[Callable[[], Change]]:
        return (
            self.swap, self.swap, self.move, self.multiplier, self.sign, self.category, self.correct_installation,
            self.correct_installation, self.correct_installation, self.correct_membership, self.withdraw_installation,
            self.withdraw_membership, self.device, self.undo, self.undo,
        )  # fmt: skip


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_marked_is_all_that_comes_out_otherwise(yard: Yard, seed: int) -> None:
    print(f"HEADEND_CHANGES_SEEDS={seed}")
    story = _Story(yard, seed)
    done = 0
    for _ in range(STEPS):
        try:
            what = story.rng.choice(story.steps)()
            yard.change(what)
        except (changes.ChangeRefused, ValueError):
            continue
        done += 1
        print(what)
        yard.settle()
        if os.environ.get("HEADEND_CHANGES_EACH"):
            _check(story, seed, what)
    assert done >= STEPS // 4
    _check(story, seed, None)


def _check(story: _Story, seed: int, what: object) -> None:
    yard = story.yard
    intervals, balances = yard.intervals(), yard.balances()
    story.all_days()
    yard.settle()
    for was, now in ((intervals, yard.intervals()), (balances, yard.balances())):
        key = "usage_point_id" if was is intervals else "area_id"
        old, new = ({(row[key], row["day"]): row for row in rows} for rows in (was, now))
        differ = [
            (name, [k for k in new[name] if old[name][k] != new[name][k]] if name in new and name in old else "row")
            for name in sorted(old.keys() | new.keys())
            if old.get(name) != new.get(name)
        ]
        assert not differ, (seed, what, differ)
