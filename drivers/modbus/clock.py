"""The time that the bus sees, injected so that tests decide it: wall clock for stamps, monotonic for spans."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Clock(Protocol):
    """Three views of time; a wall clock may step, a monotonic one never does."""

    def now_us(self) -> int:
        """UTC, microseconds since 1970."""
        ...

    def monotonic(self) -> float:
        """Seconds since an arbitrary start; only differences mean something."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass."""
        ...


class SystemClock:
    """This machine's time; a wall clock of the caller's own may be given."""

    def __init__(self, now: Callable[[], datetime] | None = None) -> None:
        self._now = now

    def now_us(self) -> int:
        """UTC, microseconds since 1970."""
        return time.time_ns() // 1000 if self._now is None else (self._now() - _EPOCH) // timedelta(microseconds=1)

    def monotonic(self) -> float:
        """Seconds since an arbitrary start."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Let `seconds` pass without blocking others."""
        await asyncio.sleep(seconds)
