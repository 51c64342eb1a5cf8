"""Where the forms of a case are sent to, and the page of how often kinds of findings turn out right."""

from __future__ import annotations

import math
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from headend.api.cases import kinds_of_verdicts, moved
from headend.api.deps import PartsDep, ReadDep
from headend.api.errors import Problem
from headend.domain.cases import Move
from headend.store import cases, views
from headend.web import case_plots, text
from headend.web.case_forms import FORMS, Faults, field_of, order_of
from headend.web.pages.case_panel import Answer
from headend.web.pages.findings import finding_page
from headend.web.render import page
from headend.web.sent_forms import OPERATOR, FormDep, done

router = APIRouter(include_in_schema=False)


@router.get("/findings/precision")
def precision(request: Request, parts: PartsDep, connection: ReadDep) -> Response:
    """Each kind with its verdicts by month, and what the engine takes for granted of it."""
    kinds = sorted(kinds_of_verdicts(connection, parts), key=lambda kind: -(kind.confirmed + kind.rejected))
    believed = {kind: 1 / (1 + math.exp(-odds)) for kind, odds in cases.priors(connection).items()}
    plots = {kind.kind: case_plots.precision(kind) for kind in kinds}
    return page(request, "precision.html", kinds=kinds, plots=plots, believed=believed)


@router.post("/findings/{finding_id}/{move}")
def move_case(
    finding_id: Annotated[int, Path(ge=1, lt=2**63)], move: Move, request: Request, parts: PartsDep, form: FormDep
) -> Response:
    """Move a case; what is wrong is shown beside what was entered."""
    answer = Answer(about=move, entered=form)
    try:
        moved(parts, finding_id, order_of(FORMS[move], form, parts.calendar.zone))
        return done(f"/findings/{finding_id}#case", OPERATOR, form.get("by", "").strip())
    except Faults as wrong:
        answer.faults = wrong.by_field
    except Problem as problem:
        if problem.status not in (409, 422):
            raise
        if problem.errors:
            zone = parts.calendar.zone
            answer.faults = {field_of(e["pointer"]): text.plainly(e["detail"], zone) for e in problem.errors}
        else:
            answer.refusal = problem
    with views.reading(parts.store) as connection:
        return finding_page(request, connection, parts, finding_id, answer)
