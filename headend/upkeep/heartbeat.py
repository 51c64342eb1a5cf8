"""The heartbeat of a process: says every few seconds that it lives, and how each of its roles is doing.

The rule it keeps: it never harms the roles. It writes in a thread of its own, waits for the database only briefly, and
where that is away the beat is skipped, counted, and told once.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import socket
import threading
from collections.abc import AsyncIterator, Mapping
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Final, Protocol
from uuid import uuid4

from headend.domain.clock import Clock
from headend.domain.processes import BEAT_S, FORGOTTEN, Fact, RoleHealth, RoleState
from headend.log import get_logger
from headend.metrics import HEARTBEATS_SKIPPED, STORE_ERRORS
from headend.store import heartbeats
from headend.store.errors import StoreError
from headend.store.heartbeats import Identity
from headend.store.pool import Store
from headend.upkeep.chore import Chore

CONNECTION_S: Final = 2.0
"""The longest wait for a connection."""
_GOODBYE_S: Final = 3.0
"""How long the end of the process waits for the last beat to be written."""
_log = get_logger(__name__)


class Speaking(Protocol):
    """A role that can say how it is."""

    def health(self) -> Mapping[str, Fact]:
        """As of now: cheap, never blocks."""
        ...


class Watched:
    """How one role is doing, as its supervisor sees it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._health = RoleHealth(state=RoleState.STARTING, since_at=clock(), restarts=0, error=None, failed_at=None)
        self._role: Speaking | None = None
        self._fell_silent = False
        self._counted: tuple[datetime, int] | None = None
        """Readings stored as of the last word."""

    def runs(self, role: Speaking) -> None:
        """It is up, and says how it is."""
        self._role = role
        self._counted = None
        self._fell_silent = False
        self._now_is(RoleState.RUNNING)

    def failed(self, error: str) -> None:
        """Its loop failed; it is started again after a pause."""
        self._role = None
        before = self._health
        self._health = RoleHealth(
            state=RoleState.RESTARTING,
            since_at=before.since_at if before.state is RoleState.RESTARTING else self._clock(),
            restarts=before.restarts + 1,
            error=error,
            failed_at=self._clock(),
        )

    def stopped(self) -> None:
        """It was told to stop, and has."""
        self._role = None
        self._now_is(RoleState.STOPPED)

    def health(self, name: str) -> RoleHealth:
        """As of now; in the event loop."""
        facts: Mapping[str, Fact] = {}
        if self._role is not None:
            try:
                facts = self._with_rate(self._role.health())
            except Exception:  # noqa: BLE001 a mistake in what a role says must not stop what it does
                if not self._fell_silent:
                    _log.exception("a role cannot say how it is", role=name)
                self._fell_silent = True
        h = self._health
        return RoleHealth(
            state=h.state, since_at=h.since_at, restarts=h.restarts, error=h.error, failed_at=h.failed_at, facts=facts
        )

    def _with_rate(self, facts: Mapping[str, Fact]) -> Mapping[str, Fact]:
        """A role that counts the readings that it stored is also shown how many a second since its last word."""
        stored, now = facts.get("readings_stored"), self._clock()
        if not isinstance(stored, int):
            return dict(facts)
        before, self._counted = self._counted, (now, stored)
        passed_s = (now - before[0]).total_seconds() if before else 0.0
        if before is None or passed_s <= 0:
            return dict(facts)
        return dict(facts) | {"readings_per_second": round((stored - before[1]) / passed_s, 1)}

    def _now_is(self, state: RoleState) -> None:
        h = self._health
        since = h.since_at if h.state is state else self._clock()
        self._health = RoleHealth(
            state=state, since_at=since, restarts=h.restarts, error=h.error, failed_at=h.failed_at
        )


class Heartbeat:
    """Beats from the beginning to the end of `beating`."""

    def __init__(self, store: Store, roles: Mapping[str, Watched], clock: Clock, *, every_s: float = BEAT_S) -> None:
        self._store = store
        self._roles = roles
        self._clock = clock
        self._every_s = every_s
        self._who = Identity(
            process_id=uuid4(),
            host=socket.gethostname(),
            pid=os.getpid(),
            version=version("headend"),
            roles=tuple(roles),
            started_at=clock(),
        )
        self._waiting: queue.Queue[tuple[Mapping[str, RoleHealth], bool]] = queue.Queue(1)
        self._alone = False
        self._skipping = False

    @contextlib.asynccontextmanager
    async def beating(self) -> AsyncIterator[None]:
        """For as long as the block lasts; then it says goodbye."""
        writer = threading.Thread(target=self._write_all, name="heartbeat", daemon=True)
        writer.start()
        beats = asyncio.create_task(self._beat_for_ever())
        try:
            yield
        finally:
            beats.cancel()
            await asyncio.wait({beats})
            self._offer(last=True)
            await asyncio.to_thread(writer.join, _GOODBYE_S)

    async def _beat_for_ever(self) -> None:
        while True:
            self._offer(last=False)
            await asyncio.sleep(self._every_s)

    def _offer(self, *, last: bool) -> None:
        """Put the newest word in place of one that nobody has written yet."""
        with contextlib.suppress(queue.Empty):
            self._waiting.get_nowait()
        self._waiting.put_nowait(({name: role.health(name) for name, role in self._roles.items()}, last))

    # In its own thread.

    def _write_all(self) -> None:
        last = False
        while not last:
            health, last = self._waiting.get()
            try:
                self._write(health, last)
            except StoreError as error:
                STORE_ERRORS.labels(type(error).__name__).inc()
                HEARTBEATS_SKIPPED.inc()
                if not self._skipping:
                    _log.warning("heartbeats are skipped while the database is away", error=str(error))
                self._skipping = True
            except Exception:  # noqa: BLE001 the thread's supervisor: the roles go on whatever happens here
                HEARTBEATS_SKIPPED.inc()
                _log.exception("heartbeat failed")
            else:
                if self._skipping:
                    _log.info("heartbeats are written again")
                self._skipping = False

    def _write(self, health: Mapping[str, RoleHealth], last: bool) -> None:
        with self._store.transaction(timeout_s=CONNECTION_S) as connection:
            if not self._alone:
                others = heartbeats.others_here(connection, self._who)
                heartbeats.forget(connection, [p for p, pid in others.items() if pid == self._who.pid or _dead(pid)])
            heartbeats.beat(connection, self._who, health, now=self._clock(), stopped=last)
        self._alone = True


def _dead(pid: int) -> bool:
    """No such process here. One that lives in another container is taken for dead, and is back with its next beat."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def sweeping(store: Store, clock: Clock) -> Chore:
    """The chore that forgets processes that are long gone."""

    def sweep() -> None:
        with store.transaction() as connection:
            gone = heartbeats.sweep(connection, clock() - FORGOTTEN)
        if gone:
            _log.info("processes forgotten", processes=gone)

    return Chore("processes", timedelta(minutes=10).total_seconds(), sweep)
