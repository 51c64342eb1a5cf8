"""Which area is settled next: running days before older ones, history by its share, and what fails is put aside.

Plain bookkeeping of one worker; what waits stands in the store.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

_HISTORY_SHARE: Final = 0.25
"""Of the time, while both wait."""
_CREDIT_S: Final = 10.0
"""Neither gets more ahead of its share than this [s]: what was not used while nothing waited is not made up for."""
_FIRST_PAUSE: Final = timedelta(seconds=1)
_MOST_PAUSE: Final = timedelta(minutes=5)


class Age(StrEnum):
    """Of the days that a pass settles."""

    RUNNING = "running"
    """Yesterday and today."""
    OLDER = "older"


class Turns:
    """Whose turn it is, and which areas were found waiting the last time that the store was asked."""

    def __init__(self) -> None:
        self._owed_s = 0.0
        """Time that older days have yet to get; negative: that they had in advance."""
        self._found: dict[Age, deque[int]] = {age: deque() for age in Age}

    def order(self) -> tuple[Age, Age]:
        """Which age goes first; the other one where nothing of it is ripe."""
        return (Age.OLDER, Age.RUNNING) if self._owed_s > 0 else (Age.RUNNING, Age.OLDER)

    def spent(self, age: Age, seconds: float) -> None:
        """Note a pass."""
        owed = -seconds if age is Age.OLDER else seconds * _HISTORY_SHARE / (1 - _HISTORY_SHARE)
        self._owed_s = min(max(self._owed_s + owed, -_CREDIT_S), _CREDIT_S)

    def waiting(self, age: Age, ask: Callable[[], Sequence[int]]) -> Iterator[int]:
        """Areas to try: what is left of those found the last time, then, asked once, those that wait now."""
        found = self._found[age]
        while found:
            yield found.popleft()
        found.extend(ask())
        while found:
            yield found.popleft()


class PutAside:
    """Areas that could not be settled, each for a pause that doubles from time to time."""

    def __init__(self) -> None:
        self._until: dict[int, tuple[datetime, timedelta]] = {}

    def __len__(self) -> int:
        return len(self._until)

    def holds(self, area_id: int, now: datetime) -> bool:
        """Whether its pause is not over."""
        found = self._until.get(area_id)
        return found is not None and now < found[0] <= now + _MOST_PAUSE

    def put(self, area_id: int, now: datetime) -> timedelta:
        """It failed; returns how long it is left alone."""
        _, before = self._until.get(area_id, (now, _FIRST_PAUSE / 2))
        pause = min(2 * before, _MOST_PAUSE)
        self._until[area_id] = now + pause, pause
        return pause

    def forgive(self, area_id: int) -> None:
        """It was settled, or has nothing left to settle."""
        self._until.pop(area_id, None)
