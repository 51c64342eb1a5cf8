"""Edits at random: the same rows whichever stretch is settled, in whatever order things come, and back by undoing."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from headend.domain.quality import Quality, ValidationFlag
from headend.settlement.edit_refusal import EditRefused
from headend.store import edits as store_edits
from support.editor import Editor
from support.field import DAY0, QUARTER, T0, assert_same_rows


def _world(editor: Editor, choose: random.Random) -> None:
    """Households with gaps of minutes, over midnights, of days, an open end, and an area meter."""
    field = editor.field
    area = field.area()
    for name in ("holes", "nights", "days", "open", "A"):
        _, meter = field.metered(area, name, "area" if name == "A" else "customer")
        register, rows = 0, []
        for k in range(8 * 96 + 1):
            register += choose.randint(0, 120) if k else 0
            kept = {
                "holes": choose.random() > 0.4, "nights": 8 < k % 96 < 86 or k == 0,
                "days": not 2 * 96 + 20 < k < 5 * 96 + 51, "open": k < 4 * 96 + 30, "A": choose.random() > 0.1,
            }[name]  # fmt: skip
            if kept:
                rows.append((meter, T0 + k * QUARTER, register))
        field.store_readings(rows)
    field.mark(area, [DAY0 + timedelta(days=d) for d in range(9)])
    editor.settle()


def _random_edits(editor: Editor, choose: random.Random, count: int) -> int:
    """Edits of all kinds: how many were not refused at once."""
    taken = 0
    for _ in range(count):
        code = choose.choice(["holes", "nights", "days", "open", "A"])
        start = T0 + choose.randrange(8 * 96) * QUARTER
        size = min(choose.choice([1, 2, 5, 20, 100, 150]), 8 * 96 - (start - T0) // QUARTER)
        editor.now += timedelta(seconds=1)
        try:
            if choose.random() < 0.25:
                editor.set_aside(code, code, start, start + choose.choice([0, 3, 40]) * QUARTER)
            elif choose.random() < 0.5:
                found = editor.day(code, (start - T0).days)["import_wh"][((start - T0) // QUARTER) % 96 :][:size]
                editor.set(code, start, sum(v or 0 for v in found) // choose.choice([1, 1, 2]), intervals=len(found))
            else:
                editor.set(code, start, [choose.randint(0, 60) for _ in range(size)])
            taken += 1
        except EditRefused:
            continue
    return taken


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_same_whichever_stretch_is_settled_and_undo_brings_back_what_was(
    make_editor: Callable[..., Editor], seed: int
) -> None:
    editor, choose = make_editor(), random.Random(seed)
    _world(editor, choose)
    original = editor.field.intervals()
    taken = 0
    for _ in range(6):
        taken += _random_edits(editor, choose, 4)
        editor.settle()
    assert taken >= 8
    wanted = editor.field.intervals()
    assert wanted != original
    qualities = {q for row in wanted for q in row["quality"]}
    assert Quality.EDITED in qualities

    # each day on its own, in any order, from nothing; then all at once
    area, days = 1, [DAY0 + timedelta(days=d) for d in range(9)]
    editor.field.run("truncate interval_day, balance_day, dirty_day")
    for day in choose.sample(days, len(days)):
        editor.field.mark(area, [day])
        editor.settle()
    assert_same_rows(editor.field.intervals(), wanted)
    editor.field.run("truncate interval_day, balance_day, dirty_day")
    editor.field.mark(area, days)
    editor.settle()
    assert_same_rows(editor.field.intervals(), wanted)
    for day in choose.sample(days, 5):
        editor.field.mark(area, [day])
        editor.settle()
        assert_same_rows(editor.field.intervals(), wanted)

    standing = editor.field.rows("select e.edit_id, u.code from edit e join usage_point u using (usage_point_id)")
    for row in choose.sample(standing, len(standing)):
        editor.undo(row["code"], row["edit_id"])
        if choose.random() < 0.5:
            editor.settle()
    editor.settle()
    assert_same_rows(editor.field.intervals(), original)


@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_the_order_in_which_readings_and_edits_come_changes_nothing(
    make_editor: Callable[..., Editor], seed: int
) -> None:
    """Edits that were never checked, made when half of the readings had not come: settlement alone decides."""
    editor, choose = make_editor(), random.Random(seed)
    field = editor.field
    area = field.area()
    point, meter = field.metered(area, "H")
    register, readings = 0, []
    for k in range(6 * 96):
        register += choose.randint(0, 120) if k else 0
        if choose.random() < (0.02 if 96 < k < 4 * 96 else 0.5):
            readings.append((meter, T0 + k * QUARTER, register))
    made = []
    for n in range(8):
        first = choose.randrange(6 * 96 - 150)
        size = choose.choice([1, 4, 30, 150])
        scale = choose.choice([20, 60, 400])
        made.append((n, T0 + first * QUARTER, [choose.randint(0, scale) for _ in range(size)]))

    def make(n: int, start: datetime, values: list[int]) -> None:
        end = start + len(values) * QUARTER
        row = {
            "edit_id": uuid4(), "kind": "values", "usage_point_id": point, "meter_id": None, "direction": "import",
            "from_ts": start, "to_ts": end, "interval_s": 900, "values_wh": values, "total_wh": None,
            "before_wh": [None] * len(values), "before_quality": [0] * len(values), "set_aside": None,
            "first_day": DAY0, "last_day": DAY0, "made_at": T0 + timedelta(days=8, seconds=n), "made_by": "x",
            "reason": "y",
        }  # fmt: skip
        with field.store.transaction() as connection:
            store_edits.add(connection, row)
            days = (start - T0).days, (end - T0 - timedelta(microseconds=1)).days
            first, last = (DAY0 + timedelta(days=d) for d in days)
            store_edits.mark(connection, point, first, last, zone=str(field.zone), now=editor.now)

    field.store_readings(readings)
    for one in made:
        make(*one)
    field.mark(area, [DAY0 + timedelta(days=d) for d in range(6)])
    editor.settle()
    wanted = editor.field.intervals()
    assert {Quality.EDITED} <= {q for row in wanted for q in row["quality"]}
    assert any(f & ValidationFlag.EDIT_REFUSED for row in wanted for f in row["flags"])

    field.run("truncate register_reading, interval_day, balance_day, dirty_day")
    field.run("truncate edit")
    waiting: list[Any] = [*readings, *made]
    choose.shuffle(waiting)
    edits_so_far = [k for k, one in enumerate(waiting) if isinstance(one[2], list)]
    for k, one in zip(edits_so_far, made, strict=True):
        waiting[k] = one  # edits come in their order, readings in any
    size = len(waiting) // 6 + 1
    for k in range(0, len(waiting), size):
        for one in waiting[k : k + size]:
            if isinstance(one[2], list):
                make(*one)
            else:
                field.store_readings([one])
                field.mark_reading(area, [one[1]])
        editor.settle()
    assert_same_rows(editor.field.intervals(), wanted)
