"""Edits of a usage point's energy: values set for intervals, and register readings set aside; undone, never deleted."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, StrictInt

from headend.api import pagination
from headend.api.deps import Instant, Parts, PartsDep, ReadDep, Text, unknown
from headend.api.errors import Problem, describe
from headend.api.pagination import Cursor, Limit, Page
from headend.api.usage_points import existing, quality_name
from headend.domain.edits import (
    MOST_INTERVALS,
    MOST_NAME,
    MOST_REASON,
    Direction,
    EditKind,
    EditOrder,
    EditState,
    check_words,
)
from headend.settlement import edit_desk
from headend.settlement.edit_refusal import BlockNumbers, EditRefused
from headend.settlement.edit_trial import Preview
from headend.settlement.rules import Rules
from headend.store import edits
from headend.store.edits import EditIdTaken
from headend.store.pool import Connection, Row
from headend.store.vectors import ABSENT

router = APIRouter(tags=["edits"])


class MeterName(BaseModel):
    """A meter by its maker and serial."""

    model_config = ConfigDict(extra="forbid")

    manufacturer: Text
    serial: Text


class EditRequest(BaseModel):
    """What somebody wants changed, who, and why."""

    model_config = ConfigDict(
        extra="forbid",
        populate_by_name=True,
        json_schema_extra={
            "examples": [
                {
                    "edit_id": "5b1f8b0e-3a64-4f0e-8d07-0f6f0a1f2c3d", "kind": "values", "direction": "import",
                    "from": "2026-11-23T10:00:00+08:00", "to": "2026-11-23T11:00:00+08:00",
                    "energies_wh": [120, 130, 0, 110], "by": "Li Wei", "reason": "pump was off from 10:30 to 10:45",
                },
                {
                    "edit_id": "2f0d4d52-18f3-4b0b-9f57-3b1ce2a5c8a1", "kind": "values",
                    "from": "2026-11-23T10:00:00+08:00", "to": "2026-11-23T14:00:00+08:00", "total_wh": 1500,
                    "by": "Li Wei", "reason": "agreed with the customer",
                },
                {
                    "edit_id": "9a3c1d77-1f0b-4d0e-8a33-5b8f7c1f0e11", "kind": "readings",
                    "from": "2026-11-23T10:15:00+08:00", "to": "2026-11-23T10:15:00+08:00",
                    "meter": {"manufacturer": "Acme", "serial": "12345678"},
                    "by": "Li Wei", "reason": "one digit wrong on the display",
                },
            ]
        },
    )  # fmt: skip

    edit_id: UUID = Field(description="made by the caller: sending the same edit again changes nothing")
    kind: EditKind = Field(EditKind.VALUES, description="values: energy of intervals; readings: registers set aside")
    direction: Direction = Field(Direction.IMPORT, description="of values")
    start: Instant = Field(alias="from", description="of values: start of the first interval; of readings: included")
    end: Instant = Field(alias="to", description="of values: end of the last interval; of readings: included")
    energies_wh: list[StrictInt] | None = Field(
        None, min_length=1, max_length=MOST_INTERVALS, description="one an interval, on the primary side"
    )
    total_wh: StrictInt | None = Field(None, ge=0, description="instead: spread by the shape that is there")
    meter: MeterName | None = Field(None, description="of readings: whose")
    by: Text = Field(min_length=1, max_length=MOST_NAME, description="who answers for it")
    reason: Text = Field(min_length=1, max_length=MOST_REASON)


class UndoRequest(BaseModel):
    """Who takes an edit back, and why."""

    model_config = ConfigDict(
        extra="forbid", json_schema_extra={"examples": [{"by": "Wang Fang", "reason": "the pump was on after all"}]}
    )

    by: Text = Field(min_length=1, max_length=MOST_NAME)
    reason: Text = Field(min_length=1, max_length=MOST_REASON)


class Edit(BaseModel):
    """An edit and how it stands."""

    edit_id: UUID
    usage_point: str
    kind: EditKind
    direction: Direction | None = Field(description="null: of readings set aside")
    start: datetime = Field(serialization_alias="from")
    end: datetime = Field(serialization_alias="to")
    interval_s: int | None
    energies_wh: list[int] | None
    total_wh: int | None = Field(description="where a total was given; null: each energy was")
    before_wh: list[int | None] | None = Field(description="what the intervals said when it was made")
    before_quality: list[str] | None
    manufacturer: str | None = Field(description="of readings set aside")
    serial: str | None
    readings: int | None = Field(description="how many stood in the span when they were set aside")
    made_at: datetime
    by: str
    reason: str
    first_day: date = Field(description="local days that it touched when it was made: the others in its gap too")
    last_day: date
    state: EditState = Field(
        description="now: holds; does_not_hold: registers or earlier edits contradict it, nothing is changed by it; "
        "overlaid: newer edits cover all of it; waiting: not settled since it was made; undone"
    )
    undone_at: datetime | None = Field(description="null: nobody took it back")
    undone_by: str | None
    undo_reason: str | None


class BlockOfEdit(BaseModel):
    """What registers say of a run of intervals that an edit reaches into."""

    start: datetime = Field(serialization_alias="from")
    end: datetime = Field(serialization_alias="to")
    known_wh: int | None = Field(description="between the registers at both ends; null: none closes the gap")
    edited_wh: int
    other_intervals: int = Field(description="that nobody edited and that can take the rest")
    holds: bool


class EditPreview(BaseModel):
    """What an edit would make of the intervals; nothing is stored."""

    holds: bool
    refusal: str | None = Field(description="why it cannot be made as it is, with the numbers")
    starts_at: datetime
    interval_s: int
    before_wh: list[int | None]
    after_wh: list[int | None]
    edited: list[bool] = Field(description="which intervals it sets; the others between the registers share the rest")
    energies_wh: list[int]
    blocks: list[BlockOfEdit]


@router.post(
    "/usage-points/{code}/edits",
    status_code=201,
    summary="Edit a usage point's energy",
    responses=describe(404, 409) | {200: {"model": Edit, "description": "Sent before; nothing changed"}},
)
def make_edit(code: str, request: EditRequest, response: Response, parts: PartsDep) -> Edit:
    """201: made. 200: this very edit had been made before. 409: it would break the difference of two registers (with
    the numbers), there is nothing to edit, or the id was sent with another content."""
    found, new = submitted(parts, code, request)
    if not new:
        response.status_code = 200
    return shown(found)


@router.post("/usage-points/{code}/edits/preview", summary="Try an edit of values out", responses=describe(404, 409))
def preview_edit(code: str, request: EditRequest, parts: PartsDep, connection: ReadDep) -> EditPreview:
    """Before and after, and whether it can hold. Nothing is stored."""
    if request.kind is not EditKind.VALUES:
        raise _invalid("kind", "only values can be tried out")
    tried = previewed(parts, connection, code, order_of(request))
    return EditPreview(
        holds=tried.refusal is None,
        refusal=None if tried.refusal is None else tried.refusal.reason,
        starts_at=tried.starts_at,
        interval_s=tried.interval_s,
        before_wh=nullable(tried.before_wh.tolist()),
        after_wh=nullable(tried.after_wh.tolist()),
        edited=tried.edited.tolist(),
        energies_wh=tried.energies_wh.tolist(),
        blocks=[_block(b) for b in tried.blocks],
    )


@router.get("/usage-points/{code}/edits", summary="Edits of a usage point", responses=describe(404))
def list_edits(
    *,
    code: str,
    parts: PartsDep,
    connection: ReadDep,
    standing: Annotated[bool, Query(description="only those that have not been undone")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Edit]:
    """All of them, newest first, undone ones too."""
    existing(connection, code, parts.clock())
    return _page(connection, code, standing=standing, by=None, limit=limit, cursor=cursor)


@router.post("/usage-points/{code}/edits/{edit_id}/undo", summary="Undo an edit", responses=describe(404, 409))
def undo_edit(code: str, edit_id: UUID, request: UndoRequest, parts: PartsDep) -> Edit:
    """What was before comes back, as far as registers that came since allow. The edit itself stays in the audit."""
    return shown(undone(parts, code, edit_id, request))


@router.get("/edits", summary="Edits of all usage points", responses=describe())
def audit(
    *,
    connection: ReadDep,
    standing: Annotated[bool, Query(description="only those that have not been undone")] = False,
    by: Annotated[str | None, Query(max_length=MOST_NAME, description="who made them")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Edit]:
    """The audit: all that people set, newest first, undone ones too."""
    return _page(connection, None, standing=standing, by=by, limit=limit, cursor=cursor)


def order_of(request: EditRequest) -> EditOrder:
    """The order that a request is. Raises Problem 422 naming the field that is wrong."""
    try:
        return EditOrder(
            edit_id=request.edit_id,
            kind=request.kind,
            start=request.start,
            end=request.end,
            by=request.by,
            reason=request.reason,
            direction=request.direction,
            energies_wh=None if request.energies_wh is None else tuple(request.energies_wh),
            total_wh=request.total_wh,
            meter=None if request.meter is None else (request.meter.manufacturer, request.meter.serial),
        )
    except ValueError as wrong:
        raise _of_value(wrong) from wrong


def _rules(parts: Parts) -> Rules:
    """What the role settle goes by: an edit is looked at by the same rules."""
    return Rules.of(parts.settings.settlement, parts.settings.validation)


def submitted(parts: Parts, code: str, request: EditRequest) -> tuple[Row, bool]:
    """Make an edit: the row, and whether it is new. Raises Problem."""
    order = order_of(request)
    try:
        return edit_desk.submit(parts.store, _rules(parts), parts.clock, code, order)
    except edit_desk.UnknownUsagePoint as error:
        raise unknown("usage-point", code) from error
    except edit_desk.UnknownMeter as error:
        raise unknown("meter", str(error)) from error
    except EditIdTaken as error:
        raise Problem(status=409, code="edit-id-taken", detail=str(error)) from error
    except EditRefused as refused:
        raise refusal(refused) from refused
    except ValueError as wrong:
        raise _of_value(wrong) from wrong


def previewed(parts: Parts, connection: Connection, code: str, order: EditOrder) -> Preview:
    """Try an edit of values out. Raises Problem where there is nothing to edit."""
    try:
        return edit_desk.preview(connection, _rules(parts), code, order, parts.clock())
    except edit_desk.UnknownUsagePoint as error:
        raise unknown("usage-point", code) from error
    except EditRefused as refused:
        raise refusal(refused) from refused
    except ValueError as wrong:
        raise _of_value(wrong) from wrong


def undone(parts: Parts, code: str, edit_id: UUID, request: UndoRequest) -> Row:
    """Undo an edit. Raises Problem."""
    for name, value, most in (("by", request.by, MOST_NAME), ("reason", request.reason, MOST_REASON)):
        try:
            check_words(name, value, most)
        except ValueError as wrong:
            raise _of_value(wrong) from wrong
    try:
        return edit_desk.undo(
            parts.store, _rules(parts), parts.clock, code, edit_id,
            by=request.by, reason=request.reason,
        )  # fmt: skip
    except edit_desk.UnknownEdit as error:
        raise unknown("edit", str(edit_id)) from error
    except EditRefused as refused:
        raise refusal(refused) from refused


def refusal(refused: EditRefused) -> Problem:
    """An edit that cannot be made as things stand: 409, with the numbers."""
    blocks = [_block(b).model_dump(mode="json", by_alias=True) for b in refused.blocks]
    return Problem(
        status=409, code=f"edit-{refused.code}", detail=refused.reason, extra={"blocks": blocks} if blocks else {}
    )


def shown(row: Row) -> Edit:
    """An edit as the API tells it."""
    qualities = row["before_quality"]
    return Edit(
        start=row["from_ts"],
        end=row["to_ts"],
        energies_wh=row["values_wh"],
        before_quality=None if qualities is None else [quality_name(q) for q in qualities],
        readings=row["set_aside"],
        by=row["made_by"],
        **{
            name: row[name]
            for name in (
                "edit_id", "usage_point", "kind", "direction", "interval_s", "total_wh", "before_wh", "manufacturer",
                "serial", "made_at", "reason", "first_day", "last_day", "state", "undone_at", "undone_by",
                "undo_reason",
            )
        },
    )  # fmt: skip


def nullable(values: Sequence[int]) -> list[int | None]:
    """Energies with None where one is absent."""
    return [None if value == ABSENT else value for value in values]


def _page(
    connection: Connection, code: str | None, *, standing: bool, by: str | None, limit: int, cursor: str | None
) -> Page[Edit]:
    after = pagination.decode(cursor, pagination.instant, pagination.whole)
    found = edits.audit(
        connection,
        usage_point=code,
        standing=standing,
        made_by=by,
        limit=limit + 1,
        before=(after[0], after[1]) if after else None,
    )
    kept, following = pagination.cut(found, limit, lambda row: (row["made_at"].isoformat(), row["number"]))
    return Page(items=[shown(row) for row in kept], next=following)


def _block(block: BlockNumbers) -> BlockOfEdit:
    return BlockOfEdit(
        start=block.start,
        end=block.end,
        known_wh=block.known_wh,
        edited_wh=block.edited_wh,
        other_intervals=block.others,
        holds=block.holds,
    )


def _of_value(wrong: ValueError) -> Problem:
    name, _, detail = str(wrong).partition(": ")
    return _invalid(name, detail)


def _invalid(name: str, detail: str) -> Problem:
    fault = {"pointer": f"#/{name}", "detail": detail}
    return Problem(status=422, code="invalid-request", detail=f"{name}: {detail}", errors=[fault])
