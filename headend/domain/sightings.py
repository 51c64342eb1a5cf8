"""What a sighting by the engine means for the cases there are: the same one, a new one, or one that was rejected.

The rule it keeps: one concern of one meter is one case as long as its windows overlap; a person's verdict stands until
there is clearly more to go by.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Any, Final

from headend.domain.cases import LIVE, CaseState

STRONGER_ODDS: Final = 10.0
"""A rejected case comes back when the odds of its confidence are so many times what they were when it was rejected …"""
STRONGER_ENERGY: Final = 2.0
"""… or when the least energy at stake is so many times the most that was at stake then."""
_SURE: Final = 1e-6
"""Confidences nearer to 0 or 1 say nothing more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Strength:
    """How strongly something is found."""

    confidence: float
    """0..1."""
    energy_low_wh: float
    energy_high_wh: float
    """Ends of the 90 % interval of what is at stake over the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sighting:
    """What the engine found in one window."""

    kind: str
    strength: Strength
    first: date
    """First local day of the window."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownCase:
    """A case about the same concern."""

    finding_id: int
    state: CaseState
    kind: str
    strength: Strength
    """When it was seen last; of a rejected one: when it was rejected."""
    window_to: date
    """Last local day of the window in which it was seen last."""
    verdict: str | None
    """`confirmed`, `rejected`; None: nobody judged it, or the judgement was taken back."""
    repaired_on: date | None = None

    @classmethod
    def of_row(cls, row: Mapping[str, Any]) -> KnownCase:
        """From a row of the table finding."""
        return cls(
            finding_id=row["finding_id"],
            state=CaseState(row["state"]),
            kind=row["kind"],
            strength=Strength(
                confidence=row["confidence"],
                energy_low_wh=row["energy_low_wh"],
                energy_high_wh=row["energy_high_wh"],
            ),
            window_to=row["window_to"],
            verdict=row["verdict"],
            repaired_on=row["repaired_on"],
        )


class Meaning(StrEnum):
    """What a sighting is."""

    SEEN_AGAIN = "seen_again"
    RETURNED = "returned"
    """Of a case that was closed because no run saw it, in days that were looked at then already."""
    STAYS_REJECTED = "stays_rejected"
    NEW = "new"


@dataclass(frozen=True, slots=True)
class Answer:
    """What to do with a sighting."""

    meaning: Meaning
    case: KnownCase | None = None
    """Which it belongs to; of a new one: the one before it, which may be live yet: what was repaired is over now."""
    why: str = "first"
    """Of a new one: `first`, `stronger` (than what was rejected), `returned` (after it was confirmed and gone),
    `later` (nothing of what was rejected is looked at any more)."""


def meaning_of(sighting: Sighting, known: Mapping[CaseState, KnownCase]) -> Answer:
    """What a sighting means; `known`: of each state the latest case about the same concern."""
    live = next((case for state, case in known.items() if state in LIVE), None)
    if live is not None:
        back = live.repaired_on is not None and is_over(live, sighting.first)
        return Answer(Meaning.NEW, live, "returned") if back else Answer(Meaning.SEEN_AGAIN, live)
    if not known:
        return Answer(Meaning.NEW)
    latest = max(known.values(), key=lambda case: case.finding_id)
    overlaps = latest.window_to >= sighting.first
    if latest.state is CaseState.REJECTED:
        if overlaps and not clearly_stronger(sighting.strength, latest.strength):
            return Answer(Meaning.STAYS_REJECTED, latest)
        return Answer(Meaning.NEW, latest, "stronger" if overlaps else "later")
    if overlaps and latest.verdict is None:
        return Answer(Meaning.RETURNED, latest)
    return Answer(Meaning.NEW, latest, "returned")


def clearly_stronger(now: Strength, then: Strength) -> bool:
    """Whether there is clearly more to go by than there was."""
    if _log_odds(now.confidence) - _log_odds(then.confidence) >= math.log(STRONGER_ODDS):
        return True
    straddles = now.energy_low_wh <= 0 <= now.energy_high_wh
    least = 0.0 if straddles else min(abs(now.energy_low_wh), abs(now.energy_high_wh))
    return least > STRONGER_ENERGY * max(abs(then.energy_low_wh), abs(then.energy_high_wh))


def is_over(case: KnownCase, first: date) -> bool:
    """Whether a live case that a run from `first` on did not see is over.

    What a crew has inspected waits for its verdict. What was confirmed is over once nothing is looked at any more from
    before its repair, or, where no repair was noted, from when it was seen.
    """
    if case.state is CaseState.CONFIRMED:
        return first > (case.repaired_on or case.window_to)
    return case.state in (CaseState.OPEN, CaseState.ASSIGNED)


def _log_odds(confidence: float) -> float:
    kept = min(max(confidence, _SURE), 1 - _SURE)
    return math.log(kept / (1 - kept))
