"""Where an edit is asked for, tried out and undone.

The rule it keeps: what cannot hold now is refused at once, with the numbers; whether it still holds later settlement
decides, each time. An edit, what was there before it, and the marks of the days it touches are one transaction.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID

import numpy as np

from headend.domain.calendar import from_us, to_us
from headend.domain.clock import Clock
from headend.domain.edits import EditKind, EditOrder
from headend.log import get_logger
from headend.settlement.edit_refusal import EditRefused, check_kept, check_over, check_settled, local
from headend.settlement.edit_trial import Preview, days_of_standing, try_out
from headend.settlement.rules import LONGEST_GAP_DAYS, Rules
from headend.settlement.set_aside import believed
from headend.store import edits, intervals
from headend.store.edits import EditIdTaken
from headend.store.pool import Connection, Row, Store
from headend.store.topology import find_meter
from reconciliation.registers import NO_VALUE

_log = get_logger(__name__)


class UnknownUsagePoint(LookupError):
    """There is no such usage point."""


class UnknownEdit(LookupError):
    """There is no such edit of this usage point."""


class UnknownMeter(LookupError):
    """There is no such meter."""


def preview(connection: Connection, rules: Rules, code: str, order: EditOrder, now: datetime) -> Preview:
    """Try an edit of values out. Raises UnknownUsagePoint; ValueError naming a field; EditRefused where there is
    nothing to edit.
    """
    point = edits.usage_point(connection, code)
    if point is None:
        raise UnknownUsagePoint(code)
    return try_out(connection, rules, point, order, now)


def submit(store: Store, rules: Rules, clock: Clock, code: str, order: EditOrder) -> tuple[Row, bool]:
    """Make an edit: (the row, whether it is new). Raises UnknownUsagePoint, UnknownMeter, EditIdTaken, EditRefused,
    ValueError naming a field, StoreError.
    """
    with store.transaction() as connection:
        point = edits.usage_point(connection, code, lock=True)
        if point is None:
            raise UnknownUsagePoint(code)
        now = clock()  # not before the lock: who was told "it holds" later is the later one for settlement, too
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
    with store.transaction() as connection:
        point = edits.usage_point(connection, code, lock=True)
        now = clock()
        found = None if point is None else edits.find(connection, edit_id)
        if point is None or found is None or found["usage_point"] != code:
            raise UnknownEdit(str(edit_id))
        if found["undone_at"] is not None:
            if (found["undone_by"], found["undo_reason"]) != (by, reason):
                raise EditRefused(
                    "undone", f"undone already, by {found['undone_by']} at {found['undone_at'].isoformat()}"
                )
            return found
        check_kept(connection, rules, point, found["from_ts"], found["to_ts"])
        if found["kind"] == EditKind.READINGS:
            first, last = _days_around(connection, rules, found["meter_id"], found["from_ts"], found["to_ts"])
            edits.mark_meter(connection, found["meter_id"], first, last, zone=str(rules.calendar.zone), now=now)
        else:
            first, last = days_of_standing(connection, rules, point, found)
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
    tried = try_out(connection, rules, point, order, now)
    if tried.refusal is not None:
        raise tried.refusal
    mine = slice(first := int(np.argmax(tried.edited)), first + len(tried.energies_wh))
    _add(
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


def _add(connection: Connection, values: dict[str, Any]) -> None:
    """Raises EditIdTaken where somebody used the id for another usage point at the same moment: they hold its lock."""
    if not edits.add(connection, values):
        earlier = edits.find(connection, values["edit_id"])
        assert earlier is not None  # it stood in the way
        raise EditIdTaken(earlier)


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
    check_over(rules, order, now)
    meter = find_meter(connection, *order.meter)
    if meter is None:
        raise UnknownMeter("/".join(order.meter))
    if not edits.served_between(connection, point["usage_point_id"], meter.meter_id, order.start, order.end):
        raise EditRefused("no-meter", f"{'/'.join(order.meter)} did not serve at {point['code']} then")
    count = edits.readings_in(connection, meter.meter_id, order.start, order.end)
    if count == 0:
        span = f"from {local(order.start, rules)} to {local(order.end, rules)}"
        raise EditRefused("no-reading", f"there is no reading of {'/'.join(order.meter)} {span}")
    check_settled(connection, rules, point, order)
    first, last = _days_around(connection, rules, meter.meter_id, order.start, order.end)
    told = {"meter_id": meter.meter_id, "set_aside": count, "first_day": first, "last_day": last}
    _add(connection, _row(order, point, now) | told)
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
