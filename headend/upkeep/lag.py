"""Chore *lag*: how far behind each concentrator's readings are, so that pages need not look at all meters."""

from __future__ import annotations

from typing import Final

from headend.domain.clock import Clock
from headend.store import lag
from headend.store.pool import Store
from headend.upkeep.chore import Chore

EVERY_S: Final = 60.0


def lag_of_concentrators(store: Store, clock: Clock) -> Chore:
    """The chore."""

    def measure() -> None:
        with store.transaction() as connection:
            lag.measure(connection, clock())

    return Chore("lag", EVERY_S, measure)
