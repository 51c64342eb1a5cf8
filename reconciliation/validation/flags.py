"""What validation says of an interval: the bits that the store keeps beside its energy."""

from __future__ import annotations

from enum import IntFlag


class Flag(IntFlag):
    """What validation said of an interval; the bits of headend.domain.quality.ValidationFlag."""

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
    """An edit would break the difference of two registers: it is not applied."""
    BY_LINE = 262144
    """Estimated by a straight line."""
    BY_REFERENCE_DAYS = 524288
    """Estimated by the shape of reference days."""
    EVENLY = 1048576
    """Estimated without a reference day: spread evenly over a gap too long for a line."""
    SET_ASIDE = 2097152
    """A reading that ended here was set aside by a person."""
