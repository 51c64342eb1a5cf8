"""013_ingest: counts, newest readings and revisions of earlier releases are carried over, and the writer goes on."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import psycopg

from headend.settings import Settings
from headend.store.migrate import migrate
from headend.store.pool import Store
from support.desk import MINUTE, Desk, item

AT = datetime(2026, 11, 20, 3, 0, tzinfo=UTC)
BEFORE = """
insert into station (code, name) values ('S', 'station');
insert into area (code, station_id, name) values ('A', 1, 'A');
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh)
    select 'Acme', g::text, 'any', 1, 8, 10 from generate_series(1, 3) g;
insert into latest_reading (meter_id, ts, import_wh, source, received_at)
    select g, '2026-11-20T03:00Z', 100 * g, 2, '2026-11-20T03:00Z' from generate_series(1, 2) g;
insert into reading_count (meter_id, source, readings) values (1, 1, 7), (1, 3, 2688), (2, 2, 5), (2, 4, 1);
insert into reading_revision (meter_id, ts, noted_at, kept_import_wh, kept_source, other_import_wh, other_source, rule)
    values (1, '2026-11-20T03:00Z', '2026-11-20T03:01Z', 100, 1, 101, 3, 'first_stored');
"""


def _values(dsn: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        return connection.execute(query.encode()).fetchall()


def test_what_was_counted_goes_on(migrate_before: Callable[[str], str]) -> None:
    counted = "select meter_id, source, readings from reading_count order by 1, 2"
    dsn = migrate_before("010")
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        connection.execute(BEFORE.encode())
    before = _values(dsn, counted)
    assert "013_ingest" in migrate(dsn)
    assert _values(dsn, counted) == before == [(1, 1, 7), (1, 3, 2688), (2, 2, 5), (2, 4, 1)]
    assert _values(dsn, "select other_import_wh, other_voltage_dv, kept_phases from reading_revision") == [
        (101, None, None)
    ]
    with Store(dsn) as store:
        desk = Desk(store, Settings(database={"dsn": dsn}))
        desk.write(item(("1", AT + MINUTE, 110), ("2", AT - MINUTE, 190), ("3", AT, 1)))
    assert _values(dsn, counted) == [(1, 1, 7), (1, 2, 1), (1, 3, 2688), (2, 2, 6), (2, 4, 1), (3, 2, 1)]
    assert _values(dsn, "select meter_id, import_wh from latest_reading order by 1") == [
        (1, 110),
        (2, 200),
        (3, 1),
    ]
