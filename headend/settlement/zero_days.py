"""Days without any energy, one after another: looked for back over days that were settled before, never ahead.

The rule it keeps: what is said of a day rests on it and on the days before it, whichever stretch is settled; a day that
changes makes the following ones be looked at again where they are without energy, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from headend.settlement.draft import Draft
from headend.settlement.meter_days import blocks
from headend.settlement.presence import Presence
from headend.settlement.references import Past
from headend.settlement.rules import Rules
from reconciliation import validation
from reconciliation.registers import IntervalQuality
from reconciliation.validation import Flag

Ints = npt.NDArray[np.int64]
Small = npt.NDArray[np.int8]
Bools = npt.NDArray[np.bool_]
Idle = Callable[[Sequence[int], date, date], Sequence[tuple[int, date]]]
"""Settled days without energy of some metering points (ids) from a day to a day."""


def without_energy(import_wh: Ints, export_wh: Ints, quality: npt.NDArray[Any]) -> Bools:
    """(n,) bool of (n, intervals): a whole day known to be without energy, in or out, though the meter had power."""
    told = (quality != IntervalQuality.ABSENT) & (quality != IntervalQuality.ZERO_BY_EVENT)
    idle = np.flatnonzero((import_wh.max(axis=1, initial=0) == 0) & (export_wh.max(axis=1, initial=0) <= 0))
    found = np.zeros(len(import_wh), dtype=np.bool_)
    found[idle] = (told[idle] & (import_wh[idle] == 0)).all(axis=1)
    return found


def flag_zero_days(draft: Draft, presence: Presence, category: Ints, *, rules: Rules, past: Past) -> None:
    """Flag whole days that end a long row of days without energy, in place; category: (points, days)."""
    points, days, book = presence.points, presence.days, rules.book
    if not book.in_use("zero_days"):
        return
    zero = np.zeros((len(points), len(days.days)), dtype=np.bool_)
    for block in blocks(days):
        found = without_energy(block.of(draft.import_wh), block.of(draft.export_wh), block.of(draft.quality))
        zero[:, block.days] = found.reshape(zero[:, block.days].shape)
    zero &= book.runs("zero_days", category)
    _settled_elsewhere(zero, presence, past)
    some = np.flatnonzero(zero.any(axis=1))
    if not some.size:
        return
    back = longest(rules) - 1
    before = _before([points[p].usage_point_id if zero[p, 0] else None for p in some.tolist()], days.first, back, past)
    limits = category[some]
    along = np.concatenate([before, zero[some]], axis=1)
    for d in range(len(days.days)):
        ended = along[:, d : d + back + 1]
        failed = validation.zero_days(np.where(ended, 0, 1), ended, days=book.limit("zero_days", "days", limits[:, d]))[
            :, -1
        ]
        draft.flags[some[failed], days.day_slice(d)] |= Flag.ZERO_DAYS


def _settled_elsewhere(zero: Bools, presence: Presence, past: Past) -> None:
    """Days on which a point hung elsewhere are what they were settled as there, in place: nowhere, where nobody did."""
    elsewhere, days = ~presence.on_area, presence.days
    wanted = {presence.points[p].usage_point_id: p for p in np.flatnonzero((zero & elsewhere).any(axis=1)).tolist()}
    if not wanted:
        return
    zero[elsewhere] = False
    for row in past(sorted(wanted), days.first, days.last):
        p, d = wanted[row["usage_point_id"]], (row["day"] - days.first).days
        if elsewhere[p, d]:
            zero[p, d] = _zero(row)


def longest(rules: Rules) -> int:
    """How many days a row of days without energy has to have, where most are asked for."""
    return int(np.ceil(rules.book.extreme("zero_days", "days", highest=True)))


def _before(points: Sequence[int | None], first: date, back: int, past: Past) -> Bools:
    """(n, back) which of the days before `first` were without energy; None: need not be known."""
    found = np.zeros((len(points), back), dtype=np.bool_)
    wanted = {point: i for i, point in enumerate(points) if point is not None}
    if wanted and back:
        for row in past(sorted(wanted), first - timedelta(days=back), first - timedelta(days=1)):
            found[wanted[row["usage_point_id"]], back - (first - row["day"]).days] = _zero(row)
    return found


def _zero(row: Mapping[str, Any]) -> bool:
    vectors = (np.atleast_2d(row[name]) for name in ("import_wh", "export_wh", "quality"))
    return bool(without_energy(*vectors)[0])


def days_after(
    changed: Sequence[tuple[int, date]], presence: Presence, rules: Rules, idle: Idle
) -> list[tuple[int, date]]:
    """(usage_point_id, day) after the stretch, or in it where the point hung elsewhere, without energy, in a row with a
    day that changed: what changed may have made that row longer or shorter.
    """
    reach = longest(rules) - 1
    if not rules.book.in_use("zero_days") or not changed or not reach:
        return []
    days = presence.days
    beyond = days.last - timedelta(days=reach)
    near = sorted({point for point, day in changed if day > beyond})
    found = _in_a_row(near, days.last, reach, idle)
    if presence.on_area.all():
        return found
    place = {point: p for p, point in enumerate(presence.columns.usage_point_id.tolist())}
    for point, day in changed:
        elsewhere = ~presence.on_area[place[point]]
        d = (day - days.first).days
        if elsewhere[d + 1 : d + 2].any():
            row = _in_a_row([point], day, reach, idle)
            found += [(p, other) for p, other in row if other <= days.last and elsewhere[(other - days.first).days]]
    return found


def _in_a_row(points: Sequence[int], last: date, reach: int, idle: Idle) -> list[tuple[int, date]]:
    """Days without energy of those points that have none on the day after `last`, up to `reach` days after it."""
    following = last + timedelta(days=1)
    found = [point for point, _ in idle(points, following, following)] if points else []
    return list(idle(found, following, last + timedelta(days=reach))) if found else []
