"""Heartbeats that a modem sends of its own accord, and how an answer is found among them. Pure.

The rule it keeps: a heartbeat is never taken for an answer or for a part of one, and no answer that proves itself by a
checksum loses a byte because it looks like one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from drivers.errors import DriverConfigError
from drivers.modbus.frames import Answered, Framing, Verdict

_TELLING: Final = 3
"""Bytes of a heartbeat that hardly stand in an answer by chance."""
_AN_ANSWER: Final = bytes.fromhex("01 04 04 43 66 33 34 1B 38")
"""What no heartbeat may look like: some meter's answer."""


@dataclass(frozen=True)
class Heartbeats:
    """What a heartbeat looks like: fixed bytes, or a regular expression over bytes."""

    literals: Sequence[bytes] = ()
    patterns: Sequence[str] = ()
    _one: re.Pattern[bytes] | None = field(init=False, repr=False, compare=False, default=None)
    _some: re.Pattern[bytes] | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        """Raises `DriverConfigError` for an expression that is none, or that would match nothing at all."""
        longest_first = sorted((re.escape(b) for b in self.literals), key=len, reverse=True)
        kinds = [*longest_first, *(_expression(p).pattern for p in self.patterns)]
        if b"" in self.literals:
            raise DriverConfigError("a heartbeat without bytes: wanted at least one")
        if kinds:
            one = b"(?:" + b"|".join(b"(?:%b)" % kind for kind in kinds) + b")"
            object.__setattr__(self, "_one", re.compile(one, re.DOTALL))
            object.__setattr__(self, "_some", re.compile(one + b"+", re.DOTALL))

    def cut(self, received: bytes) -> bytes:
        """`received` without whatever looks like a heartbeat, wherever it stands."""
        return received if self._one is None else self._one.sub(b"", received)

    def make_up(self, received: bytes) -> bool:
        """Whether `received` is heartbeats and nothing else."""
        return self._some is not None and self._some.fullmatch(received) is not None

    def touch(self, frame: bytes, received: bytes) -> bool:
        """Whether what looks like a heartbeat, or like the beginning of one, stands within `frame` in `received`."""
        if self._one is None:
            return False
        start = received.find(frame)
        end = start + len(frame)
        beats = (beat.span() for beat in self._one.finditer(received))
        return any(b - a >= _TELLING and a < end and start < b for a, b in beats) or any(
            frame.endswith(literal[:n]) for literal in self.literals for n in range(_TELLING, len(literal))
        )

    def starts(self, received: bytes) -> list[int]:
        """Where something else may begin in `received`: at 0, and after each of the heartbeats that lead it."""
        starts = [0]
        while self._one is not None and (beat := self._one.match(received, starts[-1])):
            starts.append(beat.end())
        return starts

    def may_begin(self, received: bytes) -> bool:
        """Whether `received` is the beginning of fixed bytes whose rest is still to come."""
        return any(len(received) < len(b) and b.startswith(received) for b in self.literals)


NO_HEARTBEATS: Final = Heartbeats()


def _expression(pattern: str) -> re.Pattern[bytes]:
    try:
        expression = re.compile(pattern.encode("latin-1"), re.DOTALL)
    except (re.error, UnicodeEncodeError) as error:
        raise DriverConfigError(f"heartbeat {pattern!r}: no regular expression over bytes: {error}") from error
    if expression.groupindex or expression.fullmatch(b""):
        what = "names a group" if expression.groupindex else "matches no bytes at all"
        raise DriverConfigError(f"heartbeat {pattern!r}: {what}; wanted an expression for the bytes of one heartbeat")
    if expression.fullmatch(_AN_ANSWER):
        raise DriverConfigError(f"heartbeat {pattern!r}: takes answers of meters, too; wanted a narrower expression")
    return expression


class HeartbeatFraming:
    """A framing that finds its answers among heartbeats.

    First in the bytes as they came (a checksum proves an answer whose bytes look like a heartbeat), then in what is
    left without heartbeats (one may have fallen into the middle of an answer). Where no checksum proves an answer, it
    is not believed with a heartbeat inside, save one of a byte or two: those are values far more often.
    """

    def __init__(self, inner: Framing, heartbeats: Heartbeats) -> None:
        self._inner = inner
        self._heartbeats = heartbeats

    @property
    def numbered(self) -> bool:
        """See `Framing.numbered`."""
        return self._inner.numbered

    @property
    def checked(self) -> bool:
        """See `Framing.checked`."""
        return self._inner.checked

    def ask(self, unit: int, pdu: bytes, count: int) -> bytes:
        """See `Framing.ask`."""
        return self._inner.ask(unit, pdu, count)

    def examine(self, received: bytes) -> Verdict:
        """See `Framing.examine`."""
        verdict = self._inner.examine(received)
        if isinstance(verdict, Answered) and self._believed(verdict.frame, received):
            return verdict
        spoken = self._heartbeats.cut(received)
        if len(spoken) != len(received):
            return self._inner.examine(spoken)
        return None if isinstance(verdict, Answered) else verdict

    def out_of_step(self, received: bytes) -> bool:
        """See `Framing.out_of_step`."""
        return self._inner.out_of_step(received)

    def _believed(self, frame: bytes, received: bytes) -> bool:
        if self._heartbeats.make_up(frame):
            return False
        return self._inner.checked or not self._heartbeats.touch(frame, received)

    def pdu(self, answered: Answered) -> bytes:
        """See `Framing.pdu`."""
        return self._inner.pdu(answered)
