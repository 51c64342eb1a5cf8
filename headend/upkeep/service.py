"""Role *upkeep*: does each chore at the start and then as often as it wants to be done.

The rule it keeps: a chore that fails is told, counted and tried again, and holds up no other; of several processes
with this role only one does a chore at a time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime

from headend.domain.clock import Clock
from headend.domain.processes import Fact
from headend.log import get_logger
from headend.metrics import CHORES, STORE_ERRORS
from headend.settings import Settings
from headend.store.errors import StoreError
from headend.store.locks import alone
from headend.store.pool import Store
from headend.upkeep.chore import Chore
from headend.upkeep.chores import chores_of

CHORES_AT_ONCE = 3
"""A chore takes two connections, one of them for its lock; other roles share the pool."""
_log = get_logger(__name__)


class UpkeepService:
    """Everything of the role in one event loop; the work itself is done in threads."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        clock: Clock,
        *,
        chores: Sequence[Chore] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._check_s = settings.upkeep.check_s
        self._chores = chores_of(store, settings, clock) if chores is None else tuple(chores)
        self._sleep = sleep
        self._turn = asyncio.Semaphore(max(1, min(CHORES_AT_ONCE, settings.database.pool_max // 2 - 1)))
        self._clock = clock
        self._last: dict[str, tuple[str, datetime]] = {}
        """How each chore ended last, and when."""

    def health(self) -> Mapping[str, Fact]:
        """Which chores failed last time."""
        last = dict(self._last)
        failing = sorted(name for name, (outcome, _) in last.items() if outcome == "failed")
        done = max((at for outcome, at in last.values() if outcome == "done"), default=None)
        return {
            "chores": len(self._chores),
            "elsewhere": sum(outcome == "elsewhere" for outcome, _ in last.values()),
            "failing": ", ".join(failing) or None,
            "last_done_age_s": None if done is None else round((self._clock() - done).total_seconds(), 1),
        }

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop`; what is under way is finished."""
        loops = [asyncio.create_task(self._repeat(chore, stop)) for chore in self._chores]
        try:
            await stop.wait()
        finally:
            await asyncio.gather(*loops)

    async def _repeat(self, chore: Chore, stop: asyncio.Event) -> None:
        while not stop.is_set():
            async with self._turn:
                done = True if stop.is_set() else await asyncio.to_thread(self.do, chore)
            pause = asyncio.ensure_future(self._sleep(chore.every_s if done else min(chore.every_s, self._check_s)))
            stopping = asyncio.create_task(stop.wait())
            await asyncio.wait({pause, stopping}, return_when=asyncio.FIRST_COMPLETED)
            for task in (pause, stopping):
                task.cancel()
            await asyncio.gather(pause, stopping, return_exceptions=True)

    def do(self, chore: Chore) -> bool:
        """Do a chore now; whether it need not be tried again soon."""
        outcome = "done"
        try:
            with alone(self._store, f"upkeep {chore.name}") as mine:
                if mine:
                    chore.do()
                else:
                    outcome = "elsewhere"
        except StoreError as error:
            outcome = "failed"
            STORE_ERRORS.labels(type(error).__name__).inc()
            _log.warning("chore waits for the database", chore=chore.name, error=str(error))
        except Exception:  # noqa: BLE001 the supervisor of chores: it logs the traceback and tries again
            outcome = "failed"
            _log.exception("chore failed", chore=chore.name)
        CHORES.labels(chore.name, outcome).inc()
        self._last[chore.name] = outcome, self._clock()
        return outcome != "failed"
