"""Role *ingest*: MQTT in, committed rows out, and only then the acknowledgement.

Three threads of work: the client's network thread fills the window; a batch is decoded from it while the batch before
is written; what is committed is acknowledged to the broker and confirmed to the concentrators, in the order of its
arrival. What came while a batch was written is the next batch, at once. Nothing here grows without bound: the broker
sends no more than receive-maximum un-acknowledged, messages and bytes are bounded here besides (HELD_BYTES, those that
are decoded or written included), so a database that is slow or away slows the field down.
"""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from drivers.mqtt.broker import Granted, Message
from drivers.mqtt.client import MqttClient
from drivers.mqtt.messages import ConfirmMessage, encode
from drivers.mqtt.topics import confirm_topic
from headend import metrics
from headend.domain.calendar import to_us
from headend.domain.clock import Clock
from headend.ingest import mqtt_session
from headend.ingest.decoding import MOST_BYTES, PART_BYTES, Batch, Decoding
from headend.ingest.heirs import Heirs
from headend.ingest.item import Item
from headend.ingest.payloads import router_of
from headend.ingest.rebirths import Rebirths
from headend.ingest.window import Arrived, Window
from headend.ingest.write_through import write_through
from headend.ingest.writer import ReadingWriter
from headend.log import bind_role, get_logger
from headend.settings import Settings
from headend.store.errors import SchemaError, StoreConflict, StoreUnavailable
from headend.store.pool import Store

_RETRY_FIRST_S: Final = 0.1
_RETRY_MOST_S: Final = 10.0
_SPARE: Final = 1000
"""Messages that are still taken beyond twice receive-maximum (what waited when the line broke, and what is sent again):
brokers that count differently, QoS 0."""
HELD_BYTES: Final = 64 * 1024 * 1024
"""Payloads that are not acknowledged: waiting, decoded or being written. One larger message alone is taken, too."""
_ENOUGH: Final = 100
"""So many messages are worth a write at once: some brokers never have more under way to one client (rumqttd)."""
_AHEAD: Final = 64
"""So many are worth decoding while a write is under way."""
_POLL_S: Final = 1.0
"""How often the loop looks at the client's health when nothing arrives."""
_HEIRS_S: Final = 1.0
"""How often it looks after inherited sessions when the line is busy."""
_SWITCH_S: Final = 0.0005
"""How long a thread that decodes keeps the others waiting: 10 to 20 % more rows, at the same CPU time."""
_SHORT_S: Final = 5.0
_CUT_SHORT_MOST: Final = 3
"""Connections in a row that end this soon: two processes with one client_id take the session from each other."""
_log = get_logger(__name__)


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
        self._window = Window(2 * settings.mqtt.receive_maximum + _SPARE, HELD_BYTES)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._arrived = asyncio.Event()
        self._woken = False
        self._client_id = mqtt_session.client_id_of(settings.mqtt)
        self._state_topic = mqtt_session.state_topic(settings.mqtt, self._client_id)
        self._decoding = Decoding(
            self._window,
            self._router,
            prefix=settings.mqtt.prefix,
            session=self._client_id,
            most_rows=settings.ingest.flush_rows,
        )
        self._ahead = Batch()
        self._being_written = Batch()
        self._writing: asyncio.Task[bool] | None = None
        self._heirs = None if settings.mqtt.share_group is None else Heirs(settings.mqtt, self._router, self._take)
        self._client = MqttClient(
            mqtt_session.broker_of(settings.mqtt),
            mqtt_session.listening(settings.mqtt, self._router),
            self._on_messages,
            on_connect=self._on_connect,
            on_disconnect=self._on_disconnect,
            on_problem=self._on_problem,
            will=mqtt_session.will_of(settings.mqtt),
        )
        self._rebirths = Rebirths(lambda topic, payload: self._client.publish(topic, payload, qos=0))
        self._gap = False
        """Whether a message was not taken since the last one that was."""
        self._telling = threading.Lock()
        self._told = (0, 0)
        self._wake_at = 1
        self._line_is_busy = False
        self._heirs_looked_s = 0.0
        self._received = self._stored = 0
        self._committed_s: float | None = None
        self._connected = False
        self._connected_s = 0.0
        self._cut_short = 0

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; then finish what is in hand and say goodbye. Raises MqttThreadDied."""
        self._loop = asyncio.get_running_loop()
        # Who waited for the database or the line, which keep no interpreter, is not to wait 5 ms for it as well.
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH_S))
        self._client.start()
        stopping = asyncio.create_task(stop.wait())
        try:
            await self._work(stopping)
        finally:
            stopping.cancel()
            if self._writing is not None:
                await asyncio.wait({self._writing})
            await asyncio.to_thread(self._goodbye)
            self._set_connected(False)
            self._tell_held((0, 0))

    def health(self) -> dict[str, int | float | str | bool | None]:
        """What an operator wants to know of it now."""
        now_s = time.monotonic()
        waiting, _, oldest_s, _ = self._window.state()
        messages, size = self._window.held()
        oldest = [b.oldest_s for b in (self._being_written, self._ahead) if b.messages]
        oldest += [oldest_s] if waiting else []
        return {
            "connected": self._client.connected,
            "messages_received": self._received,
            "readings_stored": self._stored,
            "unacked_messages": messages,
            "unacked_bytes": size,
            "oldest_waiting_s": round(max(0.0, now_s - min(oldest)), 3) if oldest else 0.0,
            "last_commit_age_s": None if self._committed_s is None else round(now_s - self._committed_s, 3),
        }

    # In the client's network thread.

    def _on_messages(self, messages: Sequence[Message]) -> None:
        if self._heirs is None:
            self._take(messages)
            return
        about_members: list[Message] = []
        others: list[Message] = []
        for message in messages:
            (about_members if self._heirs.heard(message) else others).append(message)
        self._client.ack_all(about_members)
        self._take(others)

    def _take(self, messages: Sequence[Message]) -> None:
        received_us, now_s = to_us(self._clock()), time.monotonic()
        deadline_s = now_s + self._settings.mqtt.keepalive_s / 3  # we have to speak to the broker, too
        taken = 0
        for message in messages:
            arrived = Arrived(message, received_us, now_s, self._gap)
            if not self._window.fits(message):
                self._wake()
                self._tell_held()
            if not self._window.offer(arrived, wait_s=deadline_s - time.monotonic()):
                metrics.MQTT_OVERFLOW.labels(str(message.qos)).inc()
                self._gap = True
                continue
            self._gap = False
            taken += 1
        self._received += taken
        metrics.MQTT_RECEIVED.inc(taken)
        self._tell_held()
        if taken and self._window.state()[0] >= self._wake_at:
            self._wake()

    def _on_connect(self, granted: Granted) -> None:
        self._say(mqtt_session.ONLINE)
        bind_role("ingest")  # a thread of the client's own
        # What waits is kept, whether or not it is sent again: a broker that was killed may have it no more.
        self._connected_s = time.monotonic()
        self._set_connected(True)
        if granted.session_present and (outgrown := mqtt_session.outgrown(self._settings.mqtt, self._router)):
            self._client.unsubscribe(outgrown)
        mqtt_session.report(self._settings.mqtt, granted)

    def _on_disconnect(self, reason: str) -> None:
        bind_role("ingest")
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
        bind_role("ingest")
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

    # In the event loop and its worker threads.

    async def _work(self, stopping: asyncio.Task[bool]) -> None:
        """One batch is written, one is decoded meanwhile: that is all there is in hand."""
        while not stopping.done():
            if self._writing is not None and self._writing.done():
                self._finish_write()
            if self._writing is None and self._ahead.messages:
                self._begin_write(stopping)
            if self._writing is None:
                await self._look_after_heirs()
            if self._is_due():
                await asyncio.to_thread(self._decoding.more, self._ahead)
            elif self._writing is None and not self._client.alive:
                raise MqttThreadDied("the MQTT client's network thread ended")
            else:
                await self._sleep(stopping)
        if self._writing is not None and not await self._writing:
            return
        self._writing = None
        if self._ahead.messages:
            self._begin_write(stopping)

    def _begin_write(self, stopping: asyncio.Task[bool]) -> None:
        self._being_written, self._ahead = self._ahead, Batch()
        self._writing = asyncio.create_task(self._commit(self._being_written, stopping))

    def _finish_write(self) -> None:
        """Raises what the write raised."""
        assert self._writing is not None
        self._writing.result()
        self._writing, self._being_written = None, Batch()
        self._line_is_busy = True
        if self._window.overflowed():
            _log.warning("messages were not taken, connecting again so that they are sent again")
            self._client.renew()

    def _is_due(self) -> bool:
        """Whether what waits is worth decoding now."""
        waiting, size, *_ = self._window.state()
        if not waiting:
            self._line_is_busy = False
            return False
        if self._writing is not None:
            room = not self._decoding.is_full(self._ahead) and not self._heirs_wait()
            return room and (waiting >= _AHEAD or size >= PART_BYTES)
        return self._line_is_busy or waiting >= self._enough or size >= MOST_BYTES or self._due_in_s() <= 0

    @property
    def _enough(self) -> int:
        """Messages; those that the broker may send besides arrive while these are written."""
        return max(1, min(_ENOUGH, self._settings.mqtt.receive_maximum // 2))

    def _due_in_s(self) -> float:
        """When what waits is old enough, or nothing has come for long enough."""
        waiting, _, oldest_s, newest_s = self._window.state()
        if not waiting:
            return _POLL_S
        ingest = self._settings.ingest
        return min(oldest_s + ingest.flush_age_s, newest_s + ingest.flush_quiet_s) - time.monotonic()

    async def _sleep(self, stopping: asyncio.Task[bool]) -> None:
        """Until there may be something to do."""
        self._arrived.clear()
        waiting = self._window.state()[0]
        self._wake_at = _AHEAD if self._writing is not None else (self._enough if waiting else 1)
        self._woken = False
        if self._is_due():
            return
        waiter = asyncio.create_task(self._arrived.wait())
        events: set[asyncio.Task[Any]] = {waiter, stopping}
        if self._writing is not None:
            events.add(self._writing)
        pause_s = None if self._writing is not None else max(0.0, self._due_in_s())
        await asyncio.wait(events, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
        waiter.cancel()

    async def _commit(self, batch: Batch, stopping: asyncio.Task[bool]) -> bool:
        """Write until it is committed, then acknowledge. False: stopped before; the broker will send it again."""
        retry_s = _RETRY_FIRST_S
        while batch.messages:
            try:
                self._stored += await asyncio.to_thread(self._write, batch.items)
            except (StoreUnavailable, StoreConflict, SchemaError) as error:
                metrics.STORE_ERRORS.labels(type(error).__name__).inc()
                if stopping.done():
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

    def _write(self, items: Sequence[Item]) -> int:
        """Commit the items; readings stored. One that the database refuses for what is in it goes to the quarantine."""
        return write_through(self._writer.write, items)

    def _acknowledge(self, batch: Batch) -> None:
        self._committed_s = time.monotonic()
        heirs = self._heirs
        own = batch.messages if heirs is None else [m for m in batch.messages if not heirs.acknowledge(m)]
        self._client.ack_all(own)
        self._window.release(batch.messages)
        self._tell_held()
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

    def _heirs_wait(self) -> bool:
        """Whether nothing more is to be taken in hand, so that inherited sessions can be looked after."""
        due = time.monotonic() - self._heirs_looked_s >= _HEIRS_S
        return self._heirs is not None and due and not self._heirs.idle

    async def _look_after_heirs(self) -> None:
        """Done while nothing is in hand: a packet identifier of an heir's that ends must not meet the next heir."""
        if self._heirs is None or time.monotonic() - self._heirs_looked_s < _HEIRS_S:
            return
        self._heirs_looked_s = time.monotonic()
        for owner, empty in await self._heirs.look_after(self._heirs_looked_s):
            self._window.drop(owner)
            self._tell_held()
            if empty:
                self._client.publish(mqtt_session.state_topic(self._settings.mqtt, owner), b"", retain=True)

    def _tell_held(self, held: tuple[int, int] | None = None) -> None:
        """Bring the metrics up to what is held now (messages, bytes); other services may count on the same gauges."""
        with self._telling:
            messages, size = self._window.held() if held is None else held
            metrics.UNACKED_MESSAGES.inc(messages - self._told[0])
            metrics.UNACKED_BYTES.inc(size - self._told[1])
            self._told = (messages, size)

    def _goodbye(self) -> None:
        """Say that we go, and give back what was taken over."""
        self._window.close()
        if self._heirs is not None:
            self._heirs.stop()
        self._say(mqtt_session.OFFLINE)
        self._client.stop()
