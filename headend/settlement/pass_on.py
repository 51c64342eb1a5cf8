"""What a settled day makes out of date elsewhere: neighbours that disagree on a midnight, and days that it shaped.

Only rows that changed pass anything on, so the passing on comes to an end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from headend.domain.calendar import from_us
from headend.settlement.edges import FAR
from headend.settlement.grid import DayRange
from headend.settlement.intervals import PointIntervals
from headend.settlement.rules import LONGEST_GAP_DAYS, REFERENCE_SPAN_DAYS
from headend.store import intervals, shaped
from headend.store.pool import Connection


def touched_days(
    connection: Connection, settled: PointIntervals, days: DayRange, changed: Sequence[tuple[int, date]]
) -> list[tuple[int, date]]:
    """Days that what changed in the stretch makes out of date: (usage_point_id, day). They lie outside of it, or in it
    where the point hung elsewhere.
    """
    if not changed:
        return []
    ids, on_area = settled.points.usage_point_id, settled.presence.on_area
    found = _at_the_ends(connection, settled, days, changed)
    if not on_area.all():
        found += _where_points_moved(connection, settled, days, changed)
    resting = shaped.resting_on(connection, changed, REFERENCE_SPAN_DAYS)
    p = np.searchsorted(ids, [point for point, _ in resting])
    d = np.array([(day - days.first).days for _, day in resting], dtype=np.int64)
    beyond = d >= len(days.days)
    elsewhere = beyond | ~on_area[p, np.where(beyond, 0, d)]
    return found + [resting[i] for i in np.flatnonzero(elsewhere).tolist()]


def _at_the_ends(
    connection: Connection, settled: PointIntervals, days: DayRange, changed: Sequence[tuple[int, date]]
) -> list[tuple[int, date]]:
    """Days before and after the stretch that disagree with it on the midnight they share."""
    before, after = days.first - timedelta(days=1), days.last + timedelta(days=1)
    at_first, at_last = (
        np.array(sorted({point for point, day in changed if day == end}), dtype=np.int64)
        for end in (days.first, days.last)
    )
    found: list[tuple[int, date]] = []
    ends = np.union1d(at_first, at_last)
    theirs = intervals.marks_of_days(connection, ends, (before, after)) if ends.size else {}
    for outer, side, own in ((before, 0, at_first), (after, -1, at_last)):
        if own.size:
            known = theirs[outer]
            p = np.searchsorted(settled.points.usage_point_id, own)
            shared = settled.marks[p, side]
            at = np.searchsorted(known.usage_point_id, own)
            there = np.append(known.usage_point_id, -1)[at] == own
            agreed = there & (np.append(known.end_mark if side == 0 else known.start_mark, 0)[at] == shared)
            for i in np.flatnonzero((shared != 0) & ~agreed).tolist():
                found += [(int(own[i]), day) for day in _gap_days(settled, int(p[i]), days, side, bool(there[i]))]
    return found


def _where_points_moved(
    connection: Connection, settled: PointIntervals, days: DayRange, changed: Sequence[tuple[int, date]]
) -> list[tuple[int, date]]:
    """Days within the stretch on which a point hung elsewhere, next to one that changed here, and that disagree on the
    midnight between them; whoever settles them looks further.
    """
    on_area, last = settled.presence.on_area, len(days.days) - 1
    p = np.searchsorted(settled.points.usage_point_id, [point for point, _ in changed])
    d = np.array([(day - days.first).days for _, day in changed], dtype=np.int64)
    inner = [
        (int(p[i]), int(d[i]), step)
        for step in (-1, 1)
        for i in np.flatnonzero((d + step >= 0) & (d + step <= last) & ~on_area[p, np.clip(d + step, 0, last)]).tolist()
    ]
    if not inner:
        return []
    points = settled.points.usage_point_id[np.unique([place for place, _, _ in inner])]
    theirs = intervals.marks_of_days(connection, points, sorted({days.days[day + step] for _, day, step in inner}))
    found: list[tuple[int, date]] = []
    for place, day, step in inner:
        point, neighbour = int(settled.points.usage_point_id[place]), days.days[day + step]
        known = theirs[neighbour]
        shared = settled.marks[place, day + 1 if step == 1 else day]
        said = (known.start_mark if step == 1 else known.end_mark)[known.usage_point_id == point]
        if shared != 0 and (said != shared).any():
            found.append((point, neighbour))
    return found


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
        first, last = max(edge, neighbour - timedelta(days=LONGEST_GAP_DAYS)), neighbour
    else:
        # the reading itself marked its own day; a register read at that midnight belongs to the days before it
        first, last = neighbour, min(edge, neighbour + timedelta(days=LONGEST_GAP_DAYS))
    return list(days.calendar.days(first, last)) if first <= last else [neighbour]
