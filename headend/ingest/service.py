"""Role *ingest*: MQTT in, committed rows out, and only then the acknowledgement.

One loop: wait for messages, gather a batch, decode and write it in a worker thread, acknowledge to the broker, confirm
to the concentrators. What came while a batch was written is the next batch. Nothing here grows without bound: the
broker sends no more than receive-maximum un-acknowledged, so a database that is slow or away slows the field down.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from drivers.mqtt.broker import Granted, Message
from drivers.mqtt.client import MqttClient
from drivers.mqtt.messages import ConfirmMessage, encode
from drivers.mqtt.topics import confirm_topic
from headend import metrics
from headend.domain.calendar import to_us
from headend.domain.clock import Clock
from headend.ingest import mqtt_session
from headend.ingest.heirs import Heirs
from headend.ingest.intake import item_of
from headend.ingest.item import Item, refused
from headend.ingest.payloads import router_of
from headend.ingest.rebirths import Rebirths
from headend.ingest.window import Arrived, Window
from headend.ingest.writer import ReadingWriter
from headend.log import get_logger
from headend.settings import Settings
from headend.store.errors import SchemaError, StoreConflict, StoreError, StoreUnavailable
from headend.store.pool import Store

_RETRY_FIRST_S: Final = 0.1
_RETRY_MOST_S: Final = 10.0
_FLUSH_BYTES: Final = 8 * 1024 * 1024
_SPARE: Final = 1000
"""Messages beyond receive-maximum that are still taken: brokers that count differently, QoS 0."""
_WINDOW_BYTES: Final = 256 * 1024 * 1024
_POLL_S: Final = 0.25
"""How often the loop looks at the client's health when nothing arrives."""
_SHORT_S: Final = 5.0
_CUT_SHORT_MOST: Final = 3
"""Connections in a row that end this soon: two processes with one client_id take the session from each other."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Batch:
    """Messages that are written together, and what was made of them; the same places in both."""

    messages: Sequence[Message]
    items: Sequence[Item]


class MqttThreadDied(Exception):
    """The network thread ended by itself: the role has to be started again."""


class IngestService:
    """Everything of the role: one MQTT session (and those of others that are taken over), one writer."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        """Raises SettingsError or DriverConfigError when a file that the settings name cannot be used."""
        self._settings = settings
        self._clock = clock
        self._router = router_of(settings.mqtt, settings.settlement.zone)
        self._writer = ReadingWriter(store, settings, clock)
        self._window = Window(settings.mqtt.receive_maximum + _SPARE, _WINDOW_BYTES)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived = asyncio.Event()
        self._woken = False
        self._client_id = mqtt_session.client_id_of(settings.mqtt)
        self._state_topic = mqtt_session.state_topic(settings.mqtt, self._client_id)
        self._heirs = None if settings.mqtt.share_group is None else Heirs(settings.mqtt, self._router, self._take)
        self._client = MqttClient(
            mqtt_session.broker_of(settings.mqtt),
            mqtt_session.listening(settings.mqtt, self._router),
            self._on_message,
            on_connect=self._on_connect,
            on_disconnect=self._on_disconnect,
            on_problem=self._on_problem,
            will=mqtt_session.will_of(settings.mqtt),
        )
        self._rebirths = Rebirths(lambda topic, payload: self._client.publish(topic, payload, qos=0))
        self._decoded_of = 0
        """The connection of our own session whose messages are decoded just now, none missing; 0: begin anew."""
        self._connected = False
        self._connected_s = 0.0
        self._cut_short = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; then finish the write under way and say goodbye. Raises MqttThreadDied."""
        self._loop = asyncio.get_running_loop()
        self._client.start()
        stopping = asyncio.create_task(stop.wait())
        try:
            while not stop.is_set():
                await self._wait_for_batch(stopping)
                while not stop.is_set() and self._window.state()[0]:
                    batch = await asyncio.to_thread(self._gather)
                    if not await self._commit(batch, stopping):
                        break
                    if self._window.overflowed():
                        _log.warning("messages were not taken, connecting again so that they are sent again")
                        self._client.renew()
                    await self._look_after_heirs()
                if not stop.is_set() and not self._client.alive:
                    raise MqttThreadDied("the MQTT client's network thread ended")
        finally:
            stopping.cancel()
            await asyncio.to_thread(self._goodbye)
            self._set_connected(False)
            metrics.UNACKED_MESSAGES.dec(self._window.state()[0])

    # In the client's network thread.

    def _on_message(self, message: Message) -> None:
        if self._heirs is not None and self._heirs.heard(message):
            self._client.ack(message)
        else:
            self._take(message)

    def _take(self, message: Message) -> None:
        arrived = Arrived(message, to_us(self._clock()), time.monotonic())
        if not self._window.offer(arrived, wait_s=self._settings.mqtt.keepalive_s / 3):
            metrics.MQTT_OVERFLOW.labels(str(message.qos)).inc()
            self._decoded_of = 0  # what it would have told the decoder is missed
            return
        metrics.UNACKED_MESSAGES.inc()
        self._wake()

    def _on_connect(self, granted: Granted) -> None:
        dropped = self._window.drop_sent_again(self._client_id) if granted.session_present else 0
        metrics.UNACKED_MESSAGES.dec(dropped)
        self._connected_s = time.monotonic()
        self._set_connected(True)
        self._say(mqtt_session.ONLINE)
        mqtt_session.report(self._settings.mqtt, granted, sent_again=dropped)

    def _on_disconnect(self, reason: str) -> None:
        self._cut_short = self._cut_short + 1 if time.monotonic() - self._connected_s < _SHORT_S else 0
        self._set_connected(False)
        _log.warning("connection to the broker ended", reason=reason)
        if self._cut_short >= _CUT_SHORT_MOST:
            _log.warning(
                "the broker keeps ending the connection: each ingest process needs an mqtt.client_id of its own",
                client_id=self._client_id,
                times=self._cut_short,
            )

    def _on_problem(self, text: str) -> None:
        _log.warning("broker", problem=text)

    def _say(self, state: str) -> None:
        payload = mqtt_session.state_payload(self._settings.mqtt, state)
        self._client.publish(self._state_topic, payload, retain=True)

    def _set_connected(self, connected: bool) -> None:
        if connected != self._connected:
            self._connected = connected
            metrics.MQTT_CONNECTED.inc(1 if connected else -1)

    def _wake(self) -> None:
        if not self._woken and self._loop is not None and not self._loop.is_closed():
            self._woken = True
            self._loop.call_soon_threadsafe(self._arrived.set)

    # In the event loop and its worker thread.

    async def _wait_for_batch(self, stopping: asyncio.Task[bool]) -> None:
        """Until a batch is worth writing: enough messages, old enough, or nothing more came for a while."""
        ingest = self._settings.ingest
        enough = max(1, self._settings.mqtt.receive_maximum // 2)  # the other half arrives while this one is written
        while not stopping.done():
            waiting, size, oldest_s, newest_s = self._window.state()
            now_s = time.monotonic()
            if waiting:
                due_s = min(oldest_s + ingest.flush_age_s, newest_s + ingest.flush_quiet_s)
                if waiting >= enough or size >= _FLUSH_BYTES or now_s >= due_s:
                    return
                pause_s = due_s - now_s
            else:
                if not self._client.alive:
                    return
                await self._look_after_heirs()
                pause_s = _POLL_S
            if not waiting:
                self._arrived.clear()
                self._woken = False
                if self._window.state()[0]:
                    continue
                waiter = asyncio.create_task(self._arrived.wait())
                await asyncio.wait({waiter, stopping}, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
                waiter.cancel()
            else:
                await asyncio.wait({stopping}, timeout=pause_s)

    def _gather(self) -> _Batch:
        """Decode what waits, up to flush_rows readings (one message more than that at the most)."""
        messages: list[Message] = []
        items: list[Item] = []
        rows = size = 0
        while rows < self._settings.ingest.flush_rows and size < _FLUSH_BYTES:
            arrived = self._window.take()
            if arrived is None:
                break
            message = arrived.message
            if message.session == self._client_id and message.connection != self._decoded_of:
                self._decoded_of = message.connection
                self._router.missed()
            item = item_of(
                message.topic,
                message.payload,
                router=self._router,
                prefix=self._settings.mqtt.prefix,
                received_us=arrived.received_us,
                retained=message.retained,
            )
            if item.ignored is not None:
                metrics.MQTT_IGNORED.labels(item.ignored).inc()
            messages.append(message)
            items.append(item)
            rows += len(item)
            size += len(message.payload)
        return _Batch(messages, items)

    async def _commit(self, batch: _Batch, stopping: asyncio.Task[bool]) -> bool:
        """Write until it is committed, then acknowledge. False: stopped before; the broker will send it again."""
        retry_s = _RETRY_FIRST_S
        while batch.messages:
            try:
                await asyncio.to_thread(self._write, batch.items)
            except (StoreUnavailable, StoreConflict, SchemaError) as error:
                metrics.STORE_ERRORS.labels(type(error).__name__).inc()
                if stopping.done():
                    metrics.UNACKED_MESSAGES.dec(len(batch.messages))
                    _log.warning("stopped with messages un-acknowledged", messages=len(batch.messages))
                    return False
                _log.warning(
                    "messages wait for the database", messages=len(batch.messages), retry_s=retry_s, error=str(error)
                )
                await asyncio.wait({stopping}, timeout=retry_s * random.uniform(0.8, 1.2))
                retry_s = min(2 * retry_s, _RETRY_MOST_S)
            else:
                break
        self._acknowledge(batch)
        return True

    def _write(self, items: Sequence[Item]) -> None:
        """Commit the items. One that the database refuses for what is in it goes to the quarantine, not the others."""
        try:
            self._writer.write(items)
        except (StoreUnavailable, StoreConflict, SchemaError):
            raise
        except StoreError as error:
            metrics.STORE_ERRORS.labels(type(error).__name__).inc()
            if len(items) > 1:
                middle = len(items) // 2
                self._write(items[:middle])
                self._write(items[middle:])
                return
            _log.warning("the database refused a message", origin=items[0].origin, error=str(error))
            self._writer.write([refused(items[0], error)])

    def _acknowledge(self, batch: _Batch) -> None:
        for message in batch.messages:
            if self._heirs is None or not self._heirs.acknowledge(message):
                self._client.ack(message)
        metrics.UNACKED_MESSAGES.dec(len(batch.messages))
        self._rebirths.ask(batch.items, now_s=time.monotonic(), now_us=to_us(self._clock()))
        confirmed: dict[str, list[int]] = {}
        for item in batch.items:
            if item.upload is not None:
                confirmed.setdefault(item.upload.concentrator, []).append(item.upload.seq)
        for code, numbers in confirmed.items():
            # Not sent when the line is down: the concentrator uploads again, finds its rows stored, and is confirmed.
            payload = encode(ConfirmMessage(confirmed=sorted(set(numbers))))
            if self._client.publish(confirm_topic(self._settings.mqtt.prefix, code), payload):
                metrics.UPLOADS_CONFIRMED.inc(len(set(numbers)))

    async def _look_after_heirs(self) -> None:
        """Done between batches, so that nothing of an heir's is in hand."""
        if self._heirs is None:
            return
        for owner, empty in await self._heirs.look_after(time.monotonic()):
            metrics.UNACKED_MESSAGES.dec(self._window.drop_sent_again(owner))
            if empty:
                self._client.publish(mqtt_session.state_topic(self._settings.mqtt, owner), b"", retain=True)

    def _goodbye(self) -> None:
        """Say that we go, and give back what was taken over."""
        self._window.close()
        if self._heirs is not None:
            self._heirs.stop()
        self._say(mqtt_session.OFFLINE)
        self._client.stop()
