"""How long to wait for a meter's answer, learnt from its own answers. Pure: seconds in, seconds out.

After TCP's retransmission timer (RFC 6298): the smoothed response time plus four times its smoothed deviation, doubled
with every time-out in a row. A response takes some time of its own and some for each register, so one for n registers
never takes longer than one for more, nor than n/m times one for m < n: that bounds lengths that were not met yet, and
no slope has to be guessed.
"""

from __future__ import annotations

from typing import Final

from drivers.modbus.bus_settings import BusSettings

_GAIN: Final = 1 / 8
_DEVIATION_GAIN: Final = 1 / 4
_DEVIATIONS: Final = 4
"""RFC 6298, section 2: alpha, beta, K."""
_MOST_DOUBLINGS: Final = 16


class ResponseTimes:
    """Response times by the number of registers asked for."""

    __slots__ = ("_by_count", "smoothed_s")

    def __init__(self) -> None:
        self._by_count: dict[int, tuple[float, float]] = {}
        self.smoothed_s: float | None = None
        """Of the length that answered last; None: nothing did."""

    def observe(self, count: int, response_s: float) -> None:
        """A question for `count` registers was answered after `response_s`."""
        known = self._by_count.get(count)
        if known is None:
            smoothed, deviation = response_s, response_s / 2
        else:
            smoothed, deviation = known
            deviation += _DEVIATION_GAIN * (abs(smoothed - response_s) - deviation)
            smoothed += _GAIN * (response_s - smoothed)
        self._by_count[count] = smoothed, deviation
        self.smoothed_s = smoothed

    def bound_s(self, count: int) -> float | None:
        """What a response for `count` registers should not exceed; None: nothing is known."""
        known = self._by_count.get(count)
        if known is not None:
            return known[0] + _DEVIATIONS * known[1]
        bounds = [(s + _DEVIATIONS * d) * max(1.0, count / m) for m, (s, d) in self._by_count.items()]
        return min(bounds, default=None)


class Patience:
    """The time-out of one meter's questions."""

    __slots__ = ("_neighbours", "_settings", "_times", "_unanswered")

    def __init__(self, settings: BusSettings, neighbours: ResponseTimes) -> None:
        """`neighbours`: of all meters on the bus, what is expected of one not met yet."""
        self._settings = settings
        self._neighbours = neighbours
        self._times = ResponseTimes()
        self._unanswered = 0

    @property
    def smoothed_s(self) -> float | None:
        """Its response time; None: not met yet."""
        return self._times.smoothed_s

    def timeout_s(self, count: int) -> float:
        """How long to wait for `count` registers now."""
        longest_s = self._settings.timeout_s
        bound_s = self._times.bound_s(count)
        if bound_s is None:
            # What its neighbours are like is a guess; once it failed it is worth nothing, and doubling it neither.
            bound_s = None if self._unanswered else self._neighbours.bound_s(count)
            if bound_s is None:
                return longest_s
        return min(longest_s, max(self._settings.timeout_min_s, bound_s * 2.0**self._unanswered))

    def answered(self, count: int, response_s: float, *, certain: bool) -> None:
        """An answer came. Not `certain` (Karn's rule): it may be one to an earlier try, or the gateway was busy with
        another question first; then nothing is learnt of it, and the wait stays as long as it had become."""
        if certain:
            self._unanswered = 0
            self._times.observe(count, response_s)
            self._neighbours.observe(count, response_s)

    def timed_out(self) -> None:
        """No answer came in time."""
        self._unanswered = min(self._unanswered + 1, _MOST_DOUBLINGS)
