"""What settlement goes by: the configured section turned into the rules of the pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from zoneinfo import ZoneInfo

from headend.domain.calendar import US_PER_S, LocalCalendar
from headend.settings import Settlement
from reconciliation.balance import Limits
from reconciliation.registers import GridRules
from reconciliation.uncertainty import Accuracy
from reconciliation.validation import Thresholds

REFERENCE_SPAN_DAYS: Final = 28
"""How far back the reference days of an estimate may lie."""
LONGEST_GAP_DAYS: Final = 400
"""A gap that is longer is not spread at all."""
STALE_START_DAYS: Final = 62
"""A start register noted longer before the first reading than this is not spread: what was used before is not ours to
date.
"""
DEFAULT_CURRENT_A: Final = 100.0
"""Assumed of a connection of which nothing is known [A]; only what cannot be at all is refused by it."""
SKEW_S: Final = 10.0
"""A register may seem to fall by what flows in so many seconds: clocks differ."""


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that decides a settled day besides readings and topology."""

    calendar: LocalCalendar
    grid: GridRules
    coverage: float
    high_loss_rate: float
    negative_loss_rate: float
    thresholds: Thresholds = field(default_factory=Thresholds)
    accuracy: Accuracy = field(default_factory=Accuracy)

    @classmethod
    def of(cls, settings: Settlement) -> Rules:
        """The rules that a configuration asks for."""
        return cls(
            LocalCalendar(ZoneInfo(settings.zone), settings.interval_s),
            GridRules(tolerance_us=settings.tolerance_s * US_PER_S, line_gap_us=settings.line_gap_s * US_PER_S),
            settings.coverage_limit,
            settings.high_loss_rate,
            settings.negative_loss_rate,
        )

    def limits(self, high_loss_rate: float | None, negative_loss_rate: float | None) -> Limits:
        """An area's limits: its own, else the configured ones."""
        return Limits(
            high_loss_rate=self.high_loss_rate if high_loss_rate is None else high_loss_rate,
            negative_loss_rate=self.negative_loss_rate if negative_loss_rate is None else negative_loss_rate,
            coverage=self.coverage,
        )
