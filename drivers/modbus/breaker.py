"""A circuit breaker for one meter: who is silent again and again is left alone, and asked one question now and then.

The rule it keeps: a failed visit counts only once somebody else on the same bus has answered after it. Until then it
may be the bus that is ill, and nobody rests for that.
"""

from __future__ import annotations

import random
from typing import Final

from drivers.modbus.bus_settings import BusSettings
from drivers.modbus.health import BreakerState

_MOST_DOUBLINGS: Final = 16


class Breaker:
    """Closed → open after so many counted failures → half open once its rest is over → closed by any answer.

    All instants are monotonic seconds.
    """

    __slots__ = ("_jitter", "_rests", "_settings", "failures", "next_probe_at", "opened_at", "suspected")

    def __init__(self, settings: BusSettings, jitter: random.Random) -> None:
        self._settings = settings
        self._jitter = jitter
        self._rests = 0
        self.failures = 0
        """Counted visits in a row that brought nothing."""
        self.suspected = False
        """The last visit failed, and nobody else has answered since."""
        self.opened_at: float | None = None
        """Since when it is not closed."""
        self.next_probe_at: float | None = None

    def state(self, now: float) -> BreakerState:
        """Whether the meter may be asked now, and how."""
        if self.next_probe_at is None:
            return BreakerState.CLOSED
        return BreakerState.HALF_OPEN if now >= self.next_probe_at else BreakerState.OPEN

    def answered(self) -> None:
        """It answered: all is forgiven."""
        self.failures = self._rests = 0
        self.suspected = False
        self.opened_at = self.next_probe_at = None

    def failed(self, now: float) -> None:
        """A visit brought nothing; whether that counts is not known yet. A probe's rest begins anew in any case."""
        self.suspected = True
        if self.next_probe_at is not None:
            self.next_probe_at = now + self._rest_s()

    def count(self, now: float) -> bool:
        """Somebody else answered after this meter's failure: it counts. True when that has opened the breaker."""
        self.suspected = False
        self.failures += 1
        if self.opened_at is not None:
            self._rests += 1
            return False
        if self.failures < self._settings.breaker_failures:
            return False
        self.opened_at = now
        self.next_probe_at = now + self._rest_s()
        self._rests = 1
        return True

    def acquit(self) -> None:
        """The bus was ill: the failure does not count."""
        self.suspected = False

    def _rest_s(self) -> float:
        rest_s = self._settings.breaker_backoff_s * 2.0 ** min(self._rests, _MOST_DOUBLINGS)
        return min(self._settings.breaker_backoff_max_s, rest_s) * self._jitter.uniform(0.5, 1.0)
