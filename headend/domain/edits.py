"""Edits: what a person may say of a usage point's energy, checked when it is made.

The rule it keeps: an edit has a name and a reason, and is never deleted; undoing it is said with name and reason too.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from headend.domain.calendar import EARLIEST, LATEST, US_PER_S, LocalCalendar, to_us

MOST_NAME: Final = 100
MOST_REASON: Final = 500
MOST_INTERVALS: Final = 9_000
"""A month of the finest grid: who edits more does not edit, but wants another meter."""
MOST_WH: Final = 2**31 - 1
"""In one interval: what the store holds, and more than any low-voltage network carries."""
MOST_TOTAL_WH: Final = 10**12
_MINUTE: Final = timedelta(minutes=1)


class EditKind(StrEnum):
    """What an edit says."""

    VALUES = "values"
    """The energy of a stretch of whole intervals."""
    READINGS = "readings"
    """Register readings that are not believed: left out as though they had not come."""


class EditState(StrEnum):
    """How an edit stands now."""

    HOLDS = "holds"
    DOES_NOT_HOLD = "does_not_hold"
    """Registers, or edits before it, contradict it: everything is as it was without it."""
    OVERLAID = "overlaid"
    """Newer edits cover all of its intervals."""
    WAITING = "waiting"
    """Its days have not been settled since it was made."""
    UNDONE = "undone"


class Direction(StrEnum):
    """Which of a usage point's energies."""

    IMPORT = "import"
    EXPORT = "export"


@dataclass(frozen=True, slots=True, kw_only=True)
class EditOrder:
    """What somebody wants changed at one usage point. Raises ValueError naming the field that is wrong."""

    edit_id: UUID
    """Made by the caller: the same edit sent again changes nothing."""
    kind: EditKind
    start: datetime
    end: datetime
    """Of values: not included; of readings: included."""
    by: str
    reason: str
    direction: Direction = Direction.IMPORT
    energies_wh: tuple[int, ...] | None = None
    """One an interval; None: a total."""
    total_wh: int | None = None
    """Spread by the shape that is there."""
    meter: tuple[str, str] | None = None
    """(manufacturer, serial) whose readings are set aside."""

    def __post_init__(self) -> None:
        for name, value, most in (("by", self.by, MOST_NAME), ("reason", self.reason, MOST_REASON)):
            check_words(name, value, most)
        for name, at in (("from", self.start), ("to", self.end)):
            if not EARLIEST <= at <= LATEST:
                raise ValueError(f"{name}: {at.isoformat()} is not within {EARLIEST.year} to {LATEST.year}")
        if self.kind is EditKind.READINGS:
            if self.meter is None:
                raise ValueError("meter: is required: whose readings are set aside")
            if self.energies_wh is not None or self.total_wh is not None:
                raise ValueError("energies_wh: readings are set aside without a value; settle what is left first")
            if self.end < self.start:
                raise ValueError(f"to: {self.end.isoformat()} is before `from`, {self.start.isoformat()}")
            return
        if self.meter is not None:
            raise ValueError("meter: values belong to the usage point, whichever meter served")
        if (self.energies_wh is None) == (self.total_wh is None):
            raise ValueError("energies_wh: give either the energies or a total_wh")
        if self.end <= self.start:
            raise ValueError(f"to: {self.end.isoformat()} is not after `from`, {self.start.isoformat()}")
        for name, given, most in (
            ("energies_wh", self.energies_wh or (), MOST_WH),
            ("total_wh", (self.total_wh or 0,), MOST_TOTAL_WH),
        ):
            wrong = next((v for v in given if not 0 <= v <= most), None)
            if wrong is not None:
                raise ValueError(f"{name}: {wrong} is not within 0 to {most} Wh")

    def intervals(self, calendar: LocalCalendar) -> int:
        """How many intervals of the local days' grid it covers. Raises ValueError where it does not lie on the grid."""
        step = timedelta(seconds=calendar.interval_s)
        for name, at in (("from", self.start), ("to", self.end)):
            midnight = calendar.bounds(calendar.day_of(at))[0]
            if (to_us(at) - to_us(midnight)) % (calendar.interval_s * US_PER_S):
                raise ValueError(f"{name}: {at.isoformat()} does not lie on the grid of {step // _MINUTE} minutes")
        count = (self.end - self.start) // step
        if count > MOST_INTERVALS:
            raise ValueError(f"to: {count} intervals at once; at most {MOST_INTERVALS}")
        if self.energies_wh is not None and len(self.energies_wh) != count:
            raise ValueError(f"energies_wh: {len(self.energies_wh)} values for {count} intervals")
        return count


def check_words(name: str, value: str, most: int) -> None:
    """A name or a reason: there, not too long, printable. Raises ValueError."""
    if not value.strip():
        raise ValueError(f"{name}: is required")
    if len(value) > most or not all(c.isprintable() or c in "\r\n\t" for c in value):
        raise ValueError(f"{name}: wanted at most {most} printable characters")
