"""Edits as rows: made once, undone once, never changed otherwise and never deleted; what stands, and the audit.

The rule it keeps: what an edit touches is marked in the transaction that makes or undoes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import numpy as np
import numpy.typing as npt

from headend.domain.calendar import to_us
from headend.domain.edits import EditKind, EditState
from headend.domain.quality import ValidationFlag
from headend.store.arrays import Integers, integers
from headend.store.dirty import mark_points
from headend.store.pool import Connection, Row, row, rows
from headend.store.queries import load
from headend.store.vectors import vector_rows

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class EditHead:
    """Where values are edited."""

    edit_id: UUID
    number: int
    """Rises in the order in which edits were made."""
    usage_point_id: int
    direction: str
    from_us: int
    to_us: int
    """Not included."""
    interval_s: int


@dataclass(frozen=True, slots=True)
class Span:
    """Readings of a meter that are set aside; both ends included [µs UTC]."""

    from_us: int
    to_us: int


class EditIdTaken(Exception):
    """The id was sent before with another content."""

    def __init__(self, earlier: Row) -> None:
        super().__init__(
            f"edit {earlier['edit_id']} was sent before with another content: by {earlier['made_by']}, at "
            f"{earlier['made_at'].isoformat()}"
        )
        self.earlier = earlier


def active(
    connection: Connection,
    usage_points: Ints,
    start: datetime,
    end: datetime,
    known_at: datetime | None = None,
) -> list[EditHead]:
    """Edits of values that stand and overlap a stretch, in the order in which they were made; with `known_at`: those
    that stood then.
    """
    parameters = {"usage_points": Integers(usage_points), "start": start, "end": end, "known_at": known_at}
    return [
        EditHead(
            edit_id=r["edit_id"],
            number=r["number"],
            usage_point_id=r["usage_point_id"],
            direction=r["direction"],
            from_us=to_us(r["from_ts"]),
            to_us=to_us(r["to_ts"]),
            interval_s=r["interval_s"],
        )
        for r in rows(connection, load("edits")["heads"], parameters)
    ]


def energies(connection: Connection, edits: Sequence[UUID]) -> dict[UUID, Ints]:
    """edit_id → (intervals,) int64 [Wh]."""
    if not edits:
        return {}
    found = vector_rows(connection, load("edits")["values"], {"edits": list(edits)})
    return {r["edit_id"]: r["values_wh"] for r in found}


def set_aside(connection: Connection, meters: Sequence[int], known_at: datetime | None = None) -> dict[int, list[Span]]:
    """meter_id → spans of its readings that are not believed, in order of their start."""
    found: dict[int, list[Span]] = {}
    for r in rows(connection, load("edits")["set_aside"], {"meters": integers(meters), "known_at": known_at}):
        found.setdefault(r["meter_id"], []).append(Span(to_us(r["from_ts"]), to_us(r["to_ts"])))
    return found


def usage_point(connection: Connection, code: str, *, lock: bool = False) -> Row | None:
    """usage_point_id, code, kind, category and name; locked against other editors on request."""
    return row(connection, load("edits")["lock_usage_point" if lock else "usage_point"], {"code": code})


def add(connection: Connection, values: dict[str, Any]) -> bool:
    """Write an edit; False where its id is there already."""
    return connection.execute(load("edits")["insert"], values).rowcount == 1


def undo(connection: Connection, edit_id: UUID, *, by: str, reason: str, now: datetime) -> bool:
    """Undo an edit; False where it has been undone."""
    parameters = {"edit_id": edit_id, "by": by, "reason": reason, "now": now}
    return connection.execute(load("edits")["undo"], parameters).rowcount == 1


def find(connection: Connection, edit_id: UUID) -> Row | None:
    """One edit, with the codes of its usage point and meter, and its `state`."""
    return next(iter(_with_state(connection, rows(connection, load("edits")["find"], {"edit_id": edit_id}))), None)


def audit(
    connection: Connection,
    *,
    limit: int,
    usage_point: str | None = None,
    standing: bool = False,
    made_by: str | None = None,
    before: tuple[datetime, int] | None = None,
) -> list[Row]:
    """Edits with their `state`, undone ones too, newest first; `before`: (made_at, number) of the last one before."""
    at, number = before or (None, None)
    parameters = {
        "limit": limit, "usage_point": usage_point, "standing": standing, "made_by": made_by, "before_at": at,
        "before_number": number,
    }  # fmt: skip
    return _with_state(connection, rows(connection, load("edits")["audit"], parameters))


def of_stretch(connection: Connection, usage_point_id: int, start: datetime, end: datetime) -> list[Row]:
    """Edits of a usage point that touch a stretch with their `state`, undone ones too, newest first."""
    parameters = {"usage_point_id": usage_point_id, "start": start, "end": end}
    return _with_state(connection, rows(connection, load("edits")["of_stretch"], parameters))


def _with_state(connection: Connection, found: list[Row]) -> list[Row]:
    """The edits, each with how it stands as settlement left it."""
    standing = [r["edit_id"] for r in found if r["undone_at"] is None]
    known: dict[UUID, EditState] = {}
    if standing:
        parameters = {"edits": standing, "refused": int(ValidationFlag.EDIT_REFUSED)}
        told = rows(connection, load("edits")["states"], parameters)
        kinds = {r["edit_id"]: r["kind"] for r in found}
        known = {r["edit_id"]: _state(r, kinds[r["edit_id"]]) for r in told}
    return [r | {"state": known.get(r["edit_id"], EditState.UNDONE)} for r in found]


def _state(told: Row, kind: str) -> EditState:
    if told["waiting"]:
        return EditState.WAITING
    if kind == EditKind.READINGS:
        return EditState.HOLDS
    if not told["settled"]:
        return EditState.WAITING
    if not told["own"]:
        return EditState.OVERLAID
    return EditState.DOES_NOT_HOLD if told["refused"] else EditState.HOLDS


def mark(connection: Connection, usage_point_id: int, first: date, last: date, *, zone: str, now: datetime) -> None:
    """Have days of a usage point settled again on the areas it hung on; a mark that stands is renewed."""
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    mark_points(connection, [usage_point_id] * len(days), days, zone=zone, marked_at=now)


def memberships(connection: Connection, usage_point_id: int, start: datetime, end: datetime) -> list[Row]:
    """area_id, code, valid_from, valid_to of the areas that a usage point hung on in a stretch."""
    parameters = {"usage_point_id": usage_point_id, "start": start, "end": end}
    return rows(connection, load("edits")["memberships"], parameters)


def mark_meter(connection: Connection, meter_id: int, first: date, last: date, *, zone: str, now: datetime) -> None:
    """Have days settled again wherever a meter served on them; a mark that stands is renewed."""
    parameters = {"meter_id": meter_id, "first": first, "last": last, "zone": zone, "now": now}
    connection.execute(load("edits")["mark_meter"], parameters)


def served_between(connection: Connection, usage_point_id: int, meter_id: int, start: datetime, end: datetime) -> bool:
    """Whether a meter served at a usage point at some time from start to end."""
    parameters = {"usage_point_id": usage_point_id, "meter_id": meter_id, "start": start, "end": end}
    found = row(connection, load("edits")["served_between"], parameters)
    return bool(found and found["served"])


def readings_in(connection: Connection, meter_id: int, start: datetime, end: datetime) -> int:
    """How many readings of a meter stand from start to end, both included."""
    found = row(connection, load("edits")["readings_in"], {"meter_id": meter_id, "start": start, "end": end})
    return 0 if found is None else int(found["readings"])


def waiting(connection: Connection, usage_point_id: int, day: date) -> bool:
    """Whether a day of a usage point is marked to be settled again."""
    found = row(connection, load("edits")["waiting"], {"usage_point_id": usage_point_id, "day": day})
    return bool(found and found["waiting"])
