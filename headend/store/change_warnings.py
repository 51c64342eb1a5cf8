"""What somebody should look at before a change is made: readings that fit it badly, instants that are odd.

The rule it keeps: none of it is refused. Readings may be wrong too, and late ones may still come.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Final

from headend.domain.calendar import LocalCalendar, to_us
from headend.domain.change_known import Known
from headend.domain.timeline import EVER, CategoryRow, InstallationRow, MembershipRow, RowChange, Span
from headend.store.pool import Connection, Row, rows
from headend.store.queries import load

_SLACK: Final = timedelta(minutes=15)
"""A swap takes a while: readings so close to its instant are no contradiction."""


def warnings_of(
    connection: Connection, found: Sequence[RowChange], known: Known, calendar: LocalCalendar, now: datetime
) -> list[str]:
    """Sentences for a person, none twice."""
    told = [*_of_instants(found, calendar, now)]
    installed = [c.after for c in found if isinstance(c.after, InstallationRow)]
    gone = {c.before.row_id for c in found if isinstance(c.before, InstallationRow)}
    others = [r for r in known.records.installations if r.row_id not in gone] + installed
    parameters = {
        "manufacturer": [r.manufacturer for r in installed],
        "serial": [r.serial for r in installed],
        "valid_from": [r.valid_from for r in installed],
        "valid_to": [r.valid_to for r in installed],
    }
    if installed:
        for around in rows(connection, load("changes")["registers_around"], parameters):
            told += _of_readings(installed[around["n"] - 1], around, others)
    return list(dict.fromkeys(told))


def _of_instants(found: Sequence[RowChange], calendar: LocalCalendar, now: datetime) -> Iterator[str]:
    for instant, side in _new_edges(found):
        if instant > now:
            yield f"{instant.isoformat()} is in the future: until then {side.usage_point} is settled as it is now"
        local_midnight = calendar.bounds(calendar.day_of(instant))[0]
        if isinstance(side, CategoryRow) and instant != local_midnight:
            yield (
                f"{instant.isoformat()} is no midnight: billing charges a whole day on the category of its first "
                "instant, so this one counts from the next day on"
            )
        if isinstance(side, MembershipRow) and (to_us(instant) - to_us(local_midnight)) % (
            calendar.interval_s * 1_000_000
        ):
            yield (
                f"{instant.isoformat()} lies within an interval: its energy belongs to two places, so no balance "
                "counts that interval"
            )


def _new_edges(found: Sequence[RowChange]) -> Iterator[tuple[datetime, Span]]:
    """Instants at which something begins or ends now that did not before."""
    before = {
        (type(c.before), instant)
        for c in found
        if isinstance(c.before, Span)
        for instant in (c.before.begins, c.before.valid_to)
    }
    for change in found:
        side = change.after
        if isinstance(side, Span):
            for instant in (side.begins, side.valid_to):
                if instant is not None and instant != EVER and (type(side), instant) not in before:
                    yield instant, side


def _of_readings(row: InstallationRow, around: Row, others: Sequence[InstallationRow]) -> Iterator[str]:
    meter = f"{row.manufacturer}/{row.serial}"
    mine = [r for r in others if r.meter == row.meter and r is not row]
    newest, earlier = around["after_ts"], around["before_ts"]
    late = row.valid_to is not None and newest is not None and newest > row.valid_to + _SLACK
    if row.valid_to is not None and late and not any(r.holds(newest) for r in mine):
        yield f"{meter} was read until {newest.isoformat()}, after it was removed at {row.valid_to.isoformat()}"
    if earlier is not None and row.begins - earlier > _SLACK and not any(r.begins < row.begins for r in mine):
        yield f"{meter} was read at {earlier.isoformat()}, before it was installed at {row.begins.isoformat()}"
    first, last = around["first_import_wh"], around["last_import_wh"]
    if row.start_import_wh is not None and first is not None and row.start_import_wh > first:
        yield (
            f"the start register of {meter}, {row.start_import_wh} Wh, is more than the first one read, {first} Wh at "
            f"{around['first_ts'].isoformat()}"
        )
    if row.end_import_wh is not None and last is not None and row.end_import_wh < last:
        yield (
            f"the final register of {meter}, {row.end_import_wh} Wh, is less than the last one read, {last} Wh at "
            f"{around['last_ts'].isoformat()}"
        )
