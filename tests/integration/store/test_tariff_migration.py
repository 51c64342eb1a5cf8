# ruff: noqa: E501 scenes read better on one line
"""022_tariff: readings of earlier releases, packed or not, get room for registers per rate and keep what they hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import psycopg

from drivers.base import MeterIdentity
from headend.domain.calendar import to_us
from headend.ingest.item import polled
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store import history, partitions
from headend.store.migrate import migrate
from headend.store.pool import Store
from headend.upkeep.storage import StorageChores
from support.desk import reading

START = datetime(2026, 3, 1, tzinfo=UTC)
NOW = START + timedelta(days=30)
OLD = "select meter_id, ts, import_l1_wh, power_w from phase_reading where ts < %s order by 1, 2"


def test_phases_of_an_earlier_release_are_carried_over(migrate_before: Callable[[str], str]) -> None:
    dsn = migrate_before("022")
    with Store(dsn) as store:
        partitions.Partitions().ensure(store, [START.date() + timedelta(days=n) for n in range(10)])
        with store.transaction() as connection:
            connection.execute(
                b"insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) "
                b"select 'Acme', g::text, 'x', 3, 8, 1 from generate_series(1, 3) g"
            )
            connection.execute(
                b"insert into register_reading (meter_id, ts, import_wh, flags, source, uncertainty_ms) "
                b"select m, '2026-03-01'::timestamptz + g * interval '15 min', g * 30, 0, 1, 0 "
                b"from generate_series(1, 3) m, generate_series(0, 959) g"
            )
            connection.execute(
                b"insert into latest_reading (meter_id, ts, source, received_at) "
                b"select meter_id, max(ts), 1, max(ts) from register_reading group by 1"
            )
            connection.execute(
                b"insert into phase_reading (meter_id, ts, import_l1_wh, power_w) "
                b"select m, '2026-03-01'::timestamptz + g * interval '15 min', g * 10, -g "
                b"from generate_series(1, 3) m, generate_series(0, 959) g"
            )
            timescale = not partitions.is_native(connection)
        StorageChores(store, Settings(database={"dsn": dsn}), lambda: NOW).pack()
    with psycopg.connect(dsn, autocommit=True, prepare_threshold=None) as connection:
        stored = connection.execute(OLD.encode(), [NOW]).fetchall()
        assert len(stored) == 3 * 960
        if timescale:
            packed = b"select bool_or(is_compressed) from timescaledb_information.chunks where hypertable_name = 'phase_reading'"
            assert connection.execute(packed).fetchone() == (True,)
        assert "022_tariff" in migrate(dsn)
        assert connection.execute(OLD.encode(), [NOW]).fetchall() == stored
    with Store(dsn) as store:
        writer = ReadingWriter(store, Settings(database={"dsn": dsn}), lambda: NOW)
        for meter, at, rates, phase_wh in (
            ("1", START + timedelta(minutes=1), (7, None, 8), None),  # new, into what is packed
            ("2", START + timedelta(minutes=15), (5,), 10),  # added to what is there
            ("3", START + timedelta(minutes=15), (5,), 11),  # contradicts what is there
        ):
            told = reading(at, 30, import_tariff_wh=rates, import_phase_wh=(phase_wh, None, None))
            writer.write([polled([(MeterIdentity("Acme", meter), told)], origin="bus", received_us=to_us(NOW))])
        rates_of = b"select meter_id, import_l1_wh, import_t1_wh, import_t2_wh, import_t3_wh from phase_reading where import_t1_wh > 0 order by 1"
        with store.transaction() as connection:
            found = [(1, None, 7, None, 8), (2, 10, 5, None, None)]
            assert connection.execute(rates_of).fetchall() == found
            kept = b"select meter_id, kept_phases ->> 'import_l1_wh', other_phases ->> 'import_t1_wh' from reading_revision"
            assert connection.execute(kept).fetchall() == [(3, "10", "5")]
            with history.as_known(connection, NOW + timedelta(seconds=1)):
                assert connection.execute(rates_of).fetchall() == found
            with history.as_known(connection, NOW - timedelta(seconds=1)):
                assert connection.execute(rates_of).fetchall() == []
                before = b"select count(*) from phase_reading where ts < '2026-03-01T00:30Z'"
                assert connection.execute(before).fetchone() == (6,)
    assert migrate(dsn) == []
