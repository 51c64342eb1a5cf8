"""Findings that need no engine: meters of which too little was measured, or that were estimated for too long, in the
window.

What is zero by event lacks nothing, and neither counts nor interrupts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from headend.settlement.windows import SettledWindow
from reconciliation.registers import IntervalQuality

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
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
    """Of missing data: what the missing intervals would hold at the meter's mean, not billed until it is known. Of
    prolonged estimation: what was estimated in it.
    """
    onset_interval: int | None
    evidence: dict[str, Any]


def data_findings(settled: SettledWindow, *, prolonged_s: float) -> list[DataFinding]:
    """Lack of data by meter; one finding for the area where most of its meters lack it.

    A meter of which less than MEASURED_SHARE was measured lacks data, however it was made good; of the others one that
    was estimated for `prolonged_s` or longer without a break was estimated for too long.
    """
    found: list[DataFinding] = []
    looked_at = 0
    interval_s = settled.days.calendar.interval_s
    for i in range(len(settled.points)):
        wanted = settled.wanted[i] & (settled.quality[i] != IntervalQuality.ZERO_BY_EVENT)
        expected = int(wanted.sum())
        if expected < 86_400 // interval_s:
            continue
        looked_at += 1
        measured = wanted & settled.read[i]
        estimated = wanted & (settled.quality[i] == IntervalQuality.ESTIMATED)
        longest = _longest(estimated, wanted)
        if measured.sum() < MEASURED_SHARE * expected:
            found.append(_finding(settled, i, MISSING_DATA, measured, wanted))
        elif longest.size * interval_s >= prolonged_s:
            found.append(_finding(settled, i, PROLONGED_ESTIMATION, measured, wanted))
    lacking = [f for f in found if f.kind == MISSING_DATA]
    if len(lacking) >= 3 and len(lacking) > WHOLE_AREA * looked_at:
        rest = [f for f in found if f.kind != MISSING_DATA]
        return [*rest, _whole_area(settled, len(lacking), looked_at)]
    return found


def _longest(hits: Bools, wanted: Bools) -> Ints:
    """Indices of the longest run of hits among the wanted intervals, the first one where several are as long."""
    places = np.flatnonzero(wanted)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], hits[places], [False]]).astype(np.int8)))
    starts, ends = edges[::2], edges[1::2]
    if not starts.size:
        return places[:0]
    k = int(np.argmax(ends - starts))
    return np.asarray(places[starts[k] : ends[k]], dtype=np.int64)


def _finding(settled: SettledWindow, i: int, kind: str, measured: Bools, wanted: Bools) -> DataFinding:
    energy = settled.energy_wh[i]
    absent = wanted & np.isnan(energy)
    estimated = wanted & (settled.quality[i] == IntervalQuality.ESTIMATED)
    unread, longest = _longest(wanted & ~measured, wanted), _longest(estimated, wanted)
    if kind == PROLONGED_ESTIMATION:
        at_stake_wh, onset = float(np.nansum(np.abs(energy[longest]))), longest[:1]
    else:
        mean_wh = float(np.nanmean(energy[measured])) if measured.any() else 0.0
        at_stake_wh, onset = mean_wh * int(absent.sum()), np.flatnonzero(wanted & ~measured)[:1]
    return DataFinding(
        kind,
        settled.points[i].installations[-1].meter_id,
        at_stake_wh,
        int(onset[0]) if onset.size else None,
        _evidence(settled, measured[None, :], wanted[None, :])
        | {
            "numbers": {
                "measured_share": float(measured.sum() / wanted.sum()),
                "intervals": int(wanted.sum()),
                "absent_intervals": int(absent.sum()),
                "estimated_intervals": int(estimated.sum()),
                "longest_gap_intervals": int(unread.size),
                "longest_estimate_intervals": int(longest.size),
                "longest_estimate_h": longest.size * settled.days.calendar.interval_s / 3600,
            }
        },
    )


def _whole_area(settled: SettledWindow, lacking: int, looked_at: int) -> DataFinding:
    wanted = settled.wanted & (settled.quality != IntervalQuality.ZERO_BY_EVENT)
    measured = wanted & settled.read
    bad = np.flatnonzero((wanted & ~measured).mean(axis=0) > WHOLE_AREA)
    return DataFinding(
        MISSING_DATA,
        None,
        0.0,
        int(bad[0]) if bad.size else None,
        _evidence(settled, measured, wanted)
        | {
            "numbers": {
                "measured_share": float(measured.sum() / max(int(wanted.sum()), 1)),
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
