"""The broker's client: MQTT 5, QoS 1, a session that outlives the connection, acknowledgement when the caller says so.

The only file here that imports paho. What its 2.x source was checked for, and what is done about it:

- With `manual_ack` it hands over every QoS 1 publication, redelivered ones too, and sends PUBACK only in `ack()`.
  A packet identifier is good for one connection: after a reconnect the broker gives it to another message. `ack`
  therefore drops acknowledgements of earlier connections; the broker sends those messages again.
- It does not count what is un-acknowledged: receive-maximum is a promise that only the broker keeps (MQTT 5.0 §3.3.4).
  The caller bounds what it holds; QoS 0 is bounded by nobody.
- An exception in a callback ends its network thread: `alive` tells.
- It queues what is published while there is no connection: `publish` refuses then.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

RECONNECT_FIRST_S: Final = 1
RECONNECT_MOST_S: Final = 30
MAX_OUTGOING: Final = 1000
"""Own publications that wait for the broker's PUBACK; more are refused."""


@dataclass(frozen=True, slots=True)
class Message:
    """One publication as it arrived."""

    topic: str
    payload: bytes
    mid: int
    """Packet identifier, good for one connection."""
    qos: int
    connection: int
    """Counts the connections of this client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where the broker is, and how its session is kept."""

    host: str
    port: int
    client_id: str
    receive_maximum: int = 200
    """Un-acknowledged publications that the broker may send."""
    session_expiry_s: int = 7 * 86400
    keepalive_s: int = 30
    username: str | None = None
    password: str | None = None


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker publishes when we vanish."""

    topic: str
    payload: bytes
    retain: bool = True


class MqttClient:
    """One session at one broker; every callback runs in the client's network thread and must neither block nor raise.

    on_connect(session_present), on_disconnect(reason), on_problem(text): a refused connection or subscription.
    """

    def __init__(
        self,
        broker: Broker,
        subscriptions: Sequence[str],
        on_message: Callable[[Message], None],
        *,
        on_connect: Callable[[bool], None] = lambda _: None,
        on_disconnect: Callable[[str], None] = lambda _: None,
        on_problem: Callable[[str], None] = lambda _: None,
        will: Will | None = None,
    ) -> None:
        self._broker = broker
        self._subscriptions = tuple(subscriptions)
        self._on_message, self._on_connect = on_message, on_connect
        self._on_disconnect, self._on_problem = on_disconnect, on_problem
        self._lock = threading.Lock()
        self._connection = 0
        self._open = False
        self._thread_seen: threading.Thread | None = None
        client = mqtt.Client(
            CallbackAPIVersion.VERSION2, client_id=broker.client_id, protocol=mqtt.MQTTv5, manual_ack=True
        )
        client.reconnect_delay_set(RECONNECT_FIRST_S, RECONNECT_MOST_S)
        client.max_queued_messages_set(MAX_OUTGOING)
        client.max_inflight_messages_set(100)
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_connect_fail = self._not_connected
        client.on_socket_close = self._closed
        client.on_subscribe = self._subscribed
        client.on_message = self._arrived
        self._client = client

    def start(self) -> None:
        """Start the network thread; it connects, and connects again with back-off, until `stop`."""
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        properties.SessionExpiryInterval = self._broker.session_expiry_s
        properties.ReceiveMaximum = self._broker.receive_maximum
        self._client.connect_async(
            self._broker.host,
            self._broker.port,
            keepalive=self._broker.keepalive_s,
            clean_start=False,
            properties=properties,
        )
        self._client.loop_start()
        self._thread_seen = next(
            (t for t in threading.enumerate() if t.name == f"paho-mqtt-client-{self._broker.client_id}"), None
        )

    def stop(self) -> None:
        """Send what is queued, say goodbye, end the thread. The session stays at the broker."""
        self._client.disconnect()
        self._client.loop_stop()

    @property
    def alive(self) -> bool:
        """Whether the network thread runs."""
        return self._thread_seen is not None and self._thread_seen.is_alive()

    @property
    def connected(self) -> bool:
        """Whether the broker has accepted us and the line stands."""
        return self._open

    def ack(self, message: Message) -> bool:
        """Tell the broker that it may forget this message. False: it came over an earlier connection, no use."""
        if message.qos == 0:
            return True
        with self._lock:
            if not self._open or message.connection != self._connection:
                return False
            return self._client.ack(message.mid, message.qos) == mqtt.MQTT_ERR_SUCCESS

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Queue a publication. False: there is no connection, or too many wait already."""
        with self._lock:
            if not self._open:
                return False
            return self._client.publish(topic, payload, qos=qos, retain=retain).rc == mqtt.MQTT_ERR_SUCCESS

    def renew(self) -> None:
        """Drop the line and connect again: the broker then sends again whatever was not acknowledged."""
        line = self._client.socket()
        if isinstance(line, socket.socket):
            # Ends the network loop's read with an end of stream; the loop then reconnects by itself.
            with contextlib.suppress(OSError):  # gone already: just as good
                line.shutdown(socket.SHUT_RDWR)

    def _connected(
        self,
        client: mqtt.Client,
        _data: Any,
        flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._on_problem(f"broker refused the connection: {reason}")
            return
        with self._lock:
            self._connection += 1
            self._open = True
        self._on_connect(flags.session_present)
        client.subscribe([(topic, SubscribeOptions(qos=1)) for topic in self._subscriptions])

    def _subscribed(
        self, _client: mqtt.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        for topic, reason in zip(self._subscriptions, reasons, strict=False):
            if reason.is_failure:
                self._on_problem(f"broker refused the subscription to {topic}: {reason}")

    def _closed(self, _client: mqtt.Client, _data: Any, _socket: Any) -> None:
        with self._lock:
            self._open = False

    def _disconnected(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        with self._lock:
            self._open = False
        self._on_disconnect(str(reason))

    def _not_connected(self, _client: mqtt.Client, _data: Any) -> None:
        self._on_problem(f"no connection to {self._broker.host}:{self._broker.port}")

    def _arrived(self, _client: mqtt.Client, _data: Any, message: mqtt.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError as error:
            topic = repr(bytes(error.object))
        self._on_message(Message(topic, bytes(message.payload), message.mid, message.qos, self._connection))
