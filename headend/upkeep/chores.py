"""All that is done from time to time: a line for each thing."""

from __future__ import annotations

from headend.domain.clock import Clock
from headend.settings import Settings
from headend.store.pool import Store
from headend.upkeep import categories, heartbeat, quarantine
from headend.upkeep.chore import Chore
from headend.upkeep.lag import lag_of_concentrators
from headend.upkeep.read_success import ReadSuccess
from headend.upkeep.storage import StorageChores


def chores_of(store: Store, settings: Settings, clock: Clock) -> tuple[Chore, ...]:
    """Every chore, as the settings want it."""
    return (
        Chore("read_success", settings.objectives.count_s, ReadSuccess(store, settings, clock).do),
        lag_of_concentrators(store, clock),
        heartbeat.sweeping(store, clock),
        categories.chore(store, clock),
        quarantine.chore(store, settings, clock),
        *StorageChores(store, settings, clock).chores(),
    )
