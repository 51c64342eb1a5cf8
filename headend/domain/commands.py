"""Commands to meters: what can be asked for, the states of its life, and what is asked, checked when it is made."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from uuid import UUID

NOW: Final = "now"
"""The wanted state of a clock: as late as ours."""
MOST_TTL_S: Final = 3600
"""Longest time-to-live: who wants a relay opened tomorrow asks tomorrow."""
MOST_TEXT: Final = 500
MOST_NAME: Final = 100


class CommandKind(StrEnum):
    """What is changed at the meter."""

    RELAY = "relay"
    CLOCK = "clock"
    TARIFF = "tariff"


WANTED: Final[dict[CommandKind, tuple[str, ...]]] = {
    CommandKind.RELAY: ("open", "closed"),
    CommandKind.CLOCK: (NOW,),
    CommandKind.TARIFF: tuple(str(n) for n in range(1, 9)),
}
"""The states that can be wanted of each kind."""


class CommandState(StrEnum):
    """Where a command is in its life."""

    QUEUED = "queued"
    TAKEN = "taken"
    """Whoever owns the bus has it; nothing was written."""
    SENT = "sent"
    """It may have been written; nobody writes it any more."""
    CONFIRMED = "confirmed"
    """The state read back from the meter is the wanted one."""
    UNCONFIRMED = "unconfirmed"
    """It may have been written, and the state read back is another one, or could not be read in time."""
    REFUSED = "refused"
    """By the meter, by what its model can do, or by what is allowed."""
    EXPIRED = "expired"
    """Its time was over before it was written, or a later one of its kind came first; it never will be."""

    @property
    def done(self) -> bool:
        """Whether it will not change any more."""
        return self not in (CommandState.QUEUED, CommandState.TAKEN, CommandState.SENT)


class CommandStep(StrEnum):
    """What is put down of a command's life, each with its instant."""

    REQUESTED = "requested"
    TAKEN = "taken"
    FOUND = "found"
    """Read before anything was written."""
    GIVEN_BACK = "given_back"
    SENT = "sent"
    """Committed just before the write."""
    WRITTEN = "written"
    """What the meter answered to the write, or that it did not."""
    NOT_WRITTEN = "not_written"
    """It was too late to write after `sent` had been committed."""
    READ_BACK = "read_back"
    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    REFUSED = "refused"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What somebody wants of one meter. Raises ValueError naming the field that is wrong."""

    command_id: UUID
    """Made by the caller: the same order sent again changes nothing."""
    kind: CommandKind
    wanted: str
    requested_by: str
    reason: str
    note: str = ""
    ttl_s: int
    """Never executed later than so long after the request was accepted."""
    across_intervals: bool = False
    """Of a clock: may be set over instants of the interval grid; the intervals between are spoilt in the meter."""
    automatic: bool = False
    """By policy, not by a person."""

    def __post_init__(self) -> None:
        if self.wanted not in WANTED[self.kind]:
            raise ValueError(f"wanted: {self.wanted!r} is none of {', '.join(WANTED[self.kind])}")
        if not 1 <= self.ttl_s <= MOST_TTL_S:
            raise ValueError(f"ttl_s: {self.ttl_s} is not within 1 to {MOST_TTL_S} seconds")
        if self.across_intervals and self.kind is not CommandKind.CLOCK:
            raise ValueError("across_intervals: has a meaning only for kind clock")
        for name, value, most in (
            ("requested_by", self.requested_by, MOST_NAME),
            ("reason", self.reason, MOST_TEXT),
            ("note", self.note, MOST_TEXT),
        ):
            if name != "note" and not value.strip():
                raise ValueError(f"{name}: is required")
            if len(value) > most or not _printable(value):
                raise ValueError(f"{name}: wanted at most {most} printable characters")


def _printable(text: str) -> bool:
    """Whether the database and a page can show it; a note may have several lines."""
    return all(c.isprintable() or c in "\r\n\t" for c in text)
