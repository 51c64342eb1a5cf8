"""023_cases: findings of an earlier release are cases with what is known of their life; two of one concern are one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg

from headend.store.migrate import migrate

BEFORE = """
insert into station (code, name) values ('S', 'station');
insert into area (code, station_id, name) values ('A', 1, 'A');
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) values ('Acme', '1', 'x', 1, 8, 1), ('Acme', '2', 'x', 1, 8, 1);
insert into finding (area_id, meter_id, kind, state, confidence, energy_wh, energy_low_wh, energy_high_wh, window_from, window_to,
                     evidence, opened_at, seen_at, closed_at)
select 1, meter, kind, state, confidence, 5, 4, 6, '2026-01-01', '2026-01-28', '{}', '2026-01-20T00:00Z', seen::timestamptz, closed::timestamptz
from (values
    (1, 'stuck', 'assigned', 0.7, '2026-01-28T00:00Z', null),
    (1, 'under_registering', 'open', 0.9, '2026-01-29T00:00Z', null),
    (1, 'wrong_area', 'open', 0.9, '2026-01-29T00:00Z', null),
    (2, 'stuck', 'rejected', 0.8, '2026-01-28T00:00Z', '2026-01-28T12:00Z'),
    (2, 'wrong_multiplier', 'closed', 0.8, '2026-01-26T00:00Z', '2026-01-27T00:00Z'),
    (null, 'direct_tap', 'confirmed', 0.8, '2026-01-28T00:00Z', null),
    (null, 'under_registering', 'open', 0.5, '2026-01-28T00:00Z', null)) f (meter, kind, state, confidence, seen, closed);
insert into area_report (area_id, window_from, window_to, anomaly_score, alarm, cause, marker, reported_at)
values (1, '2026-01-01', '2026-01-28', 1, true, 'meter', 'm', '2026-01-28T00:00Z');
"""  # noqa: E501


def test_findings_of_an_earlier_release_are_cases(migrate_before: Callable[[str], str]) -> None:
    dsn = migrate_before("023")
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:

        def asked(sql: str) -> list[Any]:
            return connection.execute(sql.encode()).fetchall()

        connection.execute(BEFORE.encode())
        assert "023_cases" in migrate(dsn)
        assert asked("select finding_id, concern, state, verdict, kind from finding order by 1") == [
            (1, "reading", "assigned", None, "stuck"),
            (2, "reading", "closed", None, "under_registering"),
            (3, "wrong_area", "open", None, "wrong_area"),
            (4, "reading", "rejected", "rejected", "stuck"),
            (5, "reading", "closed", None, "wrong_multiplier"),
            (6, "direct_tap", "confirmed", "confirmed", "direct_tap"),
            (7, "under_registering", "open", None, "under_registering"),
        ]
        assert asked("select verdict_at from finding where finding_id = 4") == asked(
            "select '2026-01-28T12:00Z'::timestamptz"
        )
        assert asked("select finding_id, move, detail ->> 'into' from finding_event where move <> 'opened'") == [
            (5, "closed", None),
            (2, "merged", "1"),
        ]
        assert asked("select count(*) from finding_event where move = 'opened'") == [(7,)]
        assert asked(
            "select finding_id, window_to::text, seen, kind, confidence from finding_run where finding_id = 1"
        ) == [(1, "2026-01-28", True, "stuck", 0.7)]
        assert asked("select priors from area_report") == [({},)]
    assert migrate(dsn) == []
