"""Settled intervals as rows of interval_day; a row that says the same as before stays untouched."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from headend.settlement.grid import DayRange
from headend.settlement.intervals import PointIntervals
from headend.settlement.presence import Presence
from headend.settlement.rulebook import RuleSet
from headend.store import interval_days, rule_sets
from headend.store.interval_days import Foretold
from headend.store.pool import Connection
from reconciliation.registers import NO_VALUE, IntervalQuality, is_measured

Ints = npt.NDArray[np.int64]

_EPOCH: Final = date(1970, 1, 1)


def keep(
    connection: Connection,
    settled: PointIntervals,
    days: DayRange,
    rule_set: RuleSet,
    now: datetime,
    *,
    foretold: Foretold | None = None,
) -> list[tuple[int, date]]:
    """Write a row for every point and day on which it hung on the area with a meter; without one, it is forgotten.

    Days on which it did not hang here are left to whom it hung on then, however long the stretch is.
    Returns the rows that say something else now; which rules judged them is kept with them, and is no such thing.
    `foretold`: told of rows that will say something else, before they do.
    """
    if not settled.points:
        return []
    served = np.logical_or.reduceat(settled.served, days.midnights[:-1], axis=1)
    here = settled.presence.on_area
    p, d = np.nonzero(~served & here)
    gone: list[tuple[int, date]] = []
    if p.size:
        without = settled.points.usage_point_id[p].tolist()
        of_days = [days.days[i] for i in d.tolist()]
        if foretold is not None:
            foretold(list(zip(without, of_days, strict=True)))
        gone = interval_days.forget(connection, without, of_days)
    p, d = np.nonzero(served & here)
    if not p.size:
        return gone
    judged_by = rule_sets.number_of(connection, rule_set.digest, rule_set.canonical, now)
    return gone + interval_days.put(connection, _columns(settled, days, p, d, judged_by), now, foretold=foretold)


def _columns(settled: PointIntervals, days: DayRange, p: Ints, d: Ints, judged_by: int) -> interval_days.IntervalDays:
    """Rows of points p[i] and days d[i]."""
    sizes = np.diff(days.midnights)[d]
    longest = int(sizes.max(initial=1))
    where = np.minimum(days.midnights[d][:, None] + np.arange(longest)[None, :], days.intervals - 1)
    where += p[:, None] * days.intervals
    inside = np.arange(longest)[None, :] < sizes[:, None]

    def vector(values: npt.NDArray[np.integer]) -> Ints:
        return np.asarray(values.ravel()[where], dtype=np.int64)

    quality = vector(settled.quality)
    measured = is_measured(quality) & inside
    meters, meter_counts, multiplier = _serving(settled.presence, p, d)
    first_day = (days.first - _EPOCH) // timedelta(days=1)
    return interval_days.IntervalDays(
        usage_point_id=settled.points.usage_point_id[p],
        day=first_day + d,
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
        meter_counts=meter_counts,
        multiplier_e4=multiplier,
        measured=measured.sum(axis=1),
        estimated=((quality == IntervalQuality.ESTIMATED) & inside).sum(axis=1),
        rules=judged_by,
        start_mark=settled.marks[p, d],
        end_mark=settled.marks[p, d + 1],
    )


def _serving(presence: Presence, p: Ints, d: Ints) -> tuple[Ints, Ints, Ints]:
    """Of each row the meters that served on the day (rows, most), how many, and the last one's multiplier."""
    installed, there = presence.installed, presence.served
    owner = installed.point
    counts = np.zeros((len(presence.points), there.shape[1]), dtype=np.int64)
    np.add.at(counts, owner, there)
    before: Ints = np.cumsum(there, axis=0) - there
    before -= before[np.searchsorted(owner, owner)]  # of the same point's
    meters = np.zeros((*counts.shape, int(counts.max(initial=1))), dtype=np.int64)
    i, day = np.nonzero(there)
    meters[owner[i], day, before[i, day]] = installed.meter_id[i]
    last = np.full(counts.shape, NO_VALUE, dtype=np.int64)
    last[owner[i], day] = installed.multiplier_e4[i]  # in order of time: the last one stays
    most = int(counts[p, d].max(initial=1))
    return meters[p, d, :most], counts[p, d], last[p, d]
