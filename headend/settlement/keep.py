"""Settled intervals as rows of interval_day; a row that says the same as before stays untouched."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import numpy as np

from headend.settlement.grid import DayRange
from headend.settlement.intervals import PointIntervals
from headend.store import intervals
from headend.store.pool import Connection
from reconciliation.registers import NO_VALUE, IntervalQuality
from reconciliation.validation import RULES_VERSION


def keep(connection: Connection, settled: PointIntervals, days: DayRange, now: datetime) -> list[tuple[int, date]]:
    """Write a row for every point and day on which it had a meter; rows of others are forgotten."""
    rows: list[tuple[int, int]] = []
    without: list[tuple[int, int]] = []
    for d in range(len(days.days)):
        served = settled.served[:, days.day_slice(d)].any(axis=1)
        rows += [(int(p), d) for p in np.flatnonzero(served)]
        without += [(int(p), d) for p in np.flatnonzero(~served)]
    gone = intervals.forget(
        connection, [settled.points[p].usage_point_id for p, _ in without], [days.days[d] for _, d in without]
    )
    return gone + intervals.put(connection, _columns(settled, days, rows), now)


def _columns(settled: PointIntervals, days: DayRange, rows: Sequence[tuple[int, int]]) -> intervals.IntervalDays:
    p = np.array([r[0] for r in rows], dtype=np.int64)
    d = np.array([r[1] for r in rows], dtype=np.int64)
    sizes = np.diff(days.midnights)[d]
    longest = int(sizes.max(initial=1))
    where = np.minimum(days.midnights[d][:, None] + np.arange(longest)[None, :], days.intervals - 1)

    def vector(values: Any) -> intervals.Ints:
        return np.asarray(values[p[:, None], where], dtype=np.int64)

    quality = vector(settled.quality)
    inside = np.arange(longest)[None, :] < sizes[:, None]
    measured = np.isin(quality, (IntervalQuality.MEASURED, IntervalQuality.INTERPOLATED)) & inside
    ids = np.array([point.usage_point_id for point in settled.points], dtype=np.int64)
    served = [_serving(settled, days, point, day) for point, day in rows]
    most = max((len(s) for s in served), default=1)
    meters = np.zeros((len(rows), most), dtype=np.int64)
    for i, chosen in enumerate(served):
        meters[i, : len(chosen)] = [installed.meter_id for installed in chosen]
    return intervals.IntervalDays(
        usage_point_id=ids[p],
        day=[days.days[i] for i in d],
        starts_us=days.grid_us[days.midnights[d]],
        interval_s=days.calendar.interval_s,
        intervals=sizes,
        import_wh=vector(settled.import_wh),
        export_wh=vector(settled.export_wh),
        voltage_dv=vector(settled.voltage_dv),
        quality=quality,
        flags=vector(settled.flags),
        start_import_wh=settled.start_registers[0][p, d],
        end_import_wh=settled.end_registers[0][p, d],
        start_export_wh=settled.start_registers[1][p, d],
        end_export_wh=settled.end_registers[1][p, d],
        meters=meters,
        meter_counts=np.array([len(s) for s in served], dtype=np.int64),
        multiplier_e4=np.array([s[-1].multiplier_e4 if s else NO_VALUE for s in served], dtype=np.int64),
        measured=measured.sum(axis=1),
        estimated=((quality == IntervalQuality.ESTIMATED) & inside).sum(axis=1),
        rules=RULES_VERSION,
        start_mark=settled.marks[p, d],
        end_mark=settled.marks[p, d + 1],
    )


def _serving(settled: PointIntervals, days: DayRange, point: int, day: int) -> list[Any]:
    start, end = (int(us) for us in days.grid_us[days.midnights[day : day + 2]])
    return [i for i in settled.points[point].installations if i.from_us < end and i.to_us > start]
