"""One thing that has to be done from time to time, so that nobody has to remember it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Chore:
    """Something to do; doing it twice, or a while later, does no harm."""

    name: str
    """Machine word: in logs, metrics and the lock that keeps two processes from doing it at once."""
    every_s: float
    do: Callable[[], None]
    """Runs in a thread, in transactions of its own. Raises StoreError: tried again after `upkeep.check_s`."""
