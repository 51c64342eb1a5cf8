"""Keeps what was read until the database has it: a bounded queue in memory, written in order, retried with back-off.

The rule it keeps: what it holds is given up only after its commit. When it is full, reading pauses (`has_room`) rather
than something being dropped. It lives in memory: what it holds dies with the process (a spool on disk comes later);
registers are cumulative, so what dies is the shape between two readings, not energy.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence, Sized
from typing import Final, Generic, TypeVar

from headend.log import get_logger
from headend.metrics import MODBUS_HELD_READINGS, STORE_ERRORS
from headend.store.errors import StoreError

Item = TypeVar("Item", bound=Sized)

_FIRST_RETRY_S: Final = 0.5
_LAST_RETRY_S: Final = 30.0
_AT_ONCE: Final = 20_000
"""Readings in one transaction at the most, unless one round alone has more."""
_log = get_logger(__name__)


class Outbox(Generic[Item]):
    """A queue of sized results and the loop that writes them."""

    def __init__(
        self,
        write: Callable[[Sequence[Item]], Awaitable[None]],
        *,
        hold: int,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self._write = write
        self._hold = hold
        self._sleep = sleep
        self._queue: deque[Item] = deque()
        self._held = 0
        self._filled = asyncio.Event()
        self._taken = 0
        self._committed = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def held(self) -> int:
        """Readings that are not committed yet."""
        return self._held

    @property
    def has_room(self) -> bool:
        """Whether another result may be made; one that is under way always fits."""
        return self._held < self._hold

    def put(self, item: Item) -> None:
        """Take a result; an empty one is nothing to write."""
        if len(item):
            self._queue.append(item)
            self._taken += 1
            self._count(len(item))
            self._filled.set()

    async def safe(self) -> None:
        """Wait until all that was put by now is committed."""
        if self._committed < self._taken:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((self._taken, waiter))
            await waiter

    async def run(self) -> None:
        """Write whatever comes, for ever."""
        retry_s = _FIRST_RETRY_S
        while True:
            await self._filled.wait()
            try:
                await self.flush()
            except StoreError as error:
                STORE_ERRORS.labels(kind_of(error)).inc()
                _log.warning("readings wait for the database", held=self._held, retry_s=retry_s, error=str(error))
                await self._sleep(retry_s)
                retry_s = min(2 * retry_s, _LAST_RETRY_S)
            else:
                retry_s = _FIRST_RETRY_S

    async def flush(self) -> None:
        """Write all that is held, oldest first. Raises StoreError; what was not committed stays."""
        while self._queue:
            batch: list[Item] = []
            size = 0
            for item in self._queue:
                if batch and size + len(item) > _AT_ONCE:
                    break
                batch.append(item)
                size += len(item)
            await self._write(batch)
            for _ in batch:
                self._queue.popleft()
            self._count(-size)
            self._committed += len(batch)
            self._wake()
        self._filled.clear()

    def _wake(self) -> None:
        """Tell those whose items are committed."""
        for number, waiter in self._waiting:
            if number <= self._committed and not waiter.done():
                waiter.set_result(None)
        self._waiting = [(number, waiter) for number, waiter in self._waiting if not waiter.done()]

    def _count(self, change: int) -> None:
        self._held += change
        MODBUS_HELD_READINGS.inc(change)


def kind_of(error: StoreError) -> str:
    """The label of the counter of database errors, the same in every role."""
    return type(error).__name__
