"""What devices notice and tell: kinds of events, each with its code of IEC 61968-9 (CIM EndDeviceEvent).

A code is `type.domain.subdomain.event` (EndDeviceEventType, IEC 61968-9:2013, annex E): type 3 an electricity meter,
0 any device. The annex itself was not at hand. EVENT_CODES holds what two public sources show in use, and None where
neither does, rather than a guess:

- UIQ: codes beside the texts of a utility's UtilityIQ head-end, github.com/buxton45/PyAn, AMIEndEvents.py;
- 3lbits: codes spelt out for the Norwegian utilities' CIM, github.com/3lbits/CIM4NoUtility, issue 303.

Both agree in the parts that they share: domains 1 communication, 12 security, 26 power, 36 clock; events 28 cleared,
216 restored, 219 reversed, 257 tamper detected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Final


class EventKind(StrEnum):
    """What happened; in pairs where it begins and ends."""

    COVER_OPENED = "cover_opened"
    COVER_CLOSED = "cover_closed"
    TERMINAL_COVER_OPENED = "terminal_cover_opened"
    TERMINAL_COVER_CLOSED = "terminal_cover_closed"
    MAGNET_DETECTED = "magnet_detected"
    MAGNET_GONE = "magnet_gone"
    POWER_FAILED = "power_failed"
    POWER_RESTORED = "power_restored"
    CLOCK_SET = "clock_set"
    CLOCK_DRIFTED = "clock_drifted"
    """Beyond the threshold of the policy."""
    REVERSED_CURRENT = "reversed_current"
    REVERSED_CURRENT_ENDED = "reversed_current_ended"
    PHASE_LOST = "phase_lost"
    PHASE_RESTORED = "phase_restored"
    OVER_VOLTAGE = "over_voltage"
    OVER_VOLTAGE_ENDED = "over_voltage_ended"
    UNDER_VOLTAGE = "under_voltage"
    UNDER_VOLTAGE_ENDED = "under_voltage_ended"
    RELAY_OPENED = "relay_opened"
    RELAY_CLOSED = "relay_closed"
    TARIFF_CHANGED = "tariff_changed"
    COMMUNICATION_LOST = "communication_lost"
    COMMUNICATION_RESTORED = "communication_restored"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceEvent:
    """One event of one device."""

    kind: EventKind
    instant_us: int
    """UTC, microseconds since 1970: when it happened, as far as anyone knows."""
    uncertainty_ms: int = 0
    """It happened within so much of the instant: a status bit is only seen at the next poll."""
    phase: int | None = None
    """1..3 where it concerns one phase."""
    value: float | None = None
    """In the unit of the kind: volts for voltages, seconds for clocks."""
    detail: str = ""
    """For a person: what the device itself said."""


EVENT_CODES: Final[Mapping[EventKind, str | None]] = MappingProxyType(
    {
        # Security, tamper detected (UIQ "tamper attempt suspected"): true of all three; a code of its own that tells a
        # cover from a magnet was not found, nor one for the end of either.
        EventKind.COVER_OPENED: "3.12.0.257",
        EventKind.COVER_CLOSED: None,
        EventKind.TERMINAL_COVER_OPENED: "3.12.0.257",
        EventKind.TERMINAL_COVER_CLOSED: None,
        EventKind.MAGNET_DETECTED: "3.12.0.257",
        EventKind.MAGNET_GONE: None,
        EventKind.POWER_FAILED: "3.26.0.47",  # UIQ "primary power down", "meter had a power outage"
        EventKind.POWER_RESTORED: "3.26.0.216",  # UIQ "primary power up"
        EventKind.CLOCK_SET: None,  # not found
        EventKind.CLOCK_DRIFTED: "3.36.0.79",  # UIQ "clock error detected"
        EventKind.REVERSED_CURRENT: "3.12.48.219",  # UIQ "reverse energy", "polarity, reverse energy flow"
        EventKind.REVERSED_CURRENT_ENDED: "3.12.48.28",  # UIQ "reverse energy cleared"
        EventKind.PHASE_LOST: None,  # not found
        EventKind.PHASE_RESTORED: None,  # not found
        EventKind.OVER_VOLTAGE: "3.26.38.93",  # UIQ "over voltage"
        EventKind.OVER_VOLTAGE_ENDED: "3.26.38.73",  # UIQ "over voltage cleared"
        EventKind.UNDER_VOLTAGE: "3.26.38.150",  # UIQ "under voltage"
        EventKind.UNDER_VOLTAGE_ENDED: "3.26.38.37",  # UIQ "under voltage cleared"
        EventKind.RELAY_OPENED: None,  # not found
        EventKind.RELAY_CLOSED: None,  # not found
        EventKind.TARIFF_CHANGED: None,  # not found
        EventKind.COMMUNICATION_LOST: None,  # not found for the way to the head-end
        EventKind.COMMUNICATION_RESTORED: "3.1.52.29",  # 3lbits "Communication.HeadEndSystem.Established"
    }
)
"""Kind → EndDeviceEventType of a meter's event; None: not verified, so none is told."""


def code_of(kind: EventKind, *, of_meter: bool = True) -> str | None:
    """The code to store with an event; of a concentrator's the type is 0, any device."""
    code = EVENT_CODES[kind]
    return code if code is None or of_meter else "0" + code[code.index(".") :]
