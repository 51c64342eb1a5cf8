"""The list of findings, and the page of one: why it is believed and what to check at the door."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Request, Response

from headend.api import pagination
from headend.api.deps import PartsDep, ReadDep, unknown
from headend.api.findings import FindingState
from headend.store import views
from headend.web import finding_texts, plots, text
from headend.web.render import page

router = APIRouter(include_in_schema=False)
ROWS_OF_A_PAGE = 100


@router.get("/findings")
def findings(
    *,
    request: Request,
    connection: ReadDep,
    area: str | None = None,
    kind: str | None = None,
    state: FindingState | Literal["unresolved", "any"] = "unresolved",
    sort: Literal["newest", "energy"] = "energy",
    cursor: str | None = None,
) -> Response:
    """Open cases, the largest first."""
    after = pagination.decode(cursor, pagination.number, pagination.whole)
    found = views.findings(
        connection,
        limit=ROWS_OF_A_PAGE + 1,
        area=area or None,
        kind=kind or None,
        state=None if state == "any" else state,
        sort=sort,
        after=(after[0], after[1]) if after else None,
    )
    rows, following = pagination.cut(found, ROWS_OF_A_PAGE, lambda row: (row["energy_wh"], row["finding_id"]))
    chosen = {"area": area, "kind": kind, "state": state, "sort": sort}
    return page(
        request, "findings.html", findings=rows, chosen=chosen, kinds=finding_texts.kinds(), following=following
    )


@router.get("/findings/{finding_id}")
def finding(
    finding_id: Annotated[int, Path(ge=1, lt=2**63)], request: Request, parts: PartsDep, connection: ReadDep
) -> Response:
    """One case."""
    row = views.finding(connection, finding_id)
    if row is None:
        raise unknown("finding", finding_id)
    held = row["evidence"] if isinstance(row["evidence"], dict) else {}
    return page(
        request,
        "finding.html",
        finding=row,
        curves=plots.evidence(row, parts.calendar.zone),
        numbers=[text.quantity(name, value) for name, value in _mapping(held, "numbers").items()],
        alternatives=_ranked(_mapping(held, "alternatives")),
    )


def _mapping(held: dict[str, Any], key: str) -> dict[str, Any]:
    found = held.get(key)
    return found if isinstance(found, dict) else {}


def _ranked(alternatives: dict[str, Any]) -> list[tuple[str, float]]:
    known = [
        (text.humanise(name) if "/" not in name else name, float(p))
        for name, p in alternatives.items()
        if isinstance(p, int | float) and not isinstance(p, bool) and 0 <= p <= 1
    ]
    return sorted(known, key=lambda pair: -pair[1])
