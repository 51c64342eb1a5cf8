"""A small area whose meters are read in every way, and readings put straight into the store."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from headend.store.partitions import Partitions
from headend.store.pool import Store

TOPOLOGY = b"""
insert into station (code, name) values ('S', 'station');
insert into area (code, station_id, name) values ('A', 1, 'first'), ('B', 1, 'second');
insert into concentrator (code, area_id, last_seen_at, backlog) values
    ('C1', 1, '2026-03-10T07:55Z', 3), ('C2', 2, null, null), ('C3', 2, '2026-03-10T07:59Z', 0);
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh)
    select 'Acme', g::text, 'any', 3, 8, 10 from generate_series(1, 6) g;
insert into usage_point (code, kind, category) values
    ('T', 'area', 'none'), ('U2', 'customer', 'residential'), ('U3', 'customer', 'residential'),
    ('U4', 'customer', 'residential'), ('U5', 'customer', 'residential'), ('U6', 'customer', 'residential');
insert into endpoint (meter_id, protocol, bus, unit) values (1, 'modbus', 'modbus+tcp://gw:502', 1),
    (2, 'modbus', 'modbus+tcp://gw:502', 2);
insert into endpoint (meter_id, protocol, concentrator_id) values (3, 'mqtt', 1), (4, 'mqtt', 1), (6, 'mqtt', 3);
"""


def install(store: Store, meter: int, area: int, since: str, until: str | None = None) -> None:
    """A meter at the usage point of its number, on an area, from an instant to an instant."""
    with store.transaction() as connection:
        for table, column, value in (("installation", "meter_id", meter), ("area_membership", "area_id", area)):
            connection.execute(
                f"insert into {table} (usage_point_id, {column}, valid_from, valid_to) "
                f"values (%s, %s, %s, %s)".encode(),
                [meter, value, since, until],
            )


def read(store: Store, meter: int, instants: Iterable[datetime]) -> None:
    """Readings of a meter; one that is there already stays."""
    wanted = list(instants)
    Partitions().ensure(store, {instant.date() for instant in wanted})
    with store.transaction() as connection:
        connection.execute(
            b"insert into register_reading (meter_id, ts, import_wh, flags, source, uncertainty_ms) "
            b"select %s, t, 10, 0, 1, 0 from unnest(%s::timestamptz[]) t on conflict do nothing",
            [meter, wanted],
        )
