"""What settlement goes by: the configured section turned into the rules of the pure functions."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from typing import Final
from zoneinfo import ZoneInfo

from headend.domain.calendar import US_PER_S, LocalCalendar
from headend.settings import Settlement, Validation
from headend.settings.sections import Accuracy as AccuracySettings
from headend.settlement.rulebook import Rulebook, RuleSet, everything
from reconciliation.cleaning import Plausible
from reconciliation.day_balance import Limits
from reconciliation.registers import GridRules
from reconciliation.uncertainty import Accuracy, SigmaRule

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


@dataclass(frozen=True, slots=True)
class WorkingDays:
    """Which days are used like a weekend, and which like a working day."""

    holidays: frozenset[date] = frozenset()
    worked: frozenset[date] = frozenset()
    """Saturdays and Sundays that are worked."""

    def free(self, day: date) -> bool:
        """Whether nobody works that day, as a rule."""
        return (day.weekday() >= 5 or day in self.holidays) and day not in self.worked


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything that decides a settled day besides readings and topology."""

    calendar: LocalCalendar
    grid: GridRules
    coverage: float
    high_loss_rate: float
    negative_loss_rate: float
    book: Rulebook = field(default_factory=lambda: Rulebook(Validation()))
    """Validation rules."""
    plausible: Plausible = field(default_factory=Plausible)
    """What a register may do."""
    rule_set: RuleSet = field(default_factory=lambda: everything(Rulebook(Validation()), GridRules()))
    """All that judges and estimates, as the document that settled days name."""
    accuracy: Accuracy = field(default_factory=Accuracy)
    sigmas: float = 3.0
    working: WorkingDays = field(default_factory=WorkingDays)

    @classmethod
    def of(cls, settings: Settlement, validation: Validation | None = None) -> Rules:
        """The rules that a configuration asks for; without `validation` those that are delivered."""
        grid = GridRules(tolerance_us=settings.tolerance_s * US_PER_S, line_gap_us=settings.line_gap_s * US_PER_S)
        book = Rulebook(validation or Validation())
        working = WorkingDays(frozenset(settings.holidays), frozenset(settings.working_days))
        return cls(
            LocalCalendar(ZoneInfo(settings.zone), settings.interval_s),
            grid,
            settings.coverage_limit,
            settings.high_loss_rate,
            settings.negative_loss_rate,
            book=book,
            plausible=Plausible(**book.settings.register_decreased.model_dump()),
            rule_set=everything(book, grid, working.holidays, working.worked),
            accuracy=accuracy_of(settings.accuracy),
            sigmas=settings.high_loss_sigmas,
            working=working,
        )

    def limits(self, high_loss_rate: float | None, negative_loss_rate: float | None) -> Limits:
        """An area's limits: its own, else the configured ones."""
        return Limits(
            high_loss_rate=self.high_loss_rate if high_loss_rate is None else high_loss_rate,
            negative_loss_rate=self.negative_loss_rate if negative_loss_rate is None else negative_loss_rate,
            coverage=self.coverage,
            sigmas=self.sigmas,
        )


def accuracy_of(settings: AccuracySettings) -> Accuracy:
    """The configured accuracy of meters, as the pure functions take it."""
    return Accuracy(**settings.model_dump(exclude={"sigma_rule"}), sigma_rule=SigmaRule(settings.sigma_rule))
