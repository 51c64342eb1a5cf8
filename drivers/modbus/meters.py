"""What a bus has learnt of its meters since it was made: response times, silence, firmware; and who is ill, they or it.

The rule it keeps: a meter's silence is held against it only while others on the bus answer. When all that ever answered
are silent at once it is the gateway or the line, and nobody's failure counts.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Final

from drivers.errors import MeterResting
from drivers.modbus.address import ModbusAddress
from drivers.modbus.breaker import Breaker
from drivers.modbus.bus_settings import BusSettings, BusStats
from drivers.modbus.clock import Clock
from drivers.modbus.gate import Priority
from drivers.modbus.health import BreakerState, MeterHealth
from drivers.modbus.register_map import AddressRange
from drivers.modbus.timing import Patience, ResponseTimes

_SHARE_GAIN: Final = 1 / 8
_BLOCKS_KEPT: Final = 64
_GONE_US: Final = 86_400_000_000
"""Who answered so long before the others did last is perhaps not there any more, and says nothing about the bus."""
_TYPICAL_REGISTERS: Final = 2


@dataclass(slots=True, eq=False)
class KnownMeter:
    """One unit of the bus."""

    unit: int
    breaker: Breaker
    patience: Patience
    silent: bool = False
    """Its last turn brought nothing."""
    share: float = 1.0
    """Of its questions that were answered, smoothed."""
    successes: int = 0
    timeouts: int = 0
    last_answer_us: int | None = None
    last_count: int = _TYPICAL_REGISTERS
    """Registers of the last question."""
    firmware: dict[str, str] = field(default_factory=dict)
    """Model id → firmware, as it said when it was read as that model."""
    answered: set[AddressRange] = field(default_factory=set)
    """Blocks that it answered, where that matters: on links without numbers."""
    no_padding: set[AddressRange] = field(default_factory=set)
    """Registers that it refused when they were read only to make a question longer."""
    doubted: dict[tuple[str, AddressRange], None] = field(default_factory=dict)
    """(model id, registers) that it seemed to refuse, where the refusal may have been another question's; in order."""

    def answered_for(self, where: AddressRange) -> None:
        """It has all of these registers."""
        if len(self.answered) >= _BLOCKS_KEPT:
            self.answered.clear()
        self.answered.add(where)

    def has_answered(self, where: AddressRange) -> bool:
        """Whether it is known to have all of these registers."""
        return any(r.table is where.table and r.first <= where.first and where.last <= r.last for r in self.answered)

    def undoubt(self, model_id: str, where: AddressRange) -> None:
        """These registers were not refused after all, or are asked for once more."""
        for of, seemed in [d for d in self.doubted if d[0] == model_id and d[1].table is where.table]:
            if where.first <= seemed.first and seemed.last <= where.last:
                del self.doubted[of, seemed]

    def heard(self, answered: bool) -> None:
        """A question was answered, or was not."""
        self.share += _SHARE_GAIN * (answered - self.share)


class KnownMeters:
    """All units of one bus that were ever asked."""

    def __init__(self, settings: BusSettings, clock: Clock, jitter: random.Random, stats: BusStats) -> None:
        self._settings = settings
        self._clock = clock
        self._jitter = jitter
        self._stats = stats
        self._times = ResponseTimes()
        self._units: dict[int, KnownMeter] = {}
        self._suspected: dict[int, KnownMeter] = {}

    def of(self, unit: int) -> KnownMeter:
        """What is known of a unit; a blank page for one not asked yet."""
        meter = self._units.get(unit)
        if meter is None:
            breaker = Breaker(self._settings, self._jitter)
            meter = self._units[unit] = KnownMeter(unit, breaker, Patience(self._settings, self._times))
        return meter

    @property
    def ill(self) -> bool:
        """Whether the bus seems to be: all that answered lately and do not rest have failed since anybody did."""
        answered = [
            (m.last_answer_us, m.breaker.suspected)
            for m in self._units.values()
            if m.last_answer_us is not None and m.breaker.opened_at is None
        ]
        latest_us = max((us for us, _ in answered), default=0)
        return bool(answered) and all(suspected for us, suspected in answered if us >= latest_us - _GONE_US)

    def retries(self, meter: KnownMeter) -> int:
        """Further tries that a silent question to this meter gets.

        All that the settings allow to one that usually answers; none to one whose last turn brought nothing (a resting
        one is among them) or that leaves most questions unanswered: its neighbours are waiting.
        """
        deserved = not meter.silent and meter.share >= self._settings.retry_share
        return self._settings.retries if deserved else 0

    def alive(self, meter: KnownMeter) -> None:
        """It answered something: whoever failed before that failed by itself, unless nobody had answered at all."""
        if self._suspected:
            self._judge(meter)
        meter.last_answer_us = self._clock.now_us()
        meter.silent = False
        if meter.breaker.failures or meter.breaker.opened_at is not None:
            meter.breaker.answered()

    def _judge(self, answering: KnownMeter) -> None:
        was_ill = self.ill
        answering.breaker.acquit()
        suspected, self._suspected = self._suspected, {}
        for unit, meter in suspected.items():
            if was_ill or unit == answering.unit:
                meter.breaker.acquit()
            elif meter.breaker.count(self._clock.monotonic()):
                self._stats.breakers_opened += 1

    def failed(self, meter: KnownMeter) -> bool:
        """Its turn brought nothing. True when now the bus seems to be ill and did not before."""
        was_ill = self.ill
        meter.silent = True
        meter.breaker.failed(self._clock.monotonic())
        self._suspected[meter.unit] = meter
        return self.ill and not was_ill

    def health(self, unit: int) -> MeterHealth | None:
        """For display; None for a unit that was never asked."""
        meter = self._units.get(unit)
        if meter is None:
            return None
        now, now_us, breaker = self._clock.monotonic(), self._clock.now_us(), meter.breaker
        smoothed_s = meter.patience.smoothed_s
        return MeterHealth(
            unit=unit,
            state=breaker.state(now),
            failures=breaker.failures,
            since_us=_wall_us(breaker.opened_at, now, now_us),
            next_probe_us=_wall_us(breaker.next_probe_at, now, now_us),
            last_answer_us=meter.last_answer_us,
            response_ms=None if smoothed_s is None else 1000 * smoothed_s,
            timeout_ms=1000 * meter.patience.timeout_s(meter.last_count),
            retries=self.retries(meter),
            successes=meter.successes,
            timeouts=meter.timeouts,
            firmware=next(reversed(meter.firmware.values()), None),
        )

    def refuse_resting(self, address: ModbusAddress, bus: str) -> None:
        """Raise `MeterResting` when the meter may not be asked now. A person who waits may always ask."""
        breaker = self.of(address.unit).breaker
        if breaker.opened_at is None or breaker.next_probe_at is None or address.priority is Priority.COMMAND:
            return
        now, now_us = self._clock.monotonic(), self._clock.now_us()
        if breaker.state(now) is BreakerState.HALF_OPEN:
            return
        self._stats.rested += 1
        raise MeterResting(
            f"not asked: {breaker.failures} visits in a row brought nothing, while others on the bus answered; "
            f"the next probe is due in {breaker.next_probe_at - now:.0f} s",
            peer=f"{bus} unit {address.unit}",
            since_us=now_us + _us(breaker.opened_at - now),
            next_probe_us=now_us + _us(breaker.next_probe_at - now),
        )


def _wall_us(at: float | None, now: float, now_us: int) -> int | None:
    return None if at is None else now_us + _us(at - now)


def _us(seconds: float) -> int:
    return round(seconds * 1e6)
