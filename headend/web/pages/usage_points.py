"""One usage point's day, and its forms: editing it, setting readings aside, undoing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, timedelta
from typing import Annotated, Any, Final
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from headend.api.deps import Parts, PartsDep, ReadDep, invalid
from headend.api.edits import EditRequest, UndoRequest, order_of, previewed, submitted, undone
from headend.api.errors import Problem
from headend.store import views
from headend.web import edit_words
from headend.web.forms import local_instant
from headend.web.pages.usage_point_day import Answer, Direction, day_page
from headend.web.sent_forms import OPERATOR, FormDep, done

router = APIRouter(include_in_schema=False)

_FIELDS: Final[Mapping[str, str]] = {"energies_wh": "energies", "total_wh": "total"}
"""Names in the request that the form has otherwise."""


@router.get("/usage-points/{code}")
def usage_point(
    *,
    code: str,
    request: Request,
    parts: PartsDep,
    connection: ReadDep,
    day: date | None = None,
    direction: Direction = "import",
    aside: Annotated[str | None, Query(max_length=40, description="a reading to be set aside")] = None,
    meter: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """The usage point on a local day; default: yesterday."""
    answer = Answer(about="readings", entered={"from": aside, "to": aside, "meter": meter or ""}) if aside else Answer()
    return day_page(request, connection, code, day or parts.today - timedelta(days=1), direction, answer)


@router.post("/usage-points/{code}/edits")
def edit(code: str, request: Request, parts: PartsDep, form: FormDep) -> Response:
    """Try values out, or set them; what is wrong is shown beside what was entered."""
    answer = Answer(about="values", entered=form)

    def deed() -> bool:
        asked = _values_of(form, parts)
        if form.get("action") == "make":
            submitted(parts, code, asked)
            return True
        with views.reading(parts.store) as connection:
            answer.tried = previewed(parts, connection, code, order_of(asked))
        return False

    return _after(deed, answer, code, request, parts)


@router.post("/usage-points/{code}/set-aside")
def set_aside(code: str, request: Request, parts: PartsDep, form: FormDep) -> Response:
    """Set readings aside."""

    def deed() -> bool:
        submitted(parts, code, _readings_of(form, parts))
        return True

    return _after(deed, Answer(about="readings", entered=form), code, request, parts)


@router.post("/usage-points/{code}/edits/{edit_id}/undo")
def undo(code: str, edit_id: UUID, request: Request, parts: PartsDep, form: FormDep) -> Response:
    """Undo an edit."""

    def deed() -> bool:
        said = {name: form.get(name, "").strip() for name in ("by", "reason")}
        try:
            undone(parts, code, edit_id, UndoRequest.model_validate(said))
        except ValidationError as wrong:
            raise _Faults({"undo": "who takes it back, and why?"}) from wrong
        return True

    return _after(deed, Answer(about="undo", entered={**form, "edit_id": str(edit_id)}), code, request, parts)


def _after(deed: Callable[[], bool], answer: Answer, code: str, request: Request, parts: Parts) -> Response:
    """Do what a form asks: on to its edits if that is done, else the page with what came of it."""
    form = answer.entered
    day, direction = _day(form, parts), _direction(form)
    try:
        if deed():
            query = f"?day={day}" + ("&direction=export" if direction == "export" else "")
            address = f"/usage-points/{quote(code, safe='')}{query}#edits"
            return done(address, OPERATOR, form.get("by", "").strip())
    except _Faults as wrong:
        answer.faults = wrong.by_field
    except Problem as problem:
        _take(answer, problem)
    with views.reading(parts.store) as connection:
        return day_page(request, connection, code, day, direction, answer)


class _Faults(Exception):
    """What is wrong with a form, by field."""

    def __init__(self, by_field: Mapping[str, str]) -> None:
        super().__init__(str(by_field))
        self.by_field = by_field


def _take(answer: Answer, problem: Problem) -> None:
    """A fault goes beside its field, a refusal above the form; what is not there stays an error page."""
    if problem.status == 404:
        raise problem
    if problem.errors:
        pointers = ((e["pointer"].removeprefix("#/"), e["detail"]) for e in problem.errors)
        answer.faults = {_FIELDS.get(name, name): detail for name, detail in pointers}
    else:
        answer.refusal = problem


def _common(form: Mapping[str, str], parts: Parts) -> tuple[dict[str, Any], dict[str, str]]:
    """What both forms say: who, why, from when until when; and what is wrong with it."""
    faults = {
        name: asked
        for name, asked in (("by", "who answers for it?"), ("reason", "why?"))
        if not form.get(name, "").strip()
    }
    said: dict[str, Any] = {
        "edit_id": form.get("edit_id"), "by": form.get("by", "").strip(), "reason": form.get("reason", "").strip()
    }  # fmt: skip
    for name in ("from", "to"):
        try:
            said[name] = local_instant(form.get(name, ""), parts.calendar.zone).isoformat()
        except ValueError as wrong:
            faults[name] = str(wrong) if form.get(name) else "from when until when?"
    return said, faults


def _values_of(form: Mapping[str, str], parts: Parts) -> EditRequest:
    said, faults = _common(form, parts)
    readers: Mapping[str, Callable[[str], Any]] = {
        "energies_wh": edit_words.energies_wh,
        "total_wh": edit_words.energy_wh,
    }
    for name, read in readers.items():
        if typed := form.get(_FIELDS[name], "").strip():
            try:
                said[name] = read(typed)
            except edit_words.Unreadable as wrong:
                faults[_FIELDS[name]] = str(wrong)
    return _request(said | {"direction": _direction(form)}, faults)


def _readings_of(form: Mapping[str, str], parts: Parts) -> EditRequest:
    said, faults = _common(form, parts)
    manufacturer, _, serial = form.get("meter", "").partition("/")
    meter = {"manufacturer": manufacturer, "serial": serial}
    return _request(said | {"kind": "readings", "meter": meter}, faults)


def _request(said: Mapping[str, Any], faults: Mapping[str, str]) -> EditRequest:
    if faults:
        raise _Faults(faults)
    try:
        return EditRequest.model_validate(said)
    except ValidationError as wrong:
        said_of = {str(e["loc"][0]): e["msg"] for e in wrong.errors()}
        raise _Faults({_FIELDS.get(name, name): detail for name, detail in said_of.items()}) from wrong


def _day(form: Mapping[str, str], parts: Parts) -> date:
    """The day whose page the form stands on."""
    try:
        return date.fromisoformat(form.get("day", ""))
    except ValueError as wrong:
        if form.get("day"):
            raise invalid("day", f"{form['day']!r} is no day, such as 2026-11-01") from wrong
        return parts.today - timedelta(days=1)


def _direction(form: Mapping[str, str]) -> Direction:
    return "export" if form.get("direction") == "export" else "import"
