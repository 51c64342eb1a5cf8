"""The broker's client: MQTT 5, QoS 1, a session that outlives the connection, acknowledgement when the caller says so.

The only file here that imports paho. What its 2.x source was checked for, and what is done about it:

- It reads byte by byte, makes a condition variable for every message and sends each PUBACK for itself: 80 µs a message.
  So publications are cut out of large reads here (`_Line`), and acknowledgements of many messages are one write.
- A packet identifier is good for one connection: after a reconnect the broker gives it to another message. `ack`
  therefore drops acknowledgements of earlier connections; the broker sends those messages again.
- It does not count what is un-acknowledged: receive-maximum is a promise that only the broker keeps (MQTT 5.0 §3.3.4).
  The caller bounds what it holds; QoS 0 is bounded by nobody.
- An exception in a callback ends its network thread: `alive` tells.
- It queues what is published while there is no connection: `publish` refuses then.
- It heeds no limit that the broker states but the keep-alive, and takes no other in-flight limit once connected:
  receive-maximum, packet size, QoS and whether anything is retained are heeded here.
- Its back-off knows no chance and begins anew with every connection, however short: the pauses are made here.
"""

from __future__ import annotations

import contextlib
import random
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from drivers.mqtt.broker import Broker, Granted, Listening, Message, Will
from drivers.mqtt.packets import MalformedPacket, OtherPacket, PacketCutter, pubacks

__all__ = ["Broker", "Granted", "Listening", "Message", "MqttClient", "Will"]

RECONNECT_FIRST_S: Final = 1.0
RECONNECT_MOST_S: Final = 30.0
STEADY_S: Final = 5.0
"""A connection that stood so long was a good one: the pauses begin anew after it."""
MOST_SHORT: Final = 2
"""So often the pause doubles while connections are accepted and then end soon: each of them may have got on."""
MAX_OUTGOING: Final = 1000
"""Own publications that wait for the broker's PUBACK; more are refused."""
MAX_INFLIGHT: Final = 20
"""Of these, sent and not yet acknowledged; where the broker takes fewer, no more than that wait at all."""
_HEADER: Final = 32
"""More than what a PUBLISH has besides topic and payload [bytes]."""
READ_BYTES: Final = 256 * 1024
"""Read at once at the most; so much more than what its caller bounds may be under way."""


class _Line(mqtt.Client):
    """paho's client with a receiving end of its own: publications of QoS 0 and 1 do not pass through paho.

    It leans on names of paho 2.2 that begin with an underscore: `_sock_recv`, `_loop_rc_handle`, `_in_packet`,
    `_packet_handle`, `_packet_queue`, `_last_bytes_received`. The tests of this client fail where they are no more.
    """

    def __init__(self, client_id: str, hear: Callable[[PacketCutter, Callable[[OtherPacket], bool]], None]) -> None:
        super().__init__(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=mqtt.MQTTv5, manual_ack=True)
        self._hear = hear
        self._cutter = PacketCutter()
        self._trouble = MQTTErrorCode.MQTT_ERR_SUCCESS

    def begin(self) -> None:
        """A new connection: nothing of the last one is left over."""
        self._cutter.clear()

    def loop_read(self, max_packets: int = 1) -> MQTTErrorCode:  # noqa: ARG002 as paho calls it
        """Read what is there and pass it on."""
        if self._sock is None:
            return MQTTErrorCode.MQTT_ERR_NO_CONN
        try:
            data = self._sock_recv(READ_BYTES)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_SUCCESS
        except OSError:
            data = b""
        if not data:
            return self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_CONN_LOST)
        self._last_bytes_received = mqtt.time_func()
        self._cutter.feed(data)
        self._trouble = MQTTErrorCode.MQTT_ERR_SUCCESS
        try:
            self._hear(self._cutter, self._other)
        except MalformedPacket:
            self._trouble = MQTTErrorCode.MQTT_ERR_PROTOCOL
        return self._loop_rc_handle(self._trouble) if self._trouble else MQTTErrorCode.MQTT_ERR_SUCCESS

    def acknowledge(self, mids: list[int]) -> bool:
        """Queue the acknowledgements of many messages as one write."""
        return self._packet_queue(mqtt.PUBACK, pubacks(mids), 0, 1) == MQTTErrorCode.MQTT_ERR_SUCCESS

    def _other(self, packet: OtherPacket) -> bool:
        """Give paho a packet as if it had read it. False: the line is of no use any more."""
        size = len(packet.body)
        self._in_packet |= {"command": packet.header, "have_remaining": 1, "remaining_length": size, "to_process": 0}
        self._in_packet |= {"packet": packet.body, "pos": 0}
        try:
            self._trouble = self._packet_handle()
        except MQTTException:
            self._trouble = MQTTErrorCode.MQTT_ERR_PROTOCOL
        finally:
            self._in_packet |= {"command": 0, "have_remaining": 0, "remaining_length": 0, "packet": bytearray()}
        return not self._trouble and self._sock is not None


class MqttClient:
    """One session at one broker; every callback runs in the client's network thread and must neither block nor raise.

    on_messages(messages): at least one, in the order of their arrival. on_connect(granted), on_disconnect(reason),
    on_problem(text): a refused connection, subscription or publication.
    """

    def __init__(
        self,
        broker: Broker,
        subscriptions: Sequence[str | Listening],
        on_messages: Callable[[Sequence[Message]], None],
        *,
        on_connect: Callable[[Granted], None] = lambda _: None,
        on_disconnect: Callable[[str], None] = lambda _: None,
        on_problem: Callable[[str], None] = lambda _: None,
        on_unsubscribed: Callable[[], None] = lambda: None,
        will: Will | None = None,
        chance: random.Random | None = None,
    ) -> None:
        """Raises DriverConfigError when a file of its TLS settings cannot be used."""
        self._broker = broker
        self._subscriptions = [s if isinstance(s, Listening) else Listening(s) for s in subscriptions]
        self._on_messages, self._on_connect = on_messages, on_connect
        self._on_disconnect, self._on_problem = on_disconnect, on_problem
        self._on_unsubscribed = on_unsubscribed
        self._chance = chance or random.Random()
        self._lock = threading.Lock()
        self._connection = 0
        self._open = False
        self._granted = Granted(session_present=False)
        self._asked: list[str] = []
        self._answered = False
        self._waiting = 0
        self._failures = 0
        self._since_s = 0.0
        self._thread_seen: threading.Thread | None = None
        client = _Line(broker.client_id, self._hear)
        client.max_queued_messages_set(MAX_OUTGOING)
        client.max_inflight_messages_set(MAX_INFLIGHT)
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        if broker.tls is not None:
            client.tls_set_context(broker.tls.context())
        if will is not None:
            client.will_set(will.topic, will.payload, qos=1, retain=will.retain)
        client.on_connect = self._connected
        client.on_disconnect = self._disconnected
        client.on_connect_fail = self._not_connected
        client.on_socket_open = lambda *_: client.begin()
        client.on_socket_close = self._closed
        client.on_subscribe = self._subscribed
        client.on_unsubscribe = lambda *_: self._on_unsubscribed()
        client.on_publish = self._published
        self._client = client
        self._pause()

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
        return self.ack_all([message]) == 1

    def ack_all(self, messages: Sequence[Message]) -> int:
        """The same of many at once: how many of them it may forget (QoS 0 is forgotten anyway)."""
        forgotten = sum(1 for m in messages if m.qos == 0)
        with self._lock:
            mids = [m.mid for m in messages if m.qos and m.connection == self._connection] if self._open else []
            if mids and self._client.acknowledge(mids):
                forgotten += len(mids)
        return forgotten

    def publish(self, topic: str, payload: bytes, *, qos: int = 1, retain: bool = False) -> bool:
        """Queue a publication. False: there is no connection, too many wait already, or it is larger than allowed."""
        with self._lock:
            if not self._open:
                return False
            granted = self._granted
            size = len(payload) + len(topic.encode()) + _HEADER
            if granted.receive_maximum < MAX_INFLIGHT and self._waiting >= granted.receive_maximum:
                return False
            if granted.maximum_packet is None or size <= granted.maximum_packet:
                qos, retain = min(qos, granted.maximum_qos), retain and granted.retain
                queued = self._client.publish(topic, payload, qos=qos, retain=retain).rc == mqtt.MQTT_ERR_SUCCESS
                self._waiting += queued and qos > 0
                return queued
        self._on_problem(f"not published to {topic}: {size} bytes, the broker takes {granted.maximum_packet} at most")
        return False

    def unsubscribe(self, filters: Sequence[str]) -> bool:
        """No more messages are to come for these; those under way still do. False: there is no connection.

        `on_unsubscribed` tells that the broker has heard it.
        """
        return self._client.unsubscribe(list(filters))[0] == mqtt.MQTT_ERR_SUCCESS

    def renew(self) -> None:
        """Drop the line and connect again: the broker then sends again whatever was not acknowledged."""
        self._failures = 0
        line = self._client.socket()
        if isinstance(line, socket.socket):
            # Ends the network loop's read with an end of stream; the loop then reconnects by itself.
            with contextlib.suppress(OSError):  # gone already: just as good
                line.shutdown(socket.SHUT_RDWR)

    def _pause(self) -> None:
        """Set the next pause: twice the last one up to a bound, and by chance, so that not everybody comes at once."""
        longest_s = min(RECONNECT_FIRST_S * 2 ** min(self._failures, 16), RECONNECT_MOST_S)
        pause_s: Any = longest_s * self._chance.uniform(0.5, 1.0)  # paho declares int and waits for any number
        self._client.reconnect_delay_set(pause_s, pause_s)

    def _connected(
        self,
        _client: mqtt.Client,
        _data: Any,
        flags: mqtt.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        if reason.is_failure:
            self._answered = True
            self._on_problem(f"broker refused the connection: {reason}")
            return
        granted = granted_of(flags.session_present, properties)
        self._subscribe(granted)  # first of all: until then a session that is new misses what is published
        with self._lock:
            self._connection += 1
            self._open = True
            self._answered = True
            self._granted = granted
            self._since_s = time.monotonic()
        self._on_connect(granted)

    def _subscribe(self, granted: Granted) -> None:
        """Ask for all filters at once; for a shared one only where the broker knows such: it would hang up on us."""
        able = [w for w in self._subscriptions if granted.shared_subscriptions or not w.filter.startswith("$share/")]
        for wanted in self._subscriptions:
            if wanted not in able:
                self._on_problem(f"broker has no shared subscriptions, so nothing comes for {wanted.filter}")
        self._asked = [w.filter for w in able]
        if able:
            self._client.subscribe([(w.filter, SubscribeOptions(qos=min(w.qos, granted.maximum_qos))) for w in able])

    def _subscribed(
        self, _client: mqtt.Client, _data: Any, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        for topic, reason in zip(self._asked, reasons, strict=False):
            if reason.is_failure:
                self._on_problem(f"broker refused the subscription to {topic}: {reason}")

    def _published(
        self, _client: mqtt.Client, _data: Any, _mid: int, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._waiting = max(0, self._waiting - 1)
        if reason.is_failure:
            self._on_problem(f"broker refused a publication: {reason}")

    def _closed(self, _client: mqtt.Client, _data: Any, _socket: Any) -> None:
        with self._lock:
            self._open = False

    def _disconnected(
        self, _client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        with self._lock:
            was_answered, self._answered = self._answered, False
            stood_s = time.monotonic() - self._since_s
            self._open = False
        if not was_answered:
            self._failures += 1
        else:
            self._failures = 0 if stood_s >= STEADY_S else min(self._failures + 1, MOST_SHORT)
        self._pause()
        if was_answered:
            self._on_disconnect(str(reason))
        else:
            tls = self._broker.tls
            hint = "" if tls is None or tls.cert_file is not None else "; it may want a client certificate"
            self._on_problem(f"{self._broker.host}:{self._broker.port} hung up before it had answered{hint}")

    def _not_connected(self, _client: mqtt.Client, _data: Any) -> None:
        self._failures += 1
        self._pause()
        error = sys.exc_info()[1]  # paho calls from within its `except`
        why = "" if error is None else f": {error}"
        self._on_problem(f"no connection to {self._broker.host}:{self._broker.port}{why}")

    def _hear(self, cutter: PacketCutter, other: Callable[[OtherPacket], bool]) -> None:
        """All that is whole; `other` is asked to handle what is no publication, and whether to go on."""
        while True:
            messages, packet = cutter.cut(connection=self._connection, session=self._broker.client_id)
            if messages:
                self._on_messages(messages)
            if packet is None or not other(packet):
                return


def granted_of(session_present: bool, properties: Properties | None) -> Granted:
    """What a CONNACK's properties say."""

    def value(name: str, default: Any) -> Any:
        return getattr(properties, name, default)  # paho's Properties have an attribute for what is there only

    return Granted(
        session_present=session_present,
        receive_maximum=value("ReceiveMaximum", 65_535),
        maximum_packet=value("MaximumPacketSize", None),
        maximum_qos=value("MaximumQoS", 2),
        retain=bool(value("RetainAvailable", 1)),
        session_expiry_s=value("SessionExpiryInterval", None),
        shared_subscriptions=bool(value("SharedSubscriptionAvailable", 1)),
        keepalive_s=value("ServerKeepAlive", None),
    )
