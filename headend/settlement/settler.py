"""Settles days of one area in one transaction: raw readings → interval_day → balance_day, and marks what else that
touches.

The rule it keeps: a settled day is a function of the readings and the topology, never of the order in which they
arrived. A day depends on its own readings, on the readings next to its two midnights, and (for long gaps) on its
reference days. So every row carries a digest of the readings at its midnights; where neighbours disagree on the
midnight they share, the other one is settled again; and days that have the shape of reference days are settled again
when one of these changes. Only rows that changed pass anything on, so the passing on comes to an end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import partial
from typing import Final

from headend.log import get_logger
from headend.settlement.compute import compute
from headend.settlement.grid import DayRange, stretches
from headend.settlement.keep import keep
from headend.settlement.kept import closed_days
from headend.settlement.pass_on import touched_days
from headend.settlement.rules import Rules
from headend.settlement.shaped import shaped_rows
from headend.settlement.zero_days import days_after
from headend.store import balances, dirty, intervals, shaped, storage, told_in_part
from headend.store.interval_days import Foretold
from headend.store.intervals import ReadingTable
from headend.store.pool import Connection

DAYS_A_PASS: Final = 31
"""So many days of one area are settled in one transaction at the most."""
METER_DAYS_AT_ONCE: Final = 3_000
"""So much of a pass is in memory at a time, about 150 MB of quarter-hours: 31 days of 96 meters, 5 days of 600."""
_FEW_DAYS: Final = 3
_QUIET_ENOUGH: Final = timedelta(minutes=1)
"""What a settled day passes on need not wait for more readings: longer than a day has to be quiet as a rule. And not
longer than that, because the age of a mark tells operators how long it has waited."""
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
    passed_on: Mapping[int, Sequence[date]] = field(default_factory=dict)
    """By area: days that are marked because this pass made them out of date."""


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What settling one stretch of days did."""

    days: int
    points: int
    intervals: int
    changed: int
    touched: Sequence[tuple[int, date]]
    """(usage_point_id, day) outside the stretch that are out of date now."""


def settle_marked(
    connection: Connection, area_id: int, marks: Sequence[dirty.Mark], rules: Rules, now: datetime
) -> Outcome:
    """Settle the days of some marks of an area and clear these, within the caller's transaction.

    The caller holds the area's locks, and has read the marks since: what changed later has renewed them.
    """
    outcome = settle_area(connection, area_id, [mark.day for mark in marks], rules, now)
    dirty.clear(connection, area_id, marks)
    return outcome


def settle_area(
    connection: Connection,
    area_id: int,
    days: Sequence[date],
    rules: Rules,
    now: datetime,
    *,
    foretold: Foretold | None = None,
) -> Outcome:
    """Settle some days of an area within the caller's transaction; `days` sorted. The caller holds the area's locks.

    The days are settled in their order, so what an earlier one passes on to a later one of them is done here; what
    they pass on to others is marked at the end, in one statement, because readings mark the same days.
    """
    still_open = open_days(connection, area_id, days, rules)
    most = _days_at_once(connection, area_id, still_open)
    done = [
        _settle_stretch(connection, area_id, DayRange(rules.calendar, first, last), rules, now, foretold)
        for first, last in stretches(still_open, most)
    ]
    passed_on = dirty.pass_on(
        connection,
        area_id,
        days,
        (touched for stretch in done for touched in stretch.touched),
        zone=str(rules.calendar.zone),
        marked_at=now - _QUIET_ENOUGH,
    )
    return Outcome(
        sum(o.days for o in done), max((o.points for o in done), default=0), sum(o.intervals for o in done),
        sum(o.changed for o in done), passed_on,
    )  # fmt: skip


def _days_at_once(connection: Connection, area_id: int, days: Sequence[date]) -> int:
    """How many days of an area are held in memory together: bounded by meters and days, not by days alone."""
    if len(days) <= _FEW_DAYS:
        return _FEW_DAYS
    return max(_FEW_DAYS, METER_DAYS_AT_ONCE // max(1, intervals.members(connection, area_id)))


def open_days(connection: Connection, area_id: int, days: Sequence[date], rules: Rules) -> list[date]:
    """Days that rest on readings that are kept, back over the longest gap; others stay as they were settled."""
    kept_from = storage.kept_from(connection)
    if kept_from is None:
        return list(days)
    closed = closed_days(connection, [area_id], days, rules, kept_from)
    if closed:
        _log.warning(
            "days stay as they were settled: their readings have been dropped",
            area_id=area_id, days=len(closed), first=min(closed), last=max(closed), kept_from=kept_from.isoformat(),
        )  # fmt: skip
    return [day for day in days if day not in closed]


def _settle_stretch(  # noqa: PLR0917 those of settle_area
    connection: Connection, area_id: int, days: DayRange, rules: Rules, now: datetime, foretold: Foretold | None
) -> _Stretch:
    past = partial(intervals.days_of_points, connection)
    computed = compute(connection, area_id, days, rules, now, past=past)
    settled = computed.settled
    told_in_part.note(connection, ReadingTable.of(computed.inputs.readings))
    changed = keep(connection, settled, days, rules.rule_set, now, foretold=foretold)
    shaped.put(
        connection,
        settled.points.usage_point_id,
        days.first,
        days.last,
        shaped_rows(settled, days),
    )
    changed_days = {day for _, day in changed}
    balances.put(connection, [row | {"now": now, "changed": row["day"] in changed_days} for row in computed.balances])
    touched = touched_days(connection, settled, days, changed)
    touched += days_after(changed, settled.presence, rules, partial(intervals.idle_days, connection))
    return _Stretch(len(days.days), len(settled.points), len(settled.points) * days.intervals, len(changed), touched)
