"""Reading quality (how an interval's energy came to be) and the validation flags that it carries (DOMAIN: VEE)."""

from __future__ import annotations

from enum import IntEnum, IntFlag
from typing import Final


class Quality(IntEnum):
    """How an interval's energy came to be; ordered: the larger, the less it rests on the meter."""

    ABSENT = 0
    """No number: never a zero."""
    MEASURED = 1
    """Both registers were read at the grid instants."""
    INTERPOLATED = 2
    """Registers on both sides lie within the tolerance; the grid instant is on the straight line between."""
    ESTIMATED = 3
    """Made by a rule and scaled to the register difference where the next good register is known."""
    EDITED = 4
    """Set by a person, with name and reason."""
    ZERO_BY_EVENT = 5
    """Power had failed."""


class ValidationFlag(IntFlag):
    """What validation said of an interval; 0 is: nothing."""

    NONE = 0
    REGISTER_DECREASED = 1
    ROLLOVER = 2
    RESET = 4
    ABOVE_CAPACITY = 8
    MISSING = 16
    DUPLICATE_OTHER_VALUE = 32
    IN_FUTURE = 64
    BEFORE_INSTALLATION = 128
    VOLTAGE_BAND = 256
    METER_SWAP = 512
    SPIKE = 1024
    ZERO_DAYS = 2048
    CONSTANT = 4096
    CLOCK_DRIFT = 8192
    PHASE_MISSING = 16384
    REVERSED_FLOW = 32768
    TARIFF_SUM = 65536
    EDIT_REFUSED = 131072
    BY_LINE = 262144
    BY_REFERENCE_DAYS = 524288
    EVENLY = 1048576
    SET_ASIDE = 2097152


_HOW_IT_CAME_TO_BE: Final = (
    ValidationFlag.ROLLOVER | ValidationFlag.METER_SWAP | ValidationFlag.SET_ASIDE
    | ValidationFlag.BY_LINE | ValidationFlag.BY_REFERENCE_DAYS | ValidationFlag.EVENLY
)  # fmt: skip
FAULTS: Final = sum(ValidationFlag) & ~int(_HOW_IT_CAME_TO_BE)
"""The flags that say that something is wrong with an interval; the others only say how its value came to be."""
