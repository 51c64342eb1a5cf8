"""The engine's answer as one JSON document (schema/report.schema.json): complete, whatever the engine adds to it.

The rule it keeps: null is *not known*; what counts energy counts complete intervals only, and says how many they are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from datetime import date, datetime, timedelta
from enum import Enum
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from headend.web import finding_money, finding_texts
from headend.workbench.cells import Floats
from headend.workbench.notes import Note
from headend.workbench.verdict import verdict
from reconciliation import AreaReport, AreaWindow, Finding

FORMAT: Final = "headend.reconcile/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What holds for the whole document."""

    made_at: datetime
    program: str
    """Version of this program."""
    zone: ZoneInfo
    price_per_kwh: float | None = None
    currency: str = "CNY"


def document(
    windows: Sequence[AreaWindow],
    reports: Mapping[str, AreaReport],
    frame: Frame,
    *,
    files: Sequence[Any] = (),
    notes: Sequence[Note] = (),
) -> dict[str, Any]:
    """Areas in the order of their windows; `files`: what they were read from."""
    return {
        "format": FORMAT,
        "made_at": frame.made_at.isoformat(),
        "program": frame.program,
        "zone": frame.zone.key,
        "price_per_kwh": frame.price_per_kwh,
        "currency": frame.currency if frame.price_per_kwh is not None else None,
        "files": [plain(one) for one in files],
        "notes": [
            {
                "code": n.code,
                "count": n.count,
                "area": n.area,
                "meters": list(n.meters),
                "numbers": plain(n.numbers),
                "en": n.english,
                "zh": n.chinese,
            }
            for n in notes
        ],
        "areas": [_area(window, reports[window.area], frame) for window in windows],
    }


def plain(value: Any) -> Any:  # noqa: PLR0911 one line a kind of value
    """Any value of a report as JSON knows it: dataclasses by field, arrays as lists, no number that is none."""
    if value is None or (isinstance(value, bool | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return plain(value.value)
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, np.ndarray):
        return [plain(one) for one in value.tolist()]
    if isinstance(value, np.generic):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value
    if is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(plain(key)): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence | set | frozenset):
        return [plain(one) for one in value]
    raise TypeError(f"{type(value).__name__} is not for a report")


def _area(window: AreaWindow, report: AreaReport, frame: Frame) -> dict[str, Any]:
    told = plain(report)
    findings = [_finding(found, window, frame) for found in report.findings]
    english, chinese = verdict(told | {"findings": findings})
    read = np.isfinite(window.household_import_wh)
    return {
        "area": window.area,
        "verdict": {"en": english, "zh": chinese},
        "window": {
            "starts_at": window.start.astimezone(frame.zone).isoformat(),
            "ends_at": _at(window, window.n_intervals, frame.zone).isoformat(),
            "interval_s": window.interval_s,
            "intervals": window.n_intervals,
            "has_voltage": window.household_voltage_v is not None,
            "has_area_phases": window.area_phase_wh is not None,
            "has_area_voltage": window.area_voltage_v is not None,
            "area_measured_share": _share(np.isfinite(window.area_import_wh)),
        },
        "meters": [
            {
                "meter": name,
                "three_phase": bool(window.three_phase[i]),
                "measured_share": _share(read[i]),
                "import_wh": plain(np.nansum(window.household_import_wh[i])) if read[i].any() else None,
                "suspicion_nat": told["suspicion"].get(name),
            }
            for i, name in enumerate(window.meters)
        ],
        **_balance(window, report, frame.zone),
        "report": {name: value for name, value in told.items() if name != "findings"},
        "findings": findings,
    }


def _finding(found: Finding, window: AreaWindow, frame: Frame) -> dict[str, Any]:
    texts = finding_texts.of(str(found.kind))
    onset = found.onset_interval
    inside = onset is not None and 0 <= onset < window.n_intervals
    told: dict[str, Any] = plain(found)
    return told | {
        "title": {"en": texts.title, "zh": texts.chinese},
        "onset_at": _at(window, onset or 0, frame.zone).isoformat() if inside else None,
        "money": None
        if frame.price_per_kwh is None or not finding_money.is_lost(str(found.kind))
        else {
            name: plain(round(energy / 1000 * frame.price_per_kwh, 2)) if math.isfinite(energy) else None
            for name, energy in (
                ("amount", found.energy_wh), ("low", found.energy_low_wh), ("high", found.energy_high_wh),
            )
        },
    }  # fmt: skip


def _at(window: AreaWindow, interval: int, zone: ZoneInfo) -> datetime:
    return (window.start + timedelta(seconds=interval * window.interval_s)).astimezone(zone)


def _share(read: Any) -> float:
    return round(float(np.mean(read)), 4) if read.size else 0.0


def _balance(window: AreaWindow, report: AreaReport, zone: ZoneInfo) -> dict[str, Any]:
    """By local day, and all days together."""
    supplied, delivered, complete = complete_intervals(window)
    technical = np.asarray(report.technical_interval_wh, dtype=np.float64)
    told = complete & np.isfinite(technical)
    day = window.day_index()
    count = int(day[-1]) + 1 if day.size else 0
    first = np.searchsorted(day, np.arange(count))

    def by_day(values: Floats, where: Any) -> list[float | None]:
        total = np.bincount(day[where], weights=values[where], minlength=count)
        there = np.bincount(day[where], minlength=count) > 0
        return [round(float(v), 3) if ok else None for v, ok in zip(total, there, strict=True)]

    def total(values: Floats, where: Any) -> float | None:
        return round(float(values[where].sum()), 3) if where.any() else None

    into = np.where(complete, window.area_import_wh, 0.0)
    fed = np.where(complete, np.nan_to_num(window.household_export_wh).sum(axis=0), 0.0)
    gross, loss = float((into + fed).sum()), supplied - delivered
    return {
        "balance": {
            "days": [_at(window, int(k), zone).date().isoformat() for k in first],
            "complete_intervals": np.bincount(day[complete], minlength=count).tolist(),
            "intervals": np.bincount(day, minlength=count).tolist(),
            "supplied_wh": by_day(supplied, complete),
            "delivered_wh": by_day(delivered, complete),
            "technical_wh": by_day(technical, told),
            "unexplained_wh": by_day(loss - technical, told),
        },
        "totals": {
            "complete_share": _share(complete),
            "supplied_wh": total(supplied, complete),
            "delivered_wh": total(delivered, complete),
            "loss_wh": total(loss, complete),
            "loss_rate": plain(float(loss[complete].sum()) / gross) if gross > 0 else None,
            "technical_wh": total(technical, told),
            "unexplained_wh": total(loss - technical, told),
        },
    }


def complete_intervals(window: AreaWindow) -> tuple[Floats, Floats, Any]:
    """(intervals,) supplied and delivered [Wh], and in which intervals every meter was read; a meter that was never
    read at all is left out, since nothing would be complete with it.
    """
    net = window.household_import_wh - window.household_export_wh
    read = np.isfinite(net)
    ever = read.any(axis=1)
    supplied = window.area_import_wh - window.area_export_wh
    complete = np.isfinite(supplied) & read[ever].all(axis=0)
    delivered = np.nan_to_num(net[ever]).sum(axis=0)
    return supplied, delivered, complete
