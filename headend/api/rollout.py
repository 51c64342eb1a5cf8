"""Premises of the one-meter-per-household rollout (一户一表): their checklist, and closing a step on evidence."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from headend.api import pagination
from headend.api.deps import Decided, PartsDep, ReadDep, unknown
from headend.api.errors import describe
from headend.api.pagination import Cursor, Limit, Page
from headend.rollout.checklist import ClosedStep, Step, StepState, checklist
from headend.store import views
from headend.store.pool import Row

router = APIRouter(prefix="/rollout/premises", tags=["rollout"])


class StepView(BaseModel):
    """One line of a premises' checklist."""

    step: Step
    condition: Literal["done", "open", "waiting", "blocked", "not_needed"] = Field(
        description="waiting: the head-end is reading the meter; blocked: see missing"
    )
    closed_at: datetime | None = None
    closed_by: str | None = None
    evidence: dict[str, Any] | None = None
    missing: list[str] = Field(description="what has to happen first")
    detail: str | None = Field(description="what the last attempt said")


class Premises(BaseModel):
    """A door behind a shared meter, and how far it is."""

    code: str
    label: str = Field(description="door, as a crew looks for it")
    area: str
    usage_point: str
    shared_usage_point: str
    has_production: bool
    steps: list[StepView]


def _without_nul(value: Any) -> Any:
    if "\0" in str(value) or "\\x00" in repr(value):
        raise ValueError("holds a NUL character")
    return value


StepText = Annotated[str, AfterValidator(_without_nul)]
StepEvidence = Annotated[dict[str, Any], AfterValidator(_without_nul)]


class StepRequest(BaseModel):
    """A step as a crew closed it, perhaps hours ago and without signal."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "client_id": "5b0f6c3e-6f57-4c39-9a5d-7f5f0a1f2d11",
                    "step": "household_meter_installed",
                    "by": "Li Wei",
                    "evidence": {
                        "serial": "310004",
                        "seal": "S-20881",
                        "start_import_wh": 1200,
                        "installed_at": "2026-11-23T14:05:00+08:00",
                    },
                }
            ]
        },
    )

    client_id: UUID = Field(description="made by the phone, one per attempt: sending it twice changes nothing")
    step: Step
    by: StepText = Field(min_length=1, max_length=100, description="who did it")
    evidence: StepEvidence = Field(
        description="survey {people, category, phase}; household_meter_installed {manufacturer?, serial, seal, "
        "start_import_wh, installed_at}; "
        "production_separated {note, production_usage_point?}; commissioned {noted_import_wh}; "
        "shared_meter_removed {final_import_wh, removed_at, seal}"
    )


class StepAnswer(BaseModel):
    """What became of it."""

    premises: str
    step: Step
    state: Literal["closed", "waiting"] = Field(description="waiting: the head-end's own read is still under way")
    detail: str | None
    repeated: bool = Field(description="this client_id had been sent before; nothing changed")


def states_of(row: Row) -> tuple[StepState, ...]:
    """The checklist of a row of `views.premises`."""
    closed = {
        Step(step): ClosedStep(
            closed_at=datetime.fromisoformat(entry["closed_at"]),
            closed_by=entry["closed_by"],
            evidence=entry["evidence"],
        )
        for step, entry in row["closed"].items()
    }
    return checklist(
        has_production=row["has_production"],
        closed=closed,
        commissioning=row["commissioning_state"],
        commissioning_detail=row["commissioning_detail"],
        not_commissioned=row["not_commissioned"],
    )


@router.get("", summary="Premises", responses=describe())
def list_premises(
    _decided: Decided,
    connection: ReadDep,
    area: Annotated[str | None, Query(description="code of an area")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Premises]:
    """Premises with their checklists, by code."""
    after = pagination.decode(cursor, pagination.text)
    found = views.premises(connection, limit=limit + 1, area=area, after=after[0] if after else None)
    kept, following = pagination.cut(found, limit, lambda row: (row["code"],))
    return Page(items=[_premises(row) for row in kept], next=following)


@router.get("/{code}", summary="One premises", responses=describe(404))
def one_premises(code: str, _decided: Decided, connection: ReadDep) -> Premises:
    """One premises with its checklist."""
    found = views.premises(connection, limit=1, code=code)
    if not found:
        raise unknown("premises", code)
    return _premises(found[0])


@router.post(
    "/{code}/steps", summary="Close a step on its evidence", responses=describe(404, 409) | {202: {"model": StepAnswer}}
)
def close_step(code: str, request: StepRequest, response: Response, parts: PartsDep) -> StepAnswer:
    """200: closed. 202: the head-end is reading the meter; look again. 409: refused, see `missing`."""
    result = parts.rollout.close_step(code, request.step, request.client_id, request.by, request.evidence)
    if result.state == "waiting":
        response.status_code = 202
    return StepAnswer(
        premises=result.premises, step=result.step, state=result.state, detail=result.detail, repeated=result.repeated
    )


def _premises(row: Row) -> Premises:
    return Premises(
        steps=[
            StepView(
                step=state.step,
                condition=state.condition,
                closed_at=state.closed.closed_at if state.closed else None,
                closed_by=state.closed.closed_by if state.closed else None,
                evidence=dict(state.closed.evidence) if state.closed else None,
                missing=list(state.missing),
                detail=state.detail,
            )
            for state in states_of(row)
        ],
        **{key: row[key] for key in ("code", "label", "area", "usage_point", "shared_usage_point", "has_production")},
    )
