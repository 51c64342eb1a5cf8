"""Messages that arrived and are not written yet: bounded, filled by the network thread, emptied by the writer.

What the broker may send un-acknowledged bounds it (receive-maximum). A broker that sends more (Mosquitto 2.0.11 answers
each acknowledgement with receive-maximum messages more), or QoS 0, meets the hard bound here: the network thread waits
a while for room, which the broker feels as a full line; then the message is not taken. With QoS 1 it is sent again
after `MqttClient.renew`.
"""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass

from drivers.mqtt.broker import Message


@dataclass(frozen=True, slots=True)
class Arrived:
    """A message and when it came."""

    message: Message
    received_us: int
    """UTC, µs since 1970."""
    at_s: float
    """Monotonic."""


class Window:
    """A bounded first-in-first-out; thread-safe."""

    def __init__(self, capacity: int, capacity_bytes: int) -> None:
        self._capacity = capacity
        self._capacity_bytes = capacity_bytes
        self._lock = threading.Lock()
        self._room = threading.Condition(self._lock)
        self._closed = False
        self._queue: deque[Arrived] = deque()
        self._bytes = 0
        self._last_s = 0.0
        self._overflowed = False

    def offer(self, arrived: Arrived, *, wait_s: float = 0.0) -> bool:
        """Take a message, waiting for room so long at the most. False: it is full, the message was not taken."""
        with self._lock:
            size = len(arrived.message.payload)

            def fits() -> bool:
                return len(self._queue) < self._capacity and (
                    not self._queue or self._bytes + size <= self._capacity_bytes
                )

            if not self._room.wait_for(lambda: fits() or self._closed, wait_s) or not fits():
                self._overflowed |= arrived.message.qos > 0
                return False
            self._queue.append(arrived)
            self._bytes += size
            self._last_s = arrived.at_s
            return True

    def state(self) -> tuple[int, int, float, float]:
        """Messages, bytes, monotonic instants [s] of the oldest and of the newest arrival."""
        with self._lock:
            oldest = self._queue[0].at_s if self._queue else 0.0
            return len(self._queue), self._bytes, oldest, self._last_s

    def take(self) -> Arrived | None:
        """The oldest message."""
        with self._lock:
            if not self._queue:
                return None
            arrived = self._queue.popleft()
            self._bytes -= len(arrived.message.payload)
            self._room.notify()
            return arrived

    def close(self) -> None:
        """Nobody takes anything any more: nobody is to wait for room."""
        with self._lock:
            self._closed = True
            self._room.notify_all()

    def drop_sent_again(self, session: str = "") -> int:
        """Forget what a session that stands will send again over its new connection; how many that were.

        QoS 0 stays: nobody sends it again.
        """
        with self._lock:
            kept = [a for a in self._queue if a.message.qos == 0 or a.message.session != session]
            dropped = len(self._queue) - len(kept)
            self._queue = deque(kept)
            self._bytes = sum(len(a.message.payload) for a in kept)
            self._room.notify_all()
            return dropped

    def overflowed(self) -> bool:
        """Whether a message that the broker would send again was not taken since the last call."""
        with self._lock:
            was, self._overflowed = self._overflowed, False
            return was
