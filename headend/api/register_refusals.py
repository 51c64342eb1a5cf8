"""Registers that meters refuse, and having one of them asked for again."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from headend.api import pagination
from headend.api.deps import PartsDep, ReadDep, unknown
from headend.api.errors import describe
from headend.api.pagination import Cursor, Limit, Page
from headend.store import refusals

router = APIRouter(prefix="/register-refusals", tags=["buses"])


class RegisterRefusal(BaseModel):
    """Registers that are not asked for, because a meter said that it does not have them."""

    id: int
    model: str = Field(examples=["eastron-sdm630"])
    firmware: str | None = Field(description="it holds for all meters of the model with this firmware")
    meter: str | None = Field(
        examples=["Eastron/210001"], description="... or for this meter alone, whose firmware is not known"
    )
    table: Literal["input", "holding"]
    first_register: int = Field(description="0-based, as on the wire")
    last_register: int = Field(description="included")
    found_at: datetime
    found_by: str = Field(description="the meter that was asked, manufacturer/serial")
    expires_at: datetime = Field(description="then it is asked once more")


@router.get("", summary="Registers that meters refuse", responses=describe())
def list_refusals(connection: ReadDep, limit: Limit = 50, cursor: Cursor = None) -> Page[RegisterRefusal]:
    """Newest first; what is found again by the same question keeps its place."""
    after = pagination.decode(cursor, pagination.whole)
    found = refusals.listed(connection, after=after[0] if after else None, limit=limit + 1)
    kept, following = pagination.cut(found, limit, lambda row: (row["refusal_id"],))
    return Page(items=[_refusal(row) for row in kept], next=following)


@router.delete("/{refusal_id}", summary="Have registers asked for again", status_code=204, responses=describe(404))
def forget_refusal(refusal_id: Annotated[int, Path(ge=1, lt=2**63)], parts: PartsDep) -> None:
    """The registers are asked for at the next round, and remembered anew if they are refused still."""
    with parts.store.transaction() as connection:
        if not refusals.forget(connection, refusal_id):
            raise unknown("register-refusal", refusal_id)


def _refusal(row: dict[str, Any]) -> RegisterRefusal:
    return RegisterRefusal(
        id=row["refusal_id"],
        meter=None if row["serial"] is None else f"{row['manufacturer']}/{row['serial']}",
        table=row["register_table"],
        found_by=f"{row['found_by_manufacturer']}/{row['found_by_serial']}",
        **{k: row[k] for k in ("model", "firmware", "first_register", "last_register", "found_at", "expires_at")},
    )
