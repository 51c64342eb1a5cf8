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


class Hold:
    """The gate while somebody holds it."""

    def __init__(self, gate: PriorityGate, priority: Priority) -> None:
        self._gate = gate
        self._priority = priority
        self.held = False

    async def give_way(self) -> None:
        """Let the more urgent go first, where one waits; come back when it is this one's turn again."""
        if self._gate.waited_for(self._priority):
            async with self.away():
                pass

    @asynccontextmanager
    async def away(self) -> AsyncIterator[None]:
        """Leave the gate to others for the length of the `async with` block.

        Whoever is cancelled in there does not come back, and `PriorityGate.turn` has nothing to hand on.
        """
        self.held = False
        self._gate.leave()
        yield
        await self.enter()

    async def enter(self) -> None:
        """Wait for the turn."""
        await self._gate.enter(self._priority)
        self.held = True


class PriorityGate:
    """A lock with an order of urgency; survives the cancellation of whoever waits or holds."""

    def __init__(self) -> None:
        self._busy = False
        self._order = count()
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []

    @asynccontextmanager
    async def turn(self, priority: Priority) -> AsyncIterator[Hold]:
        """Hold the gate for the length of the `async with` block."""
        hold = Hold(self, priority)
        await hold.enter()
        try:
            yield hold
        finally:
            if hold.held:
                self.leave()

    def waited_for(self, priority: Priority) -> bool:
        """Whether somebody more urgent than `priority` waits."""
        while self._waiting and self._waiting[0][2].done():
            heapq.heappop(self._waiting)  # gave up waiting
        return bool(self._waiting) and self._waiting[0][0] < priority

    async def enter(self, priority: Priority) -> None:
        """Wait until it is free and nobody more urgent waits."""
        if not self._busy:
            self._busy = True
            return
        mine: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (priority, next(self._order), mine))
        try:
            await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled():
                self.leave()  # the turn was ours already: hand it on
            raise

    def leave(self) -> None:
        """Hand it on to the most urgent, or leave it free."""
        while self._waiting:
            _, _, following = heapq.heappop(self._waiting)
            if not following.done():
                following.set_result(None)
                return
        self._busy = False
