"""How far a meter's clock is off, from one answer: an unbiased estimate with its bound. Pure.

The meter read its clock at some instant between our question and its answer: the midpoint is off by half the round trip
at the most. A clock that shows whole seconds has cut off up to one: on average half of one, which is added.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Final

from drivers.modbus.feature_codec import decode_clock
from drivers.modbus.features import DAY_S, ClockField, ClockFormat, ClockSpec
from headend.domain.calendar import US_PER_S, from_us, to_us

_STEPS_S: Final[Mapping[ClockField, float]] = {
    ClockField.SECOND: 1.0,
    ClockField.MINUTE: 60.0,
    ClockField.HOUR: 3600.0,
}
_FRACTION_US: Final = 1000
"""A clock that shows a fraction of a second has not cut it off: it tells milliseconds."""


@dataclass(frozen=True, slots=True)
class ClockOffset:
    """A meter's clock against ours."""

    at_us: int
    """By our clock, UTC µs since 1970: the middle of the request."""
    offset_us: int | None
    """The meter's clock minus ours; None: its registers name no instant."""
    span_us: int
    """From question to answer."""
    step_us: int
    """What the clock's registers can tell apart."""
    words: tuple[int, ...]
    """The clock's registers."""

    @property
    def uncertainty_us(self) -> int:
        """The true offset lies within so much of the estimate: half the round trip and half the step."""
        return -(-self.span_us // 2) + -(-self.step_us // 2)

    @property
    def transit_us(self) -> int:
        """How long a question takes to the meter, as far as anyone knows: half the round trip."""
        return self.span_us // 2

    @property
    def at(self) -> datetime:
        """The middle of the request."""
        return from_us(self.at_us)

    @property
    def offset_ms(self) -> int | None:
        """As it is stored."""
        return None if self.offset_us is None else round(self.offset_us / 1000)

    @property
    def uncertainty_ms(self) -> int:
        """As it is stored; rounded up."""
        return -(-self.uncertainty_us // 1000)

    @property
    def told(self) -> str:
        """For a person."""
        if self.offset_us is None:
            return "names no instant"
        return told_offset(self.offset_us / US_PER_S, self.uncertainty_us / US_PER_S)


def told_offset(offset_s: float, uncertainty_s: float) -> str:
    """An offset for a person: `+12.3 s ± 0.6 s`."""
    return f"{offset_s:+,.1f} s ± {uncertainty_s:.1f} s".replace("-", "−")


def step_s(spec: ClockSpec) -> float:
    """What the clock's registers can tell apart [s]: its own resolution, or the finest field that they hold."""
    return max(spec.resolution_s, _finest_s(spec.format))


def offset_of(spec: ClockSpec, words: Sequence[int], *, sent_us: int, span_us: int, zone: tzinfo) -> ClockOffset:
    """What an answer says, asked at `sent_us` (UTC µs) and there `span_us` later. Raises `CodecError`.

    Where local time is told twice, when clocks are put back, the reading that is nearer to ours is meant.
    """
    at_us = sent_us + span_us // 2
    said = decode_clock(spec.format, words, zone)
    shows_fraction = said is not None and said.microsecond != 0
    step_us = _FRACTION_US if shows_fraction else round(step_s(spec) * US_PER_S)
    offsets = [] if said is None else [to_us(t) + step_us // 2 - at_us for t in _meanings(spec.format, said, zone)]
    offset_us = min(offsets, key=abs, default=None)
    return ClockOffset(at_us, offset_us, span_us, step_us, tuple(words))


def _meanings(form: ClockFormat, said: datetime, zone: tzinfo) -> list[datetime]:
    if form.zone == "utc":
        return [said]
    again = said.astimezone(zone).replace(fold=1).astimezone(said.tzinfo)
    return [said, again]


def _finest_s(form: ClockFormat) -> float:
    """Of fields; the other encodings have a place for seconds."""
    if form.encoding not in ("word_fields", "byte_fields"):
        return 0.0
    return min((_STEPS_S[f] for f in form.fields if f in _STEPS_S), default=float(DAY_S))
