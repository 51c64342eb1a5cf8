"""Polls the meters of one bus on the grid, in rounds.

The rules it keeps: one round at a time, a tick that falls into a running round is missed and counted, or made up for
once, as the settings say; a dead meter costs its own time-outs; meters that a broken connection kept from being asked
are asked again within the round; a reading of a meter that names another serial never passes for the one we asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from typing import Final, Literal

from drivers.base import IMPORT_TARIFFS, MeterIdentity, Quantity, RegisterReading
from drivers.errors import ConnectionFailed, DriverConfigError, PeerError
from drivers.modbus.bus import ModbusAddress, ModbusBus
from drivers.modbus.gate import Priority
from drivers.modbus.model import MeterModel
from headend.domain.calendar import US_PER_S, to_us
from headend.domain.clock import Clock
from headend.domain.topology import PollTarget
from headend.ingest.poll_grid import Grid
from headend.ingest.poll_order import by_area
from headend.ingest.poll_outbox import Outbox
from headend.ingest.poll_round import OK, Mismatch, Outcome, RoundReport, RoundResult, peer_of, same_serial
from headend.ingest.status_poll import StatusReader
from headend.log import get_logger
from headend.metrics import MODBUS_AREA_METERS_AGAIN, MODBUS_READS, MODBUS_ROUND_SECONDS, MODBUS_TICKS_MISSED

Sleep = Callable[[float], Awaitable[None]]
"""Lets so many seconds pass."""

POLLED: Final = frozenset(
    {
        Quantity.IMPORT_WH,
        Quantity.EXPORT_WH,
        Quantity.IMPORT_L1_WH,
        Quantity.IMPORT_L2_WH,
        Quantity.IMPORT_L3_WH,
        Quantity.EXPORT_L1_WH,
        Quantity.EXPORT_L2_WH,
        Quantity.EXPORT_L3_WH,
        *IMPORT_TARIFFS,
        Quantity.VOLTAGE_L1_V,
        Quantity.VOLTAGE_L2_V,
        Quantity.VOLTAGE_L3_V,
        Quantity.CURRENT_L1_A,
        Quantity.CURRENT_L2_A,
        Quantity.CURRENT_L3_A,
        Quantity.POWER_W,
        Quantity.SERIAL,
    }
)
"""What a round wants: all that the store keeps, and the serial, so that an exchanged meter is noticed at once."""
_INTRODUCED: Final = POLLED | {Quantity.FIRMWARE}
"""... until it has said its firmware: what one meter refuses need not be found out again for its siblings."""
_LONGEST_PAUSE_S: Final = 30.0
"""The wall clock may be set while we wait: look at it again."""
_FIRST_REST_S: Final = 1.0
"""Rest before meters behind a broken connection are asked again; doubles."""
_TRY_FOR: Final = 0.5
"""Share of the period within which they are."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoundRules:
    """How rounds are made, the same for every bus."""

    area_again_s: float
    """Where reading an area's meters takes longer, its area meter is read again at the end."""
    missed_tick: Literal["skip", "at_once"] = "skip"
    """What happens after a round that was still running when the next was due."""


class BusPoller:
    """Polls one bus on the grid until it is cancelled; what it has read by then goes out all the same."""

    def __init__(
        self,
        bus: ModbusBus,
        uri: str,
        models: Mapping[str, MeterModel],
        outbox: Outbox[RoundResult],
        *,
        grid: Grid,
        rules: RoundRules,
        clock: Clock,
        sleep: Sleep,
        on_round: Callable[[RoundReport], None] = lambda _: None,
        limit: AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        """`limit` is entered for the length of a round, where not all buses may be at work at once."""
        self._bus = bus
        self._uri = uri
        self._models = models
        self._outbox = outbox
        self._rules = rules
        self._clock = clock
        self._sleep = sleep
        self._on_round = on_round
        self._limit = limit or nullcontext()
        self._status = StatusReader()
        self._silent: set[int] = set()
        self._away = False
        self.targets: tuple[PollTarget, ...] = ()
        """May be exchanged at any time; the next round takes the new ones. The same for `grid`."""
        self.grid = grid

    async def run(self) -> None:
        """A first round soon, because a register read now bounds whatever gap there was; then one each tick."""
        began_us = to_us(self._clock())
        await self._until(began_us + self.grid.offset_us)
        expected = self.grid.next_tick(to_us(self._clock()))
        await self.poll()
        while True:
            tick = self.grid.next_tick(to_us(self._clock()))
            late = self.grid.rounds(expected, tick, area_meters=any(t.is_area_meter for t in self.targets))
            if late and self._rules.missed_tick == "at_once":
                self._missed(late - 1)
                everybody = self.grid.rounds(expected, tick, area_meters=False) > 0
                expected = tick
                await self.poll(self._due(everybody))
                continue
            self._missed(late)
            await self._until(self.grid.due_us(tick))
            expected = tick + 1
            await self.poll(self._due(self.grid.is_for_all(tick)))

    async def poll(self, targets: Sequence[PollTarget] | None = None) -> RoundReport | None:
        """One round of these targets (None: of all). None when there was nobody to ask, or no room for the answers."""
        wanted = self.targets if targets is None else targets
        if not wanted:
            return None
        if not self._outbox.has_room:
            MODBUS_TICKS_MISSED.labels("store_away").inc()
            _log.warning("polling paused", bus=self._bus.peer, reason="the database is away and the queue is full")
            return None
        async with self._limit:
            result = RoundResult(self._bus.peer, to_us(self._clock()))
            report = RoundReport(self._uri, result.began_us)
            try:
                await self._ask_all(wanted, result, report)
            finally:
                self._outbox.put(result)
            report.ended_us = max(result.began_us, to_us(self._clock()))
        MODBUS_ROUND_SECONDS.observe((report.ended_us - report.began_us) / US_PER_S)
        self._on_round(report)
        return report

    def _due(self, everybody: bool) -> tuple[PollTarget, ...]:
        return tuple(t for t in self.targets if everybody or t.is_area_meter)

    def _missed(self, ticks: int) -> None:
        if ticks:
            MODBUS_TICKS_MISSED.labels("late_round").inc(ticks)
            _log.warning("polling ticks missed", bus=self._bus.peer, ticks=ticks)

    async def _until(self, instant_us: int) -> None:
        while (rest_us := instant_us - to_us(self._clock())) > 0:
            await self._sleep(min(rest_us / US_PER_S, _LONGEST_PAUSE_S))

    async def _ask_all(self, targets: Iterable[PollTarget], result: RoundResult, report: RoundReport) -> None:
        """Ask everybody once; those whom no connection led to again, until half the period is over."""
        until_us = result.began_us + round(self.grid.area_period_s * _TRY_FOR * US_PER_S)
        rest_s = _FIRST_REST_S
        while True:
            lost = await self._ask_each(targets, result, report)
            if not lost or to_us(self._clock()) + rest_s * US_PER_S > until_us:
                break
            await self._sleep(rest_s)
            rest_s *= 2
            targets = list(lost)
        self._not_reached(lost, report)

    async def _ask_each(
        self, targets: Iterable[PollTarget], result: RoundResult, report: RoundReport
    ) -> dict[PollTarget, ConnectionFailed]:
        """One pass, area by area; those whom no connection led to."""
        lost: dict[PollTarget, ConnectionFailed] = {}

        async def ask(target: PollTarget) -> None:
            try:
                outcome = await self._read(target, result, report)
            except ConnectionFailed as error:
                if report.outcomes.get(target.meter_id) != Outcome(OK):
                    lost[target] = error
            else:
                self._note(target, outcome, report)

        for area in by_area(targets):
            began_us = to_us(self._clock())
            for target in (*area.area_meters, *area.others):
                await ask(target)
            if area.others and to_us(self._clock()) - began_us > self._rules.area_again_s * US_PER_S:
                for target in area.area_meters:
                    MODBUS_AREA_METERS_AGAIN.inc()
                    await ask(target)
        return lost

    async def _read(self, target: PollTarget, result: RoundResult, report: RoundReport) -> Outcome:
        """Ask one meter. Raises `ConnectionFailed` when it could not be asked."""
        model = self._models.get(target.model)
        if model is None:
            return Outcome("unknown_model", f"no register map for model {target.model!r}")
        priority = Priority.AREA_METER if target.is_area_meter else Priority.HOUSEHOLD
        health = self._bus.health(target.unit)
        wanted = _INTRODUCED if health is None or health.firmware is None else POLLED
        try:
            address = ModbusAddress(target.unit, model, priority)
            reading, status = await self._status.read(self._bus, address, target, wanted)
        except ConnectionFailed:
            raise
        except (PeerError, DriverConfigError) as error:
            return Outcome(error.code, str(error))
        outcome = self._take(target, reading, result, report)
        if outcome.code == OK:
            result.status.extend(status)
        return outcome

    @staticmethod
    def _take(target: PollTarget, reading: RegisterReading, result: RoundResult, report: RoundReport) -> Outcome:
        if reading.serial is not None and not same_serial(target.serial, reading.serial):
            mismatch = Mismatch(target, reading)
            result.mismatches.append(mismatch)
            return Outcome("serial_mismatch", mismatch.detail)
        if reading.import_wh is None and reading.export_wh is None:
            return Outcome("no_registers", f"no energy register; refused: {', '.join(reading.refused)}")
        result.readings.append((MeterIdentity(target.manufacturer, target.serial), reading))
        report.read_us[target.meter_id] = (*report.read_us.get(target.meter_id, ()), reading.instant_us)
        return Outcome(OK)

    def _note(self, target: PollTarget, outcome: Outcome, report: RoundReport) -> None:
        """Count it every time; say that a meter fails once, until it answers again."""
        MODBUS_READS.labels(outcome.code).inc()
        if report.outcomes.get(target.meter_id) != Outcome(OK):
            report.outcomes[target.meter_id] = outcome
        meter, known = f"{target.manufacturer}/{target.serial}", target.meter_id in self._silent
        if outcome.code in (OK, "serial_mismatch"):
            self._silent.discard(target.meter_id)
            if known:
                _log.info("meter answers again", meter=meter, at=peer_of(target))
        elif not known:
            self._silent.add(target.meter_id)
            _log.warning("meter not read", meter=meter, at=peer_of(target), outcome=outcome.code, reason=outcome.reason)

    def _not_reached(self, lost: Mapping[PollTarget, ConnectionFailed], report: RoundReport) -> None:
        """Count every meter, say once that the bus is away."""
        for target, error in lost.items():
            MODBUS_READS.labels(error.code).inc()
            report.outcomes[target.meter_id] = Outcome(error.code, str(error))
        if lost and not self._away:
            reason = str(next(iter(lost.values())))
            _log.warning("bus not reached", bus=self._bus.peer, meters=len(lost), reason=reason)
        elif self._away and not lost:
            _log.info("bus reached again", bus=self._bus.peer)
        self._away = bool(lost)
