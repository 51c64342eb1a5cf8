"""Messages that arrived and are not acknowledged yet: bounded, filled by network threads, emptied by the decoder.

What the broker may send un-acknowledged bounds it (receive-maximum). A broker that sends more (Mosquitto 2.0.11 answers
each acknowledgement with receive-maximum messages more), or QoS 0, meets the hard bound here: the network thread waits
a while for room, which the broker feels as a full line; then the message is not taken. With QoS 1 it is sent again
after `MqttClient.renew`. Messages count while they wait; their bytes count until they are released, that is also while
they are decoded, written and, with a database that is away, written again.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable

import msgspec

from drivers.mqtt.broker import Message


class Arrived(msgspec.Struct, frozen=True, gc=False):
    """A message and when it came."""

    message: Message
    received_us: int
    """UTC, µs since 1970."""
    at_s: float
    """Monotonic."""
    after_gap: bool = False
    """Whether messages were not taken between this one and the one before it."""


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
        self._in_hand = 0
        self._in_hand_bytes = 0
        self._last_s = 0.0
        self._overflowed = False

    def offer(self, arrived: Arrived, *, wait_s: float = 0.0) -> bool:
        """Take a message, waiting for room so long at the most. False: it is full, the message was not taken."""
        size = len(arrived.message.payload)
        with self._lock:
            if not self._fits(size):
                if wait_s > 0:
                    self._room.wait_for(lambda: self._fits(size) or self._closed, wait_s)
                if not self._fits(size):
                    self._overflowed |= arrived.message.qos > 0
                    return False
            self._queue.append(arrived)
            self._bytes += size
            self._last_s = arrived.at_s
            return True

    def fits(self, message: Message) -> bool:
        """Whether there is room for it just now."""
        with self._lock:
            return self._fits(len(message.payload))

    def _fits(self, size: int) -> bool:
        held = self._bytes + self._in_hand_bytes
        return len(self._queue) < self._capacity and (held == 0 or held + size <= self._capacity_bytes)

    def state(self) -> tuple[int, int, float, float]:
        """Messages that wait, their bytes, monotonic instants [s] of the oldest and of the newest arrival."""
        with self._lock:
            oldest = self._queue[0].at_s if self._queue else 0.0
            return len(self._queue), self._bytes, oldest, self._last_s

    def held(self) -> tuple[int, int]:
        """Messages and bytes that are not released yet, those in hand included."""
        with self._lock:
            return len(self._queue) + self._in_hand, self._bytes + self._in_hand_bytes

    def take(self) -> Arrived | None:
        """The oldest message; it is in hand until it is released."""
        taken = self.take_all(1, 0)
        return taken[0] if taken else None

    def take_all(self, most: int, most_bytes: int) -> list[Arrived]:
        """The oldest messages, so many and so large together at the most, but one where there is one."""
        with self._lock:
            taken: list[Arrived] = []
            size = 0
            while self._queue and len(taken) < most:
                own = len(self._queue[0].message.payload)
                if taken and size + own > most_bytes:
                    break
                taken.append(self._queue.popleft())
                size += own
            self._bytes -= size
            self._in_hand += len(taken)
            self._in_hand_bytes += size
            if taken:
                self._room.notify_all()
            return taken

    def release(self, messages: Iterable[Message]) -> None:
        """These were taken, and nobody holds them any more."""
        sizes = [len(m.payload) for m in messages]
        with self._lock:
            self._in_hand -= len(sizes)
            self._in_hand_bytes -= sum(sizes)
            self._room.notify_all()

    def close(self) -> None:
        """Nobody takes anything any more: nobody is to wait for room."""
        with self._lock:
            self._closed = True
            self._room.notify_all()

    def drop(self, session: str) -> int:
        """Forget what waits of a session that is left to others, who will be sent it; how many messages that were.

        QoS 0 stays: nobody sends it again. So does what is in hand: it is found stored when it comes again.
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
