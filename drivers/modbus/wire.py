"""The link with what every question on it needs: a connection, rest between frames, and what may still come late.

One question at a time; whoever asks holds the bus. Nothing is retried here.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable
from typing import Final

from drivers.errors import ConnectionFailed, DeviceException, MalformedResponse, ResponseTimeout
from drivers.modbus.bus_settings import BusSettings, BusStats
from drivers.modbus.clock import Clock
from drivers.modbus.link import Answer, Link
from drivers.modbus.shapes import Shape, ShapesAsked, Words, exception_to

_MULTIPLE: Final = 16
_MOST_DOUBLINGS: Final = 16


class Wire:
    """One connection, used with care."""

    def __init__(self, link: Link, settings: BusSettings, clock: Clock, jitter: random.Random, stats: BusStats) -> None:
        self._link = link
        self._settings = settings
        self._clock = clock
        self._jitter = jitter
        self._stats = stats
        self._shapes = ShapesAsked(settings.late_s)
        self._silent = 0
        self._failed_connects = 0
        self._connect_again_at = float("-inf")
        self._quiet_until = float("-inf")
        self._gateway_busy_until = float("-inf")
        self.doubtful = False
        """Whether the last answer may be an earlier one that came a second time."""

    @property
    def peer(self) -> str:
        """How a person would look for it."""
        return self._link.peer

    @property
    def numbered(self) -> bool:
        """Whether an answer tells its question by number."""
        return self._link.numbered

    @property
    def connected(self) -> bool:
        """Whether a question would leave without a new connection."""
        return self._link.connected

    def down_s(self) -> float:
        """How long until the next attempt to connect, after one that failed."""
        return max(0.0, self._connect_again_at - self._clock.monotonic())

    def gateway_busy_s(self) -> float:
        """How long the gateway may still wait for an answer that we have given up; it asks one question at a time.

        A question put meanwhile waits so much longer: a dead meter's neighbours do not pay for it.
        """
        return max(0.0, self._gateway_busy_until - self._clock.monotonic())

    def wait_s(self, shape: Shape) -> float:
        """How long until a question of this shape cannot be answered by an unknown answer to an earlier one."""
        return 0.0 if self._link.numbered else self._shapes.wait_s(shape, self._clock.monotonic())

    def clear(self, shape: Shape) -> bool:
        """Whether a question of this shape can be answered by no answer to an earlier one, not even one come again."""
        return self._link.numbered or self._shapes.clear(shape, self._clock.monotonic())

    async def read(
        self, unit: int, function: int, address: int, count: int, timeout_s: float, *, silence_expected: bool = False
    ) -> Answer:
        """One question; see `Link.read`. Where silence is expected, it says nothing about the connection."""
        await self._ready()
        question = self._link.read(unit=unit, function=function, address=address, count=count, timeout_s=timeout_s)
        return await self._exchange(question, (unit, function, count), silence_expected)

    async def write(self, unit: int, function: int, address: int, words: tuple[int, ...], timeout_s: float) -> Answer:
        """One write; see `Link.write`."""
        await self._ready()
        question = self._link.write(unit=unit, function=function, address=address, words=words, timeout_s=timeout_s)
        return await self._exchange(question, write_shape(unit, function, address, words), False, echoes=True)

    async def close(self) -> None:
        """Give the connection up; the next question makes it anew."""
        await self._link.close()
        self._silent = 0

    async def _exchange(
        self, question: Awaitable[Answer], shape: Shape, silence_expected: bool, *, echoes: bool = False
    ) -> Answer:
        self._stats.requests += 1
        asked_at = self._clock.monotonic()
        heard, answered, given_up, words = False, False, True, None
        try:
            answer = await question
            heard = answered = True
            words = None if echoes else answer.words  # the echo of a write says the same of every write like it
        except ResponseTimeout:
            self._stats.timeouts += 1
            self._silent += not silence_expected
            if self._silent >= self._settings.reconnect_after:
                await self.close()
            raise
        except MalformedResponse:
            given_up = False
            self._stats.malformed += 1
            raise
        except ConnectionFailed:
            given_up = False
            self._stats.connections_lost += 1
            raise
        except DeviceException:
            heard = True
            self._stats.exceptions += 1
            raise
        finally:
            now = self._clock.monotonic()
            self._quiet_until = now + self._settings.inter_frame_s
            if heard:
                self._silent = 0
                self._gateway_busy_until = float("-inf")
                self._quiet_until = now + max(self._settings.inter_frame_s, self._settings.turnaround_s)
            elif given_up:
                self._gateway_busy_until = max(self._gateway_busy_until, asked_at) + self._settings.timeout_s
            if not self._link.numbered:
                self._note(shape, words, now)
                if not answered:
                    self._shapes.ended(exception_to(shape), now)
        return answer

    def _note(self, shape: Shape, words: Words | None, now: float) -> None:
        """What may still come for this shape: this answer again, or nobody knows what (`words` None)."""
        self.doubtful = words is not None and self._shapes.may_be_again(shape, words, now)
        self._stats.doubted += self.doubtful
        self._shapes.ended(shape, now, None if self.doubtful else words)

    async def _ready(self) -> None:
        if not self._link.connected:
            await self._connect()
        rest_s = self._quiet_until - self._clock.monotonic()
        if rest_s > 0:
            await self._clock.sleep(rest_s)

    async def _connect(self) -> None:
        """Be connected, or raise `ConnectionFailed` at once while the last failure is recent."""
        if (wait_s := self.down_s()) > 0:
            raise ConnectionFailed(f"down; the next attempt is in {wait_s:.1f} s", peer=self.peer)
        try:
            await self._link.connect(self._settings.connect_timeout_s)
        except ConnectionFailed:
            self._stats.connect_failures += 1
            rest_s = self._settings.backoff_s * 2 ** min(self._failed_connects, _MOST_DOUBLINGS)
            self._failed_connects += 1
            rest_s = min(self._settings.backoff_max_s, rest_s) * self._jitter.uniform(0.5, 1.0)
            self._connect_again_at = self._clock.monotonic() + rest_s
            raise
        self._stats.connects += 1
        self._failed_connects = 0
        self._silent = 0


def write_shape(unit: int, function: int, address: int, words: tuple[int, ...]) -> Shape:
    """What the echo of a write repeats: the value of a single one, the number of several."""
    return (unit, function, address, len(words) if function == _MULTIPLE else words[0])
