"""Registers that meters refuse: found once, kept over a restart, until they expire or a person has them forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from drivers.base import Quantity
from drivers.modbus.refusals import FirmwareKey, MeterKey, Refusal
from drivers.modbus.register_map import AddressRange, Table
from headend.domain.calendar import to_us
from headend.ingest.poll_refusals import KeptRefusals
from headend.ingest.poller import PollService
from headend.settings import Settings
from headend.store import refusals
from headend.store.errors import StoreError
from headend.store.pool import Store
from support.running import asked, running, until

Q = Quantity
SDM120 = "eastron-sdm120"
NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
SERIAL = AddressRange(Table.HOLDING, 0xFC00, 0xFC01)
EXPORT = AddressRange(Table.INPUT, 0x4A, 0x4B)
KEEP_S = 7 * 86_400

Make = Callable[..., KeptRefusals]


class Now:
    """A clock under the test's hand."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def kept(store: Store, now: Now) -> Make:
    """Makes the memory of one process, on this store or another."""

    def make(on: Store | None = None) -> KeptRefusals:
        return KeptRefusals(
            on or store,
            keep_s=KEEP_S,
            bus_of={"10.0.0.1:502": "modbus+tcp://10.0.0.1:502", "10.0.0.2:502": "modbus+tcp://10.0.0.2:502"}.get,
            check_s=5.0,
            clock=now,
            sleep=asyncio.sleep,
        )

    return make


@pytest.fixture
def meters(load: Any, planned: Any, store: Store) -> None:
    load(planned("120001", SDM120, 1, "U1", 502), planned("120002", SDM120, 2, "U2", 502))
    with store.transaction() as connection:
        connection.execute("update endpoint set bus = 'modbus+tcp://10.0.0.1:502'")


def _key(unit: int = 1, peer: str = "10.0.0.1:502") -> MeterKey:
    return MeterKey(peer, unit, SDM120)


def _rows(store: Store) -> list[tuple[Any, ...]]:
    query = b"""select r.model, r.firmware, m.serial, r.first_register, f.serial as found_by, r.expires_at
                from register_refusal r left join meter m using (meter_id) join meter f on f.meter_id = r.found_by
                order by r.refusal_id"""
    return [tuple(row.values()) for row in store.rows(query)]


def test_what_one_process_found_the_next_one_knows(meters: None, kept: Make, store: Store) -> None:
    memory = kept()
    memory.remember(_key(), SERIAL, to_us(NOW), _key())
    memory.remember(FirmwareKey(SDM120, "1.7"), EXPORT, to_us(NOW), _key(2))
    found = Refusal(SERIAL, to_us(NOW), _key(), to_us(NOW) + KEEP_S * 1_000_000)
    assert memory.known(_key()) == (found,)  # at once, and nobody waited for the database
    assert _rows(store) == []
    asyncio.run(memory.sync())
    expires = NOW + timedelta(seconds=KEEP_S)
    assert _rows(store) == [
        (SDM120, None, "120001", 0xFC00, "120001", expires),
        (SDM120, "1.7", None, 0x4A, "120002", expires),
    ]
    restarted = kept()
    assert restarted.known(_key()) == ()
    asyncio.run(restarted.sync())
    assert restarted.known(_key()) == (found,)
    assert [r.range for r in restarted.known(FirmwareKey(SDM120, "1.7"))] == [EXPORT]
    assert restarted.known(_key(2)) == ()
    assert restarted.known(FirmwareKey(SDM120, "1.8")) == ()


def test_found_again_it_is_renewed_and_answered_it_is_dropped(meters: None, kept: Make, store: Store, now: Now) -> None:
    memory = kept()
    memory.remember(_key(), SERIAL, to_us(NOW), _key())
    memory.remember(FirmwareKey(SDM120, "1.7"), EXPORT, to_us(NOW), _key(2))
    asyncio.run(memory.sync())
    later = NOW + timedelta(days=8)
    now.now = later
    [expired] = memory.known(_key())
    assert expired.until_us < to_us(later)  # still told: the bus asks once more
    memory.remember(_key(), SERIAL, to_us(later), _key())
    memory.forget(FirmwareKey(SDM120, "1.7"), EXPORT)
    assert memory.known(FirmwareKey(SDM120, "1.7")) == ()
    asyncio.run(memory.sync())
    assert [(row[1], row[5]) for row in _rows(store)] == [(None, later + timedelta(seconds=KEEP_S))]
    memory.forget(_key(), SERIAL)
    asyncio.run(memory.sync())
    assert _rows(store) == []
    assert memory.known(_key()) == ()


def test_a_person_has_one_forgotten(meters: None, kept: Make, store: Store) -> None:
    memory = kept()
    memory.remember(_key(), SERIAL, to_us(NOW), _key())
    memory.remember(_key(), EXPORT, to_us(NOW), _key())
    asyncio.run(memory.sync())
    with store.transaction() as connection:
        [first, second] = refusals.listed(connection, limit=10)
        assert (first["first_register"], second["first_register"]) == (0x4A, 0xFC00)  # newest first
        assert refusals.listed(connection, after=first["refusal_id"], limit=10) == [second]
        assert refusals.forget(connection, first["refusal_id"])
        assert not refusals.forget(connection, first["refusal_id"])
    asyncio.run(memory.sync())
    assert [r.range for r in memory.known(_key())] == [SERIAL]


def test_a_database_that_is_away_loses_nothing(meters: None, kept: Make, store: Store, server_dsn: str) -> None:
    away = Store(psycopg.conninfo.make_conninfo(store.dsn, port="1"), timeout_s=0.2)
    memory = kept(away)
    memory.remember(_key(), SERIAL, to_us(NOW), _key())
    with away, pytest.raises(StoreError):
        asyncio.run(memory.sync())
    assert [r.range for r in memory.known(_key())] == [SERIAL]
    memory._store = store
    asyncio.run(memory.sync())
    assert len(_rows(store)) == 1


def test_what_is_found_while_it_is_written_is_written_next(meters: None, kept: Make, store: Store) -> None:
    memory = kept()
    memory.remember(_key(), SERIAL, to_us(NOW), _key())

    async def scenario() -> None:
        writing = asyncio.create_task(memory.sync())
        await asyncio.sleep(0)
        memory.forget(_key(), SERIAL)
        memory.remember(_key(), EXPORT, to_us(NOW), _key())
        await writing
        assert [r.range for r in memory.known(_key())] == [EXPORT]
        await memory.sync()

    asyncio.run(scenario())
    assert [row[3] for row in _rows(store)] == [0x4A]


def test_a_refusal_goes_with_its_meter_and_not_with_the_place(meters: None, kept: Make, store: Store) -> None:
    memory = kept()
    memory.remember(_key(1), SERIAL, to_us(NOW), _key(1))
    asyncio.run(memory.sync())
    with store.transaction() as connection:
        connection.execute("update endpoint set bus = 'modbus+tcp://10.0.0.2:502', unit = 9 where unit = 1")
    asyncio.run(memory.sync())
    assert memory.known(_key(1)) == ()
    assert [r.range for r in memory.known(_key(9, "10.0.0.2:502"))] == [SERIAL]


def test_a_meter_that_the_store_does_not_know_is_remembered_in_memory(meters: None, kept: Make, store: Store) -> None:
    memory = kept()
    memory.remember(_key(77), SERIAL, to_us(NOW), _key(77))
    for _ in range(2):
        asyncio.run(memory.sync())
        assert [r.range for r in memory.known(_key(77))] == [SERIAL]
    assert _rows(store) == []
    memory.forget(_key(77), SERIAL)
    assert memory.known(_key(77)) == ()


def test_what_nobody_can_ask_again_goes_in_the_end(meters: None, kept: Make, store: Store, now: Now) -> None:
    memory = kept()
    memory.remember(_key(), SERIAL, to_us(NOW), _key())
    asyncio.run(memory.sync())
    now.now = NOW + timedelta(days=20)
    asyncio.run(memory.sync())
    assert len(_rows(store)) == 1
    now.now = NOW + timedelta(days=22)
    asyncio.run(memory.sync())
    assert _rows(store) == []


def test_over_the_wire_a_refusal_is_found_once_and_asked_again_when_forgotten(
    store: Store, settings: Settings, clock: Any, load: Any, serve: Any, meter_device: Any, planned: Any
) -> None:
    meter = meter_device(1, SDM120, {Q.IMPORT_WH: 5_000, Q.SERIAL: "120001", Q.FIRMWARE: "7"})

    async def scenario() -> None:
        async with serve([meter]) as gateway:
            gateway.refused[1] = range(0x4A, 0x4C)  # the export register
            load(planned("120001", SDM120, 1, "U1", gateway.port))
            count = asked(store, b"select count(*) from register_reading")

            async def readings(more: int) -> None:
                before = (await count())[0][0]
                await until(lambda: _more(before + more), f"{more} more readings")

            async def _more(most: int) -> bool:
                return (await count())[0][0] >= most

            async with running(PollService(store, settings, clock)):
                await readings(2)
                await until(asked(store, b"select 1 as n from register_refusal"), "the refusal is kept")
                found = len(gateway.refusals)
                await readings(2)
                assert len(gateway.refusals) == found >= 2
            early = PollService(store, settings, clock)
            early._refusals.run = asyncio.Event().wait  # type: ignore[assignment, method-assign]
            async with running(early):
                await readings(2)
                assert len(gateway.refusals) == found
            async with running(PollService(store, settings, clock)):  # a restart asks for nothing in vain
                await readings(2)
                assert len(gateway.refusals) == found
                with store.transaction() as connection:
                    [row] = refusals.listed(connection, limit=10)
                    assert (row["firmware"], row["serial"], row["found_by_serial"]) == ("7", None, "120001")
                    refusals.forget(connection, row["refusal_id"])
                await until(lambda: len(gateway.refusals) > found, "it is asked once more")
                await until(asked(store, b"select 1 as n from register_refusal"), "and found once more")
            gateway.refused.clear()

    asyncio.run(scenario())
    assert store.rows(b"select distinct import_wh, export_wh from register_reading") == [
        {"import_wh": 5_000, "export_wh": None}
    ]
