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
"""{x, daily, axis?: {title, unit}, panels: [{title, unit, weight}], marks: [{x, label}],
series: [{name, role, shape: line|step|points, panel, values, x?, low?, high?}]}, all lists as long as x, but those of a
series with an x of its own. With an axis, x are numbers; else local days or instants."""

BAND_SIGMAS = 2.0
Z90 = 1.645
"""Half-width of a Gaussian 90 % interval in SD."""
SERIES_NAMES = {
    "loss_before": "Loss as measured",
    "loss_after": "Loss if this finding is right",
    "hidden": "Not counted by this meter (estimate)",
    "active": "Fault active (1) or not (0)",
    "correct_area_before": "Other area’s unexplained loss, as measured",
    "correct_area_after": "Other area’s unexplained loss, with this meter",
    "reading": "This meter's reading",
    "readings": "This meter's reading",
    "expected": "Expected reading",
    "supplied": "Supplied",
    "delivered": "Delivered",
    "technical": "Technical loss",
    "technical_loss": "Technical loss",
    "coefficient": "Missing over claimed (1: as claimed)",
    "ratio": "Read over true (1: right)",
    "measured_share": "Share of intervals that were measured",
    "supplied_l1": "Area meter, L1",
    "supplied_l2": "Area meter, L2",
    "supplied_l3": "Area meter, L3",
    "expected_on_phase": "What that phase’s households use",
    "phase_shown": "Area meter, this phase",
    "missing": "Missing in the balance",
    "missing_l1": "Missing on L1",
    "missing_l2": "Missing on L2",
    "missing_l3": "Missing on L3",
    "area_meter": "Area meter",
    "households": "Households and conductors",
    "voltage_own": "This meter’s voltage",
    "voltage_listed": "Busbar where it is listed",
    "voltage_correct": "Busbar where it belongs",
    "households_v": "Households of this phase, mean",
    "busbar_recorded": "Busbar as recorded",
    "busbar_right": "Busbar as put right",
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
    "correct_area_before": "loss",
    "correct_area_after": "after",
    "missing_l1": "other0",
    "missing_l2": "other1",
    "missing_l3": "other3",
    "supplied_l1": "other0",
    "supplied_l2": "other1",
    "supplied_l3": "other3",
    "reading": "other0",
    "readings": "other0",
    "active": "other3",
    "hidden": "other1",
    "coefficient": "other1",
    "ratio": "other1",
    "measured_share": "delivered",
    "missing": "loss",
    "area_meter": "supplied",
    "households": "delivered",
    "phase_shown": "supplied",
    "expected_on_phase": "after",
    "voltage_own": "other0",
    "voltage_listed": "loss",
    "voltage_correct": "after",
    "households_v": "other0",
    "busbar_recorded": "loss",
    "busbar_right": "after",
}
_GROUPS = {
    "reading": "This meter",
    "hidden": "This meter",
    "correct_area_before": "Other area’s loss",
    "correct_area_after": "Other area’s loss",
    "missing_l1": "By phase",
    "missing_l2": "By phase",
    "missing_l3": "By phase",
    "supplied": "Supplied",
    "supplied_l1": "Area meter by phase",
    "supplied_l2": "Area meter by phase",
    "supplied_l3": "Area meter by phase",
    "expected_on_phase": "Area meter by phase",
    "coefficient": "Missing over claimed",
    "ratio": "Read over true",
    "active": "Active",
    "measured_share": "Measured",
}
"""Curves of a day that get a panel of their own; the others share one a unit."""


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
        "x": instants(row["starts_at"], row["interval_s"], len(supplied), zone),
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
    """The curves of a finding's evidence, one panel a unit and subject; None where it holds no curve that can be drawn.

    Losses are drawn with the technical loss in them, where that is told beside: as they are measured. What ends on
    ``_sd`` is the 90 % band of the curve it belongs to.
    """
    held: Mapping[str, Any] = finding["evidence"] if isinstance(finding["evidence"], dict) else {}
    curves = [c for c in _curves(held) if not str(c.get("name") or "").endswith("_sd")]
    if not curves:
        return None
    daily = held.get("resolution") != "interval"
    interval_s = held.get("interval_s") or 900
    columns = {str(c.get("name") or ""): c["values"] for c in _curves(held)}
    if "coefficient" in columns:
        curves = [c for c in curves if c.get("name") != "active"]
    panels: list[tuple[str, str]] = []
    series: list[dict[str, Any]] = []
    for position, curve in enumerate(curves):
        name = str(curve.get("name") or f"series {position + 1}")
        unit, factor = _drawn_unit(str(curve.get("unit") or ""), daily, interval_s)
        if name.endswith("_share"):
            unit, factor = "%", 100.0
        panel = (_GROUPS.get(name, "") if daily else "", unit)
        if panel not in panels:
            panels.append(panel)
        values = curve["values"]
        if name in ("loss_before", "loss_after") and "technical" in columns:
            values = _sum(values, columns["technical"])
        one = _series(
            SERIES_NAMES.get(name, humanise(name)),
            _ROLES.get(name, f"other{position % 4}"),
            _scaled(values, factor),
            panel=panels.index(panel),
            shape="line" if daily and (unit or panel[0]) and name != "active" else "step",
        )
        series.append(one | _band(one["values"], columns.get(f"{name}_sd")))
    longest = max(len(one["values"]) for one in series)
    start = start_of(held.get("starts_at"), finding["window_from"], zone)
    first_day = start.astimezone(zone).date()
    x = (
        [(first_day + timedelta(days=k)).isoformat() for k in range(longest)]
        if daily
        else instants(start, interval_s, longest, zone)
    )
    return {
        "x": x,
        "daily": daily,
        "panels": [
            {"title": title, "unit": unit, "weight": 3 if unit.startswith("k") and not title else 2 if title else 1}
            for title, unit in panels
        ],
        "series": series,
        "marks": _onset(finding["onset_at"], daily, zone),
    }


def _curves(held: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        c for c in held.get("series") or [] if isinstance(c, dict) and isinstance(c.get("values"), list) and c["values"]
    ]


def _sum(values: Sequence[Any], others: Sequence[Any]) -> list[float | None]:
    return [None if a is None or b is None else a + b for a, b in zip(values, others, strict=False)]


def _band(values: Sequence[float | None], sd: Sequence[float | None] | None) -> dict[str, Any]:
    if sd is None:
        return {}
    pairs = list(zip(values, sd, strict=False))
    return {"low": [_offset(v, s, -Z90) for v, s in pairs], "high": [_offset(v, s, Z90) for v, s in pairs]}


def _series(name: str, role: str, values: list[float | None], *, panel: int = 0, shape: str = "line") -> dict[str, Any]:
    return {"name": name, "role": role, "shape": shape, "panel": panel, "values": values}


def series_of(name: str, values: list[float | None], position: int, *, shape: str) -> dict[str, Any]:
    """A curve of the first panel by the engine's name for it."""
    role = _ROLES.get(name, f"other{position % 4}")
    return _series(SERIES_NAMES.get(name, humanise(name)), role, values, shape=shape)


def _drawn_unit(unit: str, daily: bool, interval_s: float) -> tuple[str, float]:
    if unit == "Wh":
        return ("kWh a day", 1e-3) if daily else ("kW", 3.6 / interval_s)
    return {"nat": "log-likelihood", "1": ""}.get(unit, unit), 1.0


def start_of(starts_at: object, window_from: date, zone: ZoneInfo) -> datetime:
    """When a window begins; where it is not told as it should be, at the midnight of its first day."""
    if isinstance(starts_at, str):
        try:
            found = datetime.fromisoformat(starts_at)
        except ValueError:
            found = None
        if found is not None and found.tzinfo is not None:
            return found
    return datetime(window_from.year, window_from.month, window_from.day, tzinfo=zone)


def instants(start: datetime, interval_s: float, count: int, zone: ZoneInfo) -> list[str]:
    """Local instants of so many intervals."""
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
