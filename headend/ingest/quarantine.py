"""Work through what could not be understood: list it, look at it, and replay it once its cause is mended.

A replay takes the same way as a message from the field: decoder, writer, one transaction. It is idempotent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from headend.domain.calendar import to_us
from headend.domain.clock import Clock
from headend.ingest.intake import item_of
from headend.ingest.item import Item, QuarantineEntry, WriteResult, polled_again
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store import quarantine as kept
from headend.store.pool import Row, Store


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one quarantined message."""

    quarantine_id: int
    stored: int
    duplicates: int
    still: tuple[QuarantineEntry, ...]
    """Why it stays in the quarantine; empty: it was understood and is closed."""


class Quarantine:
    """The quarantine as a person works on it."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._prefix = settings.mqtt.prefix
        self._writer = ReadingWriter(store, settings, clock)

    def list(
        self,
        *,
        reason: str | None = None,
        origin: str | None = None,
        everything: bool = False,
        before: int | None = None,
        limit: int = 100,
    ) -> list[Row]:
        """Newest first, without payloads; `origin` is a prefix, `before` the last id of the page before."""
        with self._store.transaction() as connection:
            return kept.listed(
                connection, reason=reason, origin=origin, everything=everything, before=before, limit=limit
            )

    def show(self, quarantine_id: int) -> Row | None:
        """One message with its payload."""
        with self._store.transaction() as connection:
            return kept.show(connection, quarantine_id)

    def waiting(
        self, *, reason: str | None = None, origin: str | None = None, limit: int | None = None
    ) -> Sequence[int]:
        """Ids of what is open, oldest first; all of them without `limit`."""
        with self._store.transaction() as connection:
            return kept.waiting(connection, reason=reason, origin=origin, limit=limit)

    def replay(self, quarantine_id: int) -> Replayed:
        """Try one message again. Raises LookupError when there is no such message, StoreError."""
        found = self.show(quarantine_id)
        if found is None:
            raise LookupError(f"quarantine has no message {quarantine_id}")
        item = self._item(found)
        result = self._writer.write([item])
        still = result.quarantined.get(0, ())
        if found["reason"] not in {entry.reason for entry in still}:
            # With another reason it has an entry of its own now; this one is answered.
            with self._store.transaction() as connection:
                kept.replayed(connection, quarantine_id, self._clock())
        return _summary(quarantine_id, result, still)

    def _item(self, found: dict[str, Any]) -> Item:
        payload, received_us = bytes(found["payload"]), to_us(found["received_at"])
        if found["source"] == "mqtt":
            return item_of(found["origin"], payload, prefix=self._prefix, received_us=received_us)
        try:
            return polled_again(payload, origin=found["origin"], received_us=received_us)
        except msgspec.MsgspecError:
            entry = QuarantineEntry(found["reason"], found["detail"])
            return Item(
                channel="modbus", origin=found["origin"], received_us=received_us, payload=payload, quarantine=(entry,)
            )


def _summary(quarantine_id: int, result: WriteResult, still: tuple[QuarantineEntry, ...]) -> Replayed:
    return Replayed(quarantine_id, result.stored, result.duplicates, still)
