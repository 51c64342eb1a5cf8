"""Opens each bus once, however many want to talk on it, and says what was learnt of its meters."""

from __future__ import annotations

from typing import Final

from drivers.modbus.bus import BusSettings, ModbusBus
from drivers.modbus.clock import SystemClock
from drivers.modbus.dialin import DialInServer
from drivers.modbus.health import MeterHealth
from drivers.modbus.refusals import RefusalMemory
from drivers.registry import open_bus
from headend.domain.clock import Clock
from headend.settings import Settings

_LONGEST_BACKOFF_S: Final = 60.0
"""Longest rest between two attempts to connect to a gateway."""


class Buses:
    """The buses of this process, by URI."""

    def __init__(
        self, settings: Settings, clock: Clock, refusals: RefusalMemory | None, dialin: DialInServer | None
    ) -> None:
        self._settings = bus_settings(settings)
        self._clock = SystemClock(clock)
        self._refusals = refusals
        self._dialin = dialin
        self._open: dict[str, ModbusBus] = {}
        self._uris: dict[str, str] = {}

    def get(self, uri: str) -> ModbusBus:
        """The bus; it connects when it is first used. Raises `DriverConfigError` where the URI cannot be used."""
        if uri not in self._open:
            bus = open_bus(uri, self._settings, clock=self._clock, refusals=self._refusals, dialin=self._dialin)
            self._open[uri] = bus
            self._uris[bus.peer] = uri
        return self._open[uri]

    def uri_of(self, peer: str) -> str | None:
        """The bus that calls itself so."""
        return self._uris.get(peer)

    def health(self, uri: str, unit: int) -> MeterHealth | None:
        """What was learnt of a meter; None where it was never asked."""
        return self._open[uri].health(unit) if uri in self._open else None

    async def close(self) -> None:
        """Give all connections up."""
        for bus in self._open.values():
            await bus.close()


def bus_settings(settings: Settings) -> BusSettings:
    """How buses are used, by the settings; a gateway that is away is looked for several times a period."""
    poll = settings.poll
    return BusSettings(
        timeout_s=poll.timeout_s,
        timeout_min_s=min(poll.timeout_min_s, poll.timeout_s),
        connect_timeout_s=poll.connect_timeout_s,
        retries=poll.retries,
        turnaround_s=poll.turnaround_s,
        inter_frame_s=poll.inter_frame_s,
        late_s=poll.late_s,
        breaker_failures=poll.breaker_failures,
        breaker_backoff_s=poll.breaker_backoff_s,
        breaker_backoff_max_s=poll.breaker_backoff_max_s,
        backoff_max_s=min(_LONGEST_BACKOFF_S, max(1.0, poll.period_s / 4)),
    )
