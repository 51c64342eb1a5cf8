"""What billing is told of edited energy: it is not measured; an edit after the bill is an adjustment that names it."""

from __future__ import annotations

from datetime import timedelta

from headend.billing.service import BillingService
from headend.store import billing
from headend.store.pool import Row
from support.editor import Editor
from support.field import DAY0, QUARTER, T0


def _bill(editor: Editor) -> list[dict[str, object]]:
    """Make what is final into batches; the determinants of the newest one."""
    field = editor.field
    field.run("update balance_day set final = true, changed_at = %s where day < '2026-03-04'", [editor.now])
    editor.now += timedelta(minutes=1)
    made = BillingService(field.store, field.settings, lambda: editor.now).make_batches()
    editor.now += timedelta(minutes=1)
    if not made:
        return []
    found = billing.load_batch(field.store, made[-1])
    assert found is not None
    return [{"day": (d.day - DAY0).days, "energy": d.energy_wh, "estimated": d.estimated_wh, "reason": d.reason}
            for d in found[0].determinants]  # fmt: skip


def _settled(editor: Editor) -> Row:
    """100 Wh a quarter, nothing read from 22:30 to 01:30, and 1000 of the 1200 Wh set to before midnight."""
    editor.household(without=range(91, 102))
    before = _bill(editor)
    assert [(d["day"], d["energy"], d["estimated"]) for d in before] == [(0, 9600, 600), (1, 9600, 600)]
    row = editor.set("H", T0 + 90 * QUARTER, 1000, intervals=6)
    editor.settle()
    return row


def test_an_edit_after_the_bill_is_an_adjustment_of_every_day_that_it_touches_and_names_it(editor: Editor) -> None:
    row = _settled(editor)
    told = _bill(editor)
    assert [(d["day"], d["energy"], d["estimated"]) for d in told] == [(0, 400, 1000), (1, -400, 200)]
    for d, right in zip(told, (10_000, 9200), strict=True):
        assert d["reason"] == (
            f"settled again: 9600 Wh were billed, {right} Wh are right "
            f"(edited by Li Wei: seen on site, edit {row['edit_id']})"
        )
    assert _bill(editor) == []


def test_undoing_it_is_another_adjustment(editor: Editor) -> None:
    row = _settled(editor)
    _bill(editor)
    editor.undo("H", row["edit_id"])
    editor.settle()
    told = _bill(editor)
    assert [(d["day"], d["energy"]) for d in told] == [(0, -400), (1, 400)]
    assert f"an edit by Li Wei undone by Wang Fang: was right after all, edit {row['edit_id']}" in str(
        told[0]["reason"]
    )


def test_what_was_edited_before_the_bill_is_no_reason_for_a_later_adjustment(editor: Editor) -> None:
    _settled(editor)
    _bill(editor)
    late = T0 + 96 * QUARTER
    editor.field.store_readings([(1, late, 9700)])
    editor.field.mark_reading(1, [late - QUARTER, late])
    editor.settle()
    told = _bill(editor)
    assert [d["day"] for d in told] == [0, 1]
    assert all("edited" not in str(d["reason"]) for d in told)
