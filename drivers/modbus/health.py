"""How one meter of a bus is doing, for display."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class BreakerState(StrEnum):
    """Whether a meter is asked like the others."""

    CLOSED = "closed"
    """It is."""
    OPEN = "open"
    """It was silent too often and is left alone until its next probe."""
    HALF_OPEN = "half_open"
    """Its probe is due: the next visit asks it one question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterHealth:
    """What a bus has learnt of one of its meters since the process began."""

    unit: int
    state: BreakerState
    failures: int
    """Visits in a row that brought nothing."""
    since_us: int | None
    """UTC, microseconds since 1970: since when it is not closed; None while it is."""
    next_probe_us: int | None
    """When a visit may ask it again; None while it is closed."""
    last_answer_us: int | None
    """When it answered last; None: not yet."""
    response_ms: float | None
    """Smoothed response time; None: never met."""
    timeout_ms: float
    """How long a question waits for its answer now."""
    retries: int
    """Further tries that a question to it gets now."""
    successes: int
    """Questions answered."""
    timeouts: int
    """Questions not answered in time."""
    firmware: str | None
    """As it said itself when it was asked last."""
