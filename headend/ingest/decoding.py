"""From messages that wait to a batch that can be written: decoded many at once, ahead of the writer.

Decoders with a memory (births, flags) hear the messages in the order of their arrival, and hear of it where some may be
missing. What is decoded is written, whatever becomes of its connection meanwhile; it is lost only with the whole
service, and the decoders' memory with it. So no decoder ever remembers what was not stored.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from drivers.mqtt.broker import Message
from drivers.mqtt.router import Router
from headend import metrics
from headend.ingest.intake import items_of
from headend.ingest.item import Item
from headend.ingest.window import Window

MOST_BYTES: Final = 8 * 1024 * 1024
"""Payloads of a batch."""
PART_MESSAGES: Final = 2000
PART_BYTES: Final = 512 * 1024
"""Decoded at once: large enough for arrays to pay, small enough not to overshoot the batch by much."""


@dataclass(slots=True)
class Batch:
    """Messages that are written together, and what was made of them; the same places in both."""

    messages: list[Message] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    rows: int = 0
    size: int = 0
    """Bytes of the payloads."""
    oldest_s: float = 0.0
    """When its first message came, monotonic."""


class Decoding:
    """Takes from the window; used by one thread at a time."""

    def __init__(self, window: Window, router: Router, *, prefix: str, session: str, most_rows: int) -> None:
        """`session` is our own; those that are inherited have no births to miss."""
        self._window, self._router = window, router
        self._prefix, self._session, self._most_rows = prefix, session, most_rows
        self._connection = 0
        """That of the last message of our own session; 0: none yet."""

    def is_full(self, batch: Batch) -> bool:
        """Whether the batch takes no more."""
        return batch.rows >= self._most_rows or batch.size >= MOST_BYTES

    def more(self, batch: Batch) -> None:
        """Add what waits until the batch is full (by one part more than that at the most)."""
        while not self.is_full(batch):
            arrived = self._window.take_all(PART_MESSAGES, PART_BYTES)
            if not arrived:
                return
            if not batch.messages:
                batch.oldest_s = arrived[0].at_s
            missed = set()
            for place, one in enumerate(arrived):
                if one.after_gap or self._begins_anew(one.message):
                    missed.add(place)
            heard = [(a.message.topic, a.message.payload, a.received_us, a.message.retained) for a in arrived]
            items = items_of(heard, router=self._router, prefix=self._prefix, missed=missed)
            for item in items:
                batch.rows += len(item)
                if item.ignored is not None:
                    metrics.MQTT_IGNORED.labels(item.ignored).inc()
            batch.messages += [a.message for a in arrived]
            batch.items += items
            batch.size += sum(len(a.message.payload) for a in arrived)

    def _begins_anew(self, message: Message) -> bool:
        if message.connection == self._connection or message.session != self._session:
            return False
        self._connection = message.connection
        return True
