"""The spool and the store: what waits, what is told, and what the database will not have."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from structlog.testing import capture_logs

from drivers.base import MeterIdentity, Quantity
from drivers.events import EventKind
from headend.ingest.poll_items import RoundWriter
from headend.ingest.poller import PollService
from headend.ingest.spool import Spool
from headend.ingest.spool_file import NAME, SpoolFailed, SpoolInUse
from headend.ingest.spool_record import Spoiled
from headend.ingest.spool_watch import SpoolWatch
from headend.ingest.status_events import StatusWord
from headend.settings import Poll, Settings
from headend.store.errors import StoreConflict, StoreUnavailable
from headend.store.pool import Store
from support.running import asked, running, until
from support.spooled import measured, round_at

Q = Quantity
SDM120 = "eastron-sdm120"
ALERTS = b"select kind, detail, value, cleared_at is null as stands from alert order by alert_id"


@pytest.fixture
def admit(server_dsn: str, dsn: str) -> Iterator[Callable[[bool], None]]:
    """Let the database be there, or not."""
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]

    def let(whether: bool) -> None:
        with psycopg.connect(server_dsn, autocommit=True) as connection:
            connection.execute(f'alter database "{name}" allow_connections {whether}'.encode())
            if not whether:
                connection.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", [name])

    yield let
    let(True)


def test_what_was_read_before_a_stop_is_stored_by_the_next_start(
    settings: Settings,
    clock: Any,
    load: Any,
    serve: Any,
    meter_device: Any,
    planned: Any,
    admit: Callable[[bool], None],
) -> None:
    """Without a spool it was lost, and said to be."""

    async def scenario() -> None:
        async with serve([meter_device(1, SDM120, {Q.IMPORT_WH: 5_000, Q.SERIAL: "120001"})]) as gateway:
            load(planned("120001", SDM120, 1, "U1", gateway.port))
            with Store(settings.database.dsn, pool_max=4, timeout_s=0.5) as store:
                service = PollService(store, settings, clock)
                async with running(service):
                    await until(asked(store, b"select from register_reading"), "a first reading")
                    health = service.health()
                    assert (health["buses"], health["meters"], health["spool_full"]) == (1, 1, False)
                    assert health["spool_trouble"] is None
                    await asyncio.to_thread(admit, False)
                    outage = clock()
                    await until(lambda: service.health()["spool_readings"] >= 2, "two rounds are in the spool")
                    assert service.health()["in_memory_readings"] == 0
                    assert service.health()["spool_bytes"] > 0
                    assert service.health()["spool_oldest_age_s"] >= 0
                    with pytest.raises(SpoolInUse):
                        await PollService(store, settings, clock).run(asyncio.Event())
            waiting = service.health()["held_readings"]
            assert waiting >= 2
            end = clock()
            await asyncio.to_thread(admit, True)
            gateway.silent.add(1)
            with Store(settings.database.dsn) as store:
                again = PollService(store, settings, clock)
                async with running(again):
                    await until(lambda: again.held == 0 and again.health()["buses"], "all is written")
                count = f"select count(*) as n from register_reading where ts between '{outage}' and '{end}'"
                assert store.rows(count.encode())[0]["n"] >= waiting - 1

    with capture_logs() as logs:
        asyncio.run(scenario())
    said = {line["event"]: line for line in logs}
    assert "readings lost at the stop" not in said
    assert said["readings wait in the spool"]["readings"] >= 2
    assert said["spool found"]["readings"] >= 2


class Tended:
    """A spool with what tells of it, without any bus."""

    def __init__(self, store: Store, directory: Path, clock: Any, storing: dict[str, int]) -> None:
        self.spool = Spool(
            Poll(spool_dir=directory, spool_mb=1),
            zone=ZoneInfo("Asia/Shanghai"),
            clock=clock,
            tells_again=lambda meter: meter.serial in storing,
        )
        self.watch = SpoolWatch(
            self.spool,
            store,
            meter_id_of=lambda meter: storing.get(meter.serial),
            every_s=1,
            clock=clock,
            sleep=asyncio.sleep,
        )


def _fill(clock: Any, meters: range, rng: random.Random, ticks: int) -> list[Any]:
    begin = clock() - timedelta(days=3)
    return [
        measured(begin + tick * timedelta(minutes=15), {str(n): 1000 * n + tick for n in meters}, rng)
        for tick in range(ticks)
    ]


def test_a_full_spool_is_an_alert_until_it_is_drained_and_profiles_are_asked_for_what_is_gone(
    store: Store, settings: Settings, clock: Any, load: Any, planned: Any, tmp_path: Path
) -> None:
    load(*(planned(str(n), SDM120, n, f"U{n}", 502) for n in range(1, 201)))
    storing = store.rows(b"select meter_id from meter where serial = '7'")[0]["meter_id"]
    writer = RoundWriter(store, settings, clock)

    async def drain(spool: Spool) -> None:
        while (portion := await spool.oldest(20_000)) is not None:
            await asyncio.to_thread(writer.write, portion.items)
            await spool.done(portion)

    async def scenario() -> int:
        t = Tended(store, tmp_path / "spool", clock, {"7": storing})
        await t.spool.open()
        await t.watch.check()
        assert store.rows(ALERTS) == []
        rounds = _fill(clock, range(1, 201), random.Random(3), 240)
        for n in range(0, 240, 10):
            await t.spool.append(rounds[n : n + 10])
        given_up = sum(t.spool.state.given_up.values())
        assert given_up + t.spool.readings == 240 * 200
        await t.watch.check()
        [alert] = store.rows(ALERTS)
        assert (alert["kind"], alert["value"], alert["stands"]) == ("spool_full", given_up, True)
        assert "between two that are kept" in alert["detail"]
        assert "stored profiles tell again" in alert["detail"]
        await t.spool.close()  # killed: what it has to tell is in its own book

        t = Tended(store, tmp_path / "spool", clock, {"7": storing})
        await t.spool.open()
        assert t.spool.state.totals.full
        assert sum(t.spool.state.given_up.values()) == given_up
        await t.watch.check()
        assert store.rows(b"select from profile_gap") == []  # not before its ends are stored
        await drain(t.spool)
        await t.watch.check()
        assert t.spool.state.given_up == {}
        await t.watch.check()
        await t.spool.close()
        return given_up

    given_up = asyncio.run(scenario())
    [alert] = store.rows(ALERTS)
    assert (alert["value"], alert["stands"]) == (given_up, False)
    stored = store.rows(b"select count(*) as n from register_reading")[0]["n"]
    assert stored == 240 * 200 - given_up
    gone = store.rows(
        b"select count(*) as n, min(t.import_wh - f.import_wh) as wh from profile_gap g "
        b"join register_reading f on f.meter_id = g.meter_id and f.ts = g.from_at "
        b"join register_reading t on t.meter_id = g.meter_id and t.ts = g.to_at where g.meter_id = %s",
        [storing],
    )
    assert gone[0]["n"] >= 3
    assert gone[0]["wh"] >= 2
    # Energy between first and last: nothing of it is gone.
    assert (
        store.rows(b"select max(import_wh) - min(import_wh) as wh from register_reading group by meter_id")
        == [{"wh": 239}] * 200
    )


def test_what_was_full_and_is_drained_before_anybody_looked_is_told_all_the_same(
    store: Store, clock: Any, tmp_path: Path
) -> None:
    async def scenario() -> None:
        t = Tended(store, tmp_path / "spool", clock, {})
        await t.spool.open()
        rounds = _fill(clock, range(1, 201), random.Random(3), 240)
        for n in range(0, 240, 10):
            await t.spool.append(rounds[n : n + 10])
        while (portion := await t.spool.oldest(20_000)) is not None:
            await t.spool.done(portion)
        with Store(f"host={tmp_path} dbname=nowhere", timeout_s=0.1) as away:
            gone = Tended(away, tmp_path / "other", clock, {})
            gone.watch._spool = t.spool
            with pytest.raises(StoreUnavailable):
                await gone.watch.check()
        assert not t.spool.state.totals.full
        await t.watch.check()
        await t.watch.check()
        await t.spool.close()

    asyncio.run(scenario())
    [alert] = store.rows(ALERTS)
    assert (alert["kind"], alert["stands"]) == ("spool_full", False)
    assert alert["value"] > 1000


def test_a_disk_that_fails_is_an_alert_until_it_works_again(store: Store, clock: Any, tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"")

    async def scenario() -> None:
        t = Tended(store, tmp_path / "spool", clock, {})
        await t.spool.open()
        await t.watch.check()
        [alert] = store.rows(ALERTS)
        assert (alert["kind"], alert["stands"]) == ("spool_failed", True)
        assert str(tmp_path / "spool") in alert["detail"]
        with suppress(SpoolFailed):
            await t.spool.append([round_at(clock(), {"1": 1})])
        (tmp_path / "spool").unlink()
        await t.spool.append([round_at(clock(), {"1": 1})])
        await t.watch.check()
        await t.spool.close()

    asyncio.run(scenario())
    [alert] = store.rows(ALERTS)
    assert not alert["stands"]


def test_a_damaged_spool_is_an_alert_until_somebody_has_taken_it_away(store: Store, clock: Any, tmp_path: Path) -> None:
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / NAME).write_bytes(b"what is this" * 1000)

    async def scenario() -> None:
        t = Tended(store, tmp_path / "spool", clock, {})
        await t.spool.open()
        await t.watch.check()
        [alert] = store.rows(ALERTS)
        assert alert["stands"]
        [aside] = t.spool.state.damaged
        assert str(aside) in alert["detail"]
        aside.unlink()
        await t.watch.check()
        await t.spool.close()

    asyncio.run(scenario())
    [alert] = store.rows(ALERTS)
    assert (alert["kind"], alert["stands"]) == ("spool_failed", False)


def test_a_kill_between_commit_and_forgetting_stores_nothing_twice(
    store: Store, settings: Settings, clock: Any, load: Any, planned: Any, tmp_path: Path
) -> None:
    load(planned("1", SDM120, 1, "U1", 502))
    begin = clock() - timedelta(hours=2)

    async def life(*, killed: bool) -> None:
        t = Tended(store, tmp_path / "spool", clock, {})
        await t.spool.open()
        if killed:
            await t.spool.append([round_at(begin + timedelta(minutes=n), {"1": n}) for n in range(50)])
        portion = await t.spool.oldest(20_000)
        assert portion is not None
        assert len(portion.items) == 50
        RoundWriter(store, settings, clock).write(portion.items)
        if not killed:
            await t.spool.done(portion)
            assert await t.spool.oldest(1) is None
        await t.spool.close()

    asyncio.run(life(killed=True))
    asyncio.run(life(killed=False))
    assert _stored(store) == list(range(50))
    assert store.rows(b"select from quarantine") == []
    assert store.rows(b"select from reading_revision") == []


def _stored(store: Store) -> list[int]:
    return [row["import_wh"] for row in store.rows(b"select import_wh from register_reading order by import_wh")]


def test_what_the_database_refuses_goes_to_the_quarantine_and_holds_up_nothing(
    store: Store, settings: Settings, clock: Any, load: Any, planned: Any
) -> None:
    load(planned("1", SDM120, 1, "U1", 502))
    now = datetime.now(UTC)
    rounds: list[Any] = [round_at(now - timedelta(minutes=n), {"1": n}) for n in range(5, 0, -1)]
    odd = round_at(now, {"1": 9})
    odd.readings[0] = (MeterIdentity("Eastron", "a\0b"), odd.readings[0][1])  # no text for PostgreSQL
    rounds.insert(2, odd)
    rounds.insert(4, Spoiled(b"\x00what was on the disk", "10.0.0.1:502", rounds[0].began_us, "not as it was written"))
    RoundWriter(store, settings, clock).write(rounds)
    assert _stored(store) == [1, 2, 3, 4, 5]
    kept = store.rows(b"select reason, detail, origin, payload from quarantine order by reason")
    assert [(row["reason"], row["origin"]) for row in kept] == [
        ("spool_record", "10.0.0.1:502"),
        ("store_refused", "10.0.0.1:502"),
    ]
    assert bytes(kept[0]["payload"]) == b"\x00what was on the disk"
    assert kept[0]["detail"] == "not as it was written"


def test_what_contradicts_a_constraint_again_and_again_holds_up_nothing_for_ever(
    store: Store, settings: Settings, clock: Any, load: Any, planned: Any
) -> None:
    load(planned("1", SDM120, 1, "U1", 502))
    with store.transaction() as connection:
        connection.execute("alter table register_reading add constraint odd check (import_wh <> 3)")
    now = datetime.now(UTC)
    rounds: list[Any] = [round_at(now - timedelta(minutes=n), {"1": n}) for n in range(5, 0, -1)]
    writer = RoundWriter(store, settings, clock)
    for _ in range(10):
        with pytest.raises(StoreConflict):
            writer.write(rounds)
    writer.write(rounds)
    assert _stored(store) == [1, 2, 4, 5]
    [kept] = store.rows(b"select reason, detail, payload from quarantine")
    assert kept["reason"] == "store_refused"
    assert b'"import_wh":3' in bytes(kept["payload"])


def test_status_words_without_a_reading_are_stored(
    store: Store, settings: Settings, clock: Any, load: Any, planned: Any
) -> None:
    """Thinning may leave a status word alone."""
    load(planned("1", SDM120, 1, "U1", 502))
    result = round_at(datetime.now(UTC), {})
    result.status.append(
        StatusWord(
            meter=MeterIdentity("Eastron", "1"),
            register="holding 16",
            word=1,
            bits={0: (EventKind.COVER_OPENED, None)},
            instant_us=result.began_us,
        )
    )
    RoundWriter(store, settings, clock).write([result])
    assert [row["kind"] for row in store.rows(b"select kind from device_event")] == ["cover_opened"]
    assert store.rows(b"select from quarantine") == []
