"""Messages that arrived and are not written yet: bounded, filled by the network thread, emptied by the writer.

What the broker may send un-acknowledged bounds it (receive-maximum); a broker that sends more, or QoS 0, meets the hard
bound here: such a message is not taken. With QoS 1 it is sent again after `MqttClient.renew`.
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
        self._queue: deque[Arrived] = deque()
        self._bytes = 0
        self._last_s = 0.0
        self._overflowed = False

    def offer(self, arrived: Arrived) -> bool:
        """Take a message. False: it is full, the message was not taken."""
        with self._lock:
            size = len(arrived.message.payload)
            if len(self._queue) >= self._capacity or (self._queue and self._bytes + size > self._capacity_bytes):
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
            return arrived

    def drop_sent_again(self, session: str = "") -> int:
        """Forget what a session that stands will send again over its new connection; how many that were.

        QoS 0 stays: nobody sends it again.
        """
        with self._lock:
            kept = [a for a in self._queue if a.message.qos == 0 or a.message.session != session]
            dropped = len(self._queue) - len(kept)
            self._queue = deque(kept)
            self._bytes = sum(len(a.message.payload) for a in kept)
            return dropped

    def overflowed(self) -> bool:
        """Whether a message that the broker would send again was not taken since the last call."""
        with self._lock:
            was, self._overflowed = self._overflowed, False
            return was
