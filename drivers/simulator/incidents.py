"""What happens to meters at certain times, as the scenario plants it: who is without power, whose voltage is too high,
whose cover stands open, and the events that tell of it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from drivers.events import DeviceEvent, EventKind
from drivers.simulator.days import US
from drivers.simulator.faults import CoverOpened, Fault, OverVoltage, PowerFailure
from drivers.simulator.fleet import Fleet
from drivers.simulator.scenario import Scenario

DAY_US: Final = 86_400 * US
_ENDS: Final = {
    EventKind.COVER_OPENED: EventKind.COVER_CLOSED,
    EventKind.POWER_FAILED: EventKind.POWER_RESTORED,
    EventKind.OVER_VOLTAGE: EventKind.OVER_VOLTAGE_ENDED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """Something that lasts from an instant to an instant."""

    meter: int
    kind: EventKind
    """As it begins."""
    from_us: int
    until_us: int | None
    """None: it does not end."""
    phase: int | None = None
    rise_v: float = 0.0
    """Of an over-voltage: so much above what physics say."""
    detail: str = ""

    def holds(self, instant_us: int) -> bool:
        """Whether it goes on then."""
        return self.from_us <= instant_us and (self.until_us is None or instant_us < self.until_us)

    def overlap_us(self, from_us: int, until_us: int) -> int:
        """How long of a stretch of time it lasts."""
        end = until_us if self.until_us is None else min(until_us, self.until_us)
        return max(0, end - max(from_us, self.from_us))

    @property
    def events(self) -> tuple[DeviceEvent, ...]:
        """Its beginning and its end, with their true instants."""
        begins = DeviceEvent(kind=self.kind, instant_us=self.from_us, phase=self.phase, detail=self.detail)
        if self.until_us is None:
            return (begins,)
        return begins, DeviceEvent(kind=_ENDS[self.kind], instant_us=self.until_us, phase=self.phase)


class Incidents:
    """All of a neighbourhood, by meter."""

    def __init__(self, scenario: Scenario, fleet: Fleet, *, start_us: int, epoch_us: int) -> None:
        """`start_us`: of history; `epoch_us`: the first start."""
        found = {k: _incident(scenario.faults[k], meter, start_us, epoch_us) for k, meter in fleet.planted.items()}
        self.planted: Mapping[int, Incident] = {k: i for k, i in found.items() if i is not None}
        """By number of the fault."""
        of: dict[int, list[Incident]] = {}
        for incident in self.planted.values():
            of.setdefault(incident.meter, []).append(incident)
        self.of: Mapping[int, tuple[Incident, ...]] = {m: tuple(found) for m, found in of.items()}
        """Meter → what happens to it; meters to which nothing happens are not there."""

    def holding(self, meter: int, instant_us: int) -> frozenset[EventKind]:
        """What goes on at a meter."""
        return frozenset(i.kind for i in self.of.get(meter, ()) if i.holds(instant_us))

    def powered(self, meter: int, instant_us: int) -> bool:
        """Whether a meter has the power to answer."""
        return EventKind.POWER_FAILED not in self.holding(meter, instant_us)

    def rise_v(self, meter: int, instant_us: int) -> tuple[float, float, float]:
        """By phase: how much its voltage is above what physics say."""
        rise = [0.0, 0.0, 0.0]
        for i in self.of.get(meter, ()):
            if i.phase is not None and i.holds(instant_us):
                rise[i.phase - 1] += i.rise_v
        return rise[0], rise[1], rise[2]


def _incident(fault: Fault, meter: int, start_us: int, epoch_us: int) -> Incident | None:
    match fault:
        case CoverOpened():
            begins, kind = start_us + round(fault.onset_day * DAY_US), EventKind.COVER_OPENED
            return _lasting(meter, kind, begins, fault.lasts_s, detail="the switch below the cover")
        case PowerFailure():
            begins, kind = epoch_us + round(fault.at_s * US), EventKind.POWER_FAILED
            return _lasting(meter, kind, begins, fault.lasts_s, detail="last gasp")
        case OverVoltage():
            begins, kind = epoch_us + round(fault.at_s * US), EventKind.OVER_VOLTAGE
            return _lasting(meter, kind, begins, fault.lasts_s, phase=fault.phase, rise_v=fault.rise_v)
    return None


def _lasting(
    meter: int, kind: EventKind, from_us: int, lasts_s: float | None, *,
    phase: int | None = None, rise_v: float = 0.0, detail: str = "",
) -> Incident:  # fmt: skip
    until_us = None if lasts_s is None else from_us + round(lasts_s * US)
    return Incident(
        meter=meter, kind=kind, from_us=from_us, until_us=until_us, phase=phase, rise_v=rise_v, detail=detail
    )
