"""What a plot shows, as plain JSON that static/plots.js draws: panels over one time axis, null where unknown."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from headend.store.clocks import ClockReading
from headend.store.pool import Row
from headend.web.text import humanise

Plot = dict[str, Any]
"""{x, daily, panels: [{title, unit, weight}], marks: [{x, label}],
series: [{name, role, shape: line|step, panel, values, low?, high?}]}, all lists as long as x."""

BAND_SIGMAS = 2.0
SERIES_NAMES = {
    "loss_before": "Loss as measured",
    "loss_after": "Loss if this finding is right",
    "hidden": "Not counted by this meter (estimate)",
    "active": "Fault active (1) or not (0)",
    "correct_area_before": "Other area's loss as measured",
    "correct_area_after": "Other area's loss if this finding is right",
    "reading": "This meter's reading",
    "readings": "This meter's reading",
    "expected": "Expected reading",
    "supplied": "Supplied",
    "delivered": "Delivered",
    "technical": "Technical loss",
    "technical_loss": "Technical loss",
    "fit_listed": "Fits the listed area",
    "fit_candidate": "Fits the other area",
    "fit_correct": "Fits the other area",
}
_ROLES = {
    "loss_before": "loss",
    "loss_after": "after",
    "supplied": "supplied",
    "delivered": "delivered",
    "technical": "technical",
    "technical_loss": "technical",
    "reading": "other0",
    "readings": "other0",
    "active": "other3",
    "hidden": "other1",
}


def area_days(rows: Sequence[Row], days: Sequence[date]) -> Plot | None:
    """Supplied, delivered and loss [kWh] of each of `days`; None where not one balance is computable."""
    by_day = {row["day"]: row for row in rows if row["state"] != "not_computable"}
    if not by_day:
        return None

    def column(name: str) -> list[float | None]:
        return [_kilo(by_day[d][name]) if d in by_day else None for d in days]

    loss, sigma = column("loss_wh"), column("uncertainty_wh")
    return {
        "x": [d.isoformat() for d in days],
        "daily": True,
        "panels": [
            {"title": "Supplied and delivered", "unit": "kWh a day", "weight": 3},
            {"title": "Loss", "unit": "kWh a day", "weight": 2},
        ],
        "series": [
            _series("Supplied", "supplied", column("supplied_wh")),
            _series("Delivered", "delivered", column("delivered_wh")),
            _series("Loss, ± 2 σ", "loss", loss, panel=1)
            | {
                "low": [_offset(v, s, -BAND_SIGMAS) for v, s in zip(loss, sigma, strict=True)],
                "high": [_offset(v, s, BAND_SIGMAS) for v, s in zip(loss, sigma, strict=True)],
            },
            _series("Technical loss", "technical", column("technical_wh"), panel=1),
        ],
        "marks": [],
    }


def mean_power_by_day(days: Sequence[date], power_w: Mapping[str, Sequence[float | None]]) -> Plot | None:
    """Mean power [kW] of each day by the names supplied, delivered, loss, technical, unexplained; None where no day
    has any.
    """
    if all(value is None for value in power_w["supplied"]):
        return None
    kw = {name: [_kilo(value) for value in values] for name, values in power_w.items()}
    return {
        "x": [day.isoformat() for day in days],
        "daily": True,
        "panels": [
            {"title": "Supplied and delivered", "unit": "kW", "weight": 2},
            {"title": "Loss", "unit": "kW", "weight": 2},
        ],
        "series": [
            _series("Supplied", "supplied", kw["supplied"]),
            _series("Delivered", "delivered", kw["delivered"]),
            _series("Loss", "loss", kw["loss"], panel=1),
            _series("Technical loss", "technical", kw["technical"], panel=1),
            _series("Unexplained", "other2", kw["unexplained"], panel=1),
        ],
        "marks": [],
    }


def area_intervals(row: Row, zone: ZoneInfo) -> Plot | None:
    """Mean power [kW] of each interval of one settled day; None where no interval is complete."""
    to_kw = 3.6 / row["interval_s"]
    supplied = _scaled(row["supplied_interval_wh"], to_kw)
    delivered = _scaled(row["delivered_interval_wh"], to_kw)
    if all(value is None for value in supplied) and all(value is None for value in delivered):
        return None
    loss = [None if s is None or d is None else round(s - d, 6) for s, d in zip(supplied, delivered, strict=True)]
    return {
        "x": _instants(row["starts_at"], row["interval_s"], len(supplied), zone),
        "daily": False,
        "panels": [
            {"title": "Supplied and delivered", "unit": "kW", "weight": 3},
            {"title": "Loss", "unit": "kW", "weight": 2},
        ],
        "series": [
            _series("Supplied", "supplied", supplied, shape="step"),
            _series("Delivered", "delivered", delivered, shape="step"),
            _series("Loss", "loss", loss, panel=1, shape="step"),
            _series("Technical loss", "technical", _scaled(row["technical_interval_wh"], to_kw), panel=1, shape="step"),
        ],
        "marks": [],
    }


def clock_offsets(readings: Sequence[ClockReading], threshold_s: float, zone: ZoneInfo) -> Plot | None:
    """A clock's offset [s] as it was read, with its uncertainty; None for fewer than two that are known.

    `readings`: newest first. Where the clock was set the line breaks.
    """
    known = [r for r in reversed(readings) if r.offset_ms is not None]
    if len(known) < 2:
        return None
    x: list[str] = []
    values: list[float | None] = []
    uncertainty: list[float | None] = []
    for reading in known:
        at = reading.at.astimezone(zone).replace(tzinfo=None)
        if reading.command_id is not None and x:
            x.append((at - timedelta(seconds=1)).isoformat())
            values.append(None)
            uncertainty.append(None)
        x.append(at.isoformat())
        values.append(None if reading.offset_ms is None else reading.offset_ms / 1000)
        uncertainty.append(reading.uncertainty_ms / 1000)
    series = _series("Meter’s clock − ours", "loss", values) | {
        "low": [_offset(v, u, -1) for v, u in zip(values, uncertainty, strict=True)],
        "high": [_offset(v, u, 1) for v, u in zip(values, uncertainty, strict=True)],
    }
    limits = [
        _series(f"{sign}{threshold_s:g} s", "technical", [side * threshold_s] * len(x))
        for sign, side in (("+", 1), ("−", -1))
    ]
    set_at = [r for r in known if r.command_id is not None]
    return {
        "x": x,
        "daily": False,
        "panels": [{"title": "Clock", "unit": "s", "weight": 1}],
        "series": [series, *limits],
        "marks": [{"x": r.at.astimezone(zone).replace(tzinfo=None).isoformat(), "label": "set"} for r in set_at],
    }


def evidence(finding: Row, zone: ZoneInfo) -> Plot | None:
    """The curves of a finding's evidence, one panel a unit; None where it holds no curve that can be drawn."""
    held: Mapping[str, Any] = finding["evidence"] if isinstance(finding["evidence"], dict) else {}
    curves = [
        c for c in held.get("series") or [] if isinstance(c, dict) and isinstance(c.get("values"), list) and c["values"]
    ]
    if not curves:
        return None
    daily = held.get("resolution") != "interval"
    interval_s = held.get("interval_s") or 900
    units: list[str] = []
    series: list[dict[str, Any]] = []
    for position, curve in enumerate(curves):
        unit, factor = _drawn_unit(str(curve.get("unit") or ""), daily, interval_s)
        if unit not in units:
            units.append(unit)
        name = str(curve.get("name") or f"series {position + 1}")
        series.append(
            _series(
                SERIES_NAMES.get(name, humanise(name)),
                _ROLES.get(name, f"other{position % 4}"),
                _scaled(curve["values"], factor),
                panel=units.index(unit),
                shape="line" if daily and unit else "step",
            )
        )
    longest = max(len(one["values"]) for one in series)
    start = _start(held.get("starts_at"), finding["window_from"], zone)
    first_day = start.astimezone(zone).date()
    x = (
        [(first_day + timedelta(days=k)).isoformat() for k in range(longest)]
        if daily
        else _instants(start, interval_s, longest, zone)
    )
    return {
        "x": x,
        "daily": daily,
        "panels": [{"title": "", "unit": unit, "weight": 3 if unit.startswith("k") else 1} for unit in units],
        "series": series,
        "marks": _onset(finding["onset_at"], daily, zone),
    }


def _series(name: str, role: str, values: list[float | None], *, panel: int = 0, shape: str = "line") -> dict[str, Any]:
    return {"name": name, "role": role, "shape": shape, "panel": panel, "values": values}


def _drawn_unit(unit: str, daily: bool, interval_s: float) -> tuple[str, float]:
    if unit == "Wh":
        return ("kWh a day", 1e-3) if daily else ("kW", 3.6 / interval_s)
    return {"nat": "log-likelihood", "1": ""}.get(unit, unit), 1.0


def _start(starts_at: object, window_from: date, zone: ZoneInfo) -> datetime:
    if isinstance(starts_at, str):
        try:
            found = datetime.fromisoformat(starts_at)
        except ValueError:
            found = None
        if found is not None and found.tzinfo is not None:
            return found
    return datetime(window_from.year, window_from.month, window_from.day, tzinfo=zone)


def _instants(start: datetime, interval_s: float, count: int, zone: ZoneInfo) -> list[str]:
    return [
        (start + timedelta(seconds=interval_s * k)).astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S") for k in range(count)
    ]


def _onset(onset: datetime | None, daily: bool, zone: ZoneInfo) -> list[dict[str, str]]:
    if onset is None:
        return []
    local = onset.astimezone(zone)
    return [{"x": local.date().isoformat() if daily else local.strftime("%Y-%m-%dT%H:%M:%S"), "label": "onset"}]


def _kilo(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _offset(value: float | None, sigma: float | None, factor: float) -> float | None:
    return None if value is None or sigma is None else value + factor * sigma


def _scaled(values: Sequence[Any], factor: float) -> list[float | None]:
    return [
        round(value * factor, 6)
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
        else None
        for value in values
    ]
