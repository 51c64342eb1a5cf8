"""What was read on its way into the database: onto the disk at once, and from there in order, retried with back-off.

The rules it keeps: what it holds is given up only after its commit; whoever waits until his own is `safe` waits until
no kill -9 can take it. Two loops: one gives the spool what comes, one gives the database what the spool has, so neither
waits for the other. Without a spool, or while its disk fails, what comes is held in memory and written from there;
when that is full too, reading pauses (`has_room`) rather than something being dropped.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence, Sized
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from headend.ingest.spool_file import SpoolFailed
from headend.ingest.spool_record import Spoiled
from headend.log import get_logger
from headend.metrics import MODBUS_HELD_READINGS, STORE_ERRORS
from headend.store.errors import StoreError

Item = TypeVar("Item", bound=Sized)

_FIRST_RETRY_S: Final = 0.5
_LAST_RETRY_S: Final = 30.0
_AT_ONCE: Final = 20_000
"""Readings in one transaction at the most, unless one round alone has more."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Portion(Generic[Item]):
    """What is written in one transaction."""

    items: Sequence[Item | Spoiled]
    until: int
    """Everything in the spool up to this place is in it, or was written before."""


class Keeper(Protocol[Item]):
    """Keeps items, in their order, where a kill -9 does not reach them."""

    @property
    def readings(self) -> int:
        """That it holds."""
        ...

    @property
    def failing(self) -> bool:
        """Whether the last thing that it was given is not safe with it."""
        ...

    async def append(self, items: Sequence[Item]) -> None:
        """Keep these behind all others. Raises SpoolFailed."""
        ...

    async def oldest(self, most: int) -> Portion[Item] | None:
        """The oldest ones, about so many readings; None when there are none. Raises SpoolFailed."""
        ...

    async def done(self, portion: Portion[Item]) -> None:
        """It is committed: forget it. Raises SpoolFailed; it is not given out again all the same."""
        ...

    def returned(self, portion: Portion[Item]) -> None:
        """It could not be written now."""
        ...


class Outbox(Generic[Item]):
    """A queue of sized results and the loops that keep and write them."""

    def __init__(
        self,
        write: Callable[[Sequence[Item | Spoiled]], Awaitable[None]],
        *,
        hold: int,
        sleep: Callable[[float], Awaitable[None]],
        spool: Keeper[Item] | None = None,
    ) -> None:
        """`hold`: readings in memory at the most, besides rounds that are under way."""
        self._write = write
        self._hold = hold
        self._sleep = sleep
        self._spool = spool
        self._queue: deque[Item] = deque()
        self._in_memory = 0
        self._queue_lock = asyncio.Lock()
        """Who has it decides where the head of the queue goes."""
        self._came = asyncio.Event()
        self._to_write = asyncio.Event()
        self._counted = 0
        self._taken = 0
        self._secured = 0
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []

    @property
    def held(self) -> int:
        """Readings that are not committed yet."""
        return self._in_memory + (0 if self._spool is None else self._spool.readings)

    @property
    def in_memory(self) -> int:
        """Of these, those that would die with the process."""
        return self._in_memory

    @property
    def has_room(self) -> bool:
        """Whether another result may be made; one that is under way always fits."""
        return self._in_memory < self._hold

    def put(self, item: Item) -> None:
        """Take a result; an empty one is nothing to write."""
        if len(item):
            self._queue.append(item)
            self._taken += 1
            self._in_memory += len(item)
            self._count()
            self._came.set()
            if self._spool is None or self._spool.failing:
                self._to_write.set()

    async def safe(self) -> None:
        """Wait until all that was put by now is in the spool, or committed."""
        if self._secured < self._taken:
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append((self._taken, waiter))
            await waiter

    async def run(self) -> None:
        """Keep and write whatever comes, for ever."""
        self._to_write.set()  # an earlier process may have left something
        async with asyncio.TaskGroup() as group:
            if self._spool is not None:
                group.create_task(self._keep_for_ever())
            group.create_task(self._write_for_ever())

    async def keep(self) -> None:
        """Give the spool all that is in memory. Raises SpoolFailed; what it did not take stays."""
        task = asyncio.create_task(self._keep())
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # The disk finishes what it has begun; that this is kept must be known, or it would be kept twice.
            await asyncio.wait({task})
            with suppress(SpoolFailed):
                task.result()
            raise

    async def flush(self) -> None:
        """Write all that is held, oldest first. Raises StoreError; what was not committed stays."""
        while True:
            self._to_write.clear()
            if not (await self._write_from_spool() or await self._write_from_memory()):
                return

    async def _keep_for_ever(self) -> None:
        retry_s = _FIRST_RETRY_S
        while True:
            await self._came.wait()
            self._came.clear()
            try:
                await self.keep()
            except SpoolFailed:  # said and counted where it happened
                self._came.set()
                self._to_write.set()
                await self._sleep(retry_s)
                retry_s = min(2 * retry_s, _LAST_RETRY_S)
            else:
                retry_s = _FIRST_RETRY_S

    async def _write_for_ever(self) -> None:
        retry_s = _FIRST_RETRY_S
        while True:
            await self._to_write.wait()
            try:
                await self.flush()
            except StoreError as error:
                self._to_write.set()
                STORE_ERRORS.labels(kind_of(error)).inc()
                _log.warning("readings wait for the database", held=self.held, retry_s=retry_s, error=str(error))
                await self._sleep(retry_s)
                retry_s = min(2 * retry_s, _LAST_RETRY_S)
            else:
                retry_s = _FIRST_RETRY_S

    async def _keep(self) -> None:
        if self._spool is None:
            return
        async with self._queue_lock:
            while self._queue:
                batch = list(self._queue)
                await self._spool.append(batch)
                self._secure(batch)
                self._to_write.set()

    async def _write_from_spool(self) -> bool:
        """One portion; False when there is none, or the disk does not give it."""
        if self._spool is None:
            return False
        try:
            portion = await self._spool.oldest(_AT_ONCE)
        except SpoolFailed:
            return False
        if portion is None:
            return False
        with ExitStack() as undo:
            undo.callback(self._spool.returned, portion)
            await self._write(portion.items)
            undo.pop_all()
        with suppress(SpoolFailed):  # written twice at the worst, after a restart
            await self._spool.done(portion)
        self._count()
        return True

    async def _write_from_memory(self) -> bool:
        """One portion; False when there is none, or the spool takes it."""
        if self._spool is not None and not self._spool.failing:
            return False
        async with self._queue_lock:
            batch: list[Item] = []
            size = 0
            for item in self._queue:
                if batch and size + len(item) > _AT_ONCE:
                    break
                batch.append(item)
                size += len(item)
            if not batch:
                return False
            await self._write(batch)
            self._secure(batch)
        return True

    def _secure(self, batch: Sequence[Item]) -> None:
        """The head of the queue is in the spool, or committed: tell those who wait for it."""
        for item in batch:
            self._queue.popleft()
            self._in_memory -= len(item)
        self._secured += len(batch)
        self._count()
        for number, waiter in self._waiting:
            if number <= self._secured and not waiter.done():
                waiter.set_result(None)
        self._waiting = [(number, waiter) for number, waiter in self._waiting if not waiter.done()]

    def _count(self) -> None:
        MODBUS_HELD_READINGS.inc(self.held - self._counted)
        self._counted = self.held


def kind_of(error: StoreError) -> str:
    """The label of the counter of database errors, the same in every role."""
    return type(error).__name__
