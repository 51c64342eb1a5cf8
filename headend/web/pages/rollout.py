"""The one-meter-per-household rollout on a phone: areas, premises with their chips, one premises with its checklist."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID, uuid4

from fastapi import APIRouter, Request, Response

from headend.api.areas import coverage_of
from headend.api.deps import Decided, Parts, PartsDep, ReadDep, invalid, unknown
from headend.api.errors import refused
from headend.api.rollout import states_of
from headend.rollout.checklist import Step, StepRefused
from headend.store import views
from headend.store.pool import Connection, Row
from headend.web.forms import Field
from headend.web.render import page
from headend.web.rollout_forms import FORMS, read, shown
from headend.web.rollout_words import plainly
from headend.web.sent_forms import CREW, FormDep, done, name_of

router = APIRouter(include_in_schema=False)

MOST_PREMISES = 1000


@router.get("/rollout")
def areas(request: Request, parts: PartsDep, connection: ReadDep) -> Response:
    """Areas with premises in the rollout."""
    found = views.rollout_areas(connection)
    return page(request, "rollout.html", areas=found, coverage=coverage_of(parts, connection, found))


@router.get("/rollout/{code}")
def area(code: str, request: Request, parts: PartsDep, _decided: Decided, connection: ReadDep) -> Response:
    """Premises of one area."""
    row = views.area_summary(connection, code, today=parts.today, heard_since=parts.heard_since)
    if row is None:
        raise unknown("area", code)
    found = views.premises(connection, limit=MOST_PREMISES, area=code)
    return page(
        request,
        "rollout_area.html",
        area=row,
        counts=next(iter(views.rollout_areas(connection, area=code)), None),
        coverage=coverage_of(parts, connection, [row])[row["area_id"]],
        stock=views.stock_meters(connection, row["area_id"], now=parts.clock()),
        premises=[one | {"steps": states_of(one)} for one in found],
        forms=FORMS,
    )


@router.get("/rollout/premises/{code}")
def premises(code: str, request: Request, parts: PartsDep, _decided: Decided, connection: ReadDep) -> Response:
    """One premises with what is done and what comes next."""
    return _premises_page(request, parts, connection, _existing(connection, code))


@router.post("/rollout/premises/{code}/steps/{step}")
def close_step(code: str, step: Step, request: Request, parts: PartsDep, form: FormDep) -> Response:
    """Close a step from its form; what is missing is shown beside what was entered."""
    by = form.get("by", "").strip()
    evidence, faults = read(step, form, parts.calendar.zone)
    try:
        client_id = UUID(form.get("client_id", ""))
    except ValueError as wrong:
        raise invalid("client_id", "the form has lost its id; open the page again") from wrong
    if not by:
        faults["by"] = "who did it?"
    refusal: StepRefused | None = None
    if not faults:
        try:
            parts.rollout.close_step(code, step, client_id, by, evidence)
        except StepRefused as error:
            refusal = error
    if not faults and refusal is None:
        return done(f"/rollout/premises/{quote(code, safe='')}", CREW, by)
    with views.reading(parts.store) as connection:
        return _premises_page(
            request,
            parts,
            connection,
            _existing(connection, code),
            status=422 if refusal is None else refused(refusal).status,
            attempt={"step": step, "entered": form, "faults": faults, "refusal": refusal},
        )


def _existing(connection: Connection, code: str) -> Row:
    found = views.premises(connection, limit=1, code=code)
    if not found:
        raise unknown("premises", code)
    return found[0]


def _premises_page(
    request: Request,
    parts: Parts,
    connection: Connection,
    row: Row,
    *,
    status: int = 200,
    attempt: Mapping[str, Any] | None = None,
) -> Response:
    states = states_of(row)
    zone = parts.calendar.zone
    now = parts.clock().astimezone(zone).strftime("%Y-%m-%dT%H:%M:%S")

    def value_of(step: Step, field: Field) -> str:
        if attempt is not None and attempt["step"] is step:
            return str(attempt["entered"].get(field.name, ""))
        prefilled = {"instant": now if field.required else "", "choice": str(row.get(field.name) or "")}
        return prefilled.get(field.kind, "")

    return page(
        request,
        "premises.html",
        status=status,
        premises=row,
        states=states,
        forms=FORMS,
        attempt=attempt,
        value_of=value_of,
        plainly=lambda said: plainly(said, zone),
        noted=lambda step, evidence: shown(step, evidence, zone),
        stock=views.stock_meters(connection, row["area_id"], now=parts.clock()),
        by=attempt["entered"].get("by", "") if attempt else name_of(request, CREW),
        client_id=str(uuid4()),
        refresh_s=3 if any(state.condition == "waiting" for state in states) else None,
    )
