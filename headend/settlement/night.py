"""What explaining stations came to: counts that add up over pieces and workers.

The rule it keeps: what was left, what failed and what could not be told is counted too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from headend.settlement.stations import Explained


@dataclass(slots=True)
class Cost:
    """Processor time of some areas; adds up."""

    seconds: float = 0.0
    meters: int = 0
    areas: int = 0

    def of_100_meters(self) -> float | None:
        """Seconds; None: no meter was looked at."""
        return 100 * self.seconds / self.meters if self.meters else None

    def add(self, other: Cost) -> None:
        """Count another one in."""
        self.seconds += other.seconds
        self.meters += other.meters
        self.areas += other.areas


@dataclass(slots=True)
class Night:
    """What was explained, and what came of it; adds up."""

    stations: int = 0
    explained: int = 0
    """Areas in which screening saw something."""
    quiet: Cost = field(default_factory=Cost)
    """Areas without an alarm."""
    alarmed: Cost = field(default_factory=Cost)
    """Areas with one."""
    causes: Counter[str] = field(default_factory=Counter)
    """Areas by their most probable cause."""
    opened: Counter[str] = field(default_factory=Counter)
    """New findings by kind."""
    closed: Counter[str] = field(default_factory=Counter)
    """Findings that the engine took back, by kind."""
    untold: Counter[str] = field(default_factory=Counter)
    """Areas by what could not be told of them (LimitCode)."""
    left: dict[str, str] = field(default_factory=dict)
    """Why a station, by its code, was left as it is."""
    failed: dict[str, str] = field(default_factory=dict)
    """Why a station could not be explained."""
    stopped: bool = False
    """Told to stop before all was done."""

    @property
    def areas(self) -> int:
        """Areas that were screened."""
        return self.quiet.areas + self.alarmed.areas

    def add(self, other: Night) -> None:
        """Count another one in."""
        self.stations += other.stations
        self.explained += other.explained
        self.quiet.add(other.quiet)
        self.alarmed.add(other.alarmed)
        for name in ("causes", "opened", "closed", "untold"):
            getattr(self, name).update(getattr(other, name))
        self.left.update(other.left)
        self.failed.update(other.failed)
        self.stopped |= other.stopped


def night_of(explained: Explained) -> Night:
    """What one station came to."""
    night = Night(stations=1, explained=len(explained.answer.explained))
    for settled in explained.given.windows:
        report = explained.answer.reports[settled.area]
        cost = Cost(explained.answer.cpu_s[settled.area], settled.window.n_meters, 1)
        (night.alarmed if report.alarm else night.quiet).add(cost)
        night.causes[report.cause.value] += 1
        night.untold.update(limit.code.value for limit in report.limits)
    night.opened.update(explained.kept.opened)
    night.closed.update(explained.kept.closed)
    return night
