"""The list of findings, and the page of one: why it is believed and what to check at the door."""

from __future__ import annotations

from typing import Annotated, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Path, Query, Request, Response

from headend.api import pagination
from headend.api.deps import Parts, PartsDep, ReadDep, unknown
from headend.api.findings import FindingState
from headend.store import cases, views
from headend.store.pool import Connection, Row
from headend.web import (
    evidence_plots,
    finding_money,
    finding_numbers,
    finding_says,
    finding_texts,
    finding_words,
    plots,
)
from headend.web.pages.case_panel import Answer, panel
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
    assigned_to: Annotated[str | None, Query(max_length=100)] = None,
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
        assigned_to=assigned_to or None,
        sort=sort,
        after=(after[0], after[1]) if after else None,
    )
    rows, following = pagination.cut(found, ROWS_OF_A_PAGE, lambda row: (row["energy_wh"], row["finding_id"]))
    chosen = {"area": area, "kind": kind, "state": state, "assigned_to": assigned_to, "sort": sort}
    return page(
        request,
        "findings.html",
        findings=rows,
        chosen=chosen,
        kinds=finding_texts.kinds(),
        holders=sorted({*cases.holders(connection), *([assigned_to] if assigned_to else [])}),
        following=following,
    )


@router.get("/findings/{finding_id}")
def finding(
    finding_id: Annotated[int, Path(ge=1, lt=2**63)], request: Request, parts: PartsDep, connection: ReadDep
) -> Response:
    """One case."""
    return finding_page(request, connection, parts, finding_id)


def finding_page(
    request: Request, connection: Connection, parts: Parts, finding_id: int, answer: Answer | None = None
) -> Response:
    """One case, with what came of a form that was sent."""
    row = views.finding(connection, finding_id)
    if row is None:
        raise unknown("finding", finding_id)
    seen = seen_of(row, parts.calendar.zone)
    return page(
        request,
        "finding.html",
        finding=row,
        curves=plots.evidence(row, parts.calendar.zone),
        pictures=evidence_plots.pictures(row, parts.calendar.zone),
        because=finding_says.because(seen),
        first_checks=finding_says.checks(seen),
        untold=finding_words.untold(seen),
        numbers=finding_numbers.rows(seen.numbers),
        alternatives=finding_words.explanations(seen),
        money=finding_money.at_stake(row, parts.settings.findings),
        case=panel(request, connection, parts, row, answer),
    )


def seen_of(row: Row, zone: ZoneInfo) -> finding_words.Seen:
    """What there is to be said of a stored finding."""
    return finding_words.Seen(
        kind=row["kind"],
        evidence=row["evidence"] if isinstance(row["evidence"], dict) else {},
        energy_wh=row["energy_wh"],
        since=row["onset_at"].astimezone(zone).date() if row["onset_at"] is not None else None,
        meter=f"{row['manufacturer']}/{row['serial']}" if row["serial"] is not None else None,
        area=row["area"],
        correct_area=row["correct_area"],
    )
