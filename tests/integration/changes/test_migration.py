# ruff: noqa: E501 scenes read better on one line
"""015_changes: every usage point of an earlier release has its category since ever, and new ones get theirs."""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from headend.store.migrate import migrate

BEFORE = """
insert into station (code, name) values ('S', 'station');
insert into area (code, station_id, name) values ('A', 1, 'A');
insert into usage_point (code, kind, category) values ('T', 'area', 'none'), ('U', 'customer', 'commercial');
insert into area_membership (usage_point_id, area_id, valid_from) values (1, 1, '2026-01-01T00:00Z'), (2, 1, '2026-02-01T00:00Z');
"""


def test_categories_of_an_earlier_release_are_carried_over(migrate_before: Callable[[str], str]) -> None:
    dsn = migrate_before("014")
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        connection.execute(BEFORE.encode())
        assert "015_changes" in migrate(dsn)
        found = "select category, valid_from = '-infinity', valid_to, known_from = '-infinity' from usage_point_category order by 1"
        assert connection.execute(found.encode()).fetchall() == [
            ("commercial", True, None, True), ("none", True, None, True),
        ]  # fmt: skip
        connection.execute(b"insert into usage_point (code, kind, category) values ('N', 'customer', 'irrigation')")
        kept = b"select category, valid_from = '-infinity', known_from > '-infinity' from usage_point_category where usage_point_id = 3"
        assert connection.execute(kept).fetchone() == ("irrigation", True, True)
        with pytest.raises(psycopg.errors.ExclusionViolation):
            connection.execute(
                b"insert into usage_point_category (usage_point_id, category, valid_from) values (3, 'production', now())"
            )
