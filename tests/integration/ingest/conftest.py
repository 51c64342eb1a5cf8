"""Parts for the ingest's integration tests: a small topology, a publisher, the service in a thread of its own."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from prometheus_client import REGISTRY

from headend.domain.clock import Clock
from headend.embedded.broker import EmbeddedBroker
from headend.ingest.service import IngestService
from headend.settings import Settings
from headend.store.pool import Store
from support.desk import Desk
from support.mosquitto import Mosquitto

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
"""Noon in Asia/Shanghai."""
PATIENCE_S = 30.0
PREFIX = "headend/v1"
ROOT = Path(__file__).resolve().parents[3]


def count(name: str, **labels: str) -> float:
    """A metric's present value; 0 where it has none yet."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def wait_until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> None:
    """Poll; fail by name after the deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)


TOPOLOGY = """
insert into station (code, name) values ('S', 'station');
insert into area (code, station_id, name) select c, 1, c from unnest(array['A', 'B']) c;
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh)
    select 'Acme', g::text, 'any', 3, 8, 10 from generate_series(1, 60) g;
insert into usage_point (code, kind, category)
    select 'U' || g, case when g = 60 then 'area' else 'customer' end,
           case when g = 60 then 'none' else 'residential' end
    from generate_series(1, 60) g;
insert into installation (usage_point_id, meter_id, valid_from)
    select g, g, '2020-01-01T00:00Z' from generate_series(1, 60) g where g <> 59;
insert into area_membership (usage_point_id, area_id, valid_from)
    select g, 1, '2020-01-01T00:00Z' from generate_series(1, 60) g;
insert into concentrator (code, area_id) values ('C1', 1), ('C2', 2);
"""


def load_topology(store: Store) -> None:
    """60 meters Acme/1…60 on area A (59 in stock, 60 the area meter), concentrators C1 and C2."""
    with store.transaction() as connection:
        connection.execute(TOPOLOGY.encode())


@pytest.fixture
def field_store(store: Store) -> Store:
    """A store with the small topology."""
    load_topology(store)
    return store


def settings_for(dsn: str, port: int = 1883, **changes: Any) -> Settings:
    """Settings with quick flushes."""
    ingest = {"flush_age_s": 0.2, "flush_quiet_s": 0.02} | changes.pop("ingest", {})
    return Settings(
        database={"dsn": dsn}, mqtt={"port": port, "client_id": "ingest-test"} | changes.pop("mqtt", {}), ingest=ingest
    )


@pytest.fixture
def settings(dsn: str) -> Settings:
    """Settings for the writer."""
    return settings_for(dsn)


@pytest.fixture
def desk(field_store: Store, settings: Settings) -> Desk:
    """A writer with what the tests ask of the store."""
    return Desk(field_store, settings)


def values(store: Store, query: str) -> list[tuple[Any, ...]]:
    """Rows of a query."""
    with store.transaction() as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[EmbeddedBroker]:
    """A broker of its own: sessions do not leak between tests."""
    with EmbeddedBroker(tmp_path / "broker", port=0) as running:
        yield running


class Field:
    """Meters and concentrators: publishes with QoS 1, hears confirmations."""

    def __init__(self, broker: EmbeddedBroker) -> None:
        self.confirmed: queue.Queue[tuple[str, list[int]]] = queue.Queue()
        subscribed = threading.Event()
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="field", protocol=mqtt.MQTTv5)
        client.max_inflight_messages_set(500)
        client.on_connect = lambda c, *_: c.subscribe(f"{PREFIX}/concentrator/+/confirm", qos=1)
        client.on_subscribe = lambda *_: subscribed.set()
        client.on_message = self._heard
        client.reconnect_delay_set(1, 1)
        properties = Properties(PacketTypes.CONNECT)
        properties.ReceiveMaximum = 1000
        client.connect(broker.host, broker.port, clean_start=True, properties=properties)
        client.loop_start()
        assert subscribed.wait(PATIENCE_S)
        self.client = client

    def _heard(self, _client: Any, _data: Any, message: mqtt.MQTTMessage) -> None:
        self.confirmed.put((message.topic.split("/")[-2], json.loads(message.payload)["confirmed"]))

    def publish(self, topic: str, payload: bytes | dict[str, Any], **options: Any) -> mqtt.MQTTMessageInfo:
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.client.publish(f"{PREFIX}/{topic}", body, qos=options.pop("qos", 1), **options)

    def send(self, topic: str, payload: bytes | dict[str, Any], **options: Any) -> None:
        """Publish and wait for the broker's PUBACK."""
        info = self.publish(topic, payload, **options)
        info.wait_for_publish(PATIENCE_S)
        assert info.is_published()

    def confirmations(self, wanted: set[tuple[str, int]]) -> None:
        """Wait until all of these are confirmed."""
        left = set(wanted)
        while left:
            code, numbers = self.confirmed.get(timeout=PATIENCE_S)
            left -= {(code, n) for n in numbers}

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def field(broker: EmbeddedBroker) -> Iterator[Field]:
    """See Field."""
    publisher = Field(broker)
    yield publisher
    publisher.close()


class RunningIngest:
    """An IngestService in an event loop in a thread, as bootstrap runs it in a process."""

    def __init__(self, store: Store, settings: Settings, clock: Clock, *, connected: bool = True) -> None:
        self.error: BaseException | None = None
        self.service = IngestService(store, settings, clock)
        self._loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()
        if connected:
            wait_until(lambda: self.service._client.connected, "connected")

    def _work(self) -> None:
        try:
            self._loop.run_until_complete(self.service.run(self._stop))
        except BaseException as error:  # noqa: BLE001 handed to the test
            self.error = error

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "the ingest did not stop"
        self._loop.close()
        assert self.error is None


@pytest.fixture
def run_ingest() -> Iterator[Callable[..., RunningIngest]]:
    """Starts ingests; all of them are stopped after the test."""
    running: list[RunningIngest] = []

    def start(store: Store, settings: Settings, clock: Clock = lambda: NOW) -> RunningIngest:
        running.append(RunningIngest(store, settings, clock))
        return running[-1]

    yield start
    for ingest in running:
        if ingest._thread.is_alive():
            ingest.stop()


@pytest.fixture
def start_ingest() -> Iterator[Callable[..., RunningIngest]]:
    """Starts ingests that may never get a connection; all of them are stopped after the test."""
    running: list[RunningIngest] = []

    def start(store: Store, settings: Settings) -> RunningIngest:
        running.append(RunningIngest(store, settings, lambda: NOW, connected=False))
        return running[-1]

    yield start
    for ingest in running:
        ingest.stop()


@pytest.fixture
def spawn_ingest() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts ingest_process.py; what is left of it is killed after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def spawn(
        dsn: str, port: int, mode: str, *, client_id: str = "killed", share_group: str = ""
    ) -> subprocess.Popen[bytes]:
        script = Path(__file__).with_name("ingest_process.py")
        arguments = [dsn, str(port), client_id, mode, *([share_group] if share_group else [])]
        started.append(
            subprocess.Popen(
                [sys.executable, str(script), *arguments],
                env=os.environ | {"PYTHONPATH": str(ROOT)},
                stderr=subprocess.DEVNULL,
            )
        )
        return started[-1]

    yield spawn
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def mosquitto(tmp_path: Path) -> Iterator[Callable[..., Mosquitto]]:
    """Starts Mosquittos; all of them are ended after the test."""
    started: list[Mosquitto] = []

    def start(*lines: str, **options: Any) -> Mosquitto:
        directory = tmp_path / f"mosquitto-{len(started)}"
        started.append(Mosquitto(directory, lines or ("allow_anonymous true",), **options))
        return started[-1].start()

    yield start
    for one in started:
        one.kill()


def make_passwords(file: Path, users: dict[str, str]) -> None:
    """A password file of Mosquitto's."""
    file.write_text("".join(f"{user}:{password}\n" for user, password in users.items()), encoding="utf-8")
    subprocess.run(["mosquitto_passwd", "-U", str(file)], check=True, timeout=20)


def pause(seconds: float) -> None:
    """Let somebody else work, within a wait that has its own end."""
    time.sleep(seconds)


def subscribed(field: Field, store: Store) -> bool:
    """Whether an ingest in another process takes messages already: a reading of meter 58 arrives."""
    field.send("meter/Acme/58/reading", {"ts": NOW.isoformat(), "import_wh": 0})
    return bool(values(store, "select 1 from latest_reading where meter_id = 58"))


@pytest.fixture
def kit() -> Any:
    """This module: test directories are no packages, so its helpers come as a fixture."""
    return sys.modules[__name__]
