"""A changed category in an import file becomes a change from its instant, once, and what was billed an adjustment."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from headend.ingest.topology_import import import_directory
from headend.store.pool import Store
from support.field import T0

if TYPE_CHECKING:
    from headend.ingest.topology_import import ImportReport

TEMPLATE = Path(__file__).parents[3] / "config" / "import-template"


def _with(directory: Path, old: str, new: str) -> None:
    path = directory / "usage_points.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    changed = [line.replace(old, new) if old in line else f"{line}," for line in lines[1:]]
    path.write_text("\n".join([f"{lines[0]},category_from", *changed]) + "\n", encoding="utf-8")


def test_a_category_changes_by_import(store: Store, tmp_path: Path) -> None:
    def run(directory: Path) -> ImportReport:
        return import_directory(store, directory, skip_bad=False, clock=lambda: T0)

    assert run(TEMPLATE).applied
    changed = Path(shutil.copytree(TEMPLATE, tmp_path / "changed"))
    row = "A01-001,customer,residential,A01,,2026-01-01T00:00:00+08:00,Mill Lane 1,L1,60"
    _with(changed, row, row.replace("residential", "commercial") + ",2026-02-01T00:00:00+08:00")
    report = run(changed)
    assert report.problems == ()
    assert (report.changes, report.files["usage_points.csv"].changed) == (1, 1)
    found = store.rows(
        b"select c.category, nullif(c.valid_from, '-infinity') as since, u.category as now from usage_point_category c "
        b"join usage_point u using (usage_point_id) where u.code = 'A01-001' order by c.valid_from"
    )
    assert [(r["category"], r["since"] and r["since"].isoformat(), r["now"]) for r in found] == [
        ("residential", None, "commercial"),
        ("commercial", "2026-01-31T16:00:00+00:00", "commercial"),
    ]
    (told,) = store.rows(b"select kind, by, reason from topology_change")
    assert tuple(told.values()) == ("change_category", "headend import", "usage_points.csv")
    for again in (changed, TEMPLATE):  # neither the same file nor the one before it changes anything
        assert (run(again).applied, run(again).changes) == (True, 0)
    assert len(store.rows(b"select from usage_point_category")) == 8
