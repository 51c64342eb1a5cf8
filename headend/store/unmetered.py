"""Known loads without a meter: which hold on an area, and the writes that make their history.

The rules they keep: a change of power or schedule ends one version and begins another; a correction withdraws a
version, and its row stays. Every change marks the area-days that it touches in the same transaction.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from headend.domain.calendar import LocalCalendar
from headend.domain.topology import overlap
from headend.domain.unmetered import UnmeteredLoad
from headend.store import queries, topology
from headend.store.dirty import mark_area
from headend.store.errors import StoreConflict
from headend.store.pool import Connection, Row, row, rows

_SQL = queries.load("unmetered")
_JUST_BEFORE = timedelta(microseconds=1)


def of_area(connection: Connection, area_id: int, start: datetime, end: datetime) -> list[UnmeteredLoad]:
    """Loads that hold on an area at any time of a stretch."""
    found = rows(connection, _SQL["of_area"], {"area_id": area_id, "start": start, "end": end})
    return [UnmeteredLoad(**r) for r in found]


def listed(
    connection: Connection,
    *,
    limit: int,
    area: str | None = None,
    at: datetime | None = None,
    after: tuple[str, datetime] | None = None,
) -> list[Row]:
    """Loads with who noted them, by code and `valid_from`; `at`: only those that hold then; `after`: such a key."""
    code, since = after or (None, None)
    parameters = {"area": area, "at": at, "limit": limit, "after_code": code, "after_from": since}
    return rows(connection, _SQL["listed"], parameters)


def add(
    connection: Connection, load: UnmeteredLoad, *, by: str, replace_open: bool, calendar: LocalCalendar, now: datetime
) -> None:
    """A load, or another version of one. `replace_open`: the version that still holds ends where this one begins.

    Raises LookupError for an unknown area, StoreConflict when it overlaps another version of the same code.
    """
    for other in _versions(connection, load.code):
        if not overlap(load.valid_from, load.valid_to, other.valid_from, other.valid_to):
            continue
        if not (replace_open and other.valid_to is None and other.valid_from < load.valid_from):
            end = "still" if other.valid_to is None else f"until {other.valid_to.isoformat()}"
            raise StoreConflict(
                f"{load.code} holds from {other.valid_from.isoformat()}, {end}, on area {other.area}",
                constraint="unmetered_load",
            )
        _close(connection, other, load.valid_from, by=by, calendar=calendar, now=now)
    values = {name: getattr(load, name) for name in UnmeteredLoad.__dataclass_fields__} | {"by": by}
    made = row(connection, _SQL["add"], values)
    if made is None:
        raise LookupError(f"no area {load.area!r}")
    _mark(connection, made["area_id"], load.valid_from, load.valid_to, calendar=calendar, now=now)


def end(
    connection: Connection, code: str, at: datetime, *, by: str, calendar: LocalCalendar, now: datetime
) -> UnmeteredLoad:
    """The load ceases at `at`; returns the version that ended.

    Raises LookupError for an unknown code, StoreConflict when no version holds on just before.
    """
    versions = _versions(connection, code)
    if not versions:
        raise LookupError(f"no unmetered load {code!r}")
    was = next((v for v in versions if v.valid_to is None and v.valid_from < at), None)
    if was is None:
        raise StoreConflict(f"{code} does not hold on before {at.isoformat()}", constraint="unmetered_load")
    _close(connection, was, at, by=by, calendar=calendar, now=now)
    return was


def withdraw(
    connection: Connection, code: str, valid_from: datetime, *, by: str, calendar: LocalCalendar, now: datetime
) -> UnmeteredLoad:
    """A version never held. Raises LookupError when there is none that begins then."""
    was = next((v for v in _versions(connection, code) if v.valid_from == valid_from), None)
    if was is None:
        raise LookupError(f"no unmetered load {code!r} from {valid_from.isoformat()}")
    gone = row(connection, _SQL["withdraw"], {"code": code, "valid_from": valid_from, "by": by})
    assert gone is not None  # its rows are held since `_versions`
    _mark(connection, gone["area_id"], was.valid_from, was.valid_to, calendar=calendar, now=now)
    return was


def mark(connection: Connection, load: UnmeteredLoad, *, calendar: LocalCalendar, now: datetime) -> None:
    """Mark what a load touches that was just stored, or whose end became known: as if it had held on without it."""
    found = topology.area_id(connection, load.area)
    assert found is not None  # it was stored with this area in the same transaction
    _mark(connection, found, load.valid_from, None, calendar=calendar, now=now)


def _versions(connection: Connection, code: str) -> list[UnmeteredLoad]:
    connection.execute(_SQL["only_one_writer"], {"code": code})
    return [UnmeteredLoad(**r) for r in rows(connection, _SQL["of_code"], {"code": code})]


def _close(
    connection: Connection, was: UnmeteredLoad, at: datetime, *, by: str, calendar: LocalCalendar, now: datetime
) -> None:
    closed = row(connection, _SQL["close"], {"code": was.code, "valid_from": was.valid_from, "at": at, "by": by})
    assert closed is not None  # its rows are held since `_versions`
    _mark(connection, closed["area_id"], at, None, calendar=calendar, now=now)


def _mark(
    connection: Connection,
    area_id: int,
    since: datetime,
    until: datetime | None,
    *,
    calendar: LocalCalendar,
    now: datetime,
) -> None:
    """Mark the days from `since` to `until` that anybody has seen of the area, up to today."""
    known = row(connection, _SQL["first_day"], {"area_id": area_id})
    if known is None or known["day"] is None:
        return
    if since > now:
        return
    last = calendar.day_of(now if until is None else min(now, until - _JUST_BEFORE))
    mark_area(connection, area_id, max(known["day"], calendar.day_of(since)), last, now)
