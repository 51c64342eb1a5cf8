"""Where an edit is asked for, tried out and undone.

The rule it keeps: what cannot hold now is refused at once, with the numbers; whether it still holds later settlement
decides, each time. An edit, what was there before it, and the marks of the days it touches are one transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import from_us, to_us
from headend.domain.clock import Clock
from headend.domain.edits import EditKind, EditOrder
from headend.domain.gaps import GAP_DAYS
from headend.log import get_logger
from headend.settlement.edited import EditedPoint, SetValues, load_edited
from headend.settlement.edits import Unedited, fitted, without_refused
from headend.settlement.grid import DayRange
from headend.settlement.inputs import Inputs
from headend.settlement.intervals import unedited
from headend.settlement.outages import load_outages
from headend.settlement.rules import LONGEST_GAP_DAYS, Rules
from headend.settlement.set_aside import believed
from headend.settlement.topology import points_of, widened
from headend.store import edits, intervals, storage
from headend.store.edits import EditHead, EditIdTaken
from headend.store.pool import Connection, Row, Store
from headend.store.topology import find_meter
from reconciliation.editing import Block, Fitted, share
from reconciliation.registers import NO_VALUE

_log = get_logger(__name__)
Ints = npt.NDArray[np.int64]


class UnknownUsagePoint(LookupError):
    """There is no such usage point."""


class UnknownEdit(LookupError):
    """There is no such edit of this usage point."""


class UnknownMeter(LookupError):
    """There is no such meter."""


@dataclass(eq=False)
class EditRefused(Exception):
    """It cannot be made, or undone, as things stand."""

    code: str
    """Machine word."""
    reason: str
    """For a person, with the numbers."""
    blocks: Sequence[BlockNumbers] = ()

    def __str__(self) -> str:
        return self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockNumbers:
    """What registers say of a run of intervals that an edit reaches into, and what is asked of it."""

    start: datetime
    end: datetime
    known_wh: int | None
    """Between the registers at both ends, or what was settled there; None: no register closes the gap."""
    edited_wh: int
    others: int
    """Intervals in it that nobody edited and that can take what is left."""
    holds: bool


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


def preview(connection: Connection, rules: Rules, code: str, order: EditOrder, now: datetime) -> Preview:
    """Try an edit of values out. Raises UnknownUsagePoint; ValueError naming a field; EditRefused where there is
    nothing to edit.
    """
    point = edits.usage_point(connection, code)
    if point is None:
        raise UnknownUsagePoint(code)
    return _preview(connection, rules, point, order, now)


def submit(store: Store, rules: Rules, clock: Clock, code: str, order: EditOrder) -> tuple[Row, bool]:
    """Make an edit: (the row, whether it is new). Raises UnknownUsagePoint, UnknownMeter, EditIdTaken, EditRefused,
    ValueError naming a field, StoreError.
    """
    now = clock()
    with store.transaction() as connection:
        point = edits.usage_point(connection, code, lock=True)
        if point is None:
            raise UnknownUsagePoint(code)
        earlier = edits.find(connection, order.edit_id)
        if earlier is not None:
            if not _same(earlier, order, code):
                raise EditIdTaken(earlier)
            return earlier, False
        if order.kind is EditKind.READINGS:
            _set_readings_aside(connection, rules, point, order, now)
        else:
            _set_values(connection, rules, point, order, now)
        made = edits.find(connection, order.edit_id)
        assert made is not None  # inserted above
    _log.info("edited", usage_point=code, kind=order.kind.value, edit_id=str(order.edit_id), by=order.by)
    return made, True


def undo(store: Store, rules: Rules, clock: Clock, code: str, edit_id: UUID, *, by: str, reason: str) -> Row:
    """Undo an edit; undone already by the same person for the same reason, nothing changes. Raises UnknownEdit,
    EditRefused, StoreError.
    """
    now = clock()
    with store.transaction() as connection:
        point = edits.usage_point(connection, code, lock=True)
        found = None if point is None else edits.find(connection, edit_id)
        if point is None or found is None or found["usage_point"] != code:
            raise UnknownEdit(str(edit_id))
        if found["undone_at"] is not None:
            if (found["undone_by"], found["undo_reason"]) != (by, reason):
                raise EditRefused(
                    "undone", f"undone already, by {found['undone_by']} at {found['undone_at'].isoformat()}"
                )
            return found
        _check_kept(connection, rules, point, found["from_ts"], found["to_ts"])
        if found["kind"] == EditKind.READINGS:
            first, last = _days_around(connection, rules, found["meter_id"], found["from_ts"], found["to_ts"])
            edits.mark_meter(connection, found["meter_id"], first, last, zone=str(rules.calendar.zone), now=now)
        else:
            first, last = _days_of_standing(connection, rules, point, found)
            edits.mark(connection, point["usage_point_id"], first, last, zone=str(rules.calendar.zone), now=now)
        edits.undo(connection, edit_id, by=by, reason=reason, now=now)
        undone = edits.find(connection, edit_id)
        assert undone is not None  # never deleted
    _log.info("edit undone", usage_point=code, edit_id=str(edit_id), by=by)
    return undone


def _same(earlier: Row, order: EditOrder, code: str) -> bool:
    meter = None if earlier["meter_id"] is None else (earlier["manufacturer"], earlier["serial"])
    given = tuple(earlier["values_wh"]) if earlier["values_wh"] is not None and earlier["total_wh"] is None else None
    return (
        (earlier["usage_point"], earlier["kind"], meter) == (code, order.kind.value, order.meter)
        and (earlier["from_ts"], earlier["to_ts"]) == (order.start, order.end)
        and (earlier["made_by"], earlier["reason"]) == (order.by, order.reason)
        and (earlier["total_wh"], given) == (order.total_wh, order.energies_wh)
        and earlier["direction"] in (None, order.direction.value)
    )


def _set_values(connection: Connection, rules: Rules, point: Row, order: EditOrder, now: datetime) -> None:
    tried = _preview(connection, rules, point, order, now)
    if tried.refusal is not None:
        raise tried.refusal
    mine = slice(first := int(np.argmax(tried.edited)), first + len(tried.energies_wh))
    edits.add(
        connection,
        _row(order, point, now)
        | {
            "direction": order.direction.value,
            "interval_s": rules.calendar.interval_s,
            "values_wh": tried.energies_wh.tolist(),
            "total_wh": order.total_wh,
            "before_wh": [None if v == NO_VALUE else v for v in tried.before_wh[mine].tolist()],
            "before_quality": tried.before_quality[mine].tolist(),
            "first_day": tried.days[0],
            "last_day": tried.days[1],
        },
    )
    zone = str(rules.calendar.zone)
    edits.mark(connection, point["usage_point_id"], *tried.days, zone=zone, now=now)


def _row(order: EditOrder, point: Row, now: datetime) -> dict[str, Any]:
    nothing = dict.fromkeys(
        ("meter_id", "direction", "interval_s", "values_wh", "total_wh", "before_wh", "before_quality", "set_aside")
    )
    return nothing | {
        "edit_id": order.edit_id, "kind": order.kind.value, "usage_point_id": point["usage_point_id"],
        "from_ts": order.start, "to_ts": order.end, "made_at": now, "made_by": order.by, "reason": order.reason,
    }  # fmt: skip


def _set_readings_aside(connection: Connection, rules: Rules, point: Row, order: EditOrder, now: datetime) -> None:
    assert order.meter is not None  # the order was checked when it was made
    meter = find_meter(connection, *order.meter)
    if meter is None:
        raise UnknownMeter("/".join(order.meter))
    if not edits.served_between(connection, point["usage_point_id"], meter.meter_id, order.start, order.end):
        raise EditRefused("no-meter", f"{'/'.join(order.meter)} did not serve at {point['code']} then")
    count = edits.readings_in(connection, meter.meter_id, order.start, order.end)
    if count == 0:
        span = f"from {_local(order.start, rules)} to {_local(order.end, rules)}"
        raise EditRefused("no-reading", f"there is no reading of {'/'.join(order.meter)} {span}")
    _check_settled(connection, rules, point, order)
    first, last = _days_around(connection, rules, meter.meter_id, order.start, order.end)
    told = {"meter_id": meter.meter_id, "set_aside": count, "first_day": first, "last_day": last}
    edits.add(connection, _row(order, point, now) | told)
    edits.mark_meter(connection, meter.meter_id, first, last, zone=str(rules.calendar.zone), now=now)


def _days_around(
    connection: Connection, rules: Rules, meter_id: int, start: datetime, end: datetime
) -> tuple[date, date]:
    """From the believed reading before a span to the one after it: its energy is spread anew over these days."""
    spans = edits.set_aside(connection, [meter_id])
    load = partial(intervals.readings, connection)
    around, _ = believed(load, [meter_id], start, end + timedelta(microseconds=1), spans)
    stamps = around[meter_id].ts_us if meter_id in around else np.empty(0, dtype=np.int64)
    earlier, later = stamps[stamps < to_us(start)], stamps[stamps > to_us(end)]
    far = timedelta(days=LONGEST_GAP_DAYS)
    first = max(from_us(int(earlier[-1])), start - far) if earlier.size else start - timedelta(microseconds=1)
    last = min(from_us(int(later[0]) - 1), end + far) if later.size else end
    return rules.calendar.day_of(first), rules.calendar.day_of(last)


def _preview(connection: Connection, rules: Rules, point: Row, order: EditOrder, now: datetime) -> Preview:
    calendar = rules.calendar
    count = order.intervals(calendar.interval_s)
    if order.end > now:
        raise EditRefused("not-over", f"{_local(order.end, rules)} has not come yet: only what is over can be edited")
    _check_settled(connection, rules, point, order)
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
        refusal=None if verdict.holds else _refusal(numbers, rules),
        days=(day(from_us(int(grid[whole.start]))), day(from_us(int(grid[whole.stop]) - 1))),
    )


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
    load = partial(intervals.readings, connection)
    meters = [r["meter_id"] for r in intervals.installations_of(connection, [point["usage_point_id"]])]
    (edited,) = load_edited(
        connection, found, days, rules, load=load, spans=edits.set_aside(connection, meters),
        widened=partial(widened, connection), outages=partial(load_outages, connection), proposed=proposed,
    )  # fmt: skip
    return edited


def _plain(connection: Connection, rules: Rules, edited: EditedPoint) -> Unedited:
    """The point's energies as registers and estimates make them."""
    inputs = Inputs([edited.point], edited.readings, outages=edited.outages)
    past = without_refused(partial(intervals.days_of_points, connection))
    return unedited(inputs, edited.days, rules, past, touched=edited.touched)


def _days_of_standing(connection: Connection, rules: Rules, point: Row, found: Row) -> tuple[date, date]:
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


def _check_settled(connection: Connection, rules: Rules, point: Row, order: EditOrder) -> None:
    """Whether settlement will ever look at it."""
    if not edits.memberships(connection, point["usage_point_id"], order.start, order.end + timedelta(microseconds=1)):
        raise EditRefused("no-area", f"{point['code']} hung on no area then: nothing is settled there")
    _check_kept(connection, rules, point, order.start, order.end)


def _check_kept(connection: Connection, rules: Rules, point: Row, start: datetime, end: datetime) -> None:
    """Days whose readings have been dropped stay as they were settled: nothing can be edited there."""
    day = rules.calendar.day_of
    first, last = day(start), day(end - timedelta(microseconds=1) if end > start else end)
    kept_from = storage.kept_from(connection)
    if kept_from is None:
        return
    bounds = {d: rules.calendar.bounds(d)[0] for d in rules.calendar.days(first, last)}
    closed = {d for d, begins in bounds.items() if begins - timedelta(days=GAP_DAYS) < kept_from}
    for membership in edits.memberships(connection, point["usage_point_id"], start, end + timedelta(microseconds=1)):
        closed |= storage.unanchored(connection, membership["area_id"], bounds, kept_from)
    if closed:
        raise EditRefused(
            "readings-dropped",
            f"readings from before {_local(kept_from, rules)} have been dropped: {min(closed)} stays as it was settled",
        )


def _numbers(block: Block, grid_us: Ints) -> BlockNumbers:
    return BlockNumbers(
        start=from_us(int(grid_us[block.low])),
        end=from_us(int(grid_us[block.high])),
        known_wh=block.known_wh,
        edited_wh=block.edited_wh,
        others=block.places,
        holds=block.holds,
    )


def _refusal(blocks: Sequence[BlockNumbers], rules: Rules) -> EditRefused:
    """The first block that cannot hold, in words with its numbers."""
    block = next(b for b in blocks if not b.holds)
    assert block.known_wh is not None  # without a number there is nothing to contradict
    span = f"from {_local(block.start, rules)} to {_local(block.end, rules)}"
    said = f"{span} the registers say {block.known_wh} Wh, the edit gives {block.edited_wh} Wh"
    if block.edited_wh > block.known_wh:
        said += f": {block.edited_wh - block.known_wh} Wh too much"
    else:
        said += (
            f", and no other interval between these registers can take the {block.known_wh - block.edited_wh} Wh left"
        )
    advice = "; give values that sum to it, edit a longer stretch, or set aside the register reading that is wrong"
    return EditRefused("does-not-hold", said + advice, blocks)


def _local(at: datetime, rules: Rules) -> str:
    return at.astimezone(rules.calendar.zone).isoformat(timespec="minutes")
