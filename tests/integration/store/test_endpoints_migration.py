"""006_endpoints: gateways that were stored by host and port are buses afterwards, in the importer's own spelling."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import psycopg
import pytest

from drivers.modbus.endpoint import TcpEndpoint, parse_endpoint
from headend.store.migrate import migrate

METER = (
    "insert into meter (manufacturer, serial, model, phases, digits, resolution_wh) "
    "values ('E', %s, 'm', 1, 8, 10) returning meter_id"
)
HOSTS = [("10.20.0.11", 502), ("gw-1.example", 4001), ("2001:db8::1", 502), ("::ffff:10.0.0.1", 65535)]


def test_every_gateway_becomes_its_bus(migrate_before: Callable[[str], str]) -> None:
    dsn = migrate_before("006")
    with psycopg.connect(dsn) as connection:
        for i, (host, port) in enumerate(HOSTS):
            (meter,) = connection.execute(METER, [str(i)]).fetchone() or (0,)
            row = "insert into endpoint (meter_id, protocol, host, port, unit) values (%s, 'modbus', %s, %s, %s)"
            # As the importer read it.
            connection.execute(row, [meter, host if ":" not in host else ip_address(host).compressed, port, i])
        connection.execute("insert into endpoint (meter_id, protocol) values (%s, 'mqtt')", [meter])
    migrate(dsn)
    with psycopg.connect(dsn) as connection:
        found = connection.execute("select protocol, bus, unit from endpoint order by meter_id, protocol").fetchall()
        assert found == [
            ("modbus", "modbus+tcp://10.20.0.11:502", 0),
            ("modbus", "modbus+tcp://gw-1.example:4001", 1),
            ("modbus", "modbus+tcp://[2001:db8::1]:502", 2),
            ("modbus", f"modbus+tcp://[{ip_address('::ffff:10.0.0.1').compressed}]:65535", 3),
            ("mqtt", None, None),
        ]
        for (host, port), (_, bus, _) in zip(HOSTS, found, strict=False):
            read = parse_endpoint(bus)
            assert str(read) == bus  # one spelling: an import of the same rows changes nothing
            assert isinstance(read, TcpEndpoint)
            assert read.port == port
            assert ":" in host or read.host == host
        with pytest.raises(psycopg.errors.CheckViolation):
            connection.execute("update endpoint set bus = null where protocol = 'modbus'")
