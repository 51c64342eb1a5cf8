"""From a foreign publisher over a broker and the ingest to committed rows, against COPY of the same rows alone.

Publisher, broker, ingest and PostgreSQL are processes on the same machine; beside each rate stands what a row costs
each of them in CPU time. The broker is Mosquitto where there is one, durable as docker/mosquitto.conf has it.
"""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from drivers.base import PHASE_DTYPE, empty
from headend.domain.calendar import from_us
from headend.embedded.broker import EmbeddedBroker
from headend.store import readings
from headend.store.partitions import Partitions
from headend.store.pool import Store
from support import mqtt_bench
from support.mosquitto import BROKER, Mosquitto, needs_mosquitto
from support.mqtt_bench import family_cpu_s, messages_of, rows_of

pytestmark = pytest.mark.bench
COPIED = 10_000
"""Rows of one COPY."""
LISTENER = shutil.which("mosquitto_sub") or ""
UNLIMITED = ("allow_anonymous true", "max_inflight_messages 0")


def copy_directly(store: Store, rows: np.ndarray) -> float:
    """Seconds to commit the rows by binary COPY in batches; partitions are there before."""
    first, last = from_us(int(rows["ts_us"].min())), from_us(int(rows["ts_us"].max()))
    days = {(first + timedelta(days=i)).date() for i in range((last - first).days + 2)}
    Partitions().ensure(store, days)
    nothing = empty(PHASE_DTYPE, 0)
    started = time.perf_counter()
    for start in range(0, rows.size, COPIED):
        with store.transaction() as connection:
            readings.append(connection, rows[start : start + COPIED], nothing)
    return time.perf_counter() - started


@pytest.fixture(scope="module")
def direct_s(databases: Any, report: Any, kit: Any) -> float:
    """Seconds for a row of a direct COPY: the second of two runs into empty tables."""
    rows = rows_of(kit.scaled(15_000, 40), kit.SEED)
    with databases.fresh("direct") as store:
        copy_directly(store, rows[:COPIED])
    with databases.fresh("direct") as store:
        spent = copy_directly(store, rows)
    report("direct_copy_rows", rows.size / spent, "rows/s", n=rows.size)
    return spent / rows.size


@contextmanager
def broker_of(kind: str, directory: Path) -> Iterator[Any]:
    if kind == "rumqttd":
        with EmbeddedBroker(directory / "broker", port=0) as embedded:
            yield embedded
    else:
        mosquitto = Mosquitto(directory / "mosquitto", UNLIMITED, durable=True).start()
        try:
            yield mosquitto
        finally:
            mosquitto.stop()


@contextmanager
def field_of(databases: Any, neighbourhood: Callable[..., None], meters: int) -> Iterator[Store]:
    """A database of its own with the meters, and a concentrator."""
    with databases.fresh("ingest") as store:
        neighbourhood(store, areas=max(1, meters // 100), meters=100)
        with store.transaction() as connection:
            connection.execute(b"insert into concentrator (code, area_id) values ('C1', 1)")
        yield store


class Measured:
    """One passage of messages, timed; who spent what."""

    def __init__(self, sender: mqtt_bench.Publisher, workers: list[mqtt_bench.Ingest], pids: dict[str, int]) -> None:
        self._sender, self._workers, self._pids = sender, workers, pids

    def pass_through(self, rows: int) -> tuple[float, dict[str, float]]:
        """Seconds until all rows are received and acknowledged; CPU seconds of each process."""
        before = {name: family_cpu_s(pid) for name, pid in self._pids.items()}
        received = self._sum("headend_readings_received_total")
        started = time.perf_counter()
        self._sender.go()
        mqtt_bench.wait_for(lambda: self._sum("headend_readings_received_total") >= received + rows, "all rows")
        mqtt_bench.wait_for(lambda: self._sum("headend_unacked_messages") == 0, "all acknowledged")
        spent_s = time.perf_counter() - started
        spent = {name: family_cpu_s(pid) - before[name] for name, pid in self._pids.items()}
        return spent_s, {"publisher": self._sender.done()} | spent

    def _sum(self, name: str) -> float:
        return sum(worker.value(name) for worker in self._workers)


def tell(
    report: Any, figure: str, n: int, measured: tuple[float, dict[str, float]], ratio_to: dict[str, float]
) -> None:
    seconds, spent = measured
    report(figure, n / seconds, "rows/s", ratio_to={name: s * n / seconds for name, s in ratio_to.items()}, n=n)
    for name, cpu_s in spent.items():
        report(f"{figure}_cpu_{name}", cpu_s / n * 1e6, "us/row", n=n)


@contextmanager
def passage(
    databases: Any,
    neighbourhood: Callable[..., None],
    kind: str,
    sent: mqtt_bench.Sent,
    directory: Path,
    *,
    workers: int = 1,
) -> Iterator[tuple[Measured, Store]]:
    meters = len({topic for topic, _ in sent}) if "/meter/" in sent[0][0] else len(sent)
    with ExitStack() as stack:
        broker = stack.enter_context(broker_of(kind, directory))
        store = stack.enter_context(field_of(databases, neighbourhood, meters))
        group = None if workers == 1 else "bench"
        running = [
            stack.enter_context(
                mqtt_bench.ingest(directory, store.dsn, broker.port, name=f"ingest-{i}", share_group=group)
            )
            for i in range(workers)
        ]
        sender = stack.enter_context(mqtt_bench.publisher(directory, broker.port, sent))
        pids = {"broker": broker.pid, "postgres": databases.server.pid}
        pids |= {f"ingest{i or ''}": one.process.pid for i, one in enumerate(running)}
        yield Measured(sender, running, pids), store


def check(store: Store, rows: np.ndarray) -> None:
    (kept,) = store.rows(b"select count(*) as n, sum(import_wh)::bigint as wh from register_reading")
    assert kept == {"n": rows.size, "wh": int(rows["import_wh"].sum())}


MAIN = "mosquitto" if Path(BROKER).exists() else "rumqttd"


@pytest.mark.parametrize("kind", ["batch", "columns", "profile"])
def test_mqtt_to_committed_rows_and_again(
    kind: str,
    databases: Any,
    neighbourhood: Callable[..., None],
    report: Any,
    kit: Any,
    direct_s: float,
    tmp_path: Path,
) -> None:
    """Messages of 100 readings; then the very same ones once more."""
    rows = rows_of(kit.scaled(15_000, 40) // 10 * 10, kit.SEED)
    with passage(databases, neighbourhood, MAIN, messages_of(rows, kind), tmp_path) as (measured, store):
        direct = {"direct_copy_rows": direct_s}
        tell(report, f"mqtt_{kind}_to_committed_rows", rows.size, measured.pass_through(rows.size), direct)
        tell(report, f"mqtt_{kind}_replayed_rows", rows.size, measured.pass_through(rows.size), direct)
        check(store, rows)


def test_mqtt_by_the_embedded_broker(
    databases: Any, neighbourhood: Callable[..., None], report: Any, kit: Any, direct_s: float, tmp_path: Path
) -> None:
    """rumqttd, which never has more than 100 messages under way to one client."""
    rows = rows_of(kit.scaled(3000, 40), kit.SEED)
    with passage(databases, neighbourhood, "rumqttd", messages_of(rows, "batch"), tmp_path) as (measured, store):
        found = measured.pass_through(rows.size)
        tell(report, "mqtt_batch_by_rumqttd_rows", rows.size, found, {"direct_copy_rows": direct_s})
        check(store, rows)


@needs_mosquitto
def test_two_workers_of_a_share_group(
    databases: Any, neighbourhood: Callable[..., None], report: Any, kit: Any, direct_s: float, tmp_path: Path
) -> None:
    rows = rows_of(kit.scaled(3000, 40), kit.SEED)
    sent = messages_of(rows, "batch")
    with passage(databases, neighbourhood, "mosquitto", sent, tmp_path, workers=2) as (measured, store):
        found = measured.pass_through(rows.size)
        tell(report, "mqtt_batch_by_two_workers_rows", rows.size, found, {"direct_copy_rows": direct_s})
        check(store, rows)


def counted_alone(sent: mqtt_bench.Sent, directory: Path) -> float:
    """Seconds that `mosquitto_sub` needs at QoS 1 to receive them, with nobody else at work."""
    directory.mkdir()
    with broker_of("mosquitto", directory) as broker, mqtt_bench.publisher(directory, broker.port, sent) as sender:
        command = [LISTENER, "-p", str(broker.port), "-q", "1", "-t", "headend/v1/#", "-C", str(len(sent)), "-V", "5"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as listener:
            time.sleep(1.0)  # subscribed
            started = time.perf_counter()
            sender.go()
            assert listener.wait(300) == 0
            spent_s = time.perf_counter() - started
            sender.done()
    return spent_s


@needs_mosquitto
def test_against_a_client_that_only_counts(
    databases: Any, neighbourhood: Callable[..., None], report: Any, kit: Any, tmp_path: Path
) -> None:
    """Single readings: what is left of the broker's own pace."""
    rows = rows_of(kit.scaled(1000, 40), kit.SEED)
    sent = messages_of(rows, "reading")
    alone_s = counted_alone(sent, tmp_path / "alone")
    report("mosquitto_sub_alone", len(sent) / alone_s, "messages/s", n=len(sent))
    with passage(databases, neighbourhood, "mosquitto", sent, tmp_path) as (measured, store):
        seconds, spent = measured.pass_through(rows.size)
        ratio = {"mosquitto_sub_alone": alone_s / seconds}
        report("mqtt_single_messages", len(sent) / seconds, "messages/s", ratio_to=ratio, n=len(sent))
        for process, cpu_s in spent.items():
            report(f"mqtt_single_messages_cpu_{process}", cpu_s / len(sent) * 1e6, "us/message", n=len(sent))
        check(store, rows)


@needs_mosquitto
def test_restart_to_the_first_acknowledgement(
    databases: Any, neighbourhood: Callable[..., None], report: Any, kit: Any, tmp_path: Path
) -> None:
    """Killed, with messages waiting in its session: from the start of the process to the first confirmed upload."""
    rows = rows_of(40, kit.SEED)
    sent = messages_of(rows, "profile")
    with broker_of("mosquitto", tmp_path) as broker, field_of(databases, neighbourhood, 40) as store:
        with mqtt_bench.ingest(tmp_path, store.dsn, broker.port) as first:
            first.process.kill()
            first.process.wait()
        with mqtt_bench.publisher(tmp_path, broker.port, sent) as sender:
            sender.go()
            sender.done()
        command = [LISTENER, "-p", str(broker.port), "-q", "1", "-t", "headend/v1/concentrator/+/confirm", "-C", "1"]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as listener:
            time.sleep(1.0)  # subscribed
            started = time.perf_counter()
            with mqtt_bench.ingest(tmp_path, store.dsn, broker.port, subscribed=False):
                assert listener.wait(60) == 0
                spent_s = time.perf_counter() - started
    report("restart_to_first_ack_s", spent_s, "s", n=len(sent))
