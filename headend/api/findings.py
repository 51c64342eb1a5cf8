"""Findings (疑点): one cause each, with what speaks for it."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, Field

from headend.api import pagination
from headend.api.deps import ReadDep, unknown
from headend.api.errors import describe
from headend.api.pagination import Cursor, Limit, Page
from headend.store import views

router = APIRouter(prefix="/findings", tags=["findings"])

FindingState = Literal["open", "assigned", "inspected", "confirmed", "rejected", "closed"]


class Finding(BaseModel):
    """One cause, on one meter or on the area as a whole."""

    id: int
    area: str
    kind: str = Field(examples=["under_registering"], description="what it claims")
    state: FindingState
    meter: str | None = Field(examples=["Eastron/210001"], description="manufacturer/serial; null: the area as a whole")
    usage_point: str | None = Field(description="where that meter was when the finding was last seen")
    correct_area: str | None = Field(description="where the meter belongs, for wrong_area; null: not known")
    confidence: float = Field(description="posterior probability, 0..1")
    energy_wh: float = Field(description="at stake over the window; + is lost by the utility")
    energy_low_wh: float = Field(description="lower end of the 90 % interval")
    energy_high_wh: float = Field(description="upper end of the 90 % interval")
    onset_at: datetime | None = Field(description="null: from the window's start, or not told")
    window_from: date
    window_to: date
    opened_at: datetime
    seen_at: datetime = Field(description="last run that still found it")
    closed_at: datetime | None = Field(description="closed by the engine, or rejected")
    assigned_to: str | None
    verdict: Literal["confirmed", "rejected"] | None = Field(
        description="what a person said of it; kept when it closes"
    )
    repaired_on: date | None = Field(description="local day from which what was confirmed is put right")
    follows: int | None = Field(
        description="id of the case before it about the same: rejected, or confirmed and closed"
    )


class FindingWithEvidence(Finding):
    """A finding with the curves, numbers and other explanations behind it."""

    evidence: dict[str, Any] = Field(
        description="resolution, series (name, unit, values; null: unknown), numbers, alternatives, "
        "starts_at, interval_s"
    )


def meter_name(row: dict[str, Any]) -> str | None:
    """manufacturer/serial of a row, or None where it names no meter."""
    return f"{row['manufacturer']}/{row['serial']}" if row["serial"] is not None else None


@router.get("", summary="Findings", responses=describe())
def list_findings(
    *,
    connection: ReadDep,
    area: Annotated[str | None, Query(description="code of an area")] = None,
    kind: Annotated[str | None, Query(examples=["stuck"])] = None,
    state: Annotated[
        FindingState | Literal["unresolved"] | None, Query(description="unresolved: neither rejected nor closed")
    ] = None,
    assigned_to: Annotated[str | None, Query(max_length=100, description="whose it is")] = None,
    sort: Annotated[
        Literal["newest", "energy"], Query(description="energy: the largest first, whatever its sign")
    ] = "newest",
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Finding]:
    """Findings without their evidence. A cursor belongs to one choice of sort."""
    after = pagination.decode(cursor, pagination.number, pagination.whole)
    found = views.findings(
        connection,
        limit=limit + 1,
        area=area,
        kind=kind,
        state=state,
        assigned_to=assigned_to,
        sort=sort,
        after=(after[0], after[1]) if after else None,
    )
    kept, following = pagination.cut(found, limit, lambda row: (row["energy_wh"], row["finding_id"]))
    return Page(
        items=[Finding(id=row["finding_id"], meter=meter_name(row), **_common(row)) for row in kept], next=following
    )


@router.get("/{finding_id}", summary="One finding with its evidence", responses=describe(404))
def one_finding(finding_id: Annotated[int, Path(ge=1, lt=2**63)], connection: ReadDep) -> FindingWithEvidence:
    """One finding with its evidence."""
    row = views.finding(connection, finding_id)
    if row is None:
        raise unknown("finding", finding_id)
    return FindingWithEvidence(id=row["finding_id"], meter=meter_name(row), evidence=row["evidence"], **_common(row))


def _common(row: dict[str, Any]) -> dict[str, Any]:
    return {key: row[key] for key in Finding.model_fields if key not in ("id", "meter")}
