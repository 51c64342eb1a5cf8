"""Kinds of events in words: as people on a page read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headend.web.text import humanise

KINDS: Final[Mapping[str, tuple[str, str]]] = {
    "cover_opened": ("Cover opened", "开表盖"),
    "cover_closed": ("Cover closed", "合表盖"),
    "terminal_cover_opened": ("Terminal cover opened", "开端钮盒"),
    "terminal_cover_closed": ("Terminal cover closed", "合端钮盒"),
    "magnet_detected": ("Magnet detected", "恒定磁场干扰"),
    "magnet_gone": ("Magnet gone", "磁场干扰结束"),
    "power_failed": ("Power failed", "掉电"),
    "power_restored": ("Power restored", "上电"),
    "clock_set": ("Clock set", "校时"),
    "clock_drifted": ("Clock drifted", "时钟超差"),
    "reversed_current": ("Current reversed", "电流反向"),
    "reversed_current_ended": ("Current forward again", "电流反向结束"),
    "phase_lost": ("Phase lost", "断相"),
    "phase_restored": ("Phase restored", "断相结束"),
    "over_voltage": ("Over-voltage", "过压"),
    "over_voltage_ended": ("Over-voltage ended", "过压结束"),
    "under_voltage": ("Under-voltage", "欠压"),
    "under_voltage_ended": ("Under-voltage ended", "欠压结束"),
    "relay_opened": ("Relay opened", "拉闸"),
    "relay_closed": ("Relay closed", "合闸"),
    "tariff_changed": ("Tariff changed", "费率切换"),
    "communication_lost": ("Communication lost", "通信中断"),
    "communication_restored": ("Communication restored", "通信恢复"),
}
"""Kind → its word, and the Chinese term."""

UNITS: Final[Mapping[str, str]] = {
    "over_voltage": "V", "over_voltage_ended": "V", "under_voltage": "V", "under_voltage_ended": "V",
    "phase_lost": "V", "phase_restored": "V", "clock_set": "s", "clock_drifted": "s",
}  # fmt: skip
"""Kind → unit of its value; reversed current has amperes of a phase, watts of a whole meter."""

SOURCES: Final = {"modbus": "told by the meter", "mqtt": "told by the device", "headend": "seen by the head-end"}
"""Who says that an event happened."""


def word(kind: str) -> str:
    """A kind in English; one that is not here as it is."""
    return KINDS.get(kind, (humanise(kind), ""))[0]


def term(kind: str) -> str:
    """The Chinese term; empty where there is none."""
    return KINDS.get(kind, ("", ""))[1]


def unit(kind: str, phase: int | None) -> str:
    """The unit of an event's value."""
    if kind.startswith("reversed_current"):
        return "W" if phase is None else "A"
    return UNITS.get(kind, "")


def span(milliseconds: int) -> str:
    """How far an instant may be off, in the unit that a person would choose."""
    for limit, divisor, name in ((1_000, 1, "ms"), (120_000, 1_000, "s"), (7_200_000, 60_000, "min")):
        if milliseconds < limit:
            return f"{round(milliseconds / divisor)} {name}"
    hours = milliseconds / 3_600_000
    return f"{round(hours)} h" if hours < 48 else f"{round(hours / 24)} d"
