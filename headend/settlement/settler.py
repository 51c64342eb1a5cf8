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

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from headend.domain.gaps import GAP_DAYS
from headend.log import get_logger
from headend.settlement.balances import balance_rows
from headend.settlement.grid import DayRange, stretches
from headend.settlement.inputs import load_inputs
from headend.settlement.intervals import point_intervals
from headend.settlement.keep import keep
from headend.settlement.pass_on import pass_on
from headend.settlement.rules import LONGEST_GAP_DAYS, Rules
from headend.store import balances, intervals, storage
from headend.store.pool import Connection

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
        if day not in closed and start - timedelta(days=LONGEST_GAP_DAYS) < kept_from
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
    inputs = load_inputs(connection, area_id, days, rules)
    settled = point_intervals(
        inputs, days, rules, lambda who, first, last: intervals.days_of_points(connection, who, first, last)
    )
    changed = keep(connection, settled, days, now)
    changed_days = {day for _, day in changed}
    model = balances.technical_model(connection, area_id)
    rows = balance_rows(area, model, settled, days, rules=rules, now=now)
    balances.put(connection, [row | {"now": now, "changed": row["day"] in changed_days} for row in rows])
    pass_on(connection, settled, days, changed, rules=rules, now=now)
    return Outcome(len(days.days), len(inputs.points), len(inputs.points) * days.intervals, len(changed))
