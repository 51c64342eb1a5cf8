"""The embedded broker with a real MQTT 5 client: what the head-end relies on, and the limits that it must respect."""

from __future__ import annotations

import os
import queue
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from headend.embedded.broker import EmbeddedBroker
from headend.embedded.errors import EmbeddedError
from headend.embedded.supervisor import Backoff, Supervisor

PATIENCE_S = 20.0


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker(tmp_path_factory.mktemp("broker"), port=0) as running:
        yield running


class Client:
    """A paho client that collects what arrives in a queue."""

    def __init__(self, broker: EmbeddedBroker, client_id: str, *, manual_ack: bool = False, will: str = "") -> None:
        self.received: queue.Queue[mqtt.MQTTMessage] = queue.Queue()
        self._connected = threading.Event()
        self._subscribed = threading.Event()
        self.session_present = False
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5, manual_ack=manual_ack
        )
        self.client.max_inflight_messages_set(900)
        self.client.on_message = lambda _client, _data, message: self.received.put(message)
        self.client.on_connect = self._on_connect
        self.client.on_subscribe = lambda *_arguments: self._subscribed.set()
        if will:
            self.client.will_set(will, b"gone", qos=1)
        properties = Properties(PacketTypes.CONNECT)
        properties.SessionExpiryInterval = 3600
        properties.ReceiveMaximum = 1000
        self.client.connect(broker.host, broker.port, keepalive=30, clean_start=False, properties=properties)
        self.client.loop_start()
        assert self._connected.wait(PATIENCE_S)

    def _on_connect(self, _client: mqtt.Client, _data: object, flags: mqtt.ConnectFlags, reason, _properties) -> None:
        assert not reason.is_failure
        self.session_present = flags.session_present
        self._connected.set()

    def subscribe(self, topic: str) -> None:
        self._subscribed.clear()
        self.client.subscribe(topic, qos=1)
        assert self._subscribed.wait(PATIENCE_S)

    def publish(self, topic: str, payload: bytes, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=1, retain=retain).wait_for_publish(PATIENCE_S)

    def take(self, count: int) -> list[mqtt.MQTTMessage]:
        return [self.received.get(timeout=PATIENCE_S) for _ in range(count)]

    def nothing_more(self, seconds: float = 0.3) -> bool:
        try:
            self.received.get(timeout=seconds)
        except queue.Empty:
            return True
        return False

    def drop_line(self) -> None:
        """Go without DISCONNECT, as a modem does; nothing of this object is usable afterwards."""
        self.client.on_message = None
        line, reader = self.client.socket(), self.client._thread
        assert line is not None
        assert reader is not None
        self.client._thread_terminate = True
        line.shutdown(socket.SHUT_RDWR)
        reader.join(PATIENCE_S)
        assert not reader.is_alive()

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def connect(broker: EmbeddedBroker) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def make(client_id: str, **options: object) -> Client:
        clients.append(Client(broker, client_id, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_persistent_session_gets_what_came_while_away(connect: Callable[..., Client]) -> None:
    subscriber = connect("away")
    assert not subscriber.session_present
    subscriber.subscribe("away/#")
    subscriber.close()
    publisher = connect("away-publisher")
    sent = [f"{number}".encode() for number in range(300)]
    for payload in sent:
        publisher.publish("away/meter", payload)
    back = connect("away")
    assert back.session_present
    assert [message.payload for message in back.take(300)] == sent


def test_unacknowledged_messages_come_again_after_a_reconnect(connect: Callable[..., Client]) -> None:
    subscriber = connect("manual", manual_ack=True)
    subscriber.subscribe("manual/#")
    publisher = connect("manual-publisher")
    for number in range(10):
        publisher.publish("manual/meter", f"{number}".encode())
    first = subscriber.take(10)
    for message in first[:4]:
        subscriber.client.ack(message.mid, message.qos)
    subscriber.close()
    back = connect("manual", manual_ack=True)
    again = back.take(6)
    assert [message.payload for message in again] == [b"4", b"5", b"6", b"7", b"8", b"9"]
    for message in again:
        back.client.ack(message.mid, message.qos)
    back.close()
    assert connect("manual", manual_ack=True).nothing_more()


def test_unacknowledged_messages_come_again_after_a_lost_line(connect: Callable[..., Client]) -> None:
    subscriber = connect("cut", manual_ack=True)
    subscriber.subscribe("cut/#")
    connect("cut-publisher").publish("cut/meter", b"1")
    subscriber.take(1)
    subscriber.drop_line()
    assert connect("cut", manual_ack=True).take(1)[0].payload == b"1"


def test_window_of_one_hundred_unacknowledged_messages_moves_on_with_each_ack(connect: Callable[..., Client]) -> None:
    subscriber = connect("window", manual_ack=True)
    subscriber.subscribe("window/#")
    publisher = connect("window-publisher")
    pending = [publisher.client.publish("window/meter", f"{n}".encode(), qos=1) for n in range(500)]
    for publication in pending:
        publication.wait_for_publish(PATIENCE_S)
        assert publication.is_published()  # a publisher may have several hundred in flight
    window = subscriber.take(100)
    assert subscriber.nothing_more()
    got = []
    for _round in range(5):
        got += [message.payload for message in window]
        for message in window:
            subscriber.client.ack(message.mid, message.qos)
        window = subscriber.take(100) if len(got) < 500 else []
    assert got == [f"{n}".encode() for n in range(500)]


def test_retained_message_reaches_a_late_subscriber(connect: Callable[..., Client]) -> None:
    connect("retain-publisher").publish("retain/state", b"online", retain=True)
    late = connect("retain-late")
    late.subscribe("retain/#")
    message = late.take(1)[0]
    assert (message.payload, message.retain) == (b"online", True)


def test_last_will_when_the_line_is_cut_but_not_after_a_goodbye(connect: Callable[..., Client]) -> None:
    watcher = connect("will-watcher")
    watcher.subscribe("will/#")
    polite, cut = connect("will-polite", will="will/polite"), connect("will-cut", will="will/cut")
    polite.close()
    cut.drop_line()
    message = watcher.take(1)[0]
    assert (message.topic, message.payload) == ("will/cut", b"gone")
    assert watcher.nothing_more()


def test_payloads_of_a_megabyte(connect: Callable[..., Client]) -> None:
    subscriber = connect("big")
    subscriber.subscribe("big/#")
    payload = os.urandom(1_000_000)
    publisher = connect("big-publisher")
    for _ in range(5):
        publisher.publish("big/profile", payload)
    assert all(message.payload == payload for message in subscriber.take(5))


def test_shared_subscription_gives_each_message_to_one_worker(connect: Callable[..., Client], wait_until) -> None:
    workers = [connect(f"shared-{n}") for n in range(2)]
    for worker in workers:
        worker.subscribe("$share/ingest/shared/#")
    publisher = connect("shared-publisher")
    for number in range(100):
        publisher.publish("shared/meter", f"{number}".encode())
    wait_until(lambda: sum(worker.received.qsize() for worker in workers) >= 100, "all messages")
    got = [message.payload for worker in workers for message in worker.take(worker.received.qsize())]
    assert sorted(got) == sorted(f"{n}".encode() for n in range(100))
    assert all(worker.nothing_more(0.1) for worker in workers)


def test_broker_moves_when_its_port_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupier:
        taken = occupier.getsockname()[1]
        with EmbeddedBroker(tmp_path, port=taken) as moved:
            assert moved.port != taken
            assert moved.answers()
    assert not moved.running


def test_broker_that_loses_its_port_says_so(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path, port=0)
    with broker:
        port = broker.port
    with socket.create_server(("127.0.0.1", port)), pytest.raises(EmbeddedError, match=f"(?s)ended.*{port}"):
        broker.start()


def test_supervisor_starts_a_killed_broker_again_on_its_port_with_nothing_left(tmp_path: Path, wait_until) -> None:
    with Supervisor(Backoff(first_s=0.01)) as supervisor:
        broker = EmbeddedBroker(tmp_path, port=0)
        supervisor.start(broker)
        deaths: queue.Queue[object] = queue.Queue()
        supervisor.watch(deaths.put, interval_s=0.02)
        port, pid = broker.port, broker.pid
        assert pid is not None
        before = Client(broker, "survivor")
        before.publish("kept/state", b"x", retain=True)
        before.client.loop_stop()
        os.kill(pid, signal.SIGKILL)
        death = deaths.get(timeout=PATIENCE_S)
        assert (death.service, death.exit_status, death.failures) == ("broker", -signal.SIGKILL, 1)
        wait_until(broker.answers, "a new broker")
        assert deaths.empty()
        assert broker.port == port
        assert broker.pid != pid
        after = Client(broker, "survivor")
        assert not after.session_present
        after.subscribe("kept/#")
        assert after.nothing_more()
        after.close()
    assert not broker.running
