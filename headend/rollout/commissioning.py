"""Whether a meter that the head-end has read through its own driver is the one that the crew installed. Pure.

The rule it keeps: only what the meter itself said counts. What it did not say is a fault, not an assumption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any, Final

NOMINAL_V: Final = 230.0
"""IEC 60038, phase to neutral."""
PRESENT: Final = 0.8
"""A phase with less than this share of the nominal voltage is not there."""
DEFAULT_RATED_A: Final = 60
"""Of a household whose connection nobody has noted: the common rating 5(60) A."""
NOTING: Final = timedelta(minutes=5)
"""How long before sending a crew read the register, at the most, when it did not say."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Expected:
    """What the meter has to say."""

    meter: str
    """`manufacturer/serial`, as installed."""
    serial: str
    phases: int
    resolution_wh: int
    start_import_wh: int
    noted_import_wh: int
    noted_at: datetime
    """No later than the crew read the register; consumption counts from here."""
    rated_current_a: int | None


def largest_energy_wh(elapsed: timedelta, *, rated_current_a: int | None, phases: int) -> int:
    """What a connection can carry in a time [Wh], rounded up: rated current × nominal voltage × phases × time."""
    power_w = (rated_current_a or DEFAULT_RATED_A) * NOMINAL_V * phases
    return -int(-power_w * max(elapsed.total_seconds(), 0.0) // 3600)


def same_serial(stored: str, told: str) -> bool:
    """Whether two spellings name one serial: meters that hold it as a number lose leading zeros."""
    return _plain(stored) == _plain(told)


def faults(expected: Expected, answer: Mapping[str, Any]) -> list[str]:
    """What in the answer of a live read speaks against the meter; empty: it passes.

    `answer`: {serial, import_wh [Wh], voltage_v [V per phase], instant (ISO 8601), resolution_wh [Wh], …}, null = the
    meter did not say.
    """
    return [*_serial(expected, answer), *_register(expected, answer), *_voltage(expected, answer)]


def told(answer: Mapping[str, Any]) -> str:
    """An answer that passed, for a person."""
    volts = " / ".join(f"{volt:.1f}" for volt in answer["voltage_v"] if volt is not None)
    return (
        f"read by the head-end at {answer['instant']}: serial {answer['serial']}, {answer['import_wh']} Wh, {volts} V"
    )


def _serial(expected: Expected, answer: Mapping[str, Any]) -> list[str]:
    serial = answer.get("serial")
    if serial is None:
        return [f"the meter does not say its serial, so nothing shows that it is {expected.meter}"]
    if not same_serial(expected.serial, str(serial)):
        return [f"the meter says its serial is {serial}, installed is {expected.meter}"]
    return []


def _register(expected: Expected, answer: Mapping[str, Any]) -> list[str]:
    register = answer.get("import_wh")
    if register is None:
        return ["the meter gave no import register"]
    step = max(expected.resolution_wh, ceil(answer.get("resolution_wh") or 0))
    coarser = step - expected.resolution_wh  # the crew read the display, which shows the meter's own step
    if register < expected.start_import_wh - coarser:
        return [f"the register reads {register} Wh, less than the start register {expected.start_import_wh} Wh"]
    elapsed = datetime.fromisoformat(answer["instant"]) - expected.noted_at
    carried = largest_energy_wh(elapsed, rated_current_a=expected.rated_current_a, phases=expected.phases)
    low, high = expected.noted_import_wh - step, expected.noted_import_wh + step + carried
    if not low <= register <= high:
        return [
            f"the register reads {register} Wh, the crew noted {expected.noted_import_wh} Wh, "
            f"and only {max(low, 0)} to {high} Wh would agree"
        ]
    return []


def _voltage(expected: Expected, answer: Mapping[str, Any]) -> list[str]:
    volts: Sequence[float | None] = answer.get("voltage_v") or ()
    limit = PRESENT * NOMINAL_V
    found = []
    for phase in range(expected.phases):
        volt = volts[phase] if phase < len(volts) else None
        name = f"L{phase + 1}" if expected.phases > 1 else "the voltage"
        if volt is None:
            found.append(f"{name} was not measured: nothing shows that the supply is there")
        elif volt < limit:
            found.append(f"{name} is {volt:.1f} V, less than {limit:.0f} V: the supply is not there")
    return found


def _plain(serial: str) -> str:
    return serial.strip().casefold().lstrip("0")
