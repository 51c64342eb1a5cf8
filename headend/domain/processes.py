"""When a process of the service counts as alive, as late, as gone: from its heartbeats in the store. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

BEAT_S: Final = 5.0
"""A process says so often that it lives."""
LATE: Final = timedelta(seconds=20)
"""Silent for longer: something holds it, or the way to the database."""
GONE: Final = timedelta(seconds=60)
"""Silent for longer: nobody counts on it."""
FORGOTTEN: Final = timedelta(days=1)
"""Silent for longer: not shown any more, once others have its roles."""

Fact = int | float | str | bool | None
"""What a role says of itself, by name; units are in the names."""


class ProcessState(StrEnum):
    """Whether a process is there, as far as its heartbeats tell."""

    UP = "up"
    LATE = "late"
    GONE = "gone"
    """Silent, without having said goodbye."""
    STOPPED = "stopped"
    """Somebody stopped it."""


class RoleState(StrEnum):
    """How a role within a process is doing."""

    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    """It failed, and is started again after a pause."""
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleHealth:
    """One role of one process."""

    state: RoleState
    since_at: datetime
    """Since when it is in this state."""
    restarts: int
    """How often it failed since the process began."""
    error: str | None
    """What it failed with last."""
    failed_at: datetime | None
    facts: Mapping[str, Fact] = field(default_factory=dict)
    """What it says of itself now; nothing while it does not run."""


def process_state(beat_at: datetime, stopped_at: datetime | None, now: datetime) -> ProcessState:
    """A process as of its last heartbeat."""
    if stopped_at is not None:
        return ProcessState.STOPPED
    silent = now - beat_at
    return ProcessState.GONE if silent > GONE else ProcessState.LATE if silent > LATE else ProcessState.UP
