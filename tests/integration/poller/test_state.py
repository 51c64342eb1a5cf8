"""What another process sees of buses and meters: after each round, over a restart, and of buses that cannot be used."""

from __future__ import annotations

import asyncio
from typing import Any

from drivers.base import Quantity
from headend.ingest.poller import PollService
from headend.settings import Settings
from headend.store import polling
from headend.store.pool import Row, Store
from support.running import asked, running, until

Q = Quantity
SDM120 = "eastron-sdm120"


def _buses(store: Store, **given: Any) -> list[Row]:
    with store.transaction() as connection:
        return polling.buses(connection, limit=10, **given)


def _meters(store: Store, bus: str) -> dict[str, Row]:
    with store.transaction() as connection:
        return {row["serial"]: row for row in polling.meters_of(connection, bus)}


def test_buses_and_meters_as_they_are_doing(
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
        devices = [meter_device(n, SDM120, {Q.IMPORT_WH: 1000 * n, Q.SERIAL: f"12000{n}"}) for n in (1, 2)]
        async with serve(devices) as gateway:
            gateway.silent.add(2)
            well, away = f"modbus+tcp://127.0.0.1:{gateway.port}", f"modbus+tcp://127.0.0.1:{unused_port}"
            load(
                planned("120001", SDM120, 1, "U1", gateway.port),
                planned("120002", SDM120, 2, "U2", gateway.port),
                planned("120003", SDM120, 3, "U3", unused_port),
            )
            rests = asked(store, b"select 1 as n from poll_meter where outcome = 'resting'")
            gone = asked(store, b"select 1 as n from poll_bus where connected is false")
            async with running(PollService(store, settings, clock)):
                await until(rests, "the silent meter rests")
                await until(gone, "the other gateway is known to be away")
            [first, second] = _buses(store)
            assert (first["bus"], first["connected"], first["peer"]) == (away, False, f"127.0.0.1:{unused_port}")
            assert str(unused_port) in first["reason"]
            assert (second["bus"], second["connected"], second["reason"]) == (well, True, None)
            assert (second["asked"], second["meters"], second["read"], second["read_now"]) == (2, 2, 1, 1)
            assert second["took_s"] < 1.0
            assert [a["code"] for a in second["areas"]] == ["A"]
            [troubled] = second["troubled"]
            assert (troubled["serial"], troubled["unit"], troubled["failures"] >= 3) == ("120002", 2, True)
            meters = _meters(store, well)
            assert (meters["120001"]["outcome"], meters["120001"]["reason"]) == ("ok", "")
            assert 0 < meters["120001"]["response_ms"] < 200
            assert meters["120001"]["last_reading_at"] is not None
            assert (meters["120002"]["response_ms"], meters["120002"]["last_reading_at"]) == (None, None)
            since = meters["120001"]["since_at"], meters["120002"]["since_at"], first["since_at"]
            gateway.silent.clear()
            back = asked(store, b"select 1 as n from poll_meter where outcome = 'ok' having count(*) = 2")
            async with running(PollService(store, settings, clock)):
                await until(back, "the silent meter is back")
            again = _meters(store, well)
            assert again["120001"]["since_at"] == since[0]  # over the restart
            assert again["120002"]["since_at"] > since[1]
            assert _buses(store, bus=away)[0]["since_at"] == since[2]

    asyncio.run(scenario())
    with store.transaction() as connection:
        assert polling.totals(connection) == {
            "buses": 2, "connected": 1, "away": 1, "meters": 3, "read": 2, "resting": 0, "failed": 1,
        }  # fmt: skip
    assert [row["connected"] for row in _buses(store, troubled=True)] == [False]
    [found] = _buses(store, search="120001")
    assert found["connected"]
    assert [row["bus"] for row in _buses(store, after=(0, _buses(store)[0]["bus"]))] == [found["bus"]]


def test_a_bus_that_cannot_be_used_is_shown_and_stops_nobody(
    store: Store, settings: Settings, clock: Any, load: Any, serve: Any, meter_device: Any, planned: Any
) -> None:
    async def scenario() -> None:
        async with serve([meter_device(1, SDM120, {Q.IMPORT_WH: 1000, Q.SERIAL: "120001"})]) as gateway:
            load(planned("120001", SDM120, 1, "U1", gateway.port), planned("120002", SDM120, 2, "U2", gateway.port))
            with store.transaction() as connection:  # and nobody listens for modems
                connection.execute("update endpoint set bus = 'modbus+dialin://DTU-1' where unit = 2")
            async with running(PollService(store, settings, clock)):
                await until(asked(store, b"select 1 as n from register_reading"), "the other bus is read")
                await until(asked(store, b"select 1 as n from poll_bus where connected is false"), "it is shown")
                [row] = _buses(store, bus="modbus+dialin://DTU-1")
                assert row["peer"] == "modem DTU-1"
                assert "no listener for modems that dial in is configured" in row["reason"]
                with store.transaction() as connection:  # the meter is taken out
                    connection.execute("update installation set valid_to = now() where meter_id = 2")
                await until(asked(store, b"select 1 as n from poll_bus having count(*) = 1"), "it is gone")

    asyncio.run(scenario())
