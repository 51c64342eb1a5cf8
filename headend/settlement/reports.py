"""From the engine's report of one area to rows: technical loss of balances, the report itself, findings with their
evidence.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np

from headend.domain.calendar import from_us
from headend.settlement.data_quality import DataFinding
from headend.settlement.evidence_rows import evidence_json
from headend.settlement.rules import Rules
from headend.settlement.windows import SettledWindow
from reconciliation import AreaReport, Cause, Finding, Priors
from reconciliation.day_balance import State, judge

BY_REPORT: Final = "report"
"""Where a day's technical loss came from: the engine's window with the day in it."""


def report_row(
    settled: SettledWindow, report: AreaReport, priors: Priors, *, marker: str, now: datetime
) -> dict[str, Any]:
    """The row of area_report."""
    return {
        "area_id": settled.area_id,
        "first": settled.days.first,
        "last": settled.days.last,
        "anomaly_score": finite(report.anomaly_score) or 0.0,
        "alarm": bool(report.alarm),
        "cause": str(report.cause),
        "technical_loss_wh": finite(report.technical_loss_wh),
        "reason": report.reason,
        "marker": marker,
        "priors": {kind.value: round(odds, 4) for kind, odds in priors.log_odds.items()},
        "limits": [
            {"code": limit.code.value, "numbers": {name: finite(value) for name, value in limit.numbers.items()}}
            for limit in report.limits
        ],
        "cause_probability": {cause.value: round(float(p), 6) for cause, p in report.cause_probability.items()},
        "now": now,
    }


def model_row(settled: SettledWindow, report: AreaReport, now: datetime) -> dict[str, Any] | None:
    """The row of technical_model; None where the engine could not learn one."""
    model = report.technical_model
    if report.cause == Cause.NOT_COMPUTABLE or finite(report.technical_loss_wh) is None:
        return None
    return {
        "area_id": settled.area_id,
        "constant_wh": model.constant_wh,
        "quadratic_per_wh": model.quadratic_per_wh,
        "interval_s": settled.days.calendar.interval_s,
        "now": now,
        "first": settled.days.first,
        "last": settled.days.last,
    }


def technical_rows(
    settled: SettledWindow,
    report: AreaReport,
    balances: Sequence[Mapping[str, Any]],
    area: Mapping[str, Any],
    rules: Rules,
) -> list[dict[str, Any]]:
    """Technical loss of the window's days, and their states judged anew with it. Days on which it is not known are
    left as they are.
    """
    limits = rules.limits(area["high_loss_rate"], area["negative_loss_rate"])
    rows: list[dict[str, Any]] = []
    for day in balances:
        technical = report.technical_interval_wh[settled.days.day_slice((day["day"] - settled.days.first).days)]
        complete = np.array([wh is not None for wh in day["supplied_interval_wh"]], dtype=np.bool_)
        if complete.size != technical.size or not complete.any() or not np.isfinite(technical[complete]).any():
            continue
        known = complete & np.isfinite(technical)
        total = round(float(technical[complete].sum())) if known.sum() == complete.sum() else None
        verdict = judge(
            loss_wh=day["loss_wh"],
            loss_rate=day["loss_rate"],
            technical_wh=total,
            uncertainty_wh=day["uncertainty_wh"],
            limits=limits,
            accuracy=rules.accuracy,
            rate_margin=limits.sigmas * (day["coarse_wh"] or 0) / day["gross_wh"] if day["gross_wh"] else 0.0,
        )
        rows.append(
            {
                "area_id": settled.area_id,
                "day": day["day"],
                "technical_wh": total,
                "technical_source": None if total is None else BY_REPORT,
                "unexplained_wh": verdict.unexplained_wh,
                "state": day["state"] if day["state"] == State.NOT_COMPUTABLE else str(verdict.state),
                "technical_interval_wh": [
                    round(float(wh)) if ok else None for wh, ok in zip(technical, known.tolist(), strict=True)
                ],
            }
        )
    return rows


def finding_row(settled: SettledWindow, found: Finding, now: datetime) -> dict[str, Any]:
    """The row of an engine's finding. Raises ValueError when it holds no usable number or names an unknown meter."""
    numbers = [finite(v) for v in (found.confidence, found.energy_wh, found.energy_low_wh, found.energy_high_wh)]
    if any(n is None for n in numbers):
        raise ValueError(f"{settled.area}: {found.kind} of {found.meter} has no finite energy or confidence")
    if found.meter is not None and found.meter not in settled.meter_ids:
        raise ValueError(f"{settled.area}: {found.kind} names {found.meter!r}, which is no meter of the window")
    return _row(settled, now, found.onset_interval) | {
        "meter_id": None if found.meter is None else settled.meter_ids[found.meter],
        "kind": str(found.kind),
        "correct_area": found.correct_area,
        "confidence": min(max(numbers[0] or 0.0, 0.0), 1.0),
        "energy_wh": numbers[1],
        "energy_low_wh": numbers[2],
        "energy_high_wh": numbers[3],
        "evidence": _frame(settled) | evidence_json(found.evidence),
    }


def data_finding_row(settled: SettledWindow, found: DataFinding, now: datetime) -> dict[str, Any]:
    """The row of a finding by rule: it is a fact, so its confidence is 1; its energy is a guess."""
    return _row(settled, now, found.onset_interval) | {
        "meter_id": found.meter_id,
        "kind": found.kind,
        "correct_area": None,
        "confidence": 1.0,
        "energy_wh": found.energy_wh,
        "energy_low_wh": min(0.0, 2 * found.energy_wh),
        "energy_high_wh": max(0.0, 2 * found.energy_wh),
        "evidence": _frame(settled) | found.evidence,
    }


def _row(settled: SettledWindow, now: datetime, onset: int | None) -> dict[str, Any]:
    inside = onset is not None and 0 <= onset < settled.days.intervals
    return {
        "area_id": settled.area_id,
        "onset_at": from_us(int(settled.days.grid_us[onset])) if inside and onset is not None else None,
        "first": settled.days.first,
        "last": settled.days.last,
        "now": now,
    }


def _frame(settled: SettledWindow) -> dict[str, Any]:
    """What places a series in time."""
    return {
        "starts_at": from_us(int(settled.days.grid_us[0])).isoformat(),
        "interval_s": settled.days.calendar.interval_s,
        "days": [day.isoformat() for day in settled.days.days],
    }


def finite(value: float) -> float | None:
    """The value as a plain float, None where it is not a number: JSON and SQL know no NaN that means *unknown*."""
    return float(value) if math.isfinite(value) else None
