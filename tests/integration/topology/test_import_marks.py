"""Which area-days an import has settled again: just those that come out otherwise by it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from headend.ingest.topology_import import ImportReport
from headend.store.pool import Store

Import = Callable[..., ImportReport]
NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
SEEN = [15, 16, 17, 18, 19, 20]


@pytest.fixture
def change(store: Store, directory: Path, run_import: Import) -> Callable[[str, str, str], dict[str, list[int]]]:
    """Both areas have been seen on the 15th first; today is the 20th. Days of November that an import marks."""
    assert run_import(directory).applied
    with store.transaction() as connection:
        connection.execute(b"insert into dirty_day select area_id, date '2026-11-15', '2026-11-15 16:00Z' from area")

    def run(file: str, old: str, new: str) -> dict[str, list[int]]:
        path = directory / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        report = run_import(directory)
        assert (report.problems, report.changes) == ((), 1)
        marked: dict[str, list[int]] = {}
        found = store.rows(
            b"select a.code, d.day from dirty_day d join area a using (area_id) where d.marked_at >= %s order by 1, 2",
            [NOW],
        )
        for row in found:
            marked.setdefault(row["code"], []).append(row["day"].day)
        return marked

    return run


Change = Callable[[str, str, str], dict[str, list[int]]]


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("areas.csv", "Mill Lane,400,0.07,", "Mill Lane,400,0.05,"),
        ("areas.csv", ",-0.01", ",-0.02"),
        ("usage_points.csv", "Mill Lane 1,L1,60", "Mill Lane 1,L1,100"),
        ("meters.csv", "630001,eastron-sdm630,3,8,10", "630001,eastron-sdm630,3,7,10"),
    ],
)
def test_what_judges_or_makes_energy_has_all_days_of_its_area_settled_again(
    change: Change, file: str, old: str, new: str
) -> None:
    assert change(file, old, new) == {"A01": SEEN}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("areas.csv", "Mill Lane,400,", "Mill Street,500,"),
        ("usage_points.csv", "Mill Lane 1,L1,60", "Mill Lane 1a,L2,60"),
        ("meters.csv", "630001,eastron-sdm630,3,8", "630001,chint-dtsu666,3,8"),
        ("stations.csv", "Riverside", "Hillside"),
    ],
)
def test_what_is_only_called_otherwise_has_nothing_settled_again(change: Change, file: str, old: str, new: str) -> None:
    assert change(file, old, new) == {}


def test_a_meter_that_ends_at_midnight_touches_the_day_that_it_ends(change: Change) -> None:
    """Its register there rested on the readings after it."""
    open_end, closed = (
        "120001,2026-01-01T00:00:00+08:00,,",
        "120001,2026-01-01T00:00:00+08:00,2026-11-18T00:00:00+08:00,",
    )
    assert change("installations.csv", open_end, closed) == {"A01": [17, 18, 19, 20]}
