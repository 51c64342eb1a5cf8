"""All that is done from time to time: a line for each thing."""

from __future__ import annotations

from headend.domain.clock import Clock
from headend.settings import Settings
from headend.store.pool import Store
from headend.upkeep.chore import Chore


def chores_of(store: Store, settings: Settings, clock: Clock) -> tuple[Chore, ...]:  # noqa: ARG001
    """Every chore, as the settings want it."""
    return ()
