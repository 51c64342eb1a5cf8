"""What devices notice and tell: kinds of events, each with its code of IEC 61968-9 (CIM EndDeviceEvent).

A code is `type.domain.subdomain.event` of IEC 61968-9:2013, annex E; see EVENT_CODES.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


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
