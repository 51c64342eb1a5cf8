"""When a meter that publishes for itself tells what happened to it: at once, and a few times again. Pure.

The rule it keeps: an event is the same whenever it is told, so a head-end that heard it twice can tell.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from drivers.events import DeviceEvent, EventKind
from drivers.simulator.days import US, iso


@dataclass(slots=True)
class Telling:
    """One event and how far its telling is."""

    meter: int
    event: DeviceEvent
    times: int = 0
    """How often it was told."""
    again_us: int = 0
    """When it is told next."""


class Tellings:
    """All events of some meters."""

    def __init__(
        self,
        events: Iterable[tuple[int, DeviceEvent]],
        *,
        tellings: int,
        again_s: float,
        powered: Callable[[int, int], bool],
    ) -> None:
        """`powered`: whether a meter (index) has power at an instant; without it there is the last gasp only."""
        self._open = [Telling(meter, event, again_us=event.instant_us) for meter, event in events]
        self._tellings, self._again_us, self._powered = tellings, round(again_s * US), powered

    def due(self, now_us: int) -> tuple[Telling, ...]:
        """What is to be told now, in the order in which it happened."""
        due = (t for t in self._open if t.again_us <= now_us and self._can(t, now_us))
        return tuple(sorted(due, key=lambda t: t.event.instant_us))

    def told(self, telling: Telling, now_us: int) -> None:
        """It was handed over."""
        telling.times += 1
        telling.again_us = now_us + self._again_us * 2 ** (telling.times - 1)
        if telling.times >= self._tellings:
            self._open.remove(telling)

    def next_us(self) -> int | None:
        """When something may have to be told next; None: all is told."""
        return min((t.again_us for t in self._open), default=None)

    def _can(self, telling: Telling, now_us: int) -> bool:
        last_gasp = telling.event.kind is EventKind.POWER_FAILED and telling.times == 0
        return last_gasp or self._powered(telling.meter, now_us)


def event_payload(event: DeviceEvent, lead_us: int) -> bytes:
    """The message, stamped by the meter's own clock in whole seconds; `lead_us`: how far it was ahead then."""
    body: dict[str, Any] = {"kind": event.kind.value, "ts": iso((event.instant_us + lead_us) // US * US)}
    if event.phase is not None:
        body["phase"] = event.phase
    if event.detail:
        body["detail"] = event.detail
    return msgspec.json.encode(body)
