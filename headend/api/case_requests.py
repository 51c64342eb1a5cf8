"""What is sent to move a case: who, why, and of an inspection what was seen."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StrictInt

from headend.api.deps import Day, Instant, Text
from headend.api.errors import Problem
from headend.domain.cases import (
    MOST_PHOTO,
    MOST_PHOTOS,
    MOST_SEAL,
    MOST_SEEN,
    Inspection,
    Move,
    MoveOrder,
    SeenCause,
)
from headend.domain.edits import MOST_NAME, MOST_REASON

_BASE: dict[str, Any] = {"event_id": "5b1f8b0e-3a64-4f0e-8d07-0f6f0a1f2c3d", "by": "Li Wei"}


def _example(**more: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [_BASE | more]})


class _Signed(BaseModel):
    """What every move says."""

    event_id: UUID = Field(description="made by the caller: sending the same move again changes nothing")
    by: Text = Field(min_length=1, max_length=MOST_NAME, description="who answers for it")
    note: Text = Field("", max_length=MOST_REASON)

    def order(self, move: Move) -> MoveOrder:
        """The order that it is. Raises Problem 422 naming the field that is wrong."""
        try:
            return MoveOrder(event_id=self.event_id, move=move, by=self.by, note=self.note, **self.own())
        except ValueError as wrong:
            raise of_value(wrong) from wrong

    def own(self) -> dict[str, Any]:
        """What only this kind of move says. Raises ValueError."""
        return {}


class AssignRequest(_Signed):
    """To whom a case is given."""

    model_config = _example(assigned_to="crew 3", note="on the way to the brickworks")
    assigned_to: Text = Field(min_length=1, max_length=MOST_NAME, description="a crew or a person")

    def own(self) -> dict[str, Any]:
        """Whose it is."""
        return {"assigned_to": self.assigned_to}


class Saw(BaseModel):
    """What was seen on site."""

    model_config = ConfigDict(extra="forbid")

    cause: SeenCause
    visited_at: Instant
    text: Text = Field("", max_length=MOST_SEEN, description="required for `other` and `no_access`")
    register_wh: StrictInt | None = Field(None, ge=0, description="as displayed there")
    seal: Text | None = Field(None, max_length=MOST_SEAL, description="its number and how it was, as found")
    photos: list[Annotated[Text, Field(min_length=1, max_length=MOST_PHOTO)]] = Field(
        default=[], max_length=MOST_PHOTOS, description="where the pictures are kept"
    )

    def inspection(self) -> Inspection:
        """The same as the domain has it. Raises ValueError."""
        return Inspection(
            cause=self.cause,
            visited_at=self.visited_at,
            text=self.text,
            register_wh=self.register_wh,
            seal=self.seal or None,
            photos=tuple(self.photos),
        )


class InspectRequest(_Signed):
    """What a crew saw."""

    model_config = _example(
        saw={
            "cause": "bypass", "visited_at": "2026-11-23T10:20:00+08:00", "text": "two wires past the meter on L1",
            "register_wh": 1_234_560, "seal": "S-00017, cut", "photos": ["IMG-2041", "IMG-2042"],
        }
    )  # fmt: skip
    saw: Saw

    def own(self) -> dict[str, Any]:
        """What was seen."""
        try:
            return {"inspection": self.saw.inspection()}
        except ValueError as wrong:
            raise ValueError(f"saw/{wrong}") from wrong


class JudgeRequest(_Signed):
    """Why: of a verdict, or of taking one back."""

    model_config = _example(note="bypass found and photographed, the customer was present")
    note: Text = Field(min_length=1, max_length=MOST_REASON)


class RepairRequest(_Signed):
    """From when on it is put right."""

    model_config = _example(repaired_on="2026-11-24", note="meter replaced")
    repaired_on: Day = Field(description="local day")

    def own(self) -> dict[str, Any]:
        """From when on."""
        return {"repaired_on": self.repaired_on}


def of_value(wrong: ValueError) -> Problem:
    """A 422 from an error that begins with the field's name."""
    name, _, detail = str(wrong).partition(": ")
    fault = {"pointer": f"#/{name}", "detail": detail}
    return Problem(status=422, code="invalid-request", detail=f"{name}: {detail}", errors=[fault])
