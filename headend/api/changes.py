"""Changes and corrections of what hangs where: made, looked at beforehand, listed; and a usage point's history."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Query, Response
from pydantic import BaseModel, Field

from headend.api import pagination
from headend.api.change_requests import EXAMPLES, ChangeRequest, order_of, problem_of
from headend.api.deps import Parts, PartsDep, ReadDep, invalid, unknown
from headend.api.errors import Problem, describe
from headend.api.pagination import Cursor, Limit, Page
from headend.domain.change_reach import Days
from headend.domain.changes import ChangeKind, ChangeOrder
from headend.domain.timeline import CategoryRow, InstallationRow, MembershipRow
from headend.log import get_logger
from headend.metrics import TOPOLOGY_CHANGES
from headend.store import changes, topology
from headend.store.changes import ChangeIdTaken, ChangeRefused, Preview, StoredChange, Timeline
from headend.store.pool import Connection

router = APIRouter(tags=["changes"])
_log = get_logger(__name__)


class Stretch(BaseModel):
    """Local days of an area, both included."""

    area: str
    first: date
    last: date


class Effect(BaseModel):
    """What a change does, or would do."""

    before: dict[str, list[dict[str, Any]]] = Field(description="rows by table as they were, of those that change")
    after: dict[str, list[dict[str, Any]]] = Field(description="and as they shall be")
    settled_again: list[Stretch]
    area_days: int = Field(description="how many area-days that are")
    billed_days: int = Field(description="days of usage points that billing was told of: what differs is adjusted")
    billed_wh: int = Field(description="what billing was told of them")
    warnings: list[str] = Field(description="what somebody should look at; none of it is refused")


class ChangeMade(BaseModel):
    """A change or correction, kept for good."""

    change_id: UUID
    kind: ChangeKind
    corrects: bool = Field(description="something was recorded wrongly; false: something happened")
    effective_at: datetime | None = Field(description="from when it holds; null: whenever the device served")
    by: str
    reason: str
    noted_at: datetime = Field(description="when it was made")
    asked: dict[str, Any]
    before: dict[str, list[dict[str, Any]]]
    after: dict[str, list[dict[str, Any]]]
    usage_points: list[str]
    meters: list[str]
    areas: list[str]
    first_day: date | None = Field(description="local days settled again; null: none")
    last_day: date | None
    area_days: int
    undoes: UUID | None
    undone_by: UUID | None


class ChangeAnswer(BaseModel):
    """What became of a change."""

    change: ChangeMade | None = Field(description="null: it was only looked at")
    effect: Effect | None = Field(description="null: this very change had been made before; nothing changed")


class InstallationSpan(BaseModel):
    """A meter at the usage point."""

    manufacturer: str
    serial: str
    valid_from: datetime
    valid_to: datetime | None
    multiplier: Decimal
    sign: int
    start_import_wh: int | None
    start_export_wh: int | None
    end_import_wh: int | None
    end_export_wh: int | None
    seal: str | None


class MembershipSpan(BaseModel):
    """Where it hangs."""

    area: str
    behind: str | None
    valid_from: datetime
    valid_to: datetime | None


class CategorySpan(BaseModel):
    """What it is billed as."""

    category: str
    valid_from: datetime | None = Field(description="null: since ever")
    valid_to: datetime | None


class History(BaseModel):
    """What was true of a usage point, as it is known now; oldest first."""

    usage_point: str
    name: str
    usage_point_kind: str = Field(description="customer, shared or area")
    memberships: list[MembershipSpan]
    installations: list[InstallationSpan]
    categories: list[CategorySpan]


@router.post(
    "/changes",
    status_code=201,
    summary="Change or correct what hangs where",
    responses=describe(409) | {200: {"model": ChangeAnswer, "description": "Looked at, or made before"}},
)
def make_change(
    request: Annotated[ChangeRequest, Body(openapi_examples=EXAMPLES)],
    response: Response,
    parts: PartsDep,
    dry_run: Annotated[bool, Query(description="only say what it would do")] = False,
) -> ChangeAnswer:
    """201: made. 200: looked at, or this very change had been made before. 409: it contradicts what is stored, or the
    id was used for another change."""
    answer = made(parts, order_of(request), dry_run=dry_run)
    if answer.change is None or answer.effect is None:
        response.status_code = 200
    return answer


@router.get("/changes", summary="Changes, newest first", responses=describe(404))
def list_changes(
    *,
    connection: ReadDep,
    usage_point: Annotated[str | None, Query(description="code")] = None,
    area: Annotated[str | None, Query(description="code")] = None,
    manufacturer: Annotated[str | None, Query(description="of a meter, with its serial")] = None,
    serial: str | None = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[ChangeMade]:
    """About a usage point, an area or a meter, or all there are."""
    if (manufacturer is None) != (serial is None):
        raise invalid("serial" if serial is None else "manufacturer", "a meter is named by both")
    before = pagination.decode(cursor, pagination.whole)
    found = changes.listed(
        connection,
        usage_point_id=None if usage_point is None else _point_id(connection, usage_point),
        area_id=None if area is None else area_id_of(connection, area),
        meter_id=None if manufacturer is None or serial is None else meter_id_of(connection, manufacturer, serial),
        limit=limit + 1,
        before=before[0] if before else None,
    )
    kept, following = pagination.cut(found, limit, lambda change: (change.number,))
    return Page(items=[change_made(one) for one in kept], next=following)


@router.get("/changes/{change_id}", summary="One change", responses=describe(404))
def one_change(change_id: UUID, connection: ReadDep) -> ChangeMade:
    """What was, what is, who, why and when."""
    found = changes.find(connection, change_id)
    if found is None:
        raise unknown("change", str(change_id))
    return change_made(found)


@router.get("/usage-points/{code}/history", summary="What was true of a usage point", responses=describe(404))
def history(code: str, connection: ReadDep) -> History:
    """Memberships, installations and categories from the first to the last."""
    found = timeline_of(connection, code)
    records = found.records
    return History(
        usage_point=found.code,
        name=found.name,
        usage_point_kind=found.kind,
        memberships=[MembershipSpan.model_validate(_fields(MembershipSpan, row)) for row in records.memberships],
        installations=[InstallationSpan.model_validate(_fields(InstallationSpan, r)) for r in records.installations],
        categories=[CategorySpan.model_validate(_fields(CategorySpan, row)) for row in records.categories],
    )


def made(parts: Parts, order: ChangeOrder, *, dry_run: bool) -> ChangeAnswer:
    """Make a change, or only look at it. Raises Problem 409 or 422 in words."""
    try:
        with parts.store.transaction() as connection:
            if dry_run:
                effect = changes.preview(connection, order, calendar=parts.calendar, now=parts.clock())
                return ChangeAnswer(change=None, effect=_effect(effect))
            change, done = changes.apply(connection, order, calendar=parts.calendar, now=parts.clock())
    except ChangeIdTaken as error:
        TOPOLOGY_CHANGES.labels(order.what.kind.value, "refused").inc()
        raise Problem(status=409, code="change-id-taken", detail=str(error)) from error
    except ChangeRefused as error:
        TOPOLOGY_CHANGES.labels(order.what.kind.value, "refused").inc()
        _log.warning(
            "topology change refused", kind=order.what.kind.value, by=order.by, reason=order.reason, why=error.reason
        )
        given = {"given": getattr(order.what, "given", {})}
        status, code = (422, "invalid-request") if error.unknown else (409, "change-refused")
        raise problem_of(error.field, error.reason, given, status=status, code=code) from error
    TOPOLOGY_CHANGES.labels(order.what.kind.value, "repeated" if done is None else "made").inc()
    if done is not None:
        _log.info(
            "topology changed", change=str(order.change_id), kind=order.what.kind.value, by=order.by,
            reason=order.reason, area_days=done.area_days,
        )  # fmt: skip
    return ChangeAnswer(change=change_made(change), effect=None if done is None else _effect(done))


def timeline_of(connection: Connection, code: str) -> Timeline:
    """What was true of a usage point. Raises Problem 404."""
    found = changes.timeline(connection, code)
    if found is None:
        raise unknown("usage-point", code)
    return found


def change_made(found: StoredChange) -> ChangeMade:
    """A stored change as it is answered."""
    fields = {name: getattr(found, name) for name in ChangeMade.model_fields if name != "corrects"}
    return ChangeMade.model_validate(fields | {"corrects": found.kind.corrects})


def _effect(done: Preview) -> Effect:
    return Effect(
        before={table: [dict(row) for row in rows] for table, rows in done.before.items()},
        after={table: [dict(row) for row in rows] for table, rows in done.after.items()},
        settled_again=[stretch for area, days in done.areas.items() for stretch in _stretches(area, days)],
        area_days=done.area_days,
        billed_days=done.billed_days,
        billed_wh=done.billed_wh,
        warnings=list(done.warnings),
    )


def _stretches(area: str, days: Sequence[Days]) -> list[Stretch]:
    return [Stretch(area=area, first=one.first, last=one.last) for one in days]


def _fields(model: type[BaseModel], row: InstallationRow | MembershipRow | CategoryRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in model.model_fields}


def _point_id(connection: Connection, code: str) -> int:
    found = topology.usage_point_id(connection, code)
    if found is None:
        raise unknown("usage-point", code)
    return found


def area_id_of(connection: Connection, code: str) -> int:
    """Number of an area. Raises Problem 404."""
    found = topology.area_id(connection, code)
    if found is None:
        raise unknown("area", code)
    return found


def meter_id_of(connection: Connection, manufacturer: str, serial: str) -> int:
    """Number of a meter. Raises Problem 404."""
    found = topology.find_meter(connection, manufacturer, serial)
    if found is None:
        raise unknown("meter", f"{manufacturer}/{serial}")
    return found.meter_id
