"""A finding of every kind, from the engine, on small streets whose faults are known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np

from reconciliation import AreaReport, AreaWindow, Finding, FindingKind, analyse
from reconciliation.rehang import transfer
from support.streets import PER_DAY, Street


@dataclass(frozen=True, kw_only=True, eq=False)
class Case:
    """What was made wrong, and what the engine says of it."""

    name: str
    window: AreaWindow
    report: AreaReport
    finding: Finding


def _street(name: str = "A", seed: int = 7, days: int = 21) -> Street:
    return Street(name, 24, days, seed)


def _under() -> list[AreaWindow]:
    s = _street()
    s.read[4, 9 * PER_DAY :] *= 0.4
    return [s.window()]


def _stuck() -> list[AreaWindow]:
    s = _street()
    s.read[3, 8 * PER_DAY :] = 0.0
    return [s.window()]


def _multiplier() -> list[AreaWindow]:
    s = _street()
    s.read[11] *= 0.25
    return [s.window()]


def _elsewhere() -> list[AreaWindow]:
    return list(transfer(_street("B", 21).window(), _street().window(), "B-5"))


def _nowhere() -> list[AreaWindow]:
    a, b = transfer(_street("B", 21).window(), _street().window(), "B-5")
    return [b] if b.area == "A" else [a]


def _tap() -> list[AreaWindow]:
    s = _street()
    return [s.window(keep=np.delete(np.arange(s.n), 6))]


def _ratio() -> list[AreaWindow]:
    s = _street()
    s.supplied[:, 10 * PER_DAY :] *= 0.8
    return [s.window()]


def _dead_phase() -> list[AreaWindow]:
    s = _street()
    s.supplied[1, 9 * PER_DAY : 12 * PER_DAY] = 0.0
    s.supplied[1, 15 * PER_DAY : 16 * PER_DAY] = 0.0
    return [s.window()]


def _swapped() -> list[AreaWindow]:
    w = _street().window()
    assert w.area_voltage_v is not None
    return [replace(w, area_voltage_v=w.area_voltage_v[[1, 0, 2]])]


def _reversed() -> list[AreaWindow]:
    s = _street()
    s.supplied *= -1.0
    w = s.window()
    total = np.nan_to_num(w.area_phase_wh).sum(axis=0)
    return [replace(w, area_import_wh=np.maximum(total, 0.0), area_export_wh=np.maximum(-total, 0.0))]


def _backwards() -> list[AreaWindow]:
    s = _street()
    s.read[4] = s.read[4].reshape(-1, PER_DAY)[:, ::-1].ravel()
    return [s.window()]


def _unread() -> list[AreaWindow]:
    w = _street().window()
    imported = w.household_import_wh.copy()
    imported[5, 4 * PER_DAY :] = np.nan
    return [replace(w, household_import_wh=imported)]


FAULTS: dict[str, tuple[FindingKind, Callable[[], list[AreaWindow]]]] = {
    "under_registering": (FindingKind.UNDER_REGISTERING, _under),
    "stuck": (FindingKind.STUCK, _stuck),
    "wrong_multiplier": (FindingKind.WRONG_MULTIPLIER, _multiplier),
    "wrong_area": (FindingKind.WRONG_AREA, _elsewhere),
    "not_from_here": (FindingKind.WRONG_AREA, _nowhere),
    "direct_tap": (FindingKind.DIRECT_TAP, _tap),
    "area_meter_ratio": (FindingKind.AREA_METER_RATIO, _ratio),
    "area_meter_phase": (FindingKind.AREA_METER_PHASE, _dead_phase),
    "swapped_phases": (FindingKind.AREA_METER_PHASE, _swapped),
    "reversed_polarity": (FindingKind.REVERSED_POLARITY, _reversed),
    "clock_skew": (FindingKind.CLOCK_SKEW, _backwards),
    "missing_data": (FindingKind.MISSING_DATA, _unread),
}
"""What is made wrong, by name, with what it must be called."""


@cache
def case(name: str) -> Case:
    """The engine's finding. Raises LookupError where it has none of the kind."""
    kind, made = FAULTS[name]
    windows = made()
    reports = analyse(windows)
    for window, found in _findings(windows, reports):
        if found.kind is kind:
            return Case(name=name, window=window, report=reports[window.area], finding=found)
    raise LookupError(f"{name}: {[(f.kind, f.meter) for _, f in _findings(windows, reports)]}")


def _findings(windows: list[AreaWindow], reports: object) -> Iterator[tuple[AreaWindow, Finding]]:
    assert isinstance(reports, dict)
    for window in windows:
        for found in reports[window.area].findings:
            yield window, found
