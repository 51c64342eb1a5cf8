"""Carries out one command: the moves that its `Life` says, on the bus and in the ledger.

The rule it keeps: the order of things is the life's; what is done between two moves fails into one of its answers, or
ends this run with nothing more done, so that whoever takes over finds in the store what may have happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from drivers.errors import DeviceException, DriverError, PeerError
from drivers.modbus.bus import ModbusAddress, ModbusBus, Turn
from drivers.modbus.gate import Priority
from drivers.modbus.link import Answer
from drivers.modbus.model import MeterModel
from headend.domain.calendar import from_us
from headend.domain.clock import Clock
from headend.domain.commands import CommandKind, CommandState, CommandStep
from headend.domain.topology import PollTarget
from headend.ingest.clock_offset import ClockOffset
from headend.ingest.commands.actions import Action, Hurdle, Look, TooLate, middle
from headend.ingest.commands.ledger import CommandLedger, Conclusion
from headend.ingest.commands.life import Do, Life, Marked, Move, Written
from headend.ingest.meter_turn import WrongMeter, check_identity
from headend.ingest.poll_outbox import kind_of
from headend.log import get_logger
from headend.metrics import STORE_ERRORS
from headend.store.commands import HeldCommand, Step
from headend.store.errors import StoreError

_BUS_S: Final = 20.0
"""Longest wait for the bus."""
_LOOK_S: Final = 20.0
"""Longest look before anything is written; together with the wait well within the lease."""
_MARK_S: Final = 5.0
"""Longest wait for the database to commit that a command is sent."""
_OVERTIME_S: Final = 30.0
"""How long after the settle time reading back may go on because the bus was not free."""
_CONCLUDE_AGAIN_S: Final = 2.0
_CONCLUDE_TIMES: Final = 10
_ON_BUS: Final = (Do.LOOK, Do.MARK, Do.WRITE, Do.READ_BACK)
_DID_NOTHING: Final = {1, 2, 3, 7, 8}
"""Exception codes by which a device says that it did not obey. 4, 5, 10 and 11 leave it open whether it did; so does 6:
what keeps it busy may be this very write, put to it twice by its gateway."""
_PASSING: Final = {5, 6, 10, 11}
"""... and those that may be gone at the next look."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Site:
    """A meter and the bus that leads to it."""

    target: PollTarget
    model: MeterModel
    bus: ModbusBus

    @property
    def address(self) -> ModbusAddress:
        """Before all others: a person waits."""
        return ModbusAddress(self.target.unit, self.model, Priority.COMMAND)


class CommandRun:
    """One command in the hands of this process."""

    def __init__(
        self,
        held: HeldCommand,
        site: Site,
        action: Action,
        ledger: CommandLedger,
        *,
        settle_s: float,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
        hindrance: Callable[[], str | None] = lambda: None,
    ) -> None:
        """`hindrance` says, once the bus is ours, why nothing may be written just now."""
        self.held = held
        """As it stands, for whoever has to give it back."""
        self._site = site
        self._action = action
        self._ledger = ledger
        self._settle_s = settle_s
        self._clock = clock
        self._sleep = sleep
        self._hindrance = hindrance
        self._life = Life(wanted=action.wanted, sent=held.state is CommandState.SENT, settle_s=settle_s)
        self._steps: list[Step] = []
        self._not_before: datetime | None = None
        self._before: Look | None = None
        self._after: Look | None = None
        self._arrived: tuple[datetime, int] | None = None

    async def carry_out(self) -> None:
        """Until it is concluded, given back, or another's."""
        move = self._life.begin()
        until = asyncio.get_running_loop().time() + self._settle_s + _OVERTIME_S
        while move.do in _ON_BUS:
            if move.pause_s:
                await self._note()
                await self._sleep(move.pause_s)
                move = replace(move, pause_s=0.0)
            if move.do is Do.READ_BACK and asyncio.get_running_loop().time() > until:
                move = self._life.given_up("the bus was not free for reading back")
            else:
                move = await self._turn(move)
        match move.do:
            case Do.CONCLUDE:
                await self._conclude(move)
            case Do.GIVE_BACK:
                await self._give_back(move)
            case _:
                await self._note()
                _log.warning("command left to others", command=str(self.held.command_id))

    async def _turn(self, move: Move) -> Move:
        """As many moves as may be made without leaving the bus to others."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(_BUS_S):
                    turn = await stack.enter_async_context(self._site.bus.turn(self._site.address))
            except TimeoutError:
                why = f"the bus was not free within {_BUS_S:g} s"
                return self._life.not_now(why) if move.do is Do.LOOK else self._life.not_read_back(why)
            while move.do in _ON_BUS and not move.pause_s:
                move = await self._move(move, turn)
            return move

    async def _move(self, move: Move, turn: Turn) -> Move:
        match move.do:
            case Do.LOOK:
                return await self._look(turn)
            case Do.MARK:
                return await self._mark()
            case Do.WRITE:
                return await self._write(turn)
            case _:
                return await self._read_back(turn)

    async def _look(self, turn: Turn) -> Move:
        if (why := self._hindrance()) is not None:
            return self._life.not_now(why)
        try:
            async with asyncio.timeout(_LOOK_S):
                await check_identity(turn, self._site.target, self._site.model)
                await self._action.make_way(turn)
                look = await self._action.look(turn)
        except TimeoutError:
            return self._life.not_now(f"the meter did not tell its state within {_LOOK_S:g} s")
        except DriverError as error:
            return self._life.not_now(str(error)) if _may_pass(error) else self._life.refused(str(error))
        self._before = look
        self._put_down(CommandStep.FOUND, look)
        hurdle = None if look.agrees else self._action.hurdle(look)
        return self._life.looked(agrees=look.agrees) if hurdle is None else self._hindered(hurdle)

    def _hindered(self, hurdle: Hurdle) -> Move:
        if hurdle.until is None:
            return self._life.refused(hurdle.why)
        if hurdle.until >= self.held.expires_at:
            return self._life.out_of_time(hurdle.why)
        self._not_before = hurdle.until
        return self._life.not_now(hurdle.why)

    async def _mark(self) -> Move:
        assert self._before is not None  # nothing is marked before it was looked at
        steps = tuple(self._steps)
        try:
            async with asyncio.timeout(_MARK_S):  # the bus is not held for a database that does not answer
                sent = await asyncio.to_thread(
                    self._ledger.mark_sent,
                    self.held,
                    steps,
                    before_state=self._before.state,
                    words=self._action.words,
                )
        except (StoreError, TimeoutError) as error:
            if isinstance(error, StoreError):
                STORE_ERRORS.labels(kind_of(error)).inc()
            reason = str(error) or f"the database did not answer within {_MARK_S:g} s"
            _log.warning("command not sent", command=str(self.held.command_id), error=reason)
            return self._life.marked(Marked.UNKNOWN)
        over = "its time is over" if self._clock() >= self.held.expires_at else ""
        if sent is None:
            return self._life.marked(Marked.TOO_LATE if over else Marked.NO, over)
        self.held = sent
        self._steps = self._steps[len(steps) :]
        if over:
            return self._not_written(self._life.marked(Marked.TOO_LATE, over), over)
        return self._life.marked(Marked.YES)

    async def _write(self, turn: Turn) -> Move:
        assert self._before is not None  # nothing is written before it was looked at
        try:
            words, answer = await self._action.write(turn, self._before)
        except TooLate as late:
            return self._not_written(self._life.not_written(str(late)), str(late))
        except DeviceException as error:
            result = Written.REFUSED if error.exception_code in _DID_NOTHING else Written.UNKNOWN
            self._wrote(str(error))
            return self._life.written(result, str(error))
        except DriverError as error:
            self._wrote(f"no answer: {error}")
            return self._life.written(Written.UNKNOWN, str(error))
        self._arrived = _arrival(answer)
        self._wrote(f"accepted within {answer.span_us / 1000:.0f} ms", words)
        return self._life.written(Written.ACCEPTED)

    async def _read_back(self, turn: Turn) -> Move:
        try:
            if self._before is None:  # taken over from another process: who answers here was not asked yet
                await check_identity(turn, self._site.target, self._site.model)
            look = await self._action.look(turn)
        except DriverError as error:
            self._steps.append(Step(at=self._clock(), step=CommandStep.READ_BACK, detail=f"not read: {error}"))
            return self._life.not_read_back(str(error))
        self._after = look
        self._put_down(CommandStep.READ_BACK, look)
        return self._life.read_back(agrees=look.agrees, seen=look.told)

    def _not_written(self, move: Move, why: str) -> Move:
        self._steps.append(Step(at=self._clock(), step=CommandStep.NOT_WRITTEN, detail=why))
        return move

    def _wrote(self, detail: str, words: tuple[int, ...] | None = None) -> None:
        self._steps.append(Step(at=self._clock(), step=CommandStep.WRITTEN, words=words, detail=detail))

    def _put_down(self, step: CommandStep, look: Look) -> None:
        detail = "" if look.state else look.told
        self._steps.append(Step(at=look.at, step=step, state=look.state, words=look.words, detail=detail))

    async def _note(self) -> None:
        """Put down the steps so far; what the database does not take now goes with the next ones."""
        if not self._steps:
            return
        steps = tuple(self._steps)
        try:
            await asyncio.to_thread(self._ledger.note, self.held, steps)
        except StoreError as error:
            STORE_ERRORS.labels(kind_of(error)).inc()
            _log.warning("command's steps not put down yet", command=str(self.held.command_id), error=str(error))
        else:
            self._steps = self._steps[len(steps) :]

    async def _give_back(self, move: Move) -> None:
        try:
            await asyncio.to_thread(
                self._ledger.release, self.held, tuple(self._steps), not_before=self._not_before, why=move.detail
            )
        except StoreError as error:
            # The lease runs out, and it is free again.
            STORE_ERRORS.labels(kind_of(error)).inc()
            _log.warning("command not given back", command=str(self.held.command_id), error=str(error))

    async def _conclude(self, move: Move) -> None:
        """Say how it ended, again and again while the database is away: nobody else knows it as well."""
        conclusion = self._conclusion(move)
        for _ in range(_CONCLUDE_TIMES):
            try:
                ours = await asyncio.to_thread(
                    self._ledger.conclude, self.held, self._site.target, tuple(self._steps), conclusion
                )
            except StoreError as error:
                STORE_ERRORS.labels(kind_of(error)).inc()
                _log.warning("command not concluded yet", command=str(self.held.command_id), error=str(error))
                await self._sleep(_CONCLUDE_AGAIN_S)
                continue
            if not ours:
                await self._note()
            report(self.held, self._site.target, conclusion, ours=ours)
            return
        _log.error("command not concluded", command=str(self.held.command_id), would_be=conclusion.state.value)

    def _conclusion(self, move: Move) -> Conclusion:
        assert move.state is not None  # of a conclusion
        wrote = move.state is CommandState.CONFIRMED and self.held.sent_at is not None
        untouched = self._before if move.state is CommandState.CONFIRMED else None
        shown = self._after if self._after is not None else untouched
        return Conclusion(
            state=move.state,
            detail=move.detail,
            before_state=self.held.before_state or (self._before.state if self._before else None),
            after_state=shown.state if shown else None,
            happened=(self._action.event(), *self._when()) if wrote else None,
            value=self._value() if wrote else None,
            offsets=self._offsets(),
        )

    def _when(self) -> tuple[datetime, int]:
        """The instant of the change, and within how many ms: a relay may have taken until it was read back."""
        assert self.held.sent_at is not None
        assert self._after is not None
        if self.held.kind is CommandKind.CLOCK and self._arrived is not None:
            return self._arrived
        return middle(self.held.sent_at, max(self.held.sent_at, self._after.at))

    def _value(self) -> float | None:
        """Of the event: by how much the clock was off [s], or which tariff is in force."""
        if self.held.kind is CommandKind.TARIFF:
            return float(self.held.wanted)
        offset = self._before.offset if self._before is not None else None
        return None if offset is None or offset.offset_us is None else offset.offset_us / 1e6

    def _offsets(self) -> tuple[tuple[ClockOffset, UUID | None], ...]:
        """What was read of a clock, each with the command where it had been sent by then."""
        looks = ((self._before, None), (self._after, self.held.command_id))
        return tuple((look.offset, by) for look, by in looks if look is not None and look.offset is not None)


def report(held: HeldCommand, target: PollTarget | None, conclusion: Conclusion, *, ours: bool) -> None:
    """Say once in the log how a command ended."""
    told = _log.info if conclusion.state is CommandState.CONFIRMED else _log.warning
    told(
        "command concluded" if ours else "command concluded by another process",
        command=str(held.command_id),
        meter=None if target is None else f"{target.manufacturer}/{target.serial}",
        kind=held.kind.value,
        wanted=held.wanted,
        state=conclusion.state.value,
        detail=conclusion.detail,
    )


def _may_pass(error: DriverError) -> bool:
    """Whether what kept us from looking may be gone at the next try."""
    if isinstance(error, DeviceException):
        return error.exception_code in _PASSING
    return isinstance(error, PeerError) and not isinstance(error, WrongMeter)


def _arrival(answer: Answer) -> tuple[datetime, int]:
    """When a write arrived, and within how many ms."""
    return from_us(answer.sent_us + answer.span_us // 2), -(-answer.span_us // 2000)
