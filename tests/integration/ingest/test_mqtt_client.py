"""The MQTT client on a real broker: acknowledgement by hand, redelivery, identifiers of earlier connections."""

from __future__ import annotations

import itertools
import json
import queue
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from drivers.mqtt.client import Broker, Message, MqttClient, Will
from headend.embedded.broker import EmbeddedBroker

PATIENCE_S = 20.0
TOPIC = "headend/v1/meter/Acme/1/reading"


class Ear:
    """An MqttClient that collects what it hears."""

    def __init__(self, port: int, **options: Any) -> None:
        self.messages: queue.Queue[Message] = queue.Queue()
        self.connections: queue.Queue[bool] = queue.Queue()
        self.losses: queue.Queue[str] = queue.Queue()
        self.problems: queue.Queue[str] = queue.Queue()
        self.client = MqttClient(
            Broker(host="127.0.0.1", port=port, client_id="ear"),
            options.pop("subscriptions", ["headend/v1/meter/#"]),
            lambda heard: [self.messages.put(m) for m in heard] and None,
            on_connect=lambda granted: self.connections.put(granted.session_present),
            on_disconnect=self.losses.put,
            on_problem=self.problems.put,
            **options,
        )
        self.client.start()

    def hear(self, count: int) -> list[Message]:
        return [self.messages.get(timeout=PATIENCE_S) for _ in range(count)]


@pytest.fixture
def listen() -> Iterator[Callable[..., Ear]]:
    ears: list[Ear] = []

    def start(port: int, **options: Any) -> Ear:
        ears.append(Ear(port, **options))
        return ears[-1]

    yield start
    for ear in ears:
        ear.client.stop()


def subscribed(ear: Ear, field: Any) -> None:
    """The subscription stands once a first message arrives; it is acknowledged."""
    assert ear.connections.get(timeout=PATIENCE_S) is False
    while ear.messages.empty():
        field.send("meter/Acme/1/reading", b"first")
    ear.client.ack(ear.hear(1)[0])
    field.send("meter/Acme/1/reading", b"last")
    while (message := ear.hear(1)[0]).payload != b"last":
        ear.client.ack(message)
    ear.client.ack(message)


_numbers = itertools.count(1)


def sent_so_far(ear: Ear, field: Any) -> None:
    """What was queued before has reached the broker: a publication behind it comes back.

    Each has a number of its own: one whose PUBACK was cut off is published again, and would be taken for the next.
    """
    number = next(_numbers)
    assert ear.client.publish("headend/v1/concentrator/C1/confirm", json.dumps({"confirmed": [number]}).encode())
    field.confirmations({("C1", number)})


def test_only_what_was_acknowledged_is_forgotten(
    broker: EmbeddedBroker, field: Any, listen: Callable[..., Ear]
) -> None:
    ear = listen(broker.port)
    subscribed(ear, field)
    for n in range(6):
        field.send("meter/Acme/1/reading", f"{n}".encode())
    first = ear.hear(6)
    assert [m.payload for m in first] == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert {(m.topic, m.qos) for m in first} == {(TOPIC, 1)}
    assert all(ear.client.ack(m) for m in first[:2])
    sent_so_far(ear, field)
    ear.client.renew()
    assert ear.connections.get(timeout=PATIENCE_S) is True
    again = ear.hear(4)
    assert [m.payload for m in again] == [b"2", b"3", b"4", b"5"]
    # Identifiers of the first connection mean nothing now, though the broker uses the same numbers again.
    assert not any(ear.client.ack(m) for m in first)
    sent_so_far(ear, field)
    assert {m.connection for m in first}.isdisjoint({m.connection for m in again})
    ear.client.renew()
    assert ear.connections.get(timeout=PATIENCE_S) is True
    third = ear.hear(4)
    assert [m.payload for m in third] == [b"2", b"3", b"4", b"5"]
    assert all(ear.client.ack(m) for m in third)
    sent_so_far(ear, field)
    ear.client.renew()
    assert ear.connections.get(timeout=PATIENCE_S) is True
    field.send("meter/Acme/1/reading", b"after")
    assert ear.hear(1)[0].payload == b"after"


def test_acknowledgements_are_sent_before_the_goodbye(
    broker: EmbeddedBroker, field: Any, listen: Callable[..., Ear]
) -> None:
    ear = listen(broker.port)
    subscribed(ear, field)
    for n in range(50):
        field.publish("meter/Acme/1/reading", f"{n}".encode())
    for message in ear.hear(50):
        ear.client.ack(message)
    ear.client.stop()
    assert not ear.client.alive
    back = listen(broker.port)
    assert back.connections.get(timeout=PATIENCE_S) is True
    field.send("meter/Acme/1/reading", b"after")
    assert back.hear(1)[0].payload == b"after"


def test_publish_and_will(broker: EmbeddedBroker, field: Any, listen: Callable[..., Ear]) -> None:
    ear = listen(broker.port, will=Will("headend/v1/head-end", b"offline"))
    subscribed(ear, field)
    assert ear.client.publish("headend/v1/concentrator/C1/confirm", b'{"confirmed":[7]}')
    assert field.confirmed.get(timeout=PATIENCE_S) == ("C1", [7])
    broker.stop()
    ear.losses.get(timeout=PATIENCE_S)
    assert not ear.client.connected
    assert not ear.client.publish("headend/v1/concentrator/C1/confirm", b"{}")
    assert ear.client.alive


def test_a_broker_that_is_not_there_is_said_and_waited_for(listen: Callable[..., Ear]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupier:
        port = occupier.getsockname()[1]
    ear = listen(port)
    said = ear.problems.get(timeout=PATIENCE_S)
    assert said.startswith(f"no connection to 127.0.0.1:{port}: ")
    assert "Connection refused" in said
    assert ear.client.alive
    assert not ear.client.connected


def test_stop_does_not_wait_for_a_broker_that_is_not_there(listen: Callable[..., Ear]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupier:
        port = occupier.getsockname()[1]
    ear = listen(port)
    ear.problems.get(timeout=PATIENCE_S)
    ender = threading.Thread(target=ear.client.stop, daemon=True)
    ender.start()
    ender.join(PATIENCE_S)
    assert not ender.is_alive()
    assert not ear.client.alive


def test_a_refused_subscription_is_said(broker: EmbeddedBroker, listen: Callable[..., Ear]) -> None:
    """By hand, since the embedded broker refuses none: the callback as paho calls it."""
    ear = listen(broker.port, subscriptions=["a", "b"])
    granted, refused = (ReasonCode(PacketTypes.SUBACK, name) for name in ("Granted QoS 1", "Not authorized"))
    ear.connections.get(timeout=PATIENCE_S)
    ear.client._subscribed(ear.client._client, None, 1, [granted, refused], None)
    assert ear.problems.get(timeout=PATIENCE_S) == "broker refused the subscription to b: Not authorized"


class Scripted:
    """A broker that says what it is told to, to one client after the other."""

    def __init__(self, *says: bytes) -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self.heard: queue.Queue[bytes] = queue.Queue()
        self._says = says
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        for said in self._says:
            line, _ = self._server.accept()
            with line:
                line.recv(4096)  # CONNECT
                line.sendall(b"\x20\x03\x00\x00\x00" + said)
                while heard := line.recv(4096):
                    self.heard.put(heard)
        self._server.close()


def test_what_comes_in_one_piece_with_the_acceptance_is_of_the_new_connection(listen: Callable[..., Ear]) -> None:
    """A broker sends what waited in the session right behind it."""
    broker = Scripted(b"\x32\x07\x00\x01a\x00\x07\x00x" + b"\xd0\x00" + b"\x32\x07\x00\x01b\x01\x02\x00y")
    ear = listen(broker.port)
    messages = ear.hear(2)
    assert [(m.topic, m.payload, m.mid, m.connection) for m in messages] == [("a", b"x", 7, 1), ("b", b"y", 258, 1)]
    assert ear.client.ack_all(messages) == 2
    heard = b""
    while not heard.endswith(b"\x40\x02\x00\x07\x40\x02\x01\x02"):
        heard += broker.heard.get(timeout=PATIENCE_S)


@pytest.mark.parametrize(
    "spoilt", [b"\x36\x06\x00\x01a\x00\x07\x00", b"\x90\x01\x00", b"\x30\xff\xff\xff\xff\x01"],
    ids=["QoS 3", "SUBACK too short", "endless length"],
)  # fmt: skip
def test_a_broker_that_breaks_the_protocol_is_left_and_tried_again(spoilt: bytes, listen: Callable[..., Ear]) -> None:
    broker = Scripted(spoilt, b"\x30\x05\x00\x01a\x00x")
    ear = listen(broker.port)
    ear.losses.get(timeout=PATIENCE_S)
    assert ear.client.alive
    assert [m.payload for m in ear.hear(1)] == [b"x"]
