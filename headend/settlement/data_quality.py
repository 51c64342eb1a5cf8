"""Findings that need no engine: meters of which too little was measured, or too much had to be estimated, in the
window.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from headend.settlement.windows import SettledWindow
from reconciliation.registers import IntervalQuality
from reconciliation.validation import longest_run

MISSING_DATA: Final = "missing_data"
PROLONGED_ESTIMATION: Final = "prolonged_estimation"
MEASURED_SHARE: Final = 0.9
"""A meter with less of its intervals measured is a finding."""
WHOLE_AREA: Final = 0.5
"""If that share of the meters lacks data, the way from the area is at fault, not each meter."""


@dataclass(frozen=True, slots=True)
class DataFinding:
    """One meter's (or, with meter_id None, a whole area's) lack of data."""

    kind: str
    meter_id: int | None
    energy_wh: float
    """What the missing intervals would hold at the meter's mean: not billed until it is known."""
    onset_interval: int | None
    evidence: dict[str, Any]


def data_findings(settled: SettledWindow) -> list[DataFinding]:
    """Lack of data by meter; one finding for the area where most of its meters lack it."""
    found: list[DataFinding] = []
    looked_at = 0
    for i in range(len(settled.points)):
        wanted = settled.wanted[i]
        expected = int(wanted.sum())
        if expected < 86_400 // settled.days.calendar.interval_s:
            continue
        looked_at += 1
        quality = settled.quality[i]
        measured = wanted & settled.read[i]
        estimated = wanted & (quality == IntervalQuality.ESTIMATED)
        if measured.sum() < MEASURED_SHARE * expected:
            found.append(_finding(settled, i, MISSING_DATA, measured, wanted))
        elif longest_run(estimated) * settled.days.calendar.interval_s >= 86_400:
            found.append(_finding(settled, i, PROLONGED_ESTIMATION, measured, wanted))
    lacking = [f for f in found if f.kind == MISSING_DATA]
    if len(lacking) >= 3 and len(lacking) > WHOLE_AREA * looked_at:
        rest = [f for f in found if f.kind != MISSING_DATA]
        return [*rest, _whole_area(settled, len(lacking), looked_at)]
    return found


def _finding(settled: SettledWindow, i: int, kind: str, measured: Any, wanted: Any) -> DataFinding:
    energy = settled.energy_wh[i]
    absent = wanted & np.isnan(energy)
    mean = float(np.nanmean(energy[measured])) if measured.any() else 0.0
    bad = np.flatnonzero(wanted & ~measured)
    return DataFinding(
        kind,
        settled.points[i].installations[-1].meter_id,
        mean * int(absent.sum()),
        int(bad[0]) if bad.size else None,
        _evidence(settled, measured[None, :], wanted[None, :])
        | {
            "numbers": {
                "measured_share": float(measured.sum() / wanted.sum()),
                "intervals": int(wanted.sum()),
                "absent_intervals": int(absent.sum()),
                "longest_gap_intervals": longest_run(wanted & ~measured),
            }
        },
    )


def _whole_area(settled: SettledWindow, lacking: int, looked_at: int) -> DataFinding:
    measured = settled.wanted & settled.read
    bad = np.flatnonzero((settled.wanted & ~measured).mean(axis=0) > WHOLE_AREA)
    return DataFinding(
        MISSING_DATA,
        None,
        0.0,
        int(bad[0]) if bad.size else None,
        _evidence(settled, measured, settled.wanted)
        | {
            "numbers": {
                "measured_share": float(measured.sum() / max(int(settled.wanted.sum()), 1)),
                "meters_lacking_data": lacking,
                "meters": looked_at,
            }
        },
    )


def _evidence(settled: SettledWindow, measured: Any, wanted: Any) -> dict[str, Any]:
    shares: list[float | None] = []
    for d in range(len(settled.days.days)):
        here = settled.days.day_slice(d)
        due = int(wanted[:, here].sum())
        shares.append(int(measured[:, here].sum()) / due if due else None)
    return {
        "resolution": "day",
        "series": [{"name": "measured_share", "unit": "1", "values": shares}],
        "alternatives": {},
    }
