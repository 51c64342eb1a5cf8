"""Several real ingest processes on one Mosquitto: they write beside each other, and for whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from headend.store.pool import Store
from support.mosquitto import Mosquitto, free_port, needs_mosquitto
from support.workers import Running

pytestmark = needs_mosquitto
PREFIX = "headend/v1"
GROUP = "workers"
NOW = datetime.now(UTC).replace(second=0, microsecond=0)
MINUTE = timedelta(minutes=1)
METERS = range(1, 59)
LONG_S = 90.0
Start = Callable[..., Running]


def at(number: int) -> str:
    return (NOW - number * MINUTE).isoformat()


def reading(number: int, import_wh: int) -> bytes:
    return json.dumps({"ts": at(number), "import_wh": import_wh}).encode()


def wh(meter: int, number: int) -> int:
    """The register of a meter so many minutes ago."""
    return 1_000_000 + meter * 10_000 - number


def profile(seq: int, meters: range, numbers: range) -> bytes:
    return json.dumps(
        {
            "format": "headend.profile/1",
            "seq": seq,
            "backlog": 0,
            "meters": [f"Acme/{m}" for m in meters],
            "ts": [at(n) for n in reversed(numbers)],
            "import_wh": [[wh(m, n) for n in reversed(numbers)] for m in meters],
        }
    ).encode()


@pytest.fixture
def start(tmp_path: Path, field_store: Store) -> Iterator[Start]:
    """Starts ingest processes; all of them are ended after the test."""
    started: list[Running] = []

    def begin(broker: Mosquitto, name: str, *options: str, takeover_s: float = 1.0, **mqtt: Any) -> Running:
        session = {
            "port": broker.port, "client_id": name, "share_group": GROUP, "unshared": name == "w1",
            "takeover_s": takeover_s, "receive_maximum": 50,
        }  # fmt: skip
        sections = {
            "database": {"dsn": field_store.dsn},
            "mqtt": {k: v for k, v in (session | mqtt).items() if v is not None},
            "ingest": {"flush_age_s": 0.2},
        }
        started.append(Running(tmp_path, name, sections, *options))
        return started[-1].start()

    yield begin
    for running in started:
        running.end()


def total(workers: list[Running], name: str) -> float:
    return sum(worker.metric(name) for worker in workers)


def rows(store: Store, kit: Any) -> int:
    return int(kit.values(store, "select count(*) from register_reading")[0][0])


def wait_until_all_take(broker: Mosquitto, workers: list[Running], kit: Any) -> None:
    """Each of them is subscribed: readings of meter 60, stored or not, have come to all."""

    def heard() -> bool:
        broker.publish(f"{PREFIX}/meter/Acme/60/reading", [reading(0, 0)])
        return all(worker.metric("headend_readings_received_total") > 0 for worker in workers)

    kit.wait_until(heard, "every worker takes messages", LONG_S)


def together(*jobs: Callable[[], None]) -> None:
    threads = [threading.Thread(target=job) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG_S)
        assert not thread.is_alive()


def test_they_write_the_same_meters_days_and_concentrators_without_stepping_on_each_other(
    field_store: Store, mosquitto: Callable[..., Mosquitto], start: Start, kit: Any
) -> None:
    broker = mosquitto()
    workers = [start(broker, name) for name in ("w1", "w2", "w3")]
    wait_until_all_take(broker, workers, kit)
    each = 60

    def singles(meters: range, order: int) -> None:
        """Every reading of these meters, each message twice, in this or that order of time."""
        for meter in meters:
            payloads = [reading(n, wh(meter, n)) for n in range(1, each + 1)][::order]
            broker.publish(f"{PREFIX}/meter/Acme/{meter}/reading", [p for p in payloads for _ in range(2)])

    def profiles(code: str) -> None:
        """Half of them once more, through a concentrator that sends each upload twice."""
        uploads = [profile(1 + k, METERS, range(1 + 5 * k, 6 + 5 * k)) for k in range(each // 10)]
        broker.publish(f"{PREFIX}/concentrator/{code}/profile", [u for u in uploads for _ in range(2)])

    together(
        lambda: singles(range(1, 30), 1),
        lambda: singles(range(30, 59), 1),
        lambda: singles(range(1, 59), -1),
        lambda: profiles("C1"),
        lambda: profiles("C2"),
    )
    expected = len(METERS) * each
    kit.wait_until(lambda: rows(field_store, kit) == expected + 1, "every reading once", LONG_S)
    kit.wait_until(lambda: total(workers, "headend_unacked_messages") == 0, "all acknowledged", LONG_S)
    sums = kit.values(field_store, "select count(*), sum(import_wh) from register_reading where meter_id < 60")
    assert sums == [(expected, sum(wh(m, n) for m in METERS for n in range(1, each + 1)))]
    assert kit.values(field_store, "select sum(readings) from reading_count") == [(expected + 1,)]
    newest = "select max(ts) from register_reading r where r.meter_id = l.meter_id"
    assert kit.values(field_store, f"select count(*) from latest_reading l where ts <> ({newest})") == [(0,)]
    assert kit.values(field_store, "select min(confirmed_seq), count(*) from concentrator") == [(6, 2)]
    assert kit.values(field_store, "select count(*) from quarantine") == [(0,)]
    assert total(workers, "headend_readings_stored_total") == expected + 1
    shares = [worker.metric("headend_readings_received_total") for worker in workers]
    assert min(shares) > 0.1 * sum(shares), shares
    # The same rows of the same meters at the same time: they wait for each other, and none is thrown out.
    (deadlocks,) = kit.values(field_store, "select deadlocks from pg_stat_database where datname = current_database()")
    conflicts = {worker.name: worker.metric("headend_store_errors_total") for worker in workers}
    assert deadlocks == (0,), [line for worker in workers for line in worker.log().splitlines() if "deadlock" in line]
    assert sum(conflicts.values()) <= 0.02 * sum(w.metric("headend_flush_seconds_count") for w in workers), conflicts
    assert not any("Traceback" in worker.log() for worker in workers)


@pytest.mark.parametrize("killed", [1, 2], ids=["one", "two at once"])
def test_what_killed_ones_held_is_stored_by_the_others(
    field_store: Store, mosquitto: Callable[..., Mosquitto], start: Start, kit: Any, killed: int
) -> None:
    broker = mosquitto()
    workers = [start(broker, name) for name in ("w1", "w2", "w3")]
    wait_until_all_take(broker, workers, kit)
    with_hands_full(broker, field_store, workers, kit, lambda: [worker.kill() for worker in workers[-killed:]])
    kit.wait_until(lambda: rows(field_store, kit) == 301, "all of them, by the others", LONG_S)
    expect_all_once(field_store, kit)
    broker.publish(f"{PREFIX}/meter/Acme/5/reading", [reading(n, wh(5, n)) for n in range(1, 31)])
    kit.wait_until(lambda: rows(field_store, kit) == 331, "new ones, too", LONG_S)


def test_all_killed_and_one_started_again(
    field_store: Store, mosquitto: Callable[..., Mosquitto], start: Start, kit: Any
) -> None:
    broker = mosquitto()
    workers = [start(broker, name) for name in ("w1", "w2", "w3")]
    wait_until_all_take(broker, workers, kit)
    with_hands_full(broker, field_store, workers, kit, lambda: [worker.kill() for worker in workers])
    # Nobody is there: the broker keeps these for whom it would have given them to.
    broker.publish(f"{PREFIX}/meter/Acme/5/reading", [reading(n, wh(5, n)) for n in range(1, 31)])
    workers[1].start()
    kit.wait_until(lambda: rows(field_store, kit) == 331, "all of it, by the one that is back", LONG_S)
    expect_all_once(field_store, kit)


def test_a_killed_one_that_comes_back_finds_what_it_held(
    field_store: Store, mosquitto: Callable[..., Mosquitto], start: Start, kit: Any
) -> None:
    broker = mosquitto()
    workers = [start(broker, name, takeover_s=3600.0) for name in ("w1", "w2")]
    wait_until_all_take(broker, workers, kit)
    with_hands_full(broker, field_store, workers, kit, workers[1].kill)
    kit.wait_until(lambda: workers[0].metric("headend_unacked_messages") == 0, "the other one is done", LONG_S)
    assert rows(field_store, kit) < 301, "what the killed one held is not stored by anybody"
    workers[1].start()
    kit.wait_until(lambda: rows(field_store, kit) == 301, "all of it", LONG_S)
    expect_all_once(field_store, kit)


def with_hands_full(
    broker: Mosquitto, store: Store, workers: list[Running], kit: Any, kill: Callable[[], object]
) -> None:
    """300 readings of three meters come while nobody can commit; each worker holds some when `kill` is called."""
    kit.wait_until(lambda: total(workers, "headend_unacked_messages") == 0, "nothing in hand", LONG_S)
    with psycopg.connect(store.dsn) as stalled:
        stalled.execute("lock table latest_reading in access exclusive mode")
        for meter in (1, 2, 3):
            broker.publish(f"{PREFIX}/meter/Acme/{meter}/reading", [reading(n, wh(meter, n)) for n in range(1, 101)])
        kit.wait_until(
            lambda: all(worker.metric("headend_unacked_messages") >= 30 for worker in workers), "hands full", LONG_S
        )
        kill()
        stalled.rollback()


def expect_all_once(store: Store, kit: Any) -> None:
    found = kit.values(
        store,
        "select meter_id, count(*), sum(import_wh) from register_reading where meter_id < 4 group by 1 order by 1",
    )
    assert found == [(m, 100, sum(wh(m, n) for n in range(1, 101))) for m in (1, 2, 3)]
    assert kit.values(store, "select sum(readings) from reading_count where meter_id < 4") == [(300,)]


# One process that keeps several.


def test_several_under_one_share_come_back_and_go_together(
    field_store: Store, mosquitto: Callable[..., Mosquitto], start: Start, kit: Any
) -> None:
    broker = mosquitto()
    house = start(broker, "w1", "--workers", "3")
    children = house.children()
    assert len(children) == 3
    broker.publish(f"{PREFIX}/meter/Acme/1/reading", [reading(n, wh(1, n)) for n in range(1, 101)])
    kit.wait_until(lambda: rows(field_store, kit) == 100, "all of it", LONG_S)
    os.kill(children[1], signal.SIGKILL)
    broker.publish(f"{PREFIX}/meter/Acme/2/reading", [reading(n, wh(2, n)) for n in range(1, 101)])
    kit.wait_until(lambda: rows(field_store, kit) == 200, "that of the killed one, too", LONG_S)
    kit.wait_until(lambda: len(house.children()) == 3, "it is started again", LONG_S)
    assert house.children() != children
    assert "ingest worker ended" in house.log()
    again = house.children()
    assert house.stop() == 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in again)
    assert "had to be killed" not in house.log()


def test_none_outlives_its_house(
    field_store: Store, mosquitto: Callable[..., Mosquitto], start: Start, kit: Any
) -> None:
    house = start(mosquitto(), "w1", "--workers", "2")
    children = house.children()
    house.kill()
    kit.wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "all are gone", LONG_S)


def test_what_was_one_process_becomes_several_and_nothing_comes_twice(
    field_store: Store, mosquitto: Callable[..., Mosquitto], start: Start, kit: Any
) -> None:
    broker = mosquitto()
    alone = start(broker, "headend-ingest", share_group=None, unshared=True)
    broker.publish(f"{PREFIX}/meter/Acme/1/reading", [reading(n, wh(1, n)) for n in range(1, 11)])
    kit.wait_until(lambda: rows(field_store, kit) == 10, "by the one", LONG_S)
    assert alone.stop() == 0
    broker.publish(f"{PREFIX}/meter/Acme/1/reading", [reading(n, wh(1, n)) for n in range(11, 21)])  # kept for it
    house = start(broker, "headend-ingest", "--workers", "2", share_group=None, unshared=True)
    kit.wait_until(lambda: rows(field_store, kit) == 20, "what was kept for the one", LONG_S)
    ports = (house.metrics_port, house.metrics_port + 1)

    def received() -> float:
        return sum(house.metric("headend_readings_received_total", port) for port in ports)

    before = received()
    broker.publish(f"{PREFIX}/meter/Acme/2/reading", [reading(n, wh(2, n)) for n in range(1, 101)])
    kit.wait_until(lambda: rows(field_store, kit) == 120, "by both", LONG_S)
    kit.wait_until(lambda: sum(house.metric("headend_unacked_messages", p) for p in ports) == 0, "in peace", LONG_S)
    assert received() - before == 100
    assert all(house.metric("headend_readings_received_total", port) > 0 for port in ports)


def test_what_cannot_start_says_why_and_ends(tmp_path: Path, empty_dsn: str) -> None:
    sections = {"database": {"dsn": empty_dsn}, "mqtt": {"port": free_port()}}
    house = Running(tmp_path, "house", sections, "--workers", "2").start(wait=False)
    try:
        assert house.process is not None
        assert house.process.wait(60) == 1
        assert "run `headend migrate` first" in house.log()
        assert "ended with status 1 while starting" in house.log()
    finally:
        house.end()
