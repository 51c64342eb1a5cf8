"""What the records of a stored profile say: instants and registers, and which of them are not to be believed. Pure.

The rule it keeps: a record whose stamp names no instant, or whose registers run backwards against its stamp, is told
with the reason and is never a reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final, Literal

from drivers.base import Quantity
from drivers.modbus.codec import decode, step
from drivers.modbus.feature_codec import decode_clock
from drivers.modbus.features import ClockFormat, ProfileSpec

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_ROLLED_SHARE: Final = 0.1
"""A register that fell has rolled over where it then stands so close behind zero, as a share of its range."""

Doubt = Literal["stamp", "registers"]
"""What is not to be believed of a record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record that was filled."""

    number: int
    """Its place when it was read."""
    instants_us: tuple[int, ...]
    """What its stamp can mean [UTC µs], the earlier first: two in the hour that a clock set back shows twice; none
    where it names no instant."""
    values: Mapping[Quantity, int]
    """Registers that hold a value."""
    resolution_wh: float
    """The coarsest of their steps."""
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Frozen:
    """A record with its instant: what a reading is made of."""

    instant_us: int
    values: Mapping[Quantity, int]
    resolution_wh: float


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A record that is not believed."""

    number: int
    doubt: Doubt
    detail: str
    """For a person."""
    words: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """Registers at both ends of a gap: what lies between cannot be outside of them."""

    before: Mapping[Quantity, int] = field(default_factory=dict)
    """At the last reading before it; what is absent bounds nothing."""
    after: Mapping[Quantity, int] = field(default_factory=dict)
    step_wh: float = 0.0
    """How coarsely these were read."""
    rollover_wh: int | None = None
    """The register's first value that does not fit; None: not known, and no register may fall."""


def read_record(spec: ProfileSpec, words: Sequence[int], number: int, zone: tzinfo) -> Record | None:
    """What a record says; None for one that was never filled.

    `words`: (spec.stride,) registers. `zone`: of stamps that show local time.
    """
    stamped = words if spec.stamp is None else words[spec.stamp_offset : spec.stamp_offset + spec.stamp.count]
    if all(word == spec.empty for word in stamped) or not any(stamped):
        return None
    values: dict[Quantity, int] = {}
    steps = []
    for register in spec.registers:
        value = decode(register, words[register.address : register.last + 1])
        if isinstance(value, int):
            values[register.quantity] = value
            steps.append(step(register, value))
    return Record(
        number=number,
        instants_us=() if spec.stamp is None else instants_of(spec.stamp, stamped, zone),
        values=values,
        resolution_wh=max(steps, default=0.0),
        words=tuple(words),
    )


def instants_of(form: ClockFormat, words: Sequence[int], zone: tzinfo) -> tuple[int, ...]:
    """The instants that a stamp can mean [UTC µs], the earlier first.

    One, as a rule; two in the hour that a zone's clocks show twice; none where it names no date and time, or one that
    the zone's clocks skipped.
    """
    read = decode_clock(form, words, UTC)
    if read is None or form.encoding == "unix" or form.zone == "utc":
        return () if read is None else (to_us(read),)
    shown = read.replace(tzinfo=None)
    meant = {shown.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return tuple(to_us(m) for m in sorted(meant) if m.astimezone(zone).replace(tzinfo=None) == shown)


def midnight_us(day_of: datetime, days_before: int) -> int:
    """The local midnight that began the day of `day_of` (aware, local), or one so many days before it [UTC µs]."""
    day = day_of.date() - timedelta(days=days_before)
    return to_us(datetime(day.year, day.month, day.day, tzinfo=day_of.tzinfo))


def to_us(instant: datetime) -> int:
    """Microseconds since 1970."""
    return (instant - EPOCH) // timedelta(microseconds=1)


def from_us(instant_us: int, zone: tzinfo) -> datetime:
    """Microseconds since 1970 as local time."""
    return (EPOCH + timedelta(microseconds=instant_us)).astimezone(zone)


class Belief:
    """Takes the records of one gap in the order of their instants, and believes those whose registers run forwards."""

    def __init__(self, bounds: Bounds) -> None:
        self._last = dict(bounds.before)
        self._after = bounds.after
        self._step_wh = bounds.step_wh
        self._rollover_wh = bounds.rollover_wh

    def judge(self, record: Record, instant_us: int) -> Frozen | Doubtful:
        """The record as a reading, or why not."""
        against = self._against(record)
        if against is not None:
            return Doubtful(record.number, "registers", against, record.words)
        self._last |= record.values
        return Frozen(instant_us=instant_us, values=record.values, resolution_wh=record.resolution_wh)

    def _against(self, record: Record) -> str | None:
        if not record.values:
            return "no register holds a value"
        step_wh = max(record.resolution_wh, self._step_wh)
        for quantity, value in record.values.items():
            before, after = self._last.get(quantity), self._after.get(quantity)
            if value < 0:
                return f"{quantity.value} = {value}: a cumulative register below zero"
            if before is not None and self._falls(before, value, step_wh):
                return f"{quantity.value} = {value}: less than {before}, which stood there earlier"
            if after is not None and self._falls(value, after, step_wh):
                return f"{quantity.value} = {value}: more than {after}, which stood there later"
        return None

    def _falls(self, earlier: int, later: int, step_wh: float) -> bool:
        """Whether a register went back by more than its step, other than by a rollover."""
        if later + step_wh >= earlier:
            return False
        if self._rollover_wh is None:
            return True
        return (later - earlier) % self._rollover_wh > self._rollover_wh * _ROLLED_SHARE
