"""Rows that changes of what hangs where are judged by and written to: loaded under locks, written one by one.

The rule it keeps: two engineers at one usage point or meter go one after the other, and each sees what the other did.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from uuid import UUID

from headend.domain.change_known import Known
from headend.domain.changes import Change, CorrectMembership, Move, Undo, meter_of, usage_point_of
from headend.domain.timeline import (
    AnyRow,
    CategoryRow,
    Contradiction,
    InstallationRow,
    MembershipRow,
    MeterRow,
    Records,
    RowChange,
    Span,
    as_json,
    of_json,
)
from headend.domain.topology import MeterId
from headend.store.pool import Connection, Row, row, rows
from headend.store.queries import load
from headend.store.topology import area_id


class Unknown(Contradiction):
    """What is named does not exist."""


@dataclass(frozen=True, slots=True)
class _Touched:
    """Numbers of whom a change can touch."""

    points: Sequence[int]
    meters: Sequence[int]


def hold(connection: Connection, what: Change) -> Known:
    """Everything that a change can touch, held until the transaction ends. Raises Unknown."""
    queries = load("changes")
    manufacturer, serial = meter_of(what) or (None, None)
    touched = _Touched([], [])
    undone: tuple[RowChange, ...] = ()
    if isinstance(what, Undo):
        touched, undone = _of_undone(connection, what.undoes)
    subject = usage_point_of(what)
    behind = _behind(what)
    _must_know_area(connection, what)
    names = {
        "codes": [code for code in (subject, behind) if code is not None],
        "subject": subject,
        "ids": list(touched.points),
        "manufacturer": manufacturer,
        "serial": serial,
        "meters": list(touched.meters),
    }
    ids = [found["usage_point_id"] for found in rows(connection, queries["points_of"], names)]
    points = rows(connection, queries["hold_points"], {"ids": ids})
    kinds = {point["code"]: point["kind"] for point in points}
    for code, field in ((subject, "usage_point"), (behind, "behind")):
        if code is not None and code not in kinds:
            raise Unknown(f"there is no usage point {code!r}", field)
    held = names | {"ids": ids}
    meters = rows(connection, queries["hold_meters"], held)
    if serial is not None and (manufacturer, serial) not in {(m["manufacturer"], m["serial"]) for m in meters}:
        raise Unknown(f"there is no meter {manufacturer}/{serial}", "serial")
    held |= {"meters": [m["meter_id"] for m in meters]}
    return Known(
        Records(
            tuple(InstallationRow(**found) for found in rows(connection, queries["installations"], held)),
            tuple(MembershipRow(**found) for found in rows(connection, queries["memberships"], held)),
            tuple(CategoryRow(**found) for found in rows(connection, queries["categories"], held)),
            tuple(_meter(found) for found in meters),
        ),
        kinds,
        undone,
    )


def write(connection: Connection, found: Sequence[RowChange]) -> list[RowChange]:
    """Write changed rows; returns them with the numbers that new ones got.

    What takes room gives it up before another takes it: rows of one usage point, or meter, never overlap in between.
    """
    queries = load("changes")
    for change in found:
        if change.after is None:
            connection.execute(queries[f"drop_{change.table}"], {"row_id": change.row.row_id})
    pending = [change for change in found if change.before is not None and change.after is not None]
    again = []
    while pending:
        free = next((one for one in pending if not any(_in_the_way(one, other) for other in pending)), None)
        if free is None:  # they wait for each other in a circle: one goes, and comes back under its own number
            free = pending[0]
            connection.execute(queries[f"drop_{free.table}"], {"row_id": free.row.row_id})
            again.append(free)
        else:
            connection.execute(queries[f"change_{free.table}"], asdict(_after(free)))
        pending.remove(free)
    written = []
    for change in found:
        if change.after is not None and (change.before is None or change in again):
            made = row(connection, queries[f"put_{change.table}"], asdict(change.after))
            assert made is not None  # an insert returns its row or raises
            written.append(replace(change, after=replace(change.after, row_id=made["row_id"])))
        else:
            written.append(change)
    return written


def kept_rows(found: Sequence[RowChange], side: str) -> dict[str, list[dict[str, object]]]:
    """Rows by table as they are kept with a change: `before` or `after`."""
    kept: dict[str, list[dict[str, object]]] = {}
    for change in found:
        chosen = getattr(change, side)
        if chosen is not None:
            kept.setdefault(change.table, []).append(as_json(chosen))
    return kept


def changes_of(before: Mapping[str, Sequence[Row]], after: Mapping[str, Sequence[Row]]) -> tuple[RowChange, ...]:
    """The same read back."""
    found = []
    for table in sorted(before.keys() | after.keys()):
        was = {kept["row_id"]: of_json(table, kept) for kept in before.get(table, ())}
        now = {kept["row_id"]: of_json(table, kept) for kept in after.get(table, ())}
        found += [RowChange(table, was.get(row_id), now.get(row_id)) for row_id in was | now]
    return tuple(found)


def _of_undone(connection: Connection, change_id: UUID) -> tuple[_Touched, tuple[RowChange, ...]]:
    kept = row(connection, load("changes")["find"], {"change_id": change_id})
    touched = row(connection, load("changes")["touched_ids"], {"change_id": change_id})
    if kept is None or touched is None:
        raise Unknown(f"there is no change {change_id}", "undoes")
    if kept["undone_by"] is not None:
        raise Contradiction(f"it was taken back already, by change {kept['undone_by']}", "undoes")
    return _Touched(touched["usage_points"], touched["meters"]), changes_of(kept["before"], kept["after"])


def _behind(what: Change) -> str | None:
    if isinstance(what, Move):
        return what.behind
    return what.given.get("behind") if isinstance(what, CorrectMembership) else None


def _must_know_area(connection: Connection, what: Change) -> None:
    area = what.area if isinstance(what, Move) else None
    if isinstance(what, CorrectMembership):
        area = what.given.get("area")
    if area is not None and area_id(connection, area) is None:
        raise Unknown(f"there is no area {area!r}", "area")


def _meter(found: Row) -> MeterRow:
    return MeterRow(row_id=found["meter_id"], **{name: value for name, value in found.items() if name != "meter_id"})


def _in_the_way(one: RowChange, other: RowChange) -> bool:
    """Whether a row cannot become what it shall be while another is still as it was."""
    after, before = one.after, other.before
    if one is other or not isinstance(after, Span) or not isinstance(before, Span) or type(after) is not type(before):
        return False
    same = after.usage_point == before.usage_point or (
        isinstance(after, InstallationRow) and isinstance(before, InstallationRow) and after.meter == before.meter
    )
    return same and after.overlaps(before)


def _after(change: RowChange) -> AnyRow:
    assert change.after is not None
    return change.after


def identities(found: Collection[AnyRow]) -> tuple[set[str], set[MeterId], set[str]]:
    """Usage points, meters and areas that rows name."""
    points = {r.usage_point for r in found if isinstance(r, Span)}
    points |= {r.behind for r in found if isinstance(r, MembershipRow) and r.behind is not None}
    meters = {r.meter for r in found if isinstance(r, InstallationRow | MeterRow)}
    areas = {r.area for r in found if isinstance(r, MembershipRow)}
    return points, meters, areas
