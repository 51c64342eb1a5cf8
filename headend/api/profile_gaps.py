"""Times without polled readings, and how far they have been filled from the meters' own stored profiles."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from headend.api import pagination
from headend.api.deps import ReadDep
from headend.api.errors import describe
from headend.api.pagination import Cursor, Limit, Page
from headend.store import profiles

router = APIRouter(prefix="/profile-gaps", tags=["buses"])


class ProfileGap(BaseModel):
    """A gap between two readings of a meter that stores a profile."""

    id: int
    meter: str = Field(examples=["Eastron/210001"], description="manufacturer/serial")
    model: str
    state: Literal["open", "closed", "given_up"]
    first: datetime = Field(alias="from", description="the last reading before it")
    last: datetime = Field(alias="to", description="the first one after it")
    done_to: datetime = Field(description="what lies before was read back, or the meter does not have it")
    records: int = Field(description="read back and sent on")
    refused: int = Field(description="read back and not believed: they are in the quarantine")
    attempts: int = Field(description="in a row that failed")
    detail: str = Field(description="what is the matter with it")
    noted_at: datetime
    changed_at: datetime


@router.get("", summary="Gaps to be filled from stored profiles", responses=describe())
def list_gaps(
    connection: ReadDep,
    everything: Annotated[bool, Query(description="with those that are closed")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[ProfileGap]:
    """Newest first."""
    after = pagination.decode(cursor, pagination.whole)
    found = profiles.listed(connection, everything=everything, after=after[0] if after else None, limit=limit + 1)
    kept, following = pagination.cut(found, limit, lambda row: (row["gap_id"],))
    return Page(items=[_gap(row) for row in kept], next=following)


def _gap(row: dict[str, Any]) -> ProfileGap:
    same = ("model", "state", "done_to", "records", "refused", "attempts", "detail", "noted_at", "changed_at")
    return ProfileGap(
        id=row["gap_id"],
        meter=f"{row['manufacturer']}/{row['serial']}",
        **{"from": row["from_at"], "to": row["to_at"]},
        **{k: row[k] for k in same},
    )
