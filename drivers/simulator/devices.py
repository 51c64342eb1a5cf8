"""What is kept in Modbus meters and can be changed from outside: clock, relay, tariff in force.

The rule it keeps: what was changed outlives the process, as in a meter; what was never changed costs nothing and is a
pure function of scenario and seed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from drivers.simulator.days import US
from drivers.simulator.faults import MeterClock
from drivers.simulator.streams import stream
from drivers.simulator.world import World

_MOST_SETTINGS: Final = 50
"""A clock remembers so many settings; what was frozen before the oldest is as if it had always been right."""
RELAY_CLOSED: Final = "closed"
FIRST_TARIFF: Final = "1"


class Setting(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """From an instant on a clock runs from this lead."""

    from_us: int
    lead_us: int


class Switched(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A relay that was told to move."""

    state: str
    before: str
    told_us: int


class Changed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What was changed in one meter; what was not is absent."""

    clock: tuple[Setting, ...] = ()
    relay: Switched | None = None
    tariff: str | None = None


@dataclass(frozen=True, slots=True)
class ClockCourse:
    """How one clock ran and runs: straight from each setting to the next."""

    settings: tuple[Setting, ...]
    """At least one, by instant."""
    drift: float
    """Lead gained per second."""

    def lead_us(self, instant_us: int) -> int:
        """How far ahead it is at a true instant."""
        held = [s for s in self.settings if s.from_us <= instant_us] or self.settings[:1]
        return round(held[-1].lead_us + self.drift * (instant_us - held[-1].from_us))

    def when_us(self, shown_us: int) -> int:
        """The true instant at which it showed `shown_us`: the first, where it was set back; its setting, where it was
        set forward across it."""
        for i, setting in enumerate(self.settings):
            begin = setting.from_us
            at = begin + round((shown_us - begin - setting.lead_us) / (1 + self.drift))
            end = self.settings[i + 1].from_us if i + 1 < len(self.settings) else None
            if end is None or at < end:
                return max(at, begin) if i else at
        raise AssertionError("the last setting has no end")


class Devices:
    """The changeable state of all Modbus meters of a world."""

    def __init__(self, world: World, kept: dict[str, Changed], keep: Callable[[dict[str, Changed]], None]) -> None:
        """`kept`: by meter, what was changed before; `keep` makes the same outlive the process."""
        self.world, self._keep = world, keep
        meters, rng = world.fleet.meters, stream(world.scenario.seed, "meter-clocks")
        self._changed = {i: kept[m.name] for i, m in enumerate(meters) if m.name in kept}
        bounds = world.scenario.clocks
        self._lead_s = rng.uniform(-bounds.offset_s, bounds.offset_s, len(meters))
        self._drift = rng.uniform(-bounds.drift_ppm, bounds.drift_ppm, len(meters)) * 1e-6
        for k, meter in world.fleet.planted.items():
            fault = world.scenario.faults[k]
            if isinstance(fault, MeterClock):
                self._lead_s[meter], self._drift[meter] = fault.offset_s, fault.drift_ppm * 1e-6
        self._relay_us = round(world.scenario.modbus.relay_ms * 1000)

    def clock(self, meter: int) -> ClockCourse:
        """The clock in its registers."""
        born = Setting(self.world.start_us, round(float(self._lead_s[meter]) * US))
        return ClockCourse((born, *self._of(meter).clock), float(self._drift[meter]))

    def set_clock(self, meter: int, shown_us: int, now_us: int) -> None:
        """From now on it shows `shown_us` and runs on from there, no better than before."""
        settings = (*self._of(meter).clock, Setting(now_us, shown_us - now_us))
        self._change(meter, clock=settings[-_MOST_SETTINGS:])

    def relay(self, meter: int, now_us: int) -> str:
        """`open` or `closed`, as the contacts are."""
        relay = self._of(meter).relay
        if relay is None:
            return RELAY_CLOSED
        return relay.state if now_us >= relay.told_us + self._relay_us else relay.before

    def switch_relay(self, meter: int, state: str, now_us: int) -> None:
        """The motor moves the contacts a little later."""
        self._change(meter, relay=Switched(state, self.relay(meter, now_us), now_us))

    def tariff(self, meter: int) -> str:
        """The number of the tariff in force."""
        return self._of(meter).tariff or FIRST_TARIFF

    def switch_tariff(self, meter: int, tariff: str) -> None:
        """At once."""
        self._change(meter, tariff=tariff)

    def _of(self, meter: int) -> Changed:
        return self._changed.get(meter, _UNCHANGED)

    def _change(self, meter: int, **changes: object) -> None:
        self._changed[meter] = msgspec.structs.replace(self._of(meter), **changes)
        self._keep({self.world.fleet.meters[i].name: c for i, c in self._changed.items()})


_UNCHANGED: Final = Changed()
