"""What the executor says to the store, one transaction a sentence; called in threads.

The rules it keeps: `sent` is committed before this returns that it is; a conclusion, the clock readings that led to it
and the event that it makes are one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from drivers.events import EventKind, code_of
from headend.domain.clock import Clock
from headend.domain.commands import CommandState
from headend.domain.topology import PollTarget
from headend.ingest.clock_book import ClockBook
from headend.ingest.clock_offset import ClockOffset
from headend.metrics import COMMANDS
from headend.store import commands, events
from headend.store.commands import HeldCommand, Step
from headend.store.events import StoredEvent
from headend.store.pool import Store
from headend.store.topology import poll_target_of

LEASE_S: Final = 60.0
"""A process that dies before it has sent a command delays it by so much; after that, by so much and the settle time."""
_FIRST_RETRY_S: Final = 2.0
_LAST_RETRY_S: Final = 60.0

Taken = tuple[HeldCommand, PollTarget | None]
"""A command that is ours, and where its meter is; None: nowhere that a bus leads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """How a command ended."""

    state: CommandState
    detail: str
    before_state: str | None
    after_state: str | None
    happened: tuple[EventKind, datetime, int] | None = None
    """Of a change that was confirmed: what, when, and within how many ms."""
    value: float | None = None
    """Of the event, in its unit."""
    offsets: tuple[tuple[ClockOffset, UUID | None], ...] = ()
    """Of a clock: what was read, each with the command when it had been set by then."""


class CommandLedger:
    """The executor's side of the store."""

    def __init__(self, store: Store, book: ClockBook, clock: Clock, *, settle_s: float) -> None:
        self._store = store
        self._book = book
        self._clock = clock
        self._settle_s = settle_s

    def take(self, most: int) -> list[Taken]:
        """Give up what is out of time, and take up to `most` of what is to be done. Raises StoreError."""
        now = self._clock()
        with self._store.transaction() as connection:
            expired = commands.expire(connection, now=now)
            held = commands.take(connection, now=now, lease_s=LEASE_S, most=most)
            taken = [(one, poll_target_of(connection, one.meter_id)) for one in held]
        for kind in expired:
            COMMANDS.labels(kind.value, CommandState.EXPIRED.value).inc()
        return taken

    def release(self, held: HeldCommand, steps: Sequence[Step], *, not_before: datetime | None, why: str) -> bool:
        """Give back what was not sent; later and later, where no instant is named. False: it is not ours any more."""
        now = self._clock()
        again_s = min(_FIRST_RETRY_S * 2 ** min(held.tries - 1, 16), _LAST_RETRY_S)
        last_try = max(now, held.expires_at - timedelta(seconds=_FIRST_RETRY_S))
        later = not_before or min(now + timedelta(seconds=again_s), last_try)
        with self._store.transaction() as connection:
            return commands.release(connection, held, steps, not_before=later, detail=why, now=now)

    def give_up_lease(self, held: HeldCommand) -> None:
        """This process stops: let the next one take over at once."""
        now = self._clock()
        with self._store.transaction() as connection:
            if held.state is CommandState.SENT:
                commands.let_go(connection, held, now=now)
            else:
                commands.release(connection, held, (), not_before=now, detail="the polling process stopped", now=now)

    def mark_sent(
        self, held: HeldCommand, steps: Sequence[Step], *, before_state: str | None, words: tuple[int, ...] | None
    ) -> HeldCommand | None:
        """Commit that it is sent; None: it must not be. Raises StoreError: nobody knows, and nothing may be sent."""
        now = self._clock()
        with self._store.transaction() as connection:
            return commands.mark_sent(
                connection,
                held,
                steps,
                before_state=before_state,
                words=words,
                now=now,
                lease_s=LEASE_S + self._settle_s,
            )

    def note(self, held: HeldCommand, steps: Sequence[Step]) -> None:
        """Put down what was done; facts, whoever holds the command by now. Raises StoreError."""
        with self._store.transaction() as connection:
            for step in steps:
                commands.note(connection, held.command_id, step)

    def conclude(
        self, held: HeldCommand, target: PollTarget | None, steps: Sequence[Step], conclusion: Conclusion
    ) -> bool:
        """Say how it ended; False when another process says it. Raises StoreError."""
        now = self._clock()
        with self._store.transaction() as connection:
            ours = commands.conclude(
                connection,
                held,
                steps,
                state=conclusion.state,
                before_state=conclusion.before_state,
                after_state=conclusion.after_state,
                detail=conclusion.detail,
                now=now,
            )
            if not ours:
                return False
            if target is not None:
                for offset, command_id in conclusion.offsets:
                    self._book.put(connection, target, offset, now=now, command_id=command_id)
            if conclusion.happened is not None:
                events.add(connection, [_event(held, conclusion, now)])
        COMMANDS.labels(held.kind.value, conclusion.state.value).inc()
        return True


def _event(held: HeldCommand, conclusion: Conclusion, now: datetime) -> StoredEvent:
    assert conclusion.happened is not None  # asked before
    kind, at, uncertainty_ms = conclusion.happened
    return StoredEvent(
        meter_id=held.meter_id,
        kind=kind,
        code=code_of(kind),
        occurred_at=at,
        uncertainty_ms=uncertainty_ms,
        received_at=now,
        value=conclusion.value,
        detail=f"command {held.command_id}: {conclusion.before_state or 'not known'} → {conclusion.after_state}",
        source="headend",
    )
