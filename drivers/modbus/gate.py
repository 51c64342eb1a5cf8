"""Lets one user at a time through, the most urgent first, the longest waiting among equals."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import IntEnum
from itertools import count


class Priority(IntEnum):
    """Who goes first on a bus; lower is sooner."""

    COMMAND = 0
    """A person is waiting: live read, relay, clock."""
    AREA_METER = 1
    HOUSEHOLD = 2
    BACKFILL = 3
    """Stored profiles, which must not delay live polls."""


class PriorityGate:
    """A lock with an order of urgency; survives the cancellation of whoever waits or holds."""

    def __init__(self) -> None:
        self._busy = False
        self._order = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, priority: Priority) -> AsyncIterator[None]:
        """Hold the gate for the length of the `async with` block."""
        await self._enter(priority)
        try:
            yield
        finally:
            self._leave()

    async def _enter(self, priority: Priority) -> None:
        if not self._busy:
            self._busy = True
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._order), mine))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self._leave()  # the turn was ours already: hand it on
            raise

    def _leave(self) -> None:
        while self._waiting:
            _, _, following = heapq.heappop(self._waiting)
            if not following.done():
                following.set_result(None)
                return
        self._busy = False
