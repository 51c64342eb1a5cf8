"""What a settled day makes out of date elsewhere: neighbours that disagree on a midnight, and days that it shaped.

Only rows that changed pass anything on, so the passing on comes to an end.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta

from headend.domain.calendar import from_us
from headend.settlement.edges import FAR
from headend.settlement.grid import DayRange
from headend.settlement.intervals import PointIntervals
from headend.settlement.rules import LONGEST_GAP_DAYS, REFERENCE_SPAN_DAYS
from headend.store import intervals, shaped
from headend.store.pool import Connection


def touched_days(
    connection: Connection, settled: PointIntervals, days: DayRange, changed: Iterable[tuple[int, date]]
) -> list[tuple[int, date]]:
    """Days outside the stretch that what changed in it makes out of date: (usage_point_id, day)."""
    changed = sorted(set(changed))
    if not changed:
        return []
    index = {point.usage_point_id: p for p, point in enumerate(settled.points)}
    before, after = days.first - timedelta(days=1), days.last + timedelta(days=1)
    at_an_end = {point for point, day in changed if day in {days.first, days.last}}
    theirs = intervals.marks_of_days(connection, at_an_end, (before, after)) if at_an_end else {before: {}, after: {}}
    found: list[tuple[int, date]] = []
    for outer, own, side in ((before, days.first, 0), (after, days.last, -1)):
        shared = settled.marks[:, side].tolist()
        for point in (point for point, day in changed if day == own):
            p, known = index[point], theirs[outer].get(point)
            if shared[p] and (known is None or known[1 if side == 0 else 0] != shared[p]):
                found += [(point, day) for day in _gap_days(settled, p, days, side, known is not None)]
    return found + shaped.resting_on(connection, changed, days.last, REFERENCE_SPAN_DAYS)


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
