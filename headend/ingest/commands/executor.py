"""Takes commands from the store and carries them out on the buses that this process owns.

The rules it keeps: one command at a time at a meter; what was left behind after `sent` is read back and never written;
whether a command is allowed is decided here, whatever was decided where it was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from zoneinfo import ZoneInfo

from drivers.base import Quantity
from drivers.errors import DriverConfigError
from drivers.events import EventKind
from drivers.modbus.bus import ModbusBus
from drivers.modbus.model import MeterModel
from headend.domain.calendar import LocalCalendar
from headend.domain.clock import Clock
from headend.domain.commands import CommandKind, CommandState
from headend.domain.topology import PollTarget
from headend.ingest.clock_book import ClockBook
from headend.ingest.commands.actions import Action, ClockSetting, Switching
from headend.ingest.commands.desk import allowed
from headend.ingest.commands.ledger import CommandLedger, Conclusion, Taken
from headend.ingest.commands.run import CommandRun, Site, report
from headend.ingest.leased import LeasedWork
from headend.ingest.poll_outbox import kind_of
from headend.log import get_logger
from headend.metrics import STORE_ERRORS
from headend.settings import Settings
from headend.store import models as told_models
from headend.store.commands import HeldCommand
from headend.store.errors import StoreError
from headend.store.models import ModelFeatures
from headend.store.pool import Store

_MOST: Final = 16
"""Commands under way at once."""
_MOST_TRIES: Final = 20
"""A command that was sent is taken over so often, in case that concluding it fails by a mistake of ours."""
_TELL_AGAIN_S: Final = 5.0
_MOST_AHEAD_S: Final = 5.0
"""Clocks of two processes differ by less; else a time-to-live is not what it says."""
_RELAY_EVENTS: Final = {"open": EventKind.RELAY_OPENED, "closed": EventKind.RELAY_CLOSED}
_log = get_logger(__name__)


class CannotBeDone(Exception):
    """A command that is refused without asking the meter; says why."""


class _Work:
    """A command that was taken, and its run once there is one."""

    def __init__(self, taken: Taken) -> None:
        self.held, self.target = taken
        self.run: CommandRun | None = None

    def __str__(self) -> str:
        return str(self.held.command_id)


class CommandExecutor:
    """Looks for commands and carries them out."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        models: Mapping[str, MeterModel],
        bus_of: Callable[[PollTarget], ModbusBus],
        book: ClockBook,
        *,
        clock: Clock,
        sleep: Callable[[float], Awaitable[None]],
        reading_profile: Callable[[int], bool] = lambda _: False,
    ) -> None:
        """`reading_profile` says of a meter's number whether its stored profile is being read just now."""
        self._store = store
        self._settings = settings
        self._models = models
        self._bus_of = bus_of
        self._clock = clock
        self._sleep = sleep
        self._reading_profile = reading_profile
        self._calendar = LocalCalendar(ZoneInfo(settings.settlement.zone), settings.settlement.interval_s)
        self._ledger = CommandLedger(store, book, clock, settle_s=settings.commands.settle_s)
        self._work: LeasedWork[_Work] = LeasedWork(
            "commands",
            take=lambda most: [_Work(taken) for taken in self._ledger.take(most)],
            execute=self._execute,
            give_back=self._give_back,
            most=_MOST,
            check_s=settings.poll.request_check_s,
            sleep=sleep,
        )

    async def run(self) -> None:
        """Say what meters can do, then look for commands for ever."""
        while True:
            try:
                await asyncio.to_thread(self._tell)
                break
            except StoreError as error:
                STORE_ERRORS.labels(kind_of(error)).inc()
                _log.warning("what meter models can do is not told yet", error=str(error))
                await self._sleep(_TELL_AGAIN_S)
        await self._work.run()

    def _tell(self) -> None:
        with self._store.transaction() as connection:
            told_models.tell(connection, [features_of(m) for m in self._models.values()], now=self._clock())

    async def _execute(self, work: _Work) -> None:
        held, target = work.held, work.target
        try:
            work.run = self._run_of(held, target)
        except CannotBeDone as cannot:
            await self._refuse(held, target, str(cannot))
        else:
            await work.run.carry_out()

    def _run_of(self, held: HeldCommand, target: PollTarget | None) -> CommandRun:
        """Raises CannotBeDone."""
        if held.state is CommandState.SENT and held.tries > _MOST_TRIES:
            raise CannotBeDone(f"nobody could conclude it in {held.tries} tries")
        if target is None:
            raise CannotBeDone("the meter has no Modbus endpoint")
        if (model := self._models.get(target.model)) is None:
            raise CannotBeDone(f"no register map for model {target.model!r}")
        ahead_s = (held.requested_at - self._clock()).total_seconds()
        if held.state is CommandState.TAKEN and ahead_s > _MOST_AHEAD_S:
            raise CannotBeDone(
                f"asked for by a clock that is {ahead_s:.0f} s ahead of this process's: when it is too late to do it "
                "cannot be told"
            )
        if held.state is CommandState.TAKEN and not allowed(self._settings, held.kind):
            raise CannotBeDone(f"not allowed by the settings of the polling process: commands.{held.kind} = false")
        try:
            bus = self._bus_of(target)
        except DriverConfigError as error:
            raise CannotBeDone(str(error)) from error
        return CommandRun(
            held,
            Site(target, model, bus),
            self._action(held, model),
            self._ledger,
            settle_s=self._settings.commands.settle_s,
            clock=self._clock,
            sleep=self._sleep,
            hindrance=lambda: self._hindrance(held),
        )

    def _hindrance(self, held: HeldCommand) -> str | None:
        if held.kind is CommandKind.CLOCK and self._reading_profile(held.meter_id):
            return "its stored profile is being read: what stamps it must not be set meanwhile"
        return None

    def _action(self, held: HeldCommand, model: MeterModel) -> Action:
        features = model.features
        if held.kind is CommandKind.CLOCK:
            if features.clock is None or features.clock.write is None:
                raise CannotBeDone(f"the register map of {model.id} knows no way to set its clock")
            return ClockSetting(
                features.clock,
                self._calendar,
                guard_s=self._settings.clock.guard_s,
                across=held.across_intervals,
                until=held.expires_at,
                clock=self._clock,
                sleep=self._sleep,
            )
        relay = held.kind is CommandKind.RELAY
        spec = features.relay if relay else features.tariff
        if spec is None or held.wanted not in spec.writes:
            raise CannotBeDone(f"the register map of {model.id} knows no {held.kind} {held.wanted}")
        return Switching(spec, held.wanted, _RELAY_EVENTS[held.wanted] if relay else EventKind.TARIFF_CHANGED)

    async def _refuse(self, held: HeldCommand, target: PollTarget | None, why: str) -> None:
        """Without asking the meter; what was sent already can only be unconfirmed."""
        state = CommandState.UNCONFIRMED if held.state is CommandState.SENT else CommandState.REFUSED
        conclusion = Conclusion(state=state, detail=why, before_state=held.before_state, after_state=None)
        try:
            ours = await asyncio.to_thread(self._ledger.conclude, held, target, (), conclusion)
        except StoreError as error:
            # The lease runs out, and it is refused again.
            STORE_ERRORS.labels(kind_of(error)).inc()
            _log.warning("command not refused yet", command=str(held.command_id), error=str(error))
            return
        report(held, target, conclusion, ours=ours)

    def _give_back(self, work: _Work) -> None:
        self._ledger.give_up_lease(work.held if work.run is None else work.run.held)


def features_of(model: MeterModel) -> ModelFeatures:
    """What meters of a model can do, for those who have no register maps."""
    clock, relay, tariff = model.features.clock, model.features.relay, model.features.tariff
    return ModelFeatures(
        model=model.id,
        manufacturer=model.manufacturer,
        name=model.name,
        tells_serial=Quantity.SERIAL in model.quantities,
        clock="none" if clock is None else "read" if clock.write is None else "set",
        relay=() if relay is None else tuple(relay.writes),
        tariffs=() if tariff is None else tuple(sorted(tariff.writes)),
    )
