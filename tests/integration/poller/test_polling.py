# ruff: noqa: E501 scenes read better on one line
"""The role *poll* over a real loopback Modbus TCP gateway into a real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import psycopg
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from drivers.base import Quantity, Source
from headend.ingest.poller import PollService
from headend.settings import Settings
from headend.store.pool import Store
from support.running import asked, running, until

Q = Quantity
SDM630, SDM120 = "eastron-sdm630", "eastron-sdm120"


READ = b"""select m.serial, max(r.import_wh) as import_wh, max(r.export_wh) as export_wh, max(r.voltage_dv) as dv, count(*) as n
           from register_reading r join meter m using (meter_id) group by 1 order by 1"""


def test_a_round_with_a_dead_and_an_exchanged_meter(
    store: Store, settings: Settings, clock: Any, load: Any, serve: Any, meter_device: Any, planned: Any
) -> None:
    quarantined = REGISTRY.get_sample_value(
        "headend_quarantined_total", {"source": "modbus", "reason": "serial_mismatch"}
    )

    async def scenario() -> None:
        area = {
            Q.IMPORT_WH: 123_450, Q.EXPORT_WH: 10, Q.IMPORT_L1_WH: 100_000, Q.IMPORT_L2_WH: 20_000, Q.IMPORT_L3_WH: 3_450,
            Q.VOLTAGE_L1_V: 229.0, Q.VOLTAGE_L2_V: 231.0, Q.VOLTAGE_L3_V: 230.0, Q.SERIAL: "630001",
        }  # fmt: skip
        devices = [
            meter_device(1, SDM630, area),
            meter_device(2, SDM120, {Q.IMPORT_WH: 5_000, Q.VOLTAGE_L1_V: 228.4, Q.SERIAL: "120002"}),
            meter_device(3, SDM120, {Q.IMPORT_WH: 777_000, Q.SERIAL: "999999"}),
            meter_device(4, SDM120, {Q.IMPORT_WH: 6_000, Q.SERIAL: "120004"}),
        ]
        async with serve(devices) as gateway:
            gateway.silent.add(2)
            load(
                planned("630001", SDM630, 1, "T", gateway.port),
                planned("120002", SDM120, 2, "U2", gateway.port),
                planned("120003", SDM120, 3, "U3", gateway.port),
                planned("120004", SDM120, 4, "U4", gateway.port),
                planned("120005", SDM120, 5, None, gateway.port),
            )
            async with running(PollService(store, settings, clock)):
                await until(lambda: gateway.questions.count(4) >= 4, "two rounds")
                gateway.silent.clear()
                await until(asked(store, b"select 1 as n from latest_reading join meter using (meter_id) where serial = '120002'"), "the dead meter is back")  # fmt: skip
            await until(lambda: gateway.open_connections == 0, "the connection is closed")
            assert gateway.most_open == 1  # one connection a bus
            assert gateway.questions[0] == 1  # the area meter first
            assert 5 not in gateway.questions  # in stock: not polled

    asyncio.run(scenario())
    found = [tuple(row.values()) for row in store.rows(READ)]
    assert [row[:4] for row in found] == [
        ("120002", 5_000, 0, 2284),
        ("120004", 6_000, 0, 0),
        ("630001", 123_450, 10, 2300),
    ]
    assert found[2][4] >= 2
    assert store.rows(b"select distinct import_l1_wh, import_l3_wh, voltage_l2_dv from phase_reading join meter using (meter_id) where serial = '630001'") == [
        {"import_l1_wh": 100_000, "import_l3_wh": 3_450, "voltage_l2_dv": 2310}
    ]  # fmt: skip
    kept = store.rows(b"select source, origin, reason, detail, payload from quarantine")
    assert {(row["source"], row["reason"]) for row in kept} == {("modbus", "serial_mismatch")}
    assert kept[0]["origin"].endswith(" unit 3")
    assert kept[0]["detail"] == "the store expects Eastron/120003 here, the meter says its serial is 999999"
    payload = json.loads(kept[0]["payload"])
    assert (payload[0]["serial"], payload[0]["reading"]["import_wh"]) == ("999999", 777_000)
    assert store.rows(b"select distinct source from register_reading") == [{"source": int(Source.MODBUS)}]
    assert {row["code"] for row in store.rows(b"select code from dirty_day join area using (area_id)")} == {"A"}
    after = REGISTRY.get_sample_value("headend_quarantined_total", {"source": "modbus", "reason": "serial_mismatch"})
    assert (after or 0) > (quarantined or 0)


def test_every_kind_of_bad_answer_is_counted_and_said_and_costs_no_other_meter(
    store: Store, settings: Settings, clock: Any, load: Any, serve: Any, meter_device: Any, planned: Any
) -> None:
    def failure(question: bytes) -> bytes:
        return question[:4] + bytes((0, 3, question[6], question[7] | 0x80, 4))  # server device failure

    def short(question: bytes) -> bytes:
        return question[:4] + bytes((0, 5, question[6], question[7], 8, 0, 0))  # says 8 bytes, sends 2

    units = {2: "exception", 3: "malformed", 4: "timeout", 5: "ok"}

    def counts() -> dict[str, float]:
        name = "headend_modbus_reads_total"
        return {kind: REGISTRY.get_sample_value(name, {"outcome": kind}) or 0 for kind in units.values()}

    before = counts()

    async def scenario() -> None:
        devices = [meter_device(n, SDM120, {Q.IMPORT_WH: 1000 * n, Q.SERIAL: f"12000{n}"}) for n in units]
        async with serve(devices) as gateway:
            gateway.spoilt |= {2: failure, 3: short}
            gateway.silent.add(4)
            load(*(planned(f"12000{n}", SDM120, n, f"U{n}", gateway.port) for n in units))
            with capture_logs() as logs:
                async with running(PollService(store, settings, clock)):
                    await until(lambda: all(counts()[k] >= before[k] + 2 for k in counts()), "every kind twice")
            said = [line for line in logs if line["event"] == "meter not read"]
            assert sorted((line["meter"], line["outcome"]) for line in said) == [
                (f"Eastron/12000{n}", kind) for n, kind in units.items() if kind != "ok"
            ]  # once each, however often it fails
            assert all(f"unit {line['meter'][-1]}" in line["reason"] for line in said)
            gateway.spoilt.clear()
            gateway.silent.clear()
            async with running(PollService(store, settings, clock)):
                await until(asked(store, b"select 1 as n from latest_reading having count(*) = 4"), "all are back")

    asyncio.run(scenario())
    assert [row["import_wh"] for row in store.rows(READ)] == [2000, 3000, 4000, 5000]


def test_nothing_is_lost_while_the_database_is_away(
    store: Store,
    settings: Settings,
    clock: Any,
    load: Any,
    serve: Any,
    meter_device: Any,
    planned: Any,
    server_dsn: str,
) -> None:
    name = store.rows(b"select current_database() as name")[0]["name"]

    def admit(whether: bool) -> None:
        with psycopg.connect(server_dsn, autocommit=True) as connection:
            connection.execute(f'alter database "{name}" allow_connections {whether}'.encode())
            if not whether:
                connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])

    async def scenario() -> None:
        async with serve([meter_device(1, SDM120, {Q.IMPORT_WH: 5_000, Q.SERIAL: "120001"})]) as gateway:
            load(planned("120001", SDM120, 1, "U1", gateway.port))
            service = PollService(store, settings, clock)
            async with running(service):
                await until(asked(store, READ), "a first reading")
                await asyncio.to_thread(admit, False)
                outage, before = clock(), service.held
                # One more may be under way, with a time before the outage.
                await until(lambda: service.held >= before + 3, "two rounds are held")
                await asyncio.to_thread(admit, True)
                back = clock()
                count = asked(store, f"select count(*) from register_reading where ts between '{outage}' and '{back}'".encode())  # fmt: skip
                await until(lambda: service.held == 0, "what was held is written")
                assert (await count())[0][0] >= 2

    with Store(settings.database.dsn, pool_max=4, timeout_s=0.5) as store:
        try:
            asyncio.run(scenario())
        finally:
            admit(True)


def test_changed_endpoints_are_taken_over(
    store: Store, settings: Settings, clock: Any, load: Any, serve: Any, meter_device: Any, planned: Any
) -> None:
    async def scenario() -> None:
        old = meter_device(1, SDM120, {Q.IMPORT_WH: 1_000, Q.SERIAL: "120001"})
        new = [
            meter_device(7, SDM120, {Q.IMPORT_WH: 2_000, Q.SERIAL: "120001"}),
            meter_device(8, SDM120, {Q.IMPORT_WH: 3_000, Q.SERIAL: "120002"}),
        ]
        async with serve([old]) as first, serve(new) as second, running(PollService(store, settings, clock)):
            load(planned("120001", SDM120, 1, "U1", first.port))
            await until(asked(store, READ), "a reading over the first gateway")
            load(planned("120001", SDM120, 7, "U1", second.port), planned("120002", SDM120, 8, "U2", second.port))
            await until(
                asked(store, b"select 1 as n from register_reading where import_wh = 3000"),
                "a reading of the new meter",
            )
            await until(
                asked(store, b"select 1 as n from register_reading where import_wh = 2000"),
                "a reading at the new place",
            )
            asked_before = len(first.questions)
            await until(lambda: second.questions.count(7) >= 6, "more rounds")
            assert len(first.questions) == asked_before

    asyncio.run(scenario())


def test_a_gateway_that_is_away_holds_up_no_other(
    store: Store,
    settings: Settings,
    clock: Any,
    load: Any,
    serve: Any,
    meter_device: Any,
    planned: Any,
    unused_port: int,
) -> None:
    async def scenario() -> None:
        async with serve([meter_device(1, SDM120, {Q.IMPORT_WH: 1_000, Q.SERIAL: "120001"})]) as gateway:
            load(planned("120001", SDM120, 1, "U1", gateway.port), planned("120002", SDM120, 1, "U2", unused_port))
            async with running(PollService(store, settings, clock)):
                await until(
                    asked(store, b"select 1 as n from register_reading having count(*) >= 3"),
                    "three rounds of the other",
                )

    before = REGISTRY.get_sample_value("headend_modbus_reads_total", {"outcome": "connection"}) or 0
    asyncio.run(scenario())
    assert (REGISTRY.get_sample_value("headend_modbus_reads_total", {"outcome": "connection"}) or 0) >= before + 2
    assert store.rows(READ)[0]["serial"] == "120001"
    assert len(store.rows(READ)) == 1


def test_it_waits_for_a_database_that_comes_later(
    settings: Settings, clock: Any, store: Store, load: Any, serve: Any, meter_device: Any, planned: Any, tmp_path: Any
) -> None:
    async def scenario() -> None:
        with Store(f"host={tmp_path} dbname=nowhere", timeout_s=0.2) as away:
            before = REGISTRY.get_sample_value("headend_store_errors_total", {"kind": "StoreUnavailable"}) or 0
            async with running(PollService(away, settings, clock)):
                await until(
                    lambda: (
                        (REGISTRY.get_sample_value("headend_store_errors_total", {"kind": "StoreUnavailable"}) or 0)
                        >= before + 4
                    ),
                    "it tries again and again",
                )

    asyncio.run(scenario())
