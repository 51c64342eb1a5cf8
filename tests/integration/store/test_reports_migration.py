"""024_reports: a report of an earlier release names nothing that it could not tell, and no cause as probable."""

from __future__ import annotations

from collections.abc import Callable

import psycopg

from headend.store.migrate import migrate

BEFORE = """
insert into station (code, name) values ('S', 'station');
insert into area (code, station_id, name) values ('A', 1, 'A');
insert into area_report (area_id, window_from, window_to, anomaly_score, alarm, cause, marker, reported_at)
values (1, '2026-01-01', '2026-01-28', 1, true, 'meter', 'm', '2026-01-28T00:00Z');
"""


def test_a_report_of_an_earlier_release_is_kept(migrate_before: Callable[[str], str]) -> None:
    dsn = migrate_before("024")
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        connection.execute(BEFORE.encode())
        assert "024_reports" in migrate(dsn)
        kept = connection.execute(b"select cause, marker, limits, cause_probability from area_report").fetchall()
    assert kept == [("meter", "m", [], {})]
