"""Work through what could not be understood: list it, look at it, and replay it once its cause is mended.

A replay takes the same way as a message from the field: decoder, writer, one transaction. It is idempotent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec

from headend.domain.calendar import to_us
from headend.domain.clock import Clock
from headend.ingest.intake import item_of
from headend.ingest.item import Item, QuarantineEntry, WriteResult, polled_again
from headend.ingest.payloads import router_of
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store import quarantine as kept
from headend.store.pool import Row, Store

_AT_ONCE: Final = 200
"""Messages replayed in one transaction."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one quarantined message."""

    quarantine_id: int
    stored: int
    duplicates: int
    still: tuple[QuarantineEntry, ...]
    """Why it stays in the quarantine; empty: it was understood and is closed."""


@dataclass(frozen=True, slots=True)
class ReplayedMany:
    """What became of several quarantined messages."""

    messages: int
    closed: int
    """Of them, understood now."""
    stored: int
    duplicates: int


class Quarantine:
    """The quarantine as a person works on it."""

    def __init__(self, store: Store, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._prefix = settings.mqtt.prefix
        self._router = router_of(settings.mqtt, settings.settlement.zone)
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

    def replay_for(self, stranger: str) -> ReplayedMany:
        """Try again everything that names a device. Raises StoreError; what was done by then stands."""
        with self._store.transaction() as connection:
            ids = kept.waiting_for(connection, stranger)
        closed = stored = duplicates = 0
        for start in range(0, len(ids), _AT_ONCE):
            found = [row for number in ids[start : start + _AT_ONCE] if (row := self.show(number)) is not None]
            result = self._writer.write([self._item(row) for row in found])
            answered = [
                row["quarantine_id"]
                for place, row in enumerate(found)
                if row["reason"] not in {entry.reason for entry in result.quarantined.get(place, ())}
            ]
            with self._store.transaction() as connection:
                for number in answered:
                    kept.replayed(connection, number, self._clock())
            closed, stored = closed + len(answered), stored + result.stored
            duplicates += result.duplicates
        return ReplayedMany(len(ids), closed, stored, duplicates)

    def _item(self, found: dict[str, Any]) -> Item:
        payload, received_us = bytes(found["payload"]), to_us(found["received_at"])
        if found["source"] == "mqtt":
            item = item_of(found["origin"], payload, router=self._router, prefix=self._prefix, received_us=received_us)
            # The very same word said again is the newer word: a state holds from when it was heard last.
            return item if item.presence is None else replace(item, received_us=to_us(found["last_received_at"]))
        try:
            return polled_again(payload, origin=found["origin"], received_us=received_us)
        except msgspec.MsgspecError:
            entry = QuarantineEntry(found["reason"], found["detail"])
            return Item(
                channel="modbus", origin=found["origin"], received_us=received_us, payload=payload, quarantine=(entry,)
            )


def _summary(quarantine_id: int, result: WriteResult, still: tuple[QuarantineEntry, ...]) -> Replayed:
    return Replayed(quarantine_id, result.stored, result.duplicates, still)
