"""A category in an import file: what is stored, a change from an instant on, or a contradiction; never another past."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from headend.domain.topology import Category, Topology, UsagePoint
from headend.ingest.topology_bookkeeping import Refused
from headend.ingest.topology_categories import category_change

BEGINS = datetime(2026, 1, 1, tzinfo=UTC)
MARCH = datetime(2026, 3, 1, tzinfo=UTC)
JUNE = datetime(2026, 6, 1, tzinfo=UTC)


def point(category: str, kind: str = "customer") -> UsagePoint:
    return UsagePoint("U1", kind, category, "", None, None)


HISTORY = Topology(
    categories={
        "U1": [Category("U1", "residential", None, MARCH), Category("U1", "commercial", MARCH, None)],
    }
)


def test_what_is_stored_changes_nothing() -> None:
    assert category_change(point("residential"), point("residential"), None, BEGINS, Topology()) is None
    assert category_change(point("commercial"), point("commercial"), MARCH, BEGINS, HISTORY) is None


def test_an_old_file_does_not_undo_what_was_changed_since() -> None:
    assert category_change(point("commercial"), point("residential"), None, BEGINS, HISTORY) is None
    assert category_change(point("residential"), point("residential"), None, BEGINS, Topology()) is None


def test_another_category_from_an_instant_on_is_a_change() -> None:
    made = category_change(point("commercial"), point("production"), JUNE, BEGINS, HISTORY)
    assert made == Category("U1", "production", JUNE, None)


@pytest.mark.parametrize(
    ("said", "since", "column", "says"),
    [
        ("production", None, "category", "give category_from"),
        ("production", MARCH, "category_from", "is stored as 'commercial' from 2026-03-01"),
        ("production", MARCH - timedelta(days=9), "category_from", "not rewritten by an import"),
    ],
)
def test_the_past_is_not_rewritten(said: str, since: datetime | None, column: str, says: str) -> None:
    with pytest.raises(Refused) as caught:
        category_change(point("commercial"), point(said), since, BEGINS, HISTORY)
    assert caught.value.column == column
    assert says in caught.value.reason
