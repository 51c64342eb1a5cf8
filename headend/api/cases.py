"""Findings as cases: moved by people, with their history, and how often each kind turns out right."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Response
from pydantic import BaseModel, Field

from headend.api.case_requests import AssignRequest, InspectRequest, JudgeRequest, RepairRequest, of_value
from headend.api.deps import Parts, PartsDep, ReadDep, unknown
from headend.api.errors import Problem, describe
from headend.api.findings import FindingState
from headend.domain.cases import EngineMove, Inspection, Move, MoveOrder, SeenCause
from headend.domain.proportion import wilson
from headend.settlement import case_desk
from headend.store import cases
from headend.store.cases import VerdictCount
from headend.store.pool import Connection, Row

router = APIRouter(prefix="/findings", tags=["findings"])

FindingId = Annotated[int, Path(ge=1, lt=2**63)]


class SawOnSite(BaseModel):
    """What was seen on site."""

    cause: SeenCause
    visited_at: datetime
    text: str
    register_wh: int | None
    seal: str | None
    photos: list[str]


class CaseEvent(BaseModel):
    """One step in the life of a case."""

    event_id: UUID
    finding_id: int
    at: datetime
    move: Move | EngineMove
    from_state: FindingState | None = Field(description="null: it was opened")
    to_state: FindingState
    by: str | None = Field(description="null: the engine")
    note: str | None
    assigned_to: str | None = Field(description="of assign")
    saw: SawOnSite | None = Field(description="of inspect")
    repaired_on: date | None = Field(description="of repair")
    detail: dict[str, str | int | float] = Field(
        description="of the engine: why it opened the case (first, stronger, later, returned), from which kind to which"
    )


class CaseRun(BaseModel):
    """What the last run on one window said of a case; a window of which nothing could be told is not in the list."""

    window_from: date
    window_to: date
    ran_at: datetime
    seen: bool
    kind: str | None = Field(description="what it was taken for; null: not seen")
    confidence: float | None
    energy_wh: float | None
    energy_low_wh: float | None
    energy_high_wh: float | None


class CaseHistory(BaseModel):
    """The life of a case, oldest first."""

    events: list[CaseEvent]
    runs: list[CaseRun]


class Verdicts(BaseModel):
    """How many of the cases that people judged were right."""

    confirmed: int
    rejected: int
    precision: float | None = Field(description="confirmed of both; null: nobody judged one")
    low: float | None = Field(description="lower end of the 95 % interval (Wilson)")
    high: float | None


class MonthOfVerdicts(Verdicts):
    """Verdicts of one local month."""

    month: date = Field(description="its first day; months without a verdict are left out")


class KindOfVerdicts(Verdicts):
    """Verdicts of one kind: over all, and by the month in which they were passed."""

    kind: str
    months: list[MonthOfVerdicts]


class Precision(BaseModel):
    """How often findings turn out right."""

    kinds: list[KindOfVerdicts]
    priors: dict[str, float] = Field(
        description="kind to the log odds that the last report took for granted before its own evidence; learnt from "
        "verdicts, within bounds"
    )


@router.get("/precision", summary="How often each kind of finding turns out right", responses=describe())
def precision(parts: PartsDep, connection: ReadDep) -> Precision:
    """Confirmed and rejected cases by kind and month of the verdict. What was reopened counts when judged anew."""
    return Precision(kinds=kinds_of_verdicts(connection, parts), priors=cases.priors(connection))


@router.get("/{finding_id}/history", summary="The life of a case", responses=describe(404))
def history(finding_id: FindingId, connection: ReadDep) -> CaseHistory:
    """Who did what with it and why, what was seen, and how strong each window found it."""
    events = cases.events(connection, finding_id)
    if not events and not cases.exists(connection, finding_id):
        raise unknown("finding", finding_id)
    runs = [CaseRun.model_validate(row) for row in cases.runs(connection, finding_id)]
    return CaseHistory(events=[shown(row) for row in events], runs=runs)


_MOVED = describe(404, 409) | {200: {"model": CaseEvent, "description": "Sent before; nothing changed"}}


@router.post("/{finding_id}/assign", status_code=201, summary="Give a case to a crew", responses=_MOVED)
def assign(finding_id: FindingId, request: AssignRequest, response: Response, parts: PartsDep) -> CaseEvent:
    """While it is open, assigned or inspected."""
    return _answer(parts, finding_id, request.order(Move.ASSIGN), response)


@router.post("/{finding_id}/inspect", status_code=201, summary="Say what was seen on site", responses=_MOVED)
def inspect(finding_id: FindingId, request: InspectRequest, response: Response, parts: PartsDep) -> CaseEvent:
    """While it is open, assigned or inspected; from then on the engine does not close it. After `no_access` the case
    stays as it was: nothing was seen.
    """
    return _answer(parts, finding_id, request.order(Move.INSPECT), response)


@router.post("/{finding_id}/confirm", status_code=201, summary="Confirm a case", responses=_MOVED)
def confirm(finding_id: FindingId, request: JudgeRequest, response: Response, parts: PartsDep) -> CaseEvent:
    """Once it was inspected: it is what it claims."""
    return _answer(parts, finding_id, request.order(Move.CONFIRM), response)


@router.post("/{finding_id}/reject", status_code=201, summary="Reject a case", responses=_MOVED)
def reject(finding_id: FindingId, request: JudgeRequest, response: Response, parts: PartsDep) -> CaseEvent:
    """Once it was inspected: it is not what it claims. It comes back only with clearly stronger evidence."""
    return _answer(parts, finding_id, request.order(Move.REJECT), response)


@router.post("/{finding_id}/repair", status_code=201, summary="Note a repair", responses=_MOVED)
def repair(finding_id: FindingId, request: RepairRequest, response: Response, parts: PartsDep) -> CaseEvent:
    """While it is confirmed: it closes once a window from after that day is without it. Not before it was seen."""
    return _answer(parts, finding_id, request.order(Move.REPAIR), response)


@router.post("/{finding_id}/reopen", status_code=201, summary="Reopen a case", responses=_MOVED)
def reopen(finding_id: FindingId, request: JudgeRequest, response: Response, parts: PartsDep) -> CaseEvent:
    """Takes its verdict back. 409 where another case about the same lives by now."""
    return _answer(parts, finding_id, request.order(Move.REOPEN), response)


def moved(parts: Parts, finding_id: int, order: MoveOrder) -> tuple[Row, bool]:
    """Move a case: the event, and whether it is new. Raises Problem."""
    try:
        return case_desk.move(parts.store, parts.clock, finding_id, order)
    except case_desk.UnknownFinding as error:
        raise unknown("finding", finding_id) from error
    except case_desk.EventIdTaken as error:
        raise Problem(status=409, code="event-id-taken", detail=str(error)) from error
    except case_desk.OtherCaseLives as error:
        raise Problem(status=409, code="other-case-lives", detail=str(error), extra={"other": error.other}) from error
    except case_desk.MoveForbidden as error:
        state = error.state.value
        raise Problem(status=409, code="move-forbidden", detail=str(error), extra={"state": state}) from error
    except ValueError as wrong:
        raise of_value(wrong) from wrong


def shown(row: Row) -> CaseEvent:
    """A step as the API tells it."""
    saw = None
    if row["saw"] is not None:
        seen = Inspection.of_json(row["saw"])
        saw = SawOnSite(
            cause=seen.cause, visited_at=seen.visited_at, text=seen.text, register_wh=seen.register_wh, seal=seen.seal,
            photos=list(seen.photos),
        )  # fmt: skip
    return CaseEvent(
        at=row["made_at"],
        by=row["made_by"],
        saw=saw,
        **{
            name: row[name]
            for name in (
                "event_id", "finding_id", "move", "from_state", "to_state", "note", "assigned_to", "repaired_on",
                "detail",
            )
        },
    )  # fmt: skip


def kinds_of_verdicts(connection: Connection, parts: Parts) -> list[KindOfVerdicts]:
    """Verdicts by kind and month, kinds in the order of their names."""
    by_kind: dict[str, list[VerdictCount]] = {}
    for count in cases.precision(connection, parts.calendar.zone.key):
        by_kind.setdefault(count.kind, []).append(count)
    return [
        KindOfVerdicts(
            kind=kind,
            months=[
                MonthOfVerdicts(month=count.month, **_counted(count.confirmed, count.rejected))
                for count in counts
                if count.month is not None
            ],
            **_counted(sum(c.confirmed for c in counts), sum(c.rejected for c in counts)),
        )
        for kind, counts in by_kind.items()
    ]


def _counted(confirmed: int, rejected: int) -> dict[str, float | None]:
    found = wilson(confirmed, confirmed + rejected)
    ends = (None, None, None) if found is None else (found.share, found.low, found.high)
    return {"confirmed": confirmed, "rejected": rejected, "precision": ends[0], "low": ends[1], "high": ends[2]}


def _answer(parts: Parts, finding_id: int, order: MoveOrder, response: Response) -> CaseEvent:
    row, new = moved(parts, finding_id, order)
    if not new:
        response.status_code = 200
    return shown(row)
