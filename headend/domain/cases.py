"""Cases: the life of a finding from the first night it is seen to a person's verdict or its disappearance.

The rule it keeps: a verdict is passed on what somebody saw, has a name and a reason, and is never overwritten.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final, Self
from uuid import UUID

from headend.domain.calendar import EARLIEST, LATEST
from headend.domain.edits import MOST_NAME, MOST_REASON, check_words

MOST_PHOTOS: Final = 20
MOST_PHOTO: Final = 300
MOST_SEEN: Final = 2_000
MOST_SEAL: Final = 100
MOST_REGISTER_WH: Final = 10**15


class CaseState(StrEnum):
    """How a case stands."""

    OPEN = "open"
    ASSIGNED = "assigned"
    INSPECTED = "inspected"
    """Somebody was there and said what he saw; the engine takes nothing back any more."""
    CONFIRMED = "confirmed"
    """It is what it claims; waits for its repair, and for a window without it."""
    REJECTED = "rejected"
    CLOSED = "closed"
    """No run sees it any more."""


LIVE: Final = frozenset({CaseState.OPEN, CaseState.ASSIGNED, CaseState.INSPECTED, CaseState.CONFIRMED})
"""States of which there is one case at most of each concern."""


class Move(StrEnum):
    """What a person does to a case."""

    ASSIGN = "assign"
    INSPECT = "inspect"
    CONFIRM = "confirm"
    REJECT = "reject"
    REPAIR = "repair"
    """What was confirmed has been put right."""
    REOPEN = "reopen"


class EngineMove(StrEnum):
    """What becomes of a case by what the engine sees."""

    OPENED = "opened"
    RETURNED = "returned"
    """Closed not long ago, and seen again: the same case."""
    KIND_CHANGED = "kind_changed"
    CLOSED = "closed"
    MERGED = "merged"
    """By a migration: two cases of one concern."""


_MOVES: Final[Mapping[Move, tuple[frozenset[CaseState], CaseState]]] = {
    Move.ASSIGN: (frozenset({CaseState.OPEN, CaseState.ASSIGNED, CaseState.INSPECTED}), CaseState.ASSIGNED),
    Move.INSPECT: (frozenset({CaseState.OPEN, CaseState.ASSIGNED, CaseState.INSPECTED}), CaseState.INSPECTED),
    Move.CONFIRM: (frozenset({CaseState.INSPECTED}), CaseState.CONFIRMED),
    Move.REJECT: (frozenset({CaseState.INSPECTED}), CaseState.REJECTED),
    Move.REPAIR: (frozenset({CaseState.CONFIRMED}), CaseState.CONFIRMED),
    Move.REOPEN: (frozenset({CaseState.CONFIRMED, CaseState.REJECTED, CaseState.CLOSED}), CaseState.OPEN),
}
"""Move → the states from which it is possible, and the one it leads to."""

_WAY_ON: Final[Mapping[CaseState, str]] = {
    CaseState.OPEN: "say first what was seen (inspect), or give it to somebody (assign)",
    CaseState.ASSIGNED: "say first what was seen (inspect)",
    CaseState.INSPECTED: "it waits for a verdict: confirm or reject it",
    CaseState.CONFIRMED: "note its repair, or reopen it if that was a mistake",
    CaseState.REJECTED: "reopen it if that was a mistake",
    CaseState.CLOSED: "no run sees it any more; reopen it if you know better",
}


class MoveForbidden(Exception):
    """A case is not in a state from which that can be done."""

    def __init__(self, move: Move, state: CaseState) -> None:
        wanted = " or ".join(s.value for s in CaseState if s in _MOVES[move][0])
        super().__init__(
            f"{move.value} is possible while a case is {wanted}; this one is {state.value}: {_WAY_ON[state]}"
        )
        self.move = move
        self.state = state


def state_after(state: CaseState, move: Move, cause: SeenCause | None = None) -> CaseState:
    """The state that a person's move leads to; `cause`: of an inspection. Who was not let in saw nothing: the case
    stays as it is. Raises MoveForbidden.
    """
    possible, leads_to = _MOVES[move]
    if state not in possible:
        raise MoveForbidden(move, state)
    return state if cause is SeenCause.NO_ACCESS else leads_to


def moves_from(state: CaseState) -> tuple[Move, ...]:
    """What can be done to a case as it stands."""
    return tuple(move for move, (possible, _) in _MOVES.items() if state in possible)


_READING: Final = frozenset({"under_registering", "stuck", "wrong_multiplier", "reversed_polarity"})
_DATA: Final = frozenset({"missing_data", "prolonged_estimation"})


def concern(kind: str, *, of_a_meter: bool) -> str:
    """What a finding is about, whatever its kind: one case an area, meter and concern.

    Whether a meter stands still or counts too little is one question, and so is a lack of its data. Where it hangs,
    whether its clock is right, and what is wrong with an area as a whole are questions of their own. The generated
    column finding.concern says the same.
    """
    if of_a_meter:
        return "reading" if kind in _READING else "data" if kind in _DATA else kind
    return kind


class SeenCause(StrEnum):
    """What somebody found on site."""

    BYPASS = "bypass"
    METER_TAMPERED = "meter_tampered"
    METER_STOPPED = "meter_stopped"
    METER_INACCURATE = "meter_inaccurate"
    PHASE_MISSING = "phase_missing"
    WRONG_RATIO = "wrong_ratio"
    WRONG_WIRING = "wrong_wiring"
    OTHER_AREA = "other_area"
    DIRECT_TAP = "direct_tap"
    UNMETERED_LOAD = "unmetered_load"
    """Known to the company, but without a meter."""
    AREA_METER = "area_meter"
    CLOCK_WRONG = "clock_wrong"
    COMMUNICATION = "communication"
    VACANT = "vacant"
    """Truly uses nothing."""
    NOTHING_FOUND = "nothing_found"
    NO_ACCESS = "no_access"
    """Nobody was let in: a visit, but nothing was seen."""
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """What a crew saw. Raises ValueError naming the field that is wrong."""

    cause: SeenCause
    visited_at: datetime
    text: str = ""
    register_wh: int | None = None
    """As displayed there."""
    seal: str | None = None
    """Its number and how it was, as found."""
    photos: tuple[str, ...] = ()
    """Where the pictures are kept: numbers or addresses."""

    def __post_init__(self) -> None:
        if not EARLIEST <= self.visited_at <= LATEST:
            raise ValueError(
                f"visited_at: {self.visited_at.isoformat()} is not within {EARLIEST.year} to {LATEST.year}"
            )
        if self.register_wh is not None and not 0 <= self.register_wh <= MOST_REGISTER_WH:
            raise ValueError(f"register_wh: {self.register_wh} is not within 0 to {MOST_REGISTER_WH} Wh")
        if len(self.photos) > MOST_PHOTOS:
            raise ValueError(f"photos: {len(self.photos)} references; at most {MOST_PHOTOS}")
        for name, said, most in (("text", self.text, MOST_SEEN), ("seal", self.seal, MOST_SEAL)):
            if said:
                check_words(name, said, most)
        for photo in self.photos:
            check_words("photos", photo, MOST_PHOTO)
        if self.cause in (SeenCause.OTHER, SeenCause.NO_ACCESS) and not self.text.strip():
            raise ValueError(f"text: is required where the cause is {self.cause.value}")

    def as_json(self) -> dict[str, Any]:
        """As it is kept."""
        return {
            "cause": self.cause.value,
            "visited_at": self.visited_at.astimezone(UTC).isoformat(),
            "text": self.text,
            "register_wh": self.register_wh,
            "seal": self.seal,
            "photos": list(self.photos),
        }

    @classmethod
    def of_json(cls, kept: Mapping[str, Any]) -> Self:
        """From what is kept. Raises ValueError, KeyError where it is none of ours."""
        return cls(
            cause=SeenCause(kept["cause"]),
            visited_at=datetime.fromisoformat(kept["visited_at"]),
            text=kept["text"],
            register_wh=kept["register_wh"],
            seal=kept["seal"],
            photos=tuple(kept["photos"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOrder:
    """What a person wants done to a case, who, and why. Raises ValueError naming the field that is wrong."""

    event_id: UUID
    """Made by the caller: the same order sent again changes nothing."""
    move: Move
    by: str
    note: str = ""
    """The reason, where one is needed."""
    assigned_to: str | None = None
    inspection: Inspection | None = None
    repaired_on: date | None = None
    """Local day from which it is put right."""

    def __post_init__(self) -> None:
        check_words("by", self.by, MOST_NAME)
        if self.note or self.move in (Move.CONFIRM, Move.REJECT, Move.REOPEN):
            check_words("note", self.note, MOST_REASON)
        if self.move is Move.ASSIGN:
            check_words("assigned_to", self.assigned_to or "", MOST_NAME)
        for name, given, wanted_by in (
            ("assigned_to", self.assigned_to, Move.ASSIGN),
            ("saw", self.inspection, Move.INSPECT),
            ("repaired_on", self.repaired_on, Move.REPAIR),
        ):
            if (given is not None) != (self.move is wanted_by):
                raise ValueError(
                    f"{name}: {'is required' if given is None else 'does not belong to ' + self.move.value}"
                )
