"""What was true of a usage point, and the forms that change or correct it: looked at first, then done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Annotated, Any, Final
from urllib.parse import quote, urlencode
from uuid import UUID, uuid4

from fastapi import APIRouter, Query, Request, Response
from pydantic import TypeAdapter, ValidationError

from headend.api import pagination
from headend.api.change_requests import ChangeRequest, order_of
from headend.api.changes import Effect, area_id_of, made, meter_id_of, timeline_of
from headend.api.deps import Instant, Parts, PartsDep, ReadDep, invalid, unknown
from headend.api.errors import Problem
from headend.domain.changes import ChangeKind, ChangeOrder
from headend.domain.timeline import Span
from headend.store import change_lists, changes, views
from headend.store.changes import StoredChange, Timeline
from headend.store.pool import Connection
from headend.store.topology import find_meter, membership_at
from headend.web import change_forms, change_words, text
from headend.web.change_forms import FORMS, HAPPENED, ChangeForm
from headend.web.render import page
from headend.web.sent_forms import OPERATOR, FormDep, done, name_of

router = APIRouter(include_in_schema=False)

CHANGES_OF_A_PAGE: Final = 50
_REQUEST: Final[TypeAdapter[Any]] = TypeAdapter(ChangeRequest)
_INSTANT: Final[TypeAdapter[datetime]] = TypeAdapter(Instant)
_ROW_NOUNS: Final = {"installations": "installation", "memberships": "membership", "categories": "category"}


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Whom a form is about, as its address says."""

    kind: ChangeKind
    usage_point: str = ""
    since: str = ""
    manufacturer: str = ""
    serial: str = ""
    undoes: str = ""

    @property
    def query(self) -> str:
        """The same as an address has it."""
        said = {"kind": self.kind.value, **{name: value for name, value in asdict(self).items() if name != "kind"}}
        return urlencode({name: value for name, value in said.items() if value})

    @property
    def back(self) -> str:
        """Where one came from."""
        if self.usage_point:
            return f"/usage-points/{quote(self.usage_point, safe='')}/history"
        if self.serial:
            return f"/meters/{quote(self.manufacturer, safe='')}/{quote(self.serial, safe='')}"
        return "/changes"


@router.get("/usage-points/{code}/history")
def history(
    *, code: str, request: Request, parts: PartsDep, connection: ReadDep, cursor: str | None = None
) -> Response:
    """The timeline, every row with what can be done about it, and the changes newest first."""
    found = timeline_of(connection, code)
    listed, following = _listed(connection, cursor, usage_point_id=found.usage_point_id)
    hangs = membership_at(connection, found.usage_point_id, parts.clock())
    return page(
        request,
        "usage_point_history.html",
        point=found,
        area=None if hangs is None else hangs.area,
        lanes=change_words.lanes(found.records, parts.clock(), parts.calendar.zone),
        forms=[form for form in HAPPENED if _can(form, found)],
        listed=listed,
        following=following,
        words=change_words,
        shown=lambda change: change_words.rows(change.before, change.after, parts.calendar.zone),
    )


@router.get("/changes")
def listed_changes(
    *,
    request: Request,
    parts: PartsDep,
    connection: ReadDep,
    area: Annotated[str | None, Query(max_length=100)] = None,
    manufacturer: Annotated[str | None, Query(max_length=100)] = None,
    serial: Annotated[str | None, Query(max_length=100)] = None,
    cursor: str | None = None,
) -> Response:
    """Changes of an area, a meter, or all, newest first."""
    about: dict[str, int] = {}
    if area:
        about["area_id"] = area_id_of(connection, area)
    if manufacturer and serial:
        about["meter_id"] = meter_id_of(connection, manufacturer, serial)
    listed, following = _listed(connection, cursor, **about)
    return page(
        request,
        "changes.html",
        listed=listed,
        following=following,
        chosen={"area": area, "manufacturer": manufacturer, "serial": serial},
        words=change_words,
        shown=lambda change: change_words.rows(change.before, change.after, parts.calendar.zone),
    )


@router.get("/changes/new")
def ask(
    *,
    request: Request,
    connection: ReadDep,
    kind: ChangeKind,
    usage_point: Annotated[str, Query(max_length=100)] = "",
    since: Annotated[str, Query(max_length=40)] = "",
    manufacturer: Annotated[str, Query(max_length=100)] = "",
    serial: Annotated[str, Query(max_length=100)] = "",
    undoes: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """The form of a change or a correction."""
    about = About(
        kind=kind, usage_point=usage_point, since=since, manufacturer=manufacturer, serial=serial, undoes=undoes
    )
    entered = {"by": name_of(request, OPERATOR)}
    return _form(request, connection, about, entered)


@router.post("/changes/new")
def send(request: Request, parts: PartsDep, form: FormDep) -> Response:
    """Look at a change (`step` look), or make it (`step` make); what is wrong is shown beside what was entered."""
    about = _about(form)
    looking = form.get("step") != "make"
    if form.get("step") == "edit":
        with views.reading(parts.store) as connection:
            return _form(request, connection, about, form)
    refusal: Problem | None = None
    faults: dict[str, str] = {}
    effect: Effect | None = None
    with views.reading(parts.store) as connection:
        order, faults = _order(connection, parts, about, form)
    if order is not None:
        try:
            answer = made(parts, order, dry_run=looking)
        except Problem as problem:
            faults = _beside(problem)
            known = {field.name for field in FORMS[about.kind].fields}
            refusal = None if faults and faults.keys() <= known else problem
        else:
            if answer.change is not None:
                return done(f"{about.back}#changes", OPERATOR, order.by)
            effect = answer.effect
    with views.reading(parts.store) as connection:
        return _form(request, connection, about, form, faults=faults, refusal=refusal, effect=effect)


def _form(
    request: Request,
    connection: Connection,
    about: About,
    entered: Mapping[str, str],
    *,
    faults: Mapping[str, str] | None = None,
    refusal: Problem | None = None,
    effect: Effect | None = None,
) -> Response:
    parts: Parts = request.app.state.parts
    form, zone = FORMS[about.kind], parts.calendar.zone
    row = _row(connection, about)
    before = {} if row is None or not form.fields else change_forms.prefilled(form, row, zone)
    undone = _undone(connection, about)
    status = refusal.status if refusal is not None else 422 if faults else 200
    taken = refusal is not None and refusal.code == "change-id-taken"
    return page(
        request,
        "change.html",
        status=status,
        about=about,
        form=form,
        row=row,
        undone=undone,
        row_words=lambda rows_before, rows_after: change_words.rows(rows_before, rows_after, zone),
        entered={**before, **entered},
        faults=faults or {},
        refusal=refusal,
        effect=effect,
        plainly=lambda said: text.plainly(said, zone),
        change_id=str(uuid4()) if taken else entered.get("change_id") or str(uuid4()),
        areas=change_lists.areas(connection),
        shared=change_lists.shared_points(connection, about.usage_point),
        stock=change_lists.stock(connection),
    )


def _order(
    connection: Connection, parts: Parts, about: About, entered: Mapping[str, str]
) -> tuple[ChangeOrder | None, dict[str, str]]:
    """The order that a form is, or what is wrong with it by field."""
    form = FORMS[about.kind]
    row = _row(connection, about)
    values, faults = change_forms.read(form, entered, row if form.table else None, parts.calendar.zone)
    questions = (("by", "who answers for it?"), ("reason", "why?"))
    faults |= {name: asked for name, asked in questions if not entered.get(name, "").strip()}
    if faults:
        return None, faults
    body = values | {name: entered.get(name, "").strip() for name in ("change_id", "by", "reason")}
    body |= {"kind": about.kind.value}
    if about.kind is ChangeKind.UNDO:
        body["undoes"] = about.undoes
    elif about.kind is ChangeKind.CORRECT_METER:
        body |= {"manufacturer": about.manufacturer, "serial": about.serial}
    else:
        body["usage_point"] = about.usage_point
    if form.table:
        body["since"] = about.since or None
    if form.table and not form.fields:
        body.pop("set", None)
    try:
        return order_of(_REQUEST.validate_python(body)), {}
    except ValidationError as wrong:
        return None, {str(e["loc"][-1]): e["msg"].removeprefix("Value error, ") for e in wrong.errors()}
    except Problem as problem:
        return None, _beside(problem)


def _beside(problem: Problem) -> dict[str, str]:
    """What a problem says of fields of the form."""
    return {error["pointer"].rsplit("/", 1)[1]: error["detail"] for error in problem.errors if "pointer" in error}


def _about(form: Mapping[str, str]) -> About:
    try:
        kind = ChangeKind(form.get("kind", ""))
    except ValueError as wrong:
        raise invalid("kind", f"{form.get('kind')!r} is none of {', '.join(ChangeKind)}") from wrong
    swap = kind is not ChangeKind.CORRECT_METER  # there manufacturer and serial are what is entered
    return About(
        kind=kind,
        usage_point=form.get("usage_point", ""),
        since=form.get("since", ""),
        manufacturer="" if swap else form.get("manufacturer", ""),
        serial="" if swap else form.get("serial", ""),
        undoes=form.get("undoes", ""),
    )


def _row(connection: Connection, about: About) -> dict[str, Any] | None:
    """What a correction is about, as it is stored. Raises Problem 404 where there is no such."""
    form = FORMS[about.kind]
    if about.kind is ChangeKind.CORRECT_METER:
        meter = find_meter(connection, about.manufacturer, about.serial)
        if meter is None:
            raise unknown("meter", f"{about.manufacturer}/{about.serial}")
        return asdict(meter)
    if about.usage_point or about.kind is not ChangeKind.UNDO:
        found = timeline_of(connection, about.usage_point)
        if form.table:
            rows: tuple[Span, ...] = getattr(found.records, form.table)
            wanted = None if not about.since else _instant(about.since)
            row = next((row for row in rows if row.valid_from == wanted), None)
            if row is None:
                raise unknown(_ROW_NOUNS[form.table], f"of {about.usage_point} from {about.since or 'ever'}")
            return asdict(row) | {"said": change_words.said_of(row)}  # type: ignore[arg-type]
    return None


def _instant(said: str) -> datetime:
    try:
        return _INSTANT.validate_python(said)
    except ValidationError as wrong:
        raise invalid("since", f"{said!r} is no instant with offset") from wrong


def _undone(connection: Connection, about: About) -> StoredChange | None:
    if about.kind is not ChangeKind.UNDO:
        return None
    try:
        change_id = UUID(about.undoes)
    except ValueError as wrong:
        raise unknown("change", about.undoes) from wrong
    found = changes.find(connection, change_id)
    if found is None:
        raise unknown("change", about.undoes)
    return found


def _can(form: ChangeForm, point: Timeline) -> bool:
    """Whether a change makes sense at a usage point of this kind."""
    match form.kind:
        case ChangeKind.REMOVE_SHARED_METER:
            return point.kind == "shared"
        case ChangeKind.MOVE | ChangeKind.CHANGE_CATEGORY:
            return point.kind != "area"
    return bool(point.records.installations)


def _listed(connection: Connection, cursor: str | None, **about: int) -> tuple[list[StoredChange], str | None]:
    before = pagination.decode(cursor, pagination.whole)
    found = changes.listed(connection, limit=CHANGES_OF_A_PAGE + 1, before=before[0] if before else None, **about)
    return pagination.cut(found, CHANGES_OF_A_PAGE, lambda change: (change.number,))
