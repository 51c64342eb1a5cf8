"""What is done at the meter for each kind of command: look, write once, look again. Each within a turn on its bus."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Protocol

from drivers.events import EventKind
from drivers.modbus.bus import Turn
from drivers.modbus.codec import CodecError
from drivers.modbus.feature_codec import encode_clock
from drivers.modbus.features import ClockSpec, SwitchSpec, WriteTarget
from drivers.modbus.link import Answer
from headend.domain.calendar import US_PER_S, LocalCalendar, from_us, to_us
from headend.domain.clock import Clock
from headend.ingest.clock_offset import ClockOffset, step_s
from headend.ingest.clock_policy import (
    IntervalGrid,
    good_ends,
    good_moment,
    grid_at,
    next_good_ends,
    next_good_moment,
)
from headend.ingest.meter_turn import clock_in_turn

CLOCK_TOLERANCE_S: Final = 2.0
"""A clock this close to ours, beside the uncertainty of reading it, is as late as ours."""
_LEAD_US: Final = 20_000
"""Our own time between deciding on an instant and the first byte."""
_LONGEST_HOLD_US: Final = 3 * US_PER_S
"""The bus is not kept waiting for longer; a clock that shows whole minutes is awaited without it."""
_MOST_LATE_US: Final = 250_000
"""Who wakes up later than this writes a time that is no longer true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """The state of a meter as its registers say."""

    state: str | None
    """None: they say nothing that the map knows."""
    agrees: bool
    """Whether it is the wanted one."""
    words: tuple[int, ...]
    at: datetime
    """The middle of the request."""
    offset: ClockOffset | None = None
    """Of a clock."""

    @property
    def told(self) -> str:
        """The state for a person."""
        return self.state or f"a state that the register map does not know ({' '.join(f'{w:04X}' for w in self.words)})"


@dataclass(frozen=True, slots=True)
class Hurdle:
    """Why nothing is to be written now."""

    why: str
    until: datetime | None
    """When it may be; None: never, as the command stands."""


class TooLate(Exception):
    """The moment has passed in which the write was right; nothing was written."""


class Action(Protocol):
    """One kind of command at one meter."""

    @property
    def wanted(self) -> str:
        """The wanted state for a person."""
        ...

    @property
    def words(self) -> tuple[int, ...] | None:
        """What will be written; None: only known in the moment of writing."""
        ...

    async def make_way(self, turn: Turn) -> None:
        """Let pass what would hold up the write later, when it has to leave at once. Raises PeerError."""
        ...

    async def look(self, turn: Turn) -> Look:
        """Read the state. Raises PeerError."""
        ...

    def hurdle(self, look: Look) -> Hurdle | None:
        """What speaks against writing now, given the state."""
        ...

    async def write(self, turn: Turn, look: Look) -> tuple[tuple[int, ...], Answer]:
        """Write once; (the words written, the answer). Raises PeerError, or TooLate having written nothing."""
        ...

    def event(self) -> EventKind:
        """What has happened once it is confirmed."""
        ...


class Switching:
    """A relay opened or closed, a tariff put in force."""

    def __init__(self, spec: SwitchSpec, wanted: str, event: EventKind) -> None:
        """`wanted` is one of `spec.writes`."""
        self._spec = spec
        self._wanted = wanted
        self._event = event

    @property
    def wanted(self) -> str:
        """As asked for."""
        return self._wanted

    @property
    def words(self) -> tuple[int, ...] | None:
        """As the map gives them."""
        return self._spec.writes[self._wanted]

    async def make_way(self, turn: Turn) -> None:
        """For the words of the wanted state."""
        await turn.make_way(self._spec.write, self._spec.writes[self._wanted])

    async def look(self, turn: Turn) -> Look:
        """Read the state register. Raises PeerError."""
        answer = await turn.read(self._spec.state.range)
        value = answer.words[0] & self._spec.state.mask
        state = next((name for name, values in self._spec.states.items() if value in values), None)
        return Look(
            state=state,
            agrees=state == self._wanted,
            words=answer.words,
            at=from_us(answer.sent_us + answer.span_us // 2),
        )

    def hurdle(self, look: Look) -> Hurdle | None:  # noqa: ARG002 a switch may be moved at any time
        """None."""
        return None

    async def write(self, turn: Turn, look: Look) -> tuple[tuple[int, ...], Answer]:  # noqa: ARG002
        """Write the words of the wanted state. Raises PeerError, TooLate."""
        words = self._spec.writes[self._wanted]
        _refuse_to_wait(turn, self._spec.write, words)
        return words, await turn.write(self._spec.write, words)

    def event(self) -> EventKind:
        """What has happened once it is confirmed."""
        return self._event


class ClockSetting:
    """A clock set to ours, such that no instant of the interval grid is stepped over."""

    def __init__(
        self,
        spec: ClockSpec,
        calendar: LocalCalendar,
        *,
        guard_s: float,
        across: bool,
        until: datetime,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        """`across`: a person allows the step over grid instants; both its ends still keep away from them.

        `until`: nothing takes effect later.
        """
        assert spec.write is not None  # only offered where the map knows how
        self._spec = spec
        self._target = spec.write
        self._step_us = round(max(step_s(spec), 1.0) * US_PER_S)  # what is written has no fractions
        self._calendar = calendar
        self._guard_us = round(guard_s * US_PER_S)
        self._across = across
        self._until = until
        self._clock = clock
        self._sleep = sleep

    @property
    def wanted(self) -> str:
        """As a state."""
        return "in time with ours"

    @property
    def words(self) -> tuple[int, ...] | None:
        """Not known before the moment is."""
        return None

    async def make_way(self, turn: Turn) -> None:
        """For any time: the answer does not repeat it."""
        await turn.make_way(self._target, (0,) * self._spec.format.count)

    async def look(self, turn: Turn) -> Look:
        """Read the clock. Raises PeerError."""
        offset = await clock_in_turn(turn, self._spec, self._calendar.zone)
        tolerance_us = round(CLOCK_TOLERANCE_S * US_PER_S) + offset.uncertainty_us
        return Look(
            state=None if offset.offset_us is None else offset.told,
            agrees=offset.offset_us is not None and abs(offset.offset_us) <= tolerance_us,
            words=offset.words,
            at=offset.at,
            offset=offset,
        )

    def hurdle(self, look: Look) -> Hurdle | None:
        """The interval grid, where the step or an end of it comes too close; a full minute that has to be awaited."""
        offset = _offset(look)
        effect_us = self._effect_us(offset)
        if not self._good(effect_us, offset):
            return self._boundary(effect_us, offset)
        try:
            encode_clock(self._spec.format, from_us(effect_us), self._calendar.zone)
        except CodecError as error:
            return Hurdle(str(error), None)
        leave_us = effect_us - self._transit_us(offset)
        if leave_us - to_us(self._clock()) > _LONGEST_HOLD_US:
            until = from_us(leave_us - _LONGEST_HOLD_US // 2)
            return Hurdle(f"the clock can be set at {from_us(effect_us):%H:%M:%S} UTC next", until)
        return None

    async def write(self, turn: Turn, look: Look) -> tuple[tuple[int, ...], Answer]:
        """Write the time that it will be when the last byte arrives. Raises PeerError, TooLate."""
        offset = _offset(look)
        effect_us = self._effect_us(offset)
        leave_us = effect_us - self._transit_us(offset)
        if not self._good(effect_us, offset) or leave_us - to_us(self._clock()) > _LONGEST_HOLD_US:
            raise TooLate("the good moment has passed")
        if from_us(effect_us) > self._until:
            raise TooLate("its time is over")
        words = encode_clock(self._spec.format, from_us(effect_us), self._calendar.zone)
        if (rest_us := leave_us - to_us(self._clock())) > 0:
            await self._sleep(rest_us / US_PER_S)
        if to_us(self._clock()) - leave_us > _MOST_LATE_US:
            raise TooLate("this process was held up in the moment of writing")
        _refuse_to_wait(turn, self._target, words)
        return words, await turn.write(self._target, words)

    def event(self) -> EventKind:
        """The clock was set."""
        return EventKind.CLOCK_SET

    def _transit_us(self, offset: ClockOffset) -> int:
        """From the first byte that leaves to the last that arrives, what unlocks the clock before it included."""
        return offset.transit_us * (1 + 2 * len(self._target.unlock))

    def _effect_us(self, offset: ClockOffset) -> int:
        """The next instant that the clock's registers can name, and that a write that leaves now still meets."""
        soonest_us = to_us(self._clock()) + _LEAD_US + self._transit_us(offset)
        return -(-soonest_us // self._step_us) * self._step_us

    def _good(self, effect_us: int, offset: ClockOffset) -> bool:
        grid, margin_us = self._grid(effect_us), self._guard_us + offset.uncertainty_us
        if self._across:
            return good_ends(effect_us, offset.offset_us, margin_us, grid)
        return offset.offset_us is not None and good_moment(effect_us, offset.offset_us, margin_us, grid)

    def _boundary(self, effect_us: int, offset: ClockOffset) -> Hurdle:
        grid, margin_us = self._grid(effect_us), self._guard_us + offset.uncertainty_us
        if offset.offset_us is None and not self._across:
            return Hurdle(
                "the clock names no instant: setting it steps over interval boundaries, which across_intervals allows",
                None,
            )
        if self._across or offset.offset_us is None:
            until_us = next_good_ends(effect_us, offset.offset_us, margin_us, grid)
        else:
            until_us = next_good_moment(effect_us, offset.offset_us, margin_us, grid)
        if until_us is None:
            return Hurdle(
                f"the clock is off by {offset.told}: so long a step always goes over an interval boundary, which "
                "across_intervals allows",
                None,
            )
        until = from_us(until_us)
        return Hurdle(
            f"setting it now would touch an interval boundary; the next good moment is {until:%H:%M:%S} UTC", until
        )

    def _grid(self, at_us: int) -> IntervalGrid:
        return grid_at(self._calendar, from_us(at_us))


def _refuse_to_wait(turn: Turn, target: WriteTarget, words: tuple[int, ...]) -> None:
    """What was decided for now must not be written seconds later. Raises TooLate."""
    if turn.write_waits(target, words):
        raise TooLate("the connection ended in the moment of writing")


def _offset(look: Look) -> ClockOffset:
    assert look.offset is not None  # a look at a clock
    return look.offset


def middle(first: datetime, last: datetime) -> tuple[datetime, int]:
    """The middle of a span, and half of it [ms], rounded up."""
    half = (last - first) / 2
    return first + half, -(-half // timedelta(milliseconds=1))
