"""MQTT 5 sessions, and concentrators that speak over them: the only file of the simulator that imports paho.

paho's network thread only hands events to the event loop; all state lives there.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

import msgspec
import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from drivers.simulator.profile import Profiles
from drivers.simulator.state import StateDir
from drivers.simulator.upload import Uploads

_log = logging.getLogger(__name__)
_IDLE_S: Final = 1.0
"""A concentrator looks at its clock at least so often."""
_MOST_QUEUED: Final = 2000
"""Live readings that wait for the broker before new ones are dropped: such a meter keeps nothing."""


class Connection:
    """One MQTT session that comes back by itself; callbacks run in the event loop."""

    def __init__(
        self,
        client_id: str,
        host: str,
        port: int,
        *,
        on_connect: Callable[[], None],
        on_disconnect: Callable[[], None] | None = None,
        on_message: Callable[[str, bytes], None] | None = None,
        subscribe: str | None = None,
        will: tuple[str, bytes] | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._subscribe, self._address = subscribe, (host, port)
        self._on_connect, self._on_disconnect, self._on_message = on_connect, on_disconnect, on_message
        self._up = False
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id, protocol=MQTTProtocolVersion.MQTTv5)
        client.max_queued_messages_set(_MOST_QUEUED)
        client.reconnect_delay_set(1, 5)
        if will is not None:
            client.will_set(will[0], will[1], qos=1, retain=True)
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_message = lambda _c, _u, message: self._post(self._received, message.topic, bytes(message.payload))
        client.on_subscribe = lambda *_: self._post(self._ready)
        self._client = client

    @property
    def up(self) -> bool:
        """Whether a message can be sent now."""
        return self._up

    def start(self) -> None:
        """Connect in the background, for ever."""
        self._client.connect_async(*self._address, keepalive=30, clean_start=True)
        self._client.loop_start()

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> bool:
        """Hand a message over with QoS 1; False when it was not taken."""
        if not self._up:
            return False
        return self._client.publish(topic, payload, qos=1, retain=retain).rc == paho.MQTT_ERR_SUCCESS

    async def stop(self, farewell: tuple[str, bytes] | None = None) -> None:
        """Say good-bye and end the network thread."""
        if farewell is not None and self._up:
            info = self._client.publish(farewell[0], farewell[1], qos=1, retain=True)
            await asyncio.to_thread(_delivered, info)
        self._up = False  # what follows is not a loss
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    def _post(self, call: Callable[..., None], *args: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(call, *args)

    def _connected(
        self, client: paho.Client, _user: object, _flags: paho.ConnectFlags, code: ReasonCode, _p: Properties | None
    ) -> None:
        if code.is_failure:
            _log.warning("the broker refused the session: %s", code)
        elif self._subscribe is not None:
            client.subscribe(self._subscribe, qos=1)
        else:
            self._post(self._ready)

    def _disconnected(self, *_: object) -> None:
        self._post(self._lost)

    def _ready(self) -> None:
        self._up = True
        self._on_connect()

    def _lost(self) -> None:
        if self._up:
            _log.warning("connection to the broker %s:%d lost", *self._address)
        self._up = False
        if self._on_disconnect is not None:
            self._on_disconnect()

    def _received(self, topic: str, payload: bytes) -> None:
        if self._on_message is not None:
            self._on_message(topic, payload)


def _delivered(info: paho.MQTTMessageInfo) -> None:
    try:
        info.wait_for_publish(2.0)
    except (RuntimeError, ValueError):  # the connection went meanwhile: the last will speaks for us
        _log.warning("the broker went before the farewell was delivered")


class _Confirm(msgspec.Struct, frozen=True):
    confirmed: list[int]


class Concentrator:
    """Uploads an area's stored profiles until each is confirmed."""

    def __init__(
        self,
        profiles: Profiles,
        state: StateDir,
        *,
        host: str,
        port: int,
        prefix: str,
        now_us: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        live = profiles.world.scenario.live
        self._profiles, self._state, self._now_us, self._monotonic = profiles, state, now_us, monotonic
        self.code = profiles.code
        self._topic = f"{prefix}/concentrator/{self.code}"
        self.uploads = Uploads(state.uploaded(self.code), window=live.window, resend_s=live.resend_s)
        self._changed = False
        self._wake = asyncio.Event()
        self._connection = Connection(
            f"simulated-{self.code}", host, port,
            on_connect=self._online, on_disconnect=self._offline, on_message=self._confirmed,
            subscribe=f"{self._topic}/confirm", will=(f"{self._topic}/state", b"offline"),
        )  # fmt: skip

    async def run(self, stop: asyncio.Event) -> None:
        """Until told to stop: upload, wait for confirmations, upload again what was not confirmed."""
        if self._finished():
            return
        self._connection.start()
        stopping = asyncio.ensure_future(stop.wait())
        try:
            while not stop.is_set() and not self._finished():
                self._wake.clear()
                await self._step()
                waking = asyncio.ensure_future(self._wake.wait())
                await asyncio.wait({waking, stopping}, timeout=self._patience_s(), return_when=asyncio.FIRST_COMPLETED)
                waking.cancel()
        finally:
            stopping.cancel()
            await asyncio.to_thread(self._state.keep_uploaded, self.code, self.uploads.kept)
            await self._connection.stop((f"{self._topic}/state", b"offline"))

    def _finished(self) -> bool:
        """Whether a concentrator that died has delivered what it had before."""
        return self._profiles.last_day is not None and self.uploads.confirmed_through >= self._profiles.last_due(0)

    async def _step(self) -> None:
        new = self.uploads.plan(self._profiles.last_due(self._now_us()))
        if new or self._changed:  # remembered before it is sent: what is sent again is the same, byte for byte
            self._changed = False
            await asyncio.to_thread(self._state.keep_uploaded, self.code, self.uploads.kept)
        for seq, backlog in self.uploads.due(self._monotonic()):
            if not self._connection.up:
                return
            payload = await asyncio.to_thread(self._profiles.payload, seq, backlog)
            if self._connection.publish(f"{self._topic}/profile", payload):
                self.uploads.sent(seq, self._monotonic())

    def _patience_s(self) -> float:
        wake = self.uploads.wake_s()
        if wake is None or not self._connection.up:
            return _IDLE_S
        return min(_IDLE_S, max(0.01, wake - self._monotonic()))

    def _online(self) -> None:
        self._connection.publish(f"{self._topic}/state", b"online", retain=True)
        self._wake.set()

    def _offline(self) -> None:
        self.uploads.disconnected()

    def _confirmed(self, topic: str, payload: bytes) -> None:
        try:
            seqs = msgspec.json.decode(payload, type=_Confirm).confirmed
        except msgspec.DecodeError as error:
            _log.warning("%s: confirmation not understood: %s", topic, error)
            return
        if strange := self.uploads.confirmed(seqs):
            _log.warning("%s: confirmation of uploads %s, which were never sent", topic, strange)
        self._changed = True
        self._wake.set()
