"""The way of one command through the hands of one process, as a state machine. Pure: no bus, no store, no clock.

The rules it keeps: nothing is written before the meter was looked at and `sent` was committed; what may have been
written is never written again, by this process or the next one, which only reads back; a command is confirmed by the
state read back and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from headend.domain.commands import CommandState

_FIRST_PAUSE_S: Final = 0.5
_LAST_PAUSE_S: Final = 5.0


class Do(StrEnum):
    """What comes next."""

    LOOK = "look"
    """Check who answers, and read the state; nothing has been written."""
    MARK = "mark"
    """Commit that it is sent."""
    WRITE = "write"
    """The only one there is."""
    READ_BACK = "read_back"
    GIVE_BACK = "give_back"
    """Nothing was written; it may be tried again later."""
    CONCLUDE = "conclude"
    LEAVE = "leave"
    """It is not ours any more: another process holds it, or has concluded it."""


@dataclass(frozen=True, slots=True)
class Move:
    """What to do next."""

    do: Do
    pause_s: float = 0.0
    """Before it is done, the bus left to others."""
    state: CommandState | None = None
    """Of a conclusion."""
    detail: str = ""
    """Of a conclusion or of what is given back, for a person."""


class Marked(StrEnum):
    """What became of committing `sent`."""

    YES = "yes"
    TOO_LATE = "too_late"
    """It is committed, but what made the write right is over: the time-to-live, or a clock's good moment."""
    NO = "no"
    """Another holds it, or its time-to-live is over."""
    UNKNOWN = "unknown"
    """The database did not say: it may be committed, so nothing may be written."""


class Written(StrEnum):
    """What the meter said to the write."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    """It says that it did nothing."""
    UNKNOWN = "unknown"
    """No answer, or one that does not tell."""


class Life:
    """What one process does with a command that it has taken; each method takes what came of the last move."""

    def __init__(self, *, wanted: str, sent: bool, settle_s: float) -> None:
        """`wanted` is for people; `sent`: it was left behind by another process after it may have been written."""
        self._wanted = wanted
        self._sent = sent
        self._pauses = _pauses(settle_s)
        self._settle_s = settle_s
        self._next = Do.READ_BACK if sent else Do.LOOK
        self._doubt = "another process left it behind after it may have been written" if sent else ""
        self._last_seen = ""

    def begin(self) -> Move:
        """The first move."""
        return self._move(self._next)

    def looked(self, *, agrees: bool) -> Move:
        """The meter is the one we mean, and tells its state."""
        self._expect(Do.LOOK)
        if agrees:
            return self._conclude(CommandState.CONFIRMED, f"it was {self._wanted} already: nothing was written")
        return self._move(Do.MARK)

    def refused(self, why: str) -> Move:
        """The meter, its model or the rules do not allow it; nothing was written."""
        self._expect(Do.LOOK)
        return self._conclude(CommandState.REFUSED, why)

    def not_now(self, why: str) -> Move:
        """The meter was not reached, or the moment is not right; nothing was written."""
        self._expect(Do.LOOK)
        return self._move(Do.GIVE_BACK, detail=why)

    def out_of_time(self, why: str) -> Move:
        """The moment that is right comes after its time is over; nothing was written."""
        self._expect(Do.LOOK)
        return self._conclude(CommandState.EXPIRED, f"never sent: {why}")

    def marked(self, result: Marked, why: str = "") -> Move:
        """What became of committing `sent`."""
        self._expect(Do.MARK)
        match result:
            case Marked.YES:
                return self._move(Do.WRITE)
            case Marked.TOO_LATE:
                return self._conclude(CommandState.EXPIRED, f"never written: {why}")
            case Marked.NO | Marked.UNKNOWN:
                return self._move(Do.LEAVE)

    def written(self, result: Written, why: str = "") -> Move:
        """What the meter said to the write."""
        self._expect(Do.WRITE)
        if result is Written.REFUSED:
            return self._conclude(CommandState.REFUSED, f"the meter refused: {why}")
        accepted = result is Written.ACCEPTED
        self._doubt = "the meter accepted it" if accepted else f"whether the meter obeyed is not known: {why}"
        return self._move(Do.READ_BACK)

    def not_written(self, why: str) -> Move:
        """In the last moment it turned out too late: for certain nothing went out."""
        self._expect(Do.WRITE)
        return self._conclude(CommandState.EXPIRED, f"never written: {why}")

    def read_back(self, *, agrees: bool, seen: str) -> Move:
        """The state was read."""
        self._expect(Do.READ_BACK)
        self._last_seen = f"it reads {seen}, wanted {self._wanted}"
        if agrees:
            return self._conclude(CommandState.CONFIRMED, f"read back as {seen}")
        return self._again()

    def not_read_back(self, why: str) -> Move:
        """The state could not be read."""
        self._expect(Do.READ_BACK)
        self._last_seen = self._last_seen or f"it could not be read back: {why}"
        return self._again()

    def given_up(self, why: str) -> Move:
        """There is no time left for reading back."""
        self._expect(Do.READ_BACK)
        return self._unconfirmed(why)

    def _again(self) -> Move:
        pause_s = next(self._pauses, None)
        if pause_s is None:
            return self._unconfirmed(f"within {self._settle_s:g} s of reading back {self._last_seen}")
        return self._move(Do.READ_BACK, pause_s=pause_s)

    def _unconfirmed(self, why: str) -> Move:
        return self._conclude(CommandState.UNCONFIRMED, f"{self._doubt}; {why}")

    def _conclude(self, state: CommandState, detail: str) -> Move:
        return self._move(Do.CONCLUDE, state=state, detail=detail)

    def _move(self, do: Do, *, pause_s: float = 0.0, state: CommandState | None = None, detail: str = "") -> Move:
        self._next = do
        return Move(do, pause_s, state, detail)

    def _expect(self, do: Do) -> None:
        if self._next is not do:
            raise RuntimeError(f"{do} was done, but {self._next} was the next move")


def _pauses(settle_s: float) -> Iterator[float]:
    """Pauses between read-backs, growing; together as long as a relay's motor may take."""
    passed_s, pause_s = 0.0, min(_FIRST_PAUSE_S, settle_s)
    while passed_s < settle_s:
        pause_s = min(pause_s, settle_s - passed_s)
        yield pause_s
        passed_s += pause_s
        pause_s = min(2 * pause_s, _LAST_PAUSE_S)
