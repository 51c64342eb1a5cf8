"""Remembers which registers meters refused, so that the search for them is paid for once.

The rule it keeps: what a meter of a known firmware refused holds for all meters of that model and firmware; where the
firmware is not known it holds for that one meter alone, so that an odd one hides nothing of its siblings.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

from drivers.modbus.register_map import AddressRange


@dataclass(frozen=True, slots=True)
class MeterKey:
    """One meter where it hangs."""

    peer: str
    """The bus, e.g. `10.1.2.3:502`."""
    unit: int
    model_id: str


@dataclass(frozen=True, slots=True)
class FirmwareKey:
    """All meters of one model and firmware."""

    model_id: str
    firmware: str
    """As the meters say it themselves."""


RefusalKey = MeterKey | FirmwareKey
"""For whom a refusal holds."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Registers that somebody was seen to refuse."""

    range: AddressRange
    """One quantity's registers, or what lies between two readable ones."""
    found_us: int
    """UTC, microseconds since 1970: when it was seen last."""
    found_by: MeterKey
    """The meter that was asked."""
    until_us: int
    """From then on it is asked once more: a new firmware may have brought the registers."""


class RefusalMemory(Protocol):
    """Where refusals are kept: in memory here, in the store when somebody should see them.

    The bus calls it in its event loop: an implementation answers from memory and writes behind.
    """

    def known(self, key: RefusalKey) -> Collection[Refusal]:
        """What is believed to be refused still; those whose `until_us` is over as well: the bus asks them again."""
        ...

    def remember(self, key: RefusalKey, refused: AddressRange, at_us: int, found_by: MeterKey) -> None:
        """`found_by` refused `refused` just now; replaces what was remembered of the same range."""
        ...

    def forget(self, key: RefusalKey, refused: AddressRange) -> None:
        """`refused` was asked again and answered."""
        ...


class RefusalsInMemory:
    """Keeps refusals as long as the process lives."""

    def __init__(self, *, keep_s: float = 86_400.0) -> None:
        self._keep_us = round(keep_s * 1e6)
        self._found: dict[RefusalKey, dict[AddressRange, Refusal]] = {}

    def known(self, key: RefusalKey) -> Collection[Refusal]:
        """All that was remembered of this key and not forgotten."""
        return tuple(self._found.get(key, {}).values())

    def remember(self, key: RefusalKey, refused: AddressRange, at_us: int, found_by: MeterKey) -> None:
        """Keep `refused`; it is asked again `keep_s` seconds from now."""
        self._found.setdefault(key, {})[refused] = Refusal(refused, at_us, found_by, at_us + self._keep_us)

    def forget(self, key: RefusalKey, refused: AddressRange) -> None:
        """Drop `refused`."""
        ranges = self._found.get(key, {})
        ranges.pop(refused, None)
        if not ranges:
            self._found.pop(key, None)
