"""Reads all meters of one bus in rounds, and keeps what each meter says of itself apart from what it measures.

The rules it keeps: one round at a time, a tick that falls into a running round is missed and counted; a dead meter
costs its own time-outs; meters that a broken connection kept from being asked are asked again within the round; a
reading of a meter that names another serial never passes for the one we asked for.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from drivers.base import MeterIdentity, Quantity, RegisterReading
from drivers.errors import ConnectionFailed, DriverConfigError, PeerError
from drivers.modbus.bus import ModbusBus
from drivers.modbus.gate import Priority
from drivers.modbus.model import MeterModel
from headend.domain.calendar import US_PER_S, to_us
from headend.domain.clock import Clock
from headend.domain.topology import PollTarget
from headend.ingest.poll_grid import due_us, next_tick, stagger_us
from headend.ingest.poll_outbox import Outbox
from headend.log import get_logger
from headend.metrics import MODBUS_READS, MODBUS_ROUND_SECONDS, MODBUS_TICKS_MISSED

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
_LONGEST_PAUSE_S: Final = 30.0
"""The wall clock may be set while we wait: look at it again."""
_FIRST_REST_S: Final = 1.0
"""Rest before meters behind a broken connection are asked again; doubles."""
_TRY_FOR: Final = 0.5
"""Share of the period within which they are."""
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A reading of a meter that says it is another one."""

    target: PollTarget
    reading: RegisterReading

    @property
    def detail(self) -> str:
        """For a person."""
        return (
            f"the store expects {self.target.manufacturer}/{self.target.serial} here, "
            f"the meter says its serial is {self.reading.serial}"
        )


@dataclass(slots=True)
class RoundResult:
    """What one round brought."""

    bus: str
    """`host:port`."""
    began_us: int
    """UTC, µs since 1970."""
    readings: list[tuple[MeterIdentity, RegisterReading]] = field(default_factory=list)
    mismatches: list[Mismatch] = field(default_factory=list)
    failed: int = 0

    def __len__(self) -> int:
        return len(self.readings) + len(self.mismatches)


def same_serial(stored: str, told: str) -> bool:
    """Whether two spellings name one serial: meters that hold it as a number lose leading zeros."""
    return _plain(stored) == _plain(told)


def _plain(serial: str) -> str:
    return serial.strip().casefold().lstrip("0")


def peer_of(target: PollTarget) -> str:
    """Where a meter is, as a person would look for it."""
    return f"{target.host}:{target.port} unit {target.unit}"


class BusPoller:
    """Polls one bus on the grid until it is cancelled; what it has read by then goes out all the same."""

    def __init__(
        self,
        bus: ModbusBus,
        models: Mapping[str, MeterModel],
        outbox: Outbox[RoundResult],
        *,
        period_s: int,
        clock: Clock,
        sleep: Sleep,
    ) -> None:
        self._bus = bus
        self._models = models
        self._outbox = outbox
        self._period_s = period_s
        self._offset_us = stagger_us(bus.peer, period_s)
        self._clock = clock
        self._sleep = sleep
        self._silent: set[int] = set()
        self._away = False
        self.targets: tuple[PollTarget, ...] = ()
        """May be exchanged at any time; the next round takes the new ones."""

    async def run(self) -> None:
        """A first round at once, because a register read now bounds whatever gap there was; then one each tick."""
        expected = next_tick(to_us(self._clock()), self._period_s, self._offset_us)
        await self.poll()
        while True:
            now_us = to_us(self._clock())
            tick = next_tick(now_us, self._period_s, self._offset_us)
            if tick > expected:
                MODBUS_TICKS_MISSED.labels("late_round").inc(tick - expected)
                _log.warning("polling ticks missed", bus=self._bus.peer, ticks=tick - expected)
            while (rest_us := due_us(tick, self._period_s, self._offset_us) - to_us(self._clock())) > 0:
                await self._sleep(min(rest_us / 1e6, _LONGEST_PAUSE_S))
            expected = tick + 1
            await self.poll()

    async def poll(self) -> RoundResult | None:
        """One round: every meter once, area meters first. None while there is no room for what it would bring."""
        targets = self.targets
        if not self._outbox.has_room:
            MODBUS_TICKS_MISSED.labels("store_away").inc()
            _log.warning("polling paused", bus=self._bus.peer, reason="the database is away and the queue is full")
            return None
        result = RoundResult(self._bus.peer, to_us(self._clock()))
        try:
            await self._ask_all(sorted(targets, key=lambda t: (not t.is_area_meter, t.unit, t.meter_id)), result)
        finally:
            self._outbox.put(result)
        MODBUS_ROUND_SECONDS.observe(max(0, to_us(self._clock()) - result.began_us) / 1e6)
        return result

    async def _ask_all(self, targets: Sequence[PollTarget], result: RoundResult) -> None:
        """Ask everybody once; those whom no connection led to again, until half the period is over."""
        until_us = result.began_us + round(self._period_s * _TRY_FOR * US_PER_S)
        rest_s = _FIRST_REST_S
        waiting = list(targets)
        while True:
            lost: dict[PollTarget, ConnectionFailed] = {}
            for target in waiting:
                try:
                    await self._read(target, result)
                except ConnectionFailed as error:
                    lost[target] = error
            if not lost or to_us(self._clock()) + rest_s * US_PER_S > until_us:
                break
            await self._sleep(rest_s)
            rest_s *= 2
            waiting = list(lost)
        self._not_reached(lost, result)

    def _not_reached(self, lost: Mapping[PollTarget, ConnectionFailed], result: RoundResult) -> None:
        """Count every meter, say once that the bus is away."""
        for error in lost.values():
            MODBUS_READS.labels(error.code).inc()
            result.failed += 1
        if lost and not self._away:
            reason = str(next(iter(lost.values())))
            _log.warning("bus not reached", bus=self._bus.peer, meters=len(lost), reason=reason)
        elif self._away and not lost:
            _log.info("bus reached again", bus=self._bus.peer)
        self._away = bool(lost)

    async def _read(self, target: PollTarget, result: RoundResult) -> None:
        """Ask one meter. Raises `ConnectionFailed` when it could not be asked."""
        model = self._models.get(target.model)
        if model is None:
            self._failed(target, result, "unknown_model", f"no register map for model {target.model!r}")
            return
        priority = Priority.AREA_METER if target.is_area_meter else Priority.HOUSEHOLD
        try:
            reading = await self._bus.read_meter(target.unit, model, POLLED, priority=priority)
        except ConnectionFailed:
            raise
        except (PeerError, DriverConfigError) as error:
            self._failed(target, result, error.code, str(error))
            return
        if target.meter_id in self._silent:
            self._silent.discard(target.meter_id)
            _log.info("meter answers again", meter=f"{target.manufacturer}/{target.serial}", at=peer_of(target))
        if reading.serial is not None and not same_serial(target.serial, reading.serial):
            MODBUS_READS.labels("serial_mismatch").inc()
            result.mismatches.append(Mismatch(target, reading))
        elif reading.import_wh is None and reading.export_wh is None:
            self._failed(target, result, "no_registers", f"no energy register; refused: {', '.join(reading.refused)}")
        else:
            MODBUS_READS.labels("ok").inc()
            result.readings.append((MeterIdentity(target.manufacturer, target.serial), reading))

    def _failed(self, target: PollTarget, result: RoundResult, outcome: str, reason: str) -> None:
        """Count it every time, say it once until the meter answers again."""
        MODBUS_READS.labels(outcome).inc()
        result.failed += 1
        if target.meter_id not in self._silent:
            self._silent.add(target.meter_id)
            meter = f"{target.manufacturer}/{target.serial}"
            _log.warning("meter not read", meter=meter, at=peer_of(target), outcome=outcome, reason=reason)


def by_bus(targets: Sequence[PollTarget]) -> dict[tuple[str, int], tuple[PollTarget, ...]]:
    """Targets that share a connection, together."""
    grouped: dict[tuple[str, int], list[PollTarget]] = {}
    for target in targets:
        grouped.setdefault(target.bus, []).append(target)
    return {bus: tuple(members) for bus, members in grouped.items()}
