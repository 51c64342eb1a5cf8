"""How a case strengthens or fades, and how often kinds turn out right, as plots.

The rule it keeps: a window that told nothing is a gap; one that was looked at without seeing it says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

from headend.api.cases import KindOfVerdicts
from headend.store.pool import Row
from headend.web.plots import Plot

_MARKS: Final[Mapping[str, str]] = {
    "inspect": "inspected 核查", "confirm": "confirmed 属实", "reject": "rejected 不属实", "repair": "repaired 整改",
    "reopen": "reopened", "kind_changed": "other kind", "closed": "closed", "returned": "back",
}  # fmt: skip
"""Moves that stand in the picture, as short as there is room for."""


def strength(runs: Sequence[Row], events: Sequence[Row], zone: ZoneInfo) -> Plot | None:
    """Confidence and energy at stake by the last day of the window; None: no run was kept."""
    if not runs:
        return None
    by_day = {run["window_to"]: run for run in runs}
    first, last = runs[0]["window_to"], runs[-1]["window_to"]
    days = [first + timedelta(days=k) for k in range((last - first).days + 1)]

    def column(name: str, factor: float) -> list[float | None]:
        found = [by_day[day][name] if day in by_day else None for day in days]
        return [None if value is None else round(value * factor, 3) for value in found]

    missed = [0.0 if day in by_day and not by_day[day]["seen"] else None for day in days]
    series = [
        _series("Confidence 置信度", "supplied", column("confidence", 100.0), 0),
        _series("At stake, 90 % interval 涉及电量", "loss", column("energy_wh", 1e-3), 1)
        | {"low": column("energy_low_wh", 1e-3), "high": column("energy_high_wh", 1e-3)},
    ]
    if any(value is not None for value in missed):
        series.insert(1, _series("Looked for, not seen 未再发现", "other3", missed, 0))
    return {
        "x": [day.isoformat() for day in days],
        "daily": True,
        "panels": [
            {"title": "Confidence", "unit": "%", "weight": 1},
            {"title": "At stake", "unit": "kWh", "weight": 1},
        ],
        "series": series,
        "marks": _marks(runs, events, zone),
    }


def precision(kind: KindOfVerdicts) -> Plot:
    """Precision [%] with its 95 % interval, and the counts behind it, by month; a month without verdicts is a gap."""
    by_month = {month.month: month for month in kind.months}
    months = _months(kind.months[0].month, kind.months[-1].month)
    found = [by_month.get(month) for month in months]

    def share(name: str) -> list[float | None]:
        values = [None if one is None else getattr(one, name) for one in found]
        return [None if value is None else round(100 * value, 2) for value in values]

    return {
        "x": [month.isoformat() for month in months],
        "daily": True,
        "panels": [{"title": "Right", "unit": "%", "weight": 3}, {"title": "Verdicts", "unit": "cases", "weight": 2}],
        "series": [
            _series("Right, 95 % interval 属实率", "supplied", share("precision"), 0)
            | {"low": share("low"), "high": share("high")},
            _series("Confirmed 属实", "after", [0.0 if one is None else float(one.confirmed) for one in found], 1)
            | {"shape": "step"},
            _series("Rejected 不属实", "loss", [0.0 if one is None else float(one.rejected) for one in found], 1)
            | {"shape": "step"},
        ],
        "marks": [],
    }


def _marks(runs: Sequence[Row], events: Sequence[Row], zone: ZoneInfo) -> list[dict[str, str]]:
    """What the engine did stands at the window it did it for, what people did at the day they did it."""
    windows = {run["ran_at"]: run["window_to"] for run in runs}
    days = [(windows.get(e["made_at"]) or e["made_at"].astimezone(zone).date(), e["move"]) for e in events]
    first, last = runs[0]["window_to"], runs[-1]["window_to"]
    return [
        {"x": day.isoformat(), "label": _MARKS[move]} for day, move in days if move in _MARKS and first <= day <= last
    ]


def _months(first: date, last: date) -> list[date]:
    """First days of the months from one to another, both included."""
    count = (last.year - first.year) * 12 + last.month - first.month + 1
    ordinals = [first.year * 12 + first.month - 1 + k for k in range(count)]
    return [date(ordinal // 12, ordinal % 12 + 1, 1) for ordinal in ordinals]


def _series(name: str, role: str, values: list[float | None], panel: int) -> dict[str, Any]:
    return {"name": name, "role": role, "shape": "line", "panel": panel, "values": values}
