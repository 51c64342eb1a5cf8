"""Work through what could not be understood: search it, look at it, and replay it once its cause is mended.

A replay takes the same way as a message from the field: decoder, writer, one transaction a batch. It is idempotent, so
whoever was interrupted begins again; ingest goes on meanwhile, and of two replays at once each takes what the other
one does not have.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

import msgspec

from headend.domain.calendar import to_us
from headend.domain.clock import Clock
from headend.ingest.intake import item_of
from headend.ingest.item import Channel, Item, QuarantineEntry, WriteResult, polled_again, refused
from headend.ingest.payloads import router_of
from headend.ingest.writer import ReadingWriter
from headend.settings import Settings
from headend.store import quarantine as kept
from headend.store.errors import StoreConflict, StoreRefused
from headend.store.joint import joint
from headend.store.pool import Row, Store
from headend.store.quarantine import Found, Search, State, Waiting

AT_ONCE: Final = 200
"""Messages replayed in one transaction."""
BYTES_AT_ONCE: Final = 8 * 1024 * 1024
"""... and their bytes; one larger message goes alone."""
SINGLY: Final = 50
"""So few are replayed one by one, so that each says what came of its readings."""
_CONFLICTS: Final = 5
"""Ingest may change the same rows; it is tried again as often."""
_CONFLICT_PAUSE_S: Final = 0.05


class Outcome(StrEnum):
    """What became of a message that was replayed."""

    UNDERSTOOD = "understood"
    STAYS = "stays"
    """For the same reason as before."""
    BECAME = "became"
    """It is in here for another reason now; the old entry is closed and names the new one."""
    ELSEWHERE = "elsewhere"
    """Somebody else replays it just now, or has done so."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What became of one quarantined message."""

    quarantine_id: int
    outcome: Outcome
    still: tuple[QuarantineEntry, ...] = ()
    """Why it, or a part of it, is in the quarantine still."""
    became: int | None = None
    """The entry with its new reason; in a rehearsal its number is gone again afterwards."""
    stored: int | None = None
    """Readings of it; None: it was written together with others, see `Batch`."""
    duplicates: int | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of messages that were replayed together."""

    messages: Sequence[Replayed]
    stored: int = 0
    duplicates: int = 0


@dataclass(slots=True)
class Summary:
    """What became of many."""

    messages: int = 0
    stored: int = 0
    duplicates: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    """Why messages stay, or what they became."""

    def add(self, batch: Batch) -> None:
        """Count a batch."""
        self.messages += len(batch.messages)
        self.stored += batch.stored
        self.duplicates += batch.duplicates
        for message in batch.messages:
            self.outcomes[message.outcome] += 1
            self.reasons.update(sorted({entry.reason for entry in message.still}))

    @property
    def closed(self) -> int:
        """Understood now, or in here under another reason."""
        return self.outcomes[Outcome.UNDERSTOOD] + self.outcomes[Outcome.BECAME]

    @property
    def left(self) -> int:
        """Not understood still."""
        return self.outcomes[Outcome.STAYS] + self.outcomes[Outcome.BECAME]


@dataclass(frozen=True, slots=True)
class ReplayedMany:
    """What became of all that names a device."""

    messages: int
    closed: int
    """Of them, answered now."""
    stored: int
    duplicates: int


class Quarantine:
    """The quarantine as a person works on it; serves one thread."""

    def __init__(
        self, store: Store, settings: Settings, clock: Clock, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Raises DriverConfigError when a payload map cannot be used."""
        self._store = store
        self._settings = settings
        self._clock = clock
        self._pause = pause
        self._prefix = settings.mqtt.prefix
        self._router = router_of(settings.mqtt, settings.settlement.zone)

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
        wanted = Search(reason=reason, origin=origin)
        return self.search(wanted, state="all" if everything else "open", before=before, limit=limit).rows

    def search(self, wanted: Search, *, state: State = "open", before: int | None = None, limit: int = 100) -> Found:
        """One page, newest first, without payloads."""
        with self._store.transaction() as connection:
            return kept.search(connection, wanted, state=state, before=before, limit=limit)

    def show(self, quarantine_id: int) -> Row | None:
        """One message with its payload."""
        with self._store.transaction() as connection:
            return kept.show(connection, quarantine_id)

    def summary(self, *, most: int = 50) -> tuple[Sequence[Row], Sequence[Row]]:
        """What is open by reason; what was not kept, latest first."""
        with self._store.transaction() as connection:
            return kept.counts(connection), kept.given_up(connection, limit=most)

    def waiting(
        self, *, reason: str | None = None, origin: str | None = None, limit: int | None = None
    ) -> Sequence[int]:
        """Ids of what is open, in the order in which it came; all of them without `limit`."""
        with self._store.transaction() as connection:
            wanted, until = Search(reason=reason, origin=origin), kept.newest(connection)
            found = kept.following(connection, wanted, until=until, limit=limit)
        return [w.quarantine_id for w in found]

    def count(self, wanted: Search) -> int:
        """Open messages that a replay would take."""
        with self._store.transaction() as connection:
            return kept.count(connection, wanted)

    def replay(self, quarantine_id: int) -> Replayed:
        """Try one message again. Raises LookupError when there is no such message, StoreError."""
        (batch,) = self.replay_named([quarantine_id])
        return batch.messages[0]

    def replay_named(self, numbers: Sequence[int], *, rehearse: bool = False) -> Iterator[Batch]:
        """Try these again, those too that were answered before; each batch as it is done.

        `rehearse`: nothing stays done. Raises LookupError, before anything is tried, for a number that is not there,
        and StoreError.
        """
        with self._store.transaction() as connection:
            found = kept.named(connection, numbers)
        if missing := set(numbers) - {w.quarantine_id for w in found}:
            raise LookupError(f"quarantine has no message {', '.join(map(str, sorted(missing)))}")
        size = 1 if len(found) <= SINGLY else AT_ONCE
        for start in range(0, len(found), AT_ONCE):
            for some in _batches(found[start : start + AT_ONCE], size):
                yield self._replay(some, closed=True, rehearse=rehearse)

    def replay_all(
        self, wanted: Search, *, limit: int | None = None, singly: bool = False, rehearse: bool = False
    ) -> Iterator[Batch]:
        """Try again what is open and fits, in the order in which it came; each batch as it is done.

        What was done by then stands when it raises StoreError; begin again to go on. Nothing is tried twice in one go,
        so it ends although messages stay.
        """
        last: Waiting | None = None
        left = limit
        with self._store.transaction() as connection:
            until = kept.newest(connection)
        while left is None or left > 0:
            with self._store.transaction() as connection:
                most = AT_ONCE if left is None else min(AT_ONCE, left)
                found = kept.following(connection, wanted, until=until, after=last, limit=most)
            if not found:
                return
            last = found[-1]
            left = None if left is None else left - len(found)
            for some in _batches(found, 1 if singly else AT_ONCE):
                yield self._replay(some, rehearse=rehearse)

    def replay_for(self, stranger: str) -> ReplayedMany:
        """Try again everything that names a device. Raises StoreError; what was done by then stands."""
        summary = Summary()
        for batch in self.replay_all(Search(device=stranger)):
            summary.add(batch)
        return ReplayedMany(summary.messages, summary.closed, summary.stored, summary.duplicates)

    def _replay(self, waiting: Sequence[Waiting], *, closed: bool = False, rehearse: bool = False) -> Batch:
        """One transaction: rows, what stays, and what is closed."""
        with joint(self._store, keep=not rehearse) as store, store.transaction() as connection:
            found = kept.claim(connection, [w.quarantine_id for w in waiting], closed=closed)
            writer = ReadingWriter(store, self._settings, self._clock)
            written = self._write(writer, [self._item(row) for row in found])
            still = {row["quarantine_id"]: written[place][1] for place, row in enumerate(found)}
            answered = _answered({row["quarantine_id"]: row["reason"] for row in found}, still)
            became = kept.close(connection, answered, self._clock())
        results = list({id(result): result for result, _ in written.values()}.values())
        alone = results[0] if len(found) == 1 else None
        return Batch(
            [_told(w.quarantine_id, still, became, alone) for w in waiting],
            sum(result.stored for result in results),
            sum(result.duplicates for result in results),
        )

    def _write(
        self, writer: ReadingWriter, items: Sequence[Item], first: int = 0
    ) -> dict[int, tuple[WriteResult, tuple[QuarantineEntry, ...]]]:
        """Place → how it was written, and what of it stays. One that the database refuses holds up no other."""
        if not items:
            return {}
        try:
            result = self._insist(writer, items)
        except StoreRefused as error:
            if len(items) == 1:
                return self._write(writer, [replace(refused(items[0], error), replayed=True)], first)
            middle = len(items) // 2
            return self._write(writer, items[:middle], first) | self._write(writer, items[middle:], first + middle)
        return {first + place: (result, result.quarantined.get(place, ())) for place in range(len(items))}

    def _insist(self, writer: ReadingWriter, items: Sequence[Item]) -> WriteResult:
        for _ in range(_CONFLICTS - 1):
            try:
                return writer.write(items)
            except StoreConflict:
                self._pause(_CONFLICT_PAUSE_S)
        return writer.write(items)

    def _item(self, found: Mapping[str, Any]) -> Item:
        return replace(self._again(found), replayed=True)

    def _again(self, found: Mapping[str, Any]) -> Item:
        payload, received_us = bytes(found["payload"]), to_us(found["received_at"])
        entry = QuarantineEntry(found["reason"], found["detail"])
        channel: Channel = "modbus" if found["source"] == "modbus" else "mqtt"
        as_it_was = Item(
            channel=channel, origin=found["origin"], received_us=received_us, payload=payload, quarantine=(entry,)
        )
        if found["whole_size"] is not None:  # only its beginning was kept
            return as_it_was
        if channel == "mqtt":
            item = item_of(found["origin"], payload, router=self._router, prefix=self._prefix, received_us=received_us)
            # The very same word said again is the newer word: a state holds from when it was heard last.
            return item if item.presence is None else replace(item, received_us=to_us(found["last_received_at"]))
        try:
            return polled_again(payload, origin=found["origin"], received_us=received_us)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):  # a spoilt record may be anything
            return as_it_was


def _batches(waiting: Sequence[Waiting], most: int) -> Iterator[Sequence[Waiting]]:
    """In order; no more than so many, or so many bytes, at once."""
    some: list[Waiting] = []
    size = 0
    for one in waiting:
        if some and (len(some) >= most or size + one.size > BYTES_AT_ONCE):
            yield some
            some, size = [], 0
        some.append(one)
        size += one.size
    if some:
        yield some


def _answered(before: Mapping[int, str], still: Mapping[int, Sequence[QuarantineEntry]]) -> dict[int, str | None]:
    """What is not in here any more for the reason that it had: number → its reason now, None: it was understood."""
    return {
        number: still[number][0].reason if still[number] else None
        for number, reason in before.items()
        if reason not in {entry.reason for entry in still[number]}
    }


def _told(
    number: int,
    still: Mapping[int, tuple[QuarantineEntry, ...]],
    became: Mapping[int, int | None],
    alone: WriteResult | None,
) -> Replayed:
    if number not in still:
        return Replayed(number, Outcome.ELSEWHERE)
    entries = still[number]
    new = became.get(number)
    outcome = Outcome.BECAME if new is not None else Outcome.STAYS if entries else Outcome.UNDERSTOOD
    if alone is None:
        return Replayed(number, outcome, entries, new)
    return Replayed(number, outcome, entries, new, alone.stored, alone.duplicates)
