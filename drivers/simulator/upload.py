"""The confirmed upload, without any socket: what to send now, what again, what is done.

The rule it keeps: an upload is forgotten only when the head-end has confirmed it; else it is sent again, for ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from drivers.simulator.state import Uploaded

_MOST_PATIENCE: Final = 4
"""A silent head-end is asked again after at most so many times `resend_s`."""


@dataclass(slots=True)
class _OnTheWay:
    sent_s: float | None
    """When it was sent last; None: not since the connection was lost."""
    tries: int


class Uploads:
    """One concentrator's window of unconfirmed uploads. Times are monotonic seconds."""

    def __init__(self, uploaded: Uploaded, *, window: int, resend_s: float) -> None:
        self._through, self._beyond = uploaded.confirmed_through, set(uploaded.confirmed_beyond)
        self._announced = dict(uploaded.announced)
        self._window, self._resend_s = window, resend_s
        self._way: dict[int, _OnTheWay] = {}
        self.resent = 0
        """How many were sent more than once."""

    @property
    def kept(self) -> Uploaded:
        """What has to outlive the process."""
        return Uploaded(self._through, tuple(sorted(self._beyond)), dict(self._announced))

    @property
    def confirmed_through(self) -> int:
        """Every upload up to this one is confirmed."""
        return self._through

    @property
    def on_the_way(self) -> tuple[int, ...]:
        """Sent, and not confirmed."""
        return tuple(sorted(self._way))

    def plan(self, last_due: int) -> tuple[int, ...]:
        """Take the oldest unconfirmed uploads into the window; returns those that were never announced before."""
        new: list[int] = []
        seq = self._through
        while len(self._way) < self._window and seq < last_due:
            seq += 1
            if seq in self._beyond or seq in self._way:
                continue
            self._way[seq] = _OnTheWay(None, 0)
            if seq not in self._announced:
                self._announced[seq] = last_due - seq
                new.append(seq)
        return tuple(new)

    def due(self, now_s: float) -> tuple[tuple[int, int], ...]:
        """(number, backlog) of what has to be sent now, oldest first."""
        return tuple(
            (seq, self._announced[seq]) for seq, way in sorted(self._way.items()) if now_s >= self._again_s(way)
        )

    def sent(self, seq: int, now_s: float) -> None:
        """It was handed to the broker connection."""
        if (way := self._way.get(seq)) is not None:
            self.resent += way.tries > 0
            way.sent_s, way.tries = now_s, way.tries + 1

    def wake_s(self) -> float | None:
        """When the next one has to be sent again."""
        return min((self._again_s(w) for w in self._way.values()), default=None)

    def disconnected(self) -> None:
        """What was on the way may be lost: send it again at once when connected."""
        for way in self._way.values():
            way.sent_s = None

    def confirmed(self, seqs: list[int]) -> tuple[int, ...]:
        """Take confirmations, in any order and number; returns those that were never sent: not ours."""
        strange = []
        for seq in seqs:
            if seq <= self._through or seq in self._beyond:
                continue
            if seq not in self._announced:
                strange.append(seq)
                continue
            self._beyond.add(seq)
            self._way.pop(seq, None)
            del self._announced[seq]
        while self._through + 1 in self._beyond:
            self._through += 1
            self._beyond.discard(self._through)
        return tuple(strange)

    def _again_s(self, way: _OnTheWay) -> float:
        if way.sent_s is None:
            return float("-inf")
        return way.sent_s + self._resend_s * min(2.0 ** max(0, way.tries - 1), _MOST_PATIENCE)
