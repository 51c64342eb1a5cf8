"""Remembers which registers a meter refused, so that the search for them is paid for once."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from drivers.modbus.clock import Clock
from drivers.modbus.register_map import AddressRange


@dataclass(frozen=True, slots=True)
class MeterKey:
    """The meter that refused."""

    peer: str
    """The bus, e.g. `10.1.2.3:502`."""
    unit: int
    model_id: str


class RefusalMemory(Protocol):
    """Where refused ranges are kept: in memory here, in the store when somebody should see them."""

    def known(self, key: MeterKey) -> Collection[AddressRange]:
        """Ranges that this meter is believed to refuse still."""
        ...

    def remember(self, key: MeterKey, refused: AddressRange) -> None:
        """This meter just refused `refused` (one register's, or what lay between two readable ones)."""
        ...


class ForgettingRefusals:
    """Keeps refusals in memory for a while: a firmware update may have brought the register back."""

    def __init__(self, clock: Clock, *, keep_s: float = 86_400.0) -> None:
        self._clock = clock
        self._keep_s = keep_s
        self._until: dict[MeterKey, dict[AddressRange, float]] = {}

    def known(self, key: MeterKey) -> Collection[AddressRange]:
        """Ranges refused within the last `keep_s` seconds."""
        now = self._clock.monotonic()
        fresh = {r: until for r, until in self._until.get(key, {}).items() if until > now}
        if fresh:
            self._until[key] = fresh
        else:
            self._until.pop(key, None)
        return tuple(fresh)

    def remember(self, key: MeterKey, refused: AddressRange) -> None:
        """Keep `refused` for `keep_s` seconds from now."""
        self._until.setdefault(key, {})[refused] = self._clock.monotonic() + self._keep_s
