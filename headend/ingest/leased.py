"""Takes work that others left in the store, under a lease, and has it done: the loop that all such work shares.

The rule it keeps: what is taken is finished, or given back when this is cancelled; what a dying process held is free
again once its lease is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Final, Generic, TypeVar

from headend.ingest.poll_outbox import kind_of
from headend.log import get_logger
from headend.metrics import STORE_ERRORS
from headend.store.errors import StoreError

Work = TypeVar("Work")

_RETRY_S: Final = 2.0
_log = get_logger(__name__)


class LeasedWork(Generic[Work]):
    """Looks for work, runs each piece in a task of its own, and gives back what it could not finish."""

    def __init__(
        self,
        name: str,
        *,
        take: Callable[[int], Sequence[Work]],
        execute: Callable[[Work], Coroutine[Any, Any, None]],
        give_back: Callable[[Work], None],
        most: int,
        check_s: float,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """`take` and `give_back` speak with the store, in a thread; `most` pieces are under way at once."""
        self._name = name
        self._take = take
        self._execute = execute
        self._give_back = give_back
        self._most = most
        self._check_s = check_s
        self._sleep = sleep
        self._running: dict[asyncio.Task[None], Work] = {}

    async def run(self) -> None:
        """Look for work for ever; what is under way when this is cancelled is given back."""
        try:
            while True:
                try:
                    await self.check()
                except StoreError as error:
                    STORE_ERRORS.labels(kind_of(error)).inc()
                    _log.warning("work waits for the database", work=self._name, error=str(error))
                    await self._sleep(_RETRY_S)
                await self._sleep(self._check_s)
        finally:
            await self._give_all_back()

    async def check(self) -> int:
        """Take what there is and start it; returns how many. Raises StoreError."""
        room = self._most - len(self._running)
        if room <= 0:
            return 0
        taken = await asyncio.to_thread(self._take, room)
        for work in taken:
            task = asyncio.create_task(self._execute(work))
            self._running[task] = work
            task.add_done_callback(self._done)
        return len(taken)

    async def settle(self) -> None:
        """Wait until nothing is under way."""
        while self._running:
            await asyncio.wait(self._running)

    def _done(self, task: asyncio.Task[None]) -> None:
        work = self._running.pop(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("work failed", work=self._name, of=str(work), exc_info=error)

    async def _give_all_back(self) -> None:
        running = dict(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        for work in running.values():
            try:
                await asyncio.to_thread(self._give_back, work)
            except StoreError as error:
                STORE_ERRORS.labels(kind_of(error)).inc()
                _log.warning("work not given back", work=self._name, of=str(work), error=str(error))
