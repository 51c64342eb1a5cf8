# ruff: noqa: E501 rows of SQL
"""019_balances: balances of earlier releases stay, and roll up with all of their uncertainty as systematic."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

import psycopg

from headend.store import rollups
from headend.store.migrate import migrate
from headend.store.pool import Store

BEFORE = """
insert into station (code, name) values ('S', 'station');
insert into area (code, station_id, name) values ('A', 1, 'A');
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) values ('Acme', '1', 'any', 1, 8, 10);
insert into balance_day (area_id, day, state, starts_at, interval_s, supplied_wh, delivered_wh, loss_wh, gross_wh, uncertainty_wh,
                         intervals, intervals_complete, households, households_measured, supplied_interval_wh, delivered_interval_wh,
                         technical_interval_wh, settled_at, changed_at)
    select 1, d::date, 'normal', d, 900, 1000, 950, 50, 1000, 6, 96, 96, 1, 1, '{}', '{}', '{}', now(), now()
    from generate_series('2026-03-01'::timestamptz, '2026-03-03', '1 day') d;
"""


def test_balances_of_before_are_kept(migrate_before: Callable[[str], str]) -> None:
    dsn = migrate_before("014")
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        connection.execute(BEFORE.encode())
    assert "019_balances" in migrate(dsn)
    with Store(dsn) as store, store.transaction() as connection:
        (month,) = rollups.periods(
            connection, "station", "S", date(2026, 3, 1), date(2026, 3, 31), period="month", zone="Asia/Shanghai"
        )
        (meter,) = connection.execute(b"select accuracy_class from meter").fetchall()
    assert (month["loss_wh"], month["uncertainty_wh"], month["area_days_computable"]) == (150, 18, 3)
    assert (month["unmetered_wh"], month["estimated_share"], meter) == (0, None, (None,))
