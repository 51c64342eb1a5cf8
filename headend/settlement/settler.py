"""Settles days of one area in one transaction: raw readings → interval_day → balance_day, and marks what else that
touches.

The rule it keeps: a settled day is a function of the readings and the topology, never of the order in which they
arrived. A day depends on its
own readings, on the readings next to its two midnights, and (for long gaps) on its reference days. So every row
carries a digest of the readings
at its midnights; where neighbours disagree on the midnight they share, the other one is settled again; and later
estimates are settled again
when a day that may have shaped them changes. Only rows that changed pass anything on, so the passing on comes to an
end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from headend.domain.calendar import from_us
from headend.domain.gaps import GAP_DAYS
from headend.log import get_logger
from headend.settlement.balances import balance_rows
from headend.settlement.grid import DayRange, stretches
from headend.settlement.intervals import FAR, PointIntervals, point_intervals
from headend.settlement.rules import REFERENCE_SPAN_DAYS, Rules
from headend.settlement.topology import load_points
from headend.store import balances, dirty, intervals, storage
from headend.store.pool import Connection
from reconciliation.registers import NO_VALUE, IntervalQuality
from reconciliation.validation import RULES_VERSION

_QUIET_ENOUGH = timedelta(minutes=1)
"""What a settled day passes on need not wait for more readings: longer than a day has to be quiet as a rule. And not
longer than that, because the age of a mark tells operators how long it has waited."""
_LONGEST_GAP_DAYS = 400
_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one pass did."""

    days: int
    points: int
    intervals: int
    """Of metering points."""
    changed: int
    """Rows of interval_day that now say something else."""


def settle_area(connection: Connection, area_id: int, days: Sequence[date], rules: Rules, now: datetime) -> Outcome:
    """Settle some days of an area within the caller's transaction; `days` sorted. The caller holds the area's lock."""
    done = [
        _settle_stretch(connection, area_id, DayRange(rules.calendar, first, last), rules, now)
        for first, last in stretches(_open_days(connection, area_id, days, rules))
    ]
    return Outcome(
        sum(o.days for o in done), max((o.points for o in done), default=0), sum(o.intervals for o in done),
        sum(o.changed for o in done),
    )  # fmt: skip


def _open_days(connection: Connection, area_id: int, days: Sequence[date], rules: Rules) -> list[date]:
    """Days that rest on readings that are kept, back over the longest gap; others stay as they were settled."""
    kept_from = storage.kept_from(connection)
    if kept_from is None:
        return list(days)
    starts = {day: rules.calendar.bounds(day)[0] for day in days}
    closed = {day for day, start in starts.items() if start - timedelta(days=GAP_DAYS) < kept_from}
    beyond = {
        day: start
        for day, start in starts.items()
        if day not in closed and start - timedelta(days=_LONGEST_GAP_DAYS) < kept_from
    }
    if beyond:
        closed |= storage.unanchored(connection, area_id, beyond, kept_from)
    if closed:
        _log.warning(
            "days stay as they were settled: their readings have been dropped",
            area_id=area_id, days=len(closed), first=min(closed), last=max(closed), kept_from=kept_from.isoformat(),
        )  # fmt: skip
    return [day for day in days if day not in closed]


def _settle_stretch(connection: Connection, area_id: int, days: DayRange, rules: Rules, now: datetime) -> Outcome:
    area = balances.area(connection, area_id)
    start, end = days.bounds
    points = load_points(connection, area_id, start, end)
    meters = sorted({i.meter_id for p in points for i in p.installations})
    margin = timedelta(microseconds=rules.grid.on_grid_us)
    readings = intervals.readings(connection, meters, start - margin, end + margin)
    settled = point_intervals(
        points, readings, days, rules, lambda who, first, last: intervals.days_of_points(connection, who, first, last)
    )
    changed = _store(connection, settled, days, now)
    changed_days = {day for _, day in changed}
    model = balances.technical_model(connection, area_id)
    rows = balance_rows(area, model, settled, days, rules=rules, now=now)
    balances.put(connection, [row | {"now": now, "changed": row["day"] in changed_days} for row in rows])
    _pass_on(connection, settled, days, changed, rules=rules, now=now)
    return Outcome(len(days.days), len(points), len(points) * days.intervals, len(changed))


def _store(connection: Connection, settled: PointIntervals, days: DayRange, now: datetime) -> list[tuple[int, date]]:
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


def _pass_on(
    connection: Connection,
    settled: PointIntervals,
    days: DayRange,
    changed: Iterable[tuple[int, date]],
    *,
    rules: Rules,
    now: datetime,
) -> None:
    """Mark the days outside the stretch that what changed in it makes out of date."""
    changed = set(changed)
    if not changed:
        return
    index = {point.usage_point_id: p for p, point in enumerate(settled.points)}
    marks: list[tuple[int, date]] = []
    for outer, own, side in (
        (days.first - timedelta(days=1), days.first, 0),
        (days.last + timedelta(days=1), days.last, -1),
    ):
        touched = [point for point, day in changed if day == own]
        theirs = intervals.marks_of_day(connection, touched, outer)
        for point in touched:
            shared = int(settled.marks[index[point], side])
            known = theirs.get(point)
            if shared and (known is None or known[1 if side == 0 else 0] != shared):
                marks += [(point, day) for day in _gap_days(settled, index[point], days, side, known is not None)]
    touched = sorted({point for point, _ in changed})
    until = days.last + timedelta(days=REFERENCE_SPAN_DAYS + _LONGEST_GAP_DAYS)
    marks += intervals.estimated_days(connection, touched, days.last, until)
    if marks:
        zone = str(rules.calendar.zone)
        points, of_days = [p for p, _ in marks], [d for _, d in marks]
        dirty.mark_points(connection, points, of_days, zone=zone, marked_at=now - _QUIET_ENOUGH)


def _gap_days(settled: PointIntervals, p: int, days: DayRange, side: int, known: bool) -> list[date]:
    """Days beyond one end of the stretch, as far as the gap between the readings on both sides of that midnight
    reaches.
    """
    gap_from, gap_to = int(settled.gap_from_us[p]), int(settled.gap_to_us[p])
    reach = gap_from if side == 0 else gap_to
    neighbour = days.first - timedelta(days=1) if side == 0 else days.last + timedelta(days=1)
    if reach == FAR:
        return [neighbour] if known else []
    edge = days.calendar.day_of(from_us(reach))
    if side == 0:
        first, last = max(edge, neighbour - timedelta(days=_LONGEST_GAP_DAYS)), neighbour
    else:
        # the reading itself marked its own day; a register read at that midnight belongs to the days before it
        first, last = neighbour, min(edge, neighbour + timedelta(days=_LONGEST_GAP_DAYS))
    return list(days.calendar.days(first, last)) if first <= last else [neighbour]
