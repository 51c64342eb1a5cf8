"""An edit of values tried out: what it would make of its intervals, and whether it can hold.

The rule it keeps: it goes the very way that settlement goes, with the edit as though it were made now; nothing is
stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import from_us, to_us
from headend.domain.edits import EditOrder
from headend.settlement.edit_refusal import BlockNumbers, EditRefused, check_over, check_settled, does_not_hold
from headend.settlement.edited import EditedPoint, SetValues, load_edited
from headend.settlement.edits import Unedited, fitted, without_refused
from headend.settlement.grid import DayRange
from headend.settlement.inputs import Inputs
from headend.settlement.intervals import unedited
from headend.settlement.rules import Rules
from headend.settlement.topology import points_of
from headend.store import intervals
from headend.store.edits import EditHead
from headend.store.pool import Connection, Row
from reconciliation.editing import Block, Fitted, share
from reconciliation.registers import NO_VALUE

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Preview:
    """What an edit of values would make of its blocks."""

    order: EditOrder
    starts_at: datetime
    """Start of the first interval of the arrays."""
    interval_s: int
    before_wh: Ints
    """(n,) over the blocks; NO_VALUE: absent."""
    before_quality: Ints
    after_wh: Ints
    edited: npt.NDArray[np.bool_]
    """(n,) which of them this edit sets."""
    energies_wh: Ints
    """What it sets: as given, or the total spread by the shape that is there."""
    blocks: Sequence[BlockNumbers]
    refusal: EditRefused | None
    """Why it cannot be made as it is."""
    days: tuple[date, date]
    """First and last local day that it touches."""


def try_out(connection: Connection, rules: Rules, point: Row, order: EditOrder, now: datetime) -> Preview:
    """What an edit of a usage point's values would make. Raises ValueError naming a field; EditRefused where there is
    nothing to edit.
    """
    calendar = rules.calendar
    check_over(rules, order, now)
    count = order.intervals(calendar)
    check_settled(connection, rules, point, order)
    head = EditHead(
        edit_id=order.edit_id, number=1 << 62, usage_point_id=point["usage_point_id"],
        direction=order.direction.value, from_us=to_us(order.start), to_us=to_us(order.end),
        interval_s=calendar.interval_s,
    )  # fmt: skip
    proposed = SetValues(head, np.array(order.energies_wh or [0] * count, dtype=np.int64))
    days = DayRange(calendar, calendar.day_of(order.start), calendar.day_of(order.end - timedelta(microseconds=1)))
    edited = _one_point(connection, rules, point, days, proposed)
    plain = _plain(connection, rules, edited)
    grid = edited.days.grid_us
    here = slice(low := int(np.searchsorted(grid, head.from_us)), low + count)
    if not plain.draft.served[0, here].all():
        raise EditRefused("no-meter", "no meter served in a part of this stretch: there is no energy to be edited")
    others = replace(edited, edits=[e for e in edited.edits if e.head.edit_id != order.edit_id])
    was = fitted(others, plain)[order.direction.value]
    if order.total_wh is not None:
        proposed = SetValues(head, _spread(order.total_wh, was.energy_wh[here]))
        edited = replace(edited, edits=[*others.edits, proposed])
    made = fitted(edited, plain)[order.direction.value]
    verdict = made.verdicts[-1]
    whole = slice(verdict.blocks[0].low, verdict.blocks[-1].high)
    numbers = [_numbers(block, grid) for block in verdict.blocks]
    quality = np.where(was.edited_by >= 0, 4, plain.draft.quality[0]).astype(np.int64)
    mine = np.zeros(len(grid) - 1, dtype=np.bool_)
    mine[here] = True
    day = calendar.day_of
    return Preview(
        order=order,
        starts_at=from_us(int(grid[whole.start])),
        interval_s=calendar.interval_s,
        before_wh=was.energy_wh[whole],
        before_quality=quality[whole],
        after_wh=_tried(made, was, proposed, here)[whole],
        edited=mine[whole],
        energies_wh=proposed.energy_wh,
        blocks=numbers,
        refusal=None if verdict.holds else does_not_hold(numbers, rules),
        days=(day(from_us(int(grid[whole.start]))), day(from_us(int(grid[whole.stop]) - 1))),
    )


def days_of_standing(connection: Connection, rules: Rules, point: Row, found: Row) -> tuple[date, date]:
    """First and last local day that an edit touches that stands."""
    day = rules.calendar.day_of
    days = DayRange(rules.calendar, day(found["from_ts"]), day(found["to_ts"] - timedelta(microseconds=1)))
    edited = _one_point(connection, rules, point, days)
    plain = _plain(connection, rules, edited)
    same = [e.head.edit_id for e in edited.edits if e.head.direction == found["direction"]]
    verdict = fitted(edited, plain)[found["direction"]].verdicts[same.index(found["edit_id"])]
    grid = edited.days.grid_us
    if not verdict.blocks:
        return days.first, days.last
    first, last = int(grid[verdict.blocks[0].low]), int(grid[verdict.blocks[-1].high]) - 1
    return day(from_us(first)), day(from_us(last))


def _tried(made: Fitted, was: Fitted, proposed: SetValues, here: slice) -> Ints:
    """What it would be; of an edit that cannot hold, what it asks for."""
    if made.verdicts[-1].holds:
        return made.energy_wh
    asked = was.energy_wh.copy()
    asked[here] = proposed.energy_wh
    return asked


def _spread(total_wh: int, shape_wh: Ints) -> Ints:
    """A total over intervals by the shape that is there; where some are absent, those get what the others leave."""
    absent = shape_wh == NO_VALUE
    rest = total_wh - int(shape_wh[~absent].sum())
    if absent.all() or not absent.any() or rest < 0:
        return share(total_wh, shape_wh)
    spread = shape_wh.copy()
    spread[absent] = share(rest, shape_wh[absent])
    return spread


def _one_point(connection: Connection, rules: Rules, point: Row, days: DayRange, *proposed: SetValues) -> EditedPoint:
    """A usage point with all that decides its edits in some days."""
    start, end = days.bounds
    found = points_of(connection, [point["usage_point_id"]], start, end)
    (edited,) = load_edited(connection, found, days, rules, proposed=proposed)
    return edited


def _plain(connection: Connection, rules: Rules, edited: EditedPoint) -> Unedited:
    """The point's energies as registers and estimates make them."""
    inputs = Inputs([edited.point], edited.readings, outages=edited.outages)
    past = without_refused(partial(intervals.days_of_points, connection))
    return unedited(inputs, edited.days, rules, past, touched=edited.touched)


def _numbers(block: Block, grid_us: Ints) -> BlockNumbers:
    return BlockNumbers(
        start=from_us(int(grid_us[block.low])),
        end=from_us(int(grid_us[block.high])),
        known_wh=block.known_wh,
        edited_wh=block.edited_wh,
        others=block.places,
        holds=block.holds,
    )
