"""How a bus is used, and what is counted on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from drivers.errors import DriverConfigError

_POSITIVE: Final = (
    "timeout_s",
    "timeout_min_s",
    "connect_timeout_s",
    "reconnect_after",
    "backoff_s",
    "backoff_max_s",
    "breaker_backoff_s",
    "breaker_backoff_max_s",
)
_NOT_NEGATIVE: Final = ("retries", "turnaround_s", "inter_frame_s", "busy_delay_s", "late_s")


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """How one bus is used."""

    timeout_s: float = 1.0
    """Longest wait for one answer: what a meter gets before its own response time is known, and after silence.

    No less than the gateway's own time-out, or its neighbours wait behind a dead meter longer than they are given. A
    link that knows how slow its line is adds the time that the bytes themselves take.
    """
    timeout_min_s: float = 0.2
    """Shortest wait, however quickly a meter used to answer; never above `timeout_s`."""
    connect_timeout_s: float = 5.0
    retries: int = 1
    """Most further tries of one question after silence, a broken answer, a lost connection or a busy device."""
    retry_share: float = 0.5
    """A silent question is tried again only while the meter answers this share of its questions."""
    turnaround_s: float = 0.0
    """Rest between an answer and the next question; slow converters lose requests without it."""
    inter_frame_s: float = 0.0
    """Least silence on the line before a question, after a time-out too (RTU: 3.5 characters, 4 ms at 9600 baud)."""
    busy_delay_s: float = 0.2
    """Rest before asking a busy device again."""
    late_s: float = 5.0
    """How late an answer may come, or come again. On links without numbers (RTU) no question that looks alike follows
    within that time."""
    reconnect_after: int = 4
    """Time-outs in a row, of whichever meters, after which the connection is taken for dead and made anew."""
    backoff_s: float = 1.0
    """Rest after a failed connection attempt; doubles up to `backoff_max_s`, jittered to 50–100 %."""
    backoff_max_s: float = 60.0
    breaker_failures: int = 3
    """Visits in a row without any answer, while others on the bus do answer, after which a meter rests. Never 1: a
    gateway's hiccup would rest everybody behind it."""
    breaker_backoff_s: float = 60.0
    """First rest of such a meter; doubles up to `breaker_backoff_max_s`, jittered to 50–100 %."""
    breaker_backoff_max_s: float = 900.0

    def __post_init__(self) -> None:
        for name in _POSITIVE:
            if not getattr(self, name) > 0:
                raise DriverConfigError(f"{name} = {getattr(self, name)}: wanted a number greater than 0")
        for name in _NOT_NEGATIVE:
            if not getattr(self, name) >= 0:
                raise DriverConfigError(f"{name} = {getattr(self, name)}: wanted 0 or more")
        if not 0 <= self.retry_share <= 1:
            raise DriverConfigError(f"retry_share = {self.retry_share}: wanted 0..1")
        if self.breaker_failures < 2:
            raise DriverConfigError(f"breaker_failures = {self.breaker_failures}: wanted 2 or more")


@dataclass(slots=True)
class BusStats:
    """What happened on a bus since it was made; for counters that only grow."""

    requests: int = 0
    """Questions put on the bus, repeated ones included."""
    retries: int = 0
    """Repeated ones."""
    timeouts: int = 0
    malformed: int = 0
    exceptions: int = 0
    connects: int = 0
    connect_failures: int = 0
    connections_lost: int = 0
    probes: int = 0
    """Single questions to meters that rested."""
    rested: int = 0
    """Visits refused because the meter rests."""
    breakers_opened: int = 0
    refusals_found: int = 0
    """Register ranges newly remembered as refused."""
    reshaped: int = 0
    """Questions made longer so that a late answer to another one cannot fit."""
    doubted: int = 0
    """Answers with the very words of an earlier one of their shape: asked again once no copy can come any more."""
    waited_out: int = 0
    """Questions held back until no late answer could come any more."""
