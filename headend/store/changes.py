"""Changes and corrections of what hangs where: made, kept for good with who and why, and what they touch marked.

The rules they keep: all of a change or nothing; the same change sent again changes nothing; what contradicts what is
stored is a ChangeRefused in words; every change marks just the area-days that may come out otherwise, in its
transaction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final
from uuid import UUID

from psycopg.types.json import Jsonb

from headend.domain.calendar import LocalCalendar
from headend.domain.change_known import Known
from headend.domain.change_reach import Days, Reach, reach
from headend.domain.change_rules import make
from headend.domain.changes import ChangeKind, ChangeOrder, CorrectMeter, Undo
from headend.domain.timeline import (
    EVER,
    CategoryRow,
    Contradiction,
    InstallationRow,
    MembershipRow,
    MeterRow,
    Records,
    RowChange,
    Span,
)
from headend.store import history
from headend.store.change_rows import Unknown, hold, identities, kept_rows, write
from headend.store.change_warnings import warnings_of
from headend.store.dirty import mark_area
from headend.store.errors import StoreConflict
from headend.store.pool import Connection, Row, row, rows
from headend.store.queries import load

_EARLIEST: Final = date(1970, 1, 1)


class ChangeRefused(StoreConflict):
    """A change that contradicts what is stored, in words; nothing was changed."""

    def __init__(self, reason: str, field: str | None, *, unknown: bool) -> None:
        super().__init__(reason, constraint=None)
        self.reason = reason
        self.field = field
        """Of the request, that is at odds with what is stored; None: the change as a whole."""
        self.unknown = unknown
        """What the field names does not exist."""


class ChangeIdTaken(StoreConflict):
    """Another change was made under this id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredChange:
    """A change or correction as it was made."""

    change_id: UUID
    number: int
    """In the order in which they were made."""
    kind: ChangeKind
    effective_at: datetime | None
    """The instant from which it holds; None: of a device, whenever it served."""
    by: str
    reason: str
    noted_at: datetime
    asked: Mapping[str, Any]
    before: Mapping[str, Sequence[Mapping[str, Any]]]
    """Rows by table, of those that changed."""
    after: Mapping[str, Sequence[Mapping[str, Any]]]
    usage_points: Sequence[str]
    meters: Sequence[str]
    areas: Sequence[str]
    first_day: date | None
    """Local days that may come out otherwise; None: none."""
    last_day: date | None
    area_days: int
    undoes: UUID | None
    undone_by: UUID | None


@dataclass(frozen=True, slots=True)
class Timeline:
    """A usage point with all that was true of it."""

    usage_point_id: int
    code: str
    name: str
    kind: str
    records: Records
    """In order of time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What a change does, or would do."""

    before: Mapping[str, Sequence[Mapping[str, Any]]]
    after: Mapping[str, Sequence[Mapping[str, Any]]]
    areas: Mapping[str, Sequence[Days]]
    """Days that are settled again, by area."""
    billed_days: int
    """Days of usage points among them that billing was told of: what differs becomes adjustments."""
    billed_wh: int
    """What billing was told of them."""
    warnings: Sequence[str]

    @property
    def area_days(self) -> int:
        """How many area-days are settled again."""
        return sum(len(days) for stretches in self.areas.values() for days in stretches)


def apply(
    connection: Connection, order: ChangeOrder, *, calendar: LocalCalendar, now: datetime
) -> tuple[StoredChange, Preview | None]:
    """Make a change; (the change, what it did), without the latter where the same one was made before.

    Raises ChangeRefused, ChangeIdTaken; the caller's transaction has to be given up then.
    """
    if (known := _made_before(connection, order)) is not None:
        return known, None
    held = _held(connection, order)
    if (known := _made_before(connection, order)) is not None:  # somebody sent it at the same moment
        return known, None
    done, found = _apply(connection, order, held, calendar, now)
    _note(connection, order, held, found, done=done, now=now)
    made = find(connection, order.change_id)
    assert made is not None  # inserted just now
    return made, done


def preview(connection: Connection, order: ChangeOrder, *, calendar: LocalCalendar, now: datetime) -> Preview:
    """What a change would do; it is done and rolled back, so that the database has its say too.

    Raises ChangeRefused.
    """
    with connection.transaction(force_rollback=True):
        return _apply(connection, order, _held(connection, order), calendar, now)[0]


def find(connection: Connection, change_id: UUID) -> StoredChange | None:
    """A change by the id that its caller made."""
    found = row(connection, load("changes")["find"], {"change_id": change_id})
    return None if found is None else _stored(found)


def listed(
    connection: Connection,
    *,
    usage_point_id: int | None = None,
    meter_id: int | None = None,
    area_id: int | None = None,
    limit: int,
    before: int | None = None,
) -> list[StoredChange]:
    """Changes about a usage point, a meter or an area, newest first; `before`: number where the page before ended."""
    parameters = {
        "usage_point_id": usage_point_id, "meter_id": meter_id, "area_id": area_id, "limit": limit, "before": before,
    }  # fmt: skip
    return [_stored(found) for found in rows(connection, load("changes")["listed"], parameters)]


def timeline(connection: Connection, code: str) -> Timeline | None:
    """What was true of a usage point, as it is known now; None: there is no such."""
    queries = load("changes")
    point = row(connection, queries["point"], {"code": code})
    if point is None:
        return None
    ids = {"ids": [point["usage_point_id"]], "meters": []}
    records = Records(
        installations=tuple(InstallationRow(**found) for found in rows(connection, queries["installations"], ids)),
        memberships=tuple(MembershipRow(**found) for found in rows(connection, queries["memberships"], ids)),
        categories=tuple(CategoryRow(**found) for found in rows(connection, queries["categories"], ids)),
    )
    return Timeline(point["usage_point_id"], point["code"], point["name"], point["kind"], records)


def renew_categories(connection: Connection, since: datetime, now: datetime) -> int:
    """Let usage_point.category say what holds now, of those whose category began since; how many it changed.

    A change of category told in advance begins without anybody's doing.
    """
    history.stamp(connection, now)
    return connection.execute(
        load("changes")["category_now"], {"usage_points": [], "since": since, "now": now}
    ).rowcount


def _made_before(connection: Connection, order: ChangeOrder) -> StoredChange | None:
    known = find(connection, order.change_id)
    if known is not None and known.asked != order.as_json():
        raise ChangeIdTaken(
            f"change {order.change_id} was made with another content", constraint="topology_change_pkey"
        )
    return known


def _held(connection: Connection, order: ChangeOrder) -> Known:
    try:
        return hold(connection, order.what)
    except Contradiction as error:
        raise ChangeRefused(error.reason, error.field, unknown=isinstance(error, Unknown)) from error


def _apply(
    connection: Connection, order: ChangeOrder, known: Known, calendar: LocalCalendar, now: datetime
) -> tuple[Preview, list[RowChange]]:
    try:
        wanted = make(order.what, known)
    except Contradiction as error:
        raise ChangeRefused(error.reason, error.field, unknown=False) from error
    history.stamp(connection, now)
    found = write(connection, wanted)
    today = calendar.day_of(now)
    reached = reach(found, _places(known, found), known.records.installations, calendar, today)
    areas = _mark(connection, reached, known, calendar, now)
    windows = _windows(reached)
    connection.execute(load("changes")["forget_strays"], windows | {"zone": str(calendar.zone)})
    points = sorted({change.row.usage_point for change in found if isinstance(change.row, Span)})
    connection.execute(load("changes")["category_now"], {"usage_points": points, "since": now, "now": now})
    billed = row(connection, load("changes")["billed"], windows)
    assert billed is not None  # an aggregate has one row
    done = Preview(
        before=kept_rows(found, "before"),
        after=kept_rows(found, "after"),
        areas=areas,
        billed_days=billed["days"],
        billed_wh=billed["energy_wh"],
        warnings=warnings_of(connection, found, known, calendar, now),
    )
    return done, found


def _places(known: Known, found: Sequence[RowChange]) -> dict[str, list[MembershipRow]]:
    """Where each usage point hung and hangs, as it was known and as it is known now."""
    rows_of = [*known.records.memberships, *(c.after for c in found if isinstance(c.after, MembershipRow))]
    places: dict[str, list[MembershipRow]] = {}
    for membership in rows_of:
        places.setdefault(membership.usage_point, []).append(membership)
    return places


def _mark(
    connection: Connection, reached: Reach, known: Known, calendar: LocalCalendar, now: datetime
) -> dict[str, list[Days]]:
    """Mark area-days, from the first one that anybody has seen; returns them."""
    floors = rows(connection, load("changes")["first_days"], {"areas": list(reached.areas)})
    meters = [m.row_id for m in known.records.meters]
    first = row(connection, load("changes")["first_reading"], {"meters": meters})
    read = None if first is None or first["ts"] is None else calendar.day_of(first["ts"])
    marked: dict[str, list[Days]] = {}
    for area in floors:
        seen = [day for day in (area["first_day"], read) if day is not None]
        if not seen:
            continue
        kept = Days(max(min(seen), _EARLIEST), date.max)
        for days in reached.areas[area["code"]]:
            if (part := days.within(kept)) is not None:
                mark_area(connection, area["area_id"], part.first, part.last, now)
                marked.setdefault(area["code"], []).append(part)
    return marked


def _windows(reached: Reach) -> dict[str, Any]:
    windows = [(code, days) for code, stretches in reached.usage_points.items() for days in stretches]
    return {
        "usage_points": [code for code, _ in windows],
        "first": [days.first for _, days in windows],
        "last": [days.last for _, days in windows],
    }


def _note(
    connection: Connection,
    order: ChangeOrder,
    known: Known,
    found: Sequence[RowChange],
    *,
    done: Preview,
    now: datetime,
) -> None:
    sides = [side for change in found for side in (change.before, change.after) if side is not None]
    points, meters, areas = identities(sides)
    devices = sorted(meters)
    corrected = {side.meter for side in sides if isinstance(side, MeterRow)}
    points |= {row.usage_point for row in known.records.installations if row.meter in corrected}
    subjects = row(
        connection,
        load("changes")["subjects"],
        {
            "usage_points": sorted(points),
            "manufacturer": [m for m, _ in devices],
            "serial": [s for _, s in devices],
            "areas": sorted(areas | set(done.areas)),
        },
    )
    assert subjects is not None  # three arrays
    days = [one for stretches in done.areas.values() for one in stretches]
    connection.execute(
        load("changes")["note"],
        subjects
        | {
            "change_id": order.change_id,
            "kind": order.what.kind.value,
            "effective_at": _effective_at(order, found),
            "by": order.by,
            "reason": order.reason,
            "now": now,
            "asked": Jsonb(order.as_json()),
            "before": Jsonb(done.before),
            "after": Jsonb(done.after),
            "first_day": min((one.first for one in days), default=None),
            "last_day": max((one.last for one in days), default=None),
            "area_days": done.area_days,
            "undoes": order.what.undoes if isinstance(order.what, Undo) else None,
        },
    )


def _effective_at(order: ChangeOrder, found: Sequence[RowChange]) -> datetime | None:
    at: datetime | None = getattr(order.what, "at", None)
    if at is not None or isinstance(order.what, CorrectMeter):
        return at
    begins = [s.begins for c in found for s in (c.before, c.after) if isinstance(s, Span) and s.begins != EVER]
    return min(begins, default=None)


def _stored(found: Row) -> StoredChange:
    return StoredChange(**found | {"kind": ChangeKind(found["kind"])})
