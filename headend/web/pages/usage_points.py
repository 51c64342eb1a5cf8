"""One usage point's day: how each interval came to be and what failed; editing it, setting readings aside, undoing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, unquote
from uuid import UUID, uuid4

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import RedirectResponse
from pydantic import ValidationError

from headend.api import pagination
from headend.api.deps import Parts, PartsDep, ReadDep, invalid
from headend.api.edits import EditRequest, UndoRequest, order_of, previewed, submitted, undone
from headend.api.errors import Problem
from headend.api.meters import SOURCES
from headend.api.usage_points import covering, existing
from headend.domain.quality import Quality, ValidationFlag
from headend.settlement.edit_desk import Preview
from headend.store import edits, rule_sets, usage_points, views
from headend.store.pool import Connection, Row
from headend.store.vectors import ABSENT
from headend.web import day_plot, edit_words, flag_words, text
from headend.web.pages.rollout import form_of
from headend.web.render import page

router = APIRouter(include_in_schema=False)

STRIP_DAYS: Final = 31
ROWS_OF_A_PAGE: Final = 100
MOST_READINGS: Final = 1_500
_NAME_COOKIE = "headend_operator"
_NAME_COOKIE_AGE_S = 90 * 86400
FormDep = Annotated[dict[str, str], Depends(form_of)]
Direction = Literal["import", "export"]


@dataclass(kw_only=True)
class Answer:
    """What came of a form: what was typed, what is wrong with it, and what it would make."""

    about: Literal["values", "readings", "undo", ""] = ""
    entered: Mapping[str, str] = field(default_factory=dict)
    faults: Mapping[str, str] = field(default_factory=dict)
    refusal: Problem | None = None
    tried: Preview | None = None

    @property
    def status(self) -> int:
        """Of the page that shows it."""
        if self.refusal is not None:
            return self.refusal.status
        return 422 if self.faults else 200


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
    return _shown(request, connection, code, day or parts.today - timedelta(days=1), direction, answer)


@router.post("/usage-points/{code}/edits")
def edit(code: str, request: Request, parts: PartsDep, form: FormDep) -> Response:
    """Try values out, or set them; what is wrong is shown beside what was entered."""
    day, direction = _day(form, parts), _direction(form)
    answer = Answer(about="values", entered=form)
    try:
        asked = _values_of(form, direction, parts)
        if form.get("action") == "make":
            submitted(parts, code, asked)
            return _to_day(code, day, direction, form.get("by", ""), "#edits")
        with views.reading(parts.store) as connection:
            answer.tried = previewed(parts, connection, code, order_of(asked))
    except _Faults as wrong:
        answer.faults = wrong.by_field
    except Problem as problem:
        _take(answer, problem)
    with views.reading(parts.store) as connection:
        return _shown(request, connection, code, day, direction, answer)


@router.post("/usage-points/{code}/set-aside")
def set_aside(code: str, request: Request, parts: PartsDep, form: FormDep) -> Response:
    """Set readings aside."""
    day, direction = _day(form, parts), _direction(form)
    answer = Answer(about="readings", entered=form)
    try:
        submitted(parts, code, _readings_of(form, parts))
        return _to_day(code, day, direction, form.get("by", ""), "#edits")
    except _Faults as wrong:
        answer.faults = wrong.by_field
    except Problem as problem:
        _take(answer, problem)
    with views.reading(parts.store) as connection:
        return _shown(request, connection, code, day, direction, answer)


@router.post("/usage-points/{code}/edits/{edit_id}/undo")
def undo(code: str, edit_id: UUID, request: Request, parts: PartsDep, form: FormDep) -> Response:
    """Undo an edit."""
    day, direction = _day(form, parts), _direction(form)
    answer = Answer(about="undo", entered={**form, "edit_id": str(edit_id)})
    try:
        said = {name: form.get(name, "").strip() for name in ("by", "reason")}
        undone(parts, code, edit_id, UndoRequest.model_validate(said))
        return _to_day(code, day, direction, said["by"], "#edits")
    except ValidationError:
        answer.faults = {"undo": "who takes it back, and why?"}
    except Problem as problem:
        _take(answer, problem)
    with views.reading(parts.store) as connection:
        return _shown(request, connection, code, day, direction, answer)


@router.get("/edits")
def audit(
    *,
    request: Request,
    connection: ReadDep,
    standing: bool = False,
    by: Annotated[str | None, Query(max_length=100)] = None,
    cursor: str | None = None,
) -> Response:
    """All that people set, newest first, undone ones too."""
    after = pagination.decode(cursor, pagination.instant, pagination.whole)
    found = edits.audit(
        connection,
        limit=ROWS_OF_A_PAGE + 1,
        standing=standing,
        made_by=by or None,
        before=(after[0], after[1]) if after else None,
    )
    rows, following = pagination.cut(found, ROWS_OF_A_PAGE, lambda row: (row["made_at"].isoformat(), row["number"]))
    return page(
        request,
        "edits.html",
        edits=rows,
        words=edit_words,
        chosen={"standing": standing, "by": by},
        following=following,
        register=_register,
    )


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
        names = {"energies_wh": "energies", "total_wh": "total"}
        pointers = ((e["pointer"].removeprefix("#/"), e["detail"]) for e in problem.errors)
        answer.faults = {names.get(name, name): detail for name, detail in pointers}
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
            said[name] = edit_words.instant(form.get(name, ""), parts.calendar.zone).isoformat()
        except edit_words.Unreadable as wrong:
            faults[name] = str(wrong) if form.get(name) else "from when until when?"
    return said, faults


def _values_of(form: Mapping[str, str], direction: Direction, parts: Parts) -> EditRequest:
    said, faults = _common(form, parts)
    try:
        if form.get("energies", "").strip():
            said["energies_wh"] = edit_words.energies_wh(form["energies"])
    except edit_words.Unreadable as wrong:
        faults["energies"] = str(wrong)
    try:
        if form.get("total", "").strip():
            said["total_wh"] = edit_words.energy_wh(form["total"])
    except edit_words.Unreadable as wrong:
        faults["total"] = str(wrong)
    return _request(said | {"direction": direction}, faults)


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
        names = {"energies_wh": "energies", "total_wh": "total"}
        raise _Faults({names.get(str(e["loc"][0]), str(e["loc"][0])): e["msg"] for e in wrong.errors()}) from wrong


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


def _to_day(code: str, day: date, direction: Direction, by: str, anchor: str) -> Response:
    query = f"?day={day}" + ("&direction=export" if direction == "export" else "")
    answer = RedirectResponse(f"/usage-points/{quote(code, safe='')}{query}{anchor}", status_code=303)
    answer.set_cookie(_NAME_COOKIE, quote(by.strip()), max_age=_NAME_COOKIE_AGE_S, httponly=True, samesite="lax")
    return answer


def _shown(  # noqa: PLR0917 what a page is made of
    request: Request, connection: Connection, code: str, day: date, direction: Direction, answer: Answer
) -> Response:
    parts: Parts = request.app.state.parts
    calendar = parts.calendar
    head = existing(connection, code, parts.clock())
    try:
        start, end = calendar.bounds(day)
        strip_first = day - timedelta(days=STRIP_DAYS // 2)
        strip_last = strip_first + timedelta(days=STRIP_DAYS - 1)
    except OverflowError as error:
        raise invalid("day", f"{day} is at the end of the calendar") from error
    point = head["usage_point_id"]
    found = usage_points.days(connection, point, day, day)
    row = found[0] if found else None
    of_day = edits.of_stretch(connection, point, start, end)
    meters = usage_points.meters(connection, point, start, end + timedelta(microseconds=1))
    rules = rule_sets.get(connection, [row["rules"]]) if row else {}
    standing = [e for e in of_day if e["undone_at"] is None]
    before = _before(row, standing, direction) if row else {}
    return page(
        request,
        "usage_point.html",
        status=answer.status,
        point=head,
        meters=meters,
        shown_day=day,
        day_before=day - timedelta(days=1),
        day_after=day + timedelta(days=1) if day < parts.today else None,
        today=parts.today,
        direction=direction,
        row=row,
        plot=None if row is None else day_plot.day(row, direction, calendar.zone, before, answer.tried),
        intervals=[] if row is None else _intervals(row, direction, before),
        said=[] if row is None else _said(row, rules, head["category"]),
        strip=_strip(connection, point, strip_first, strip_last, day),
        edits=of_day,
        refused=set() if row is None else _refused(row, standing),
        readings=_readings(connection, meters, start, end, standing),
        waiting=edits.waiting(connection, point, day),
        answer=answer,
        tried=None if answer.tried is None else _tried(answer.tried),
        by=answer.entered.get("by") or unquote(request.cookies.get(_NAME_COOKIE, "")),
        edit_id=str(uuid4()),
        typed=lambda at: edit_words.typed(at, calendar.zone),
        plainly=lambda said: edit_words.plainly(said, calendar.zone),
        interval_s=calendar.interval_s,
        words=edit_words,
        qualities={day_plot.QUALITY_NAMES[q]: words for q, words in flag_words.QUALITIES.items()},
        clock=lambda at: at.astimezone(calendar.zone).strftime("%H:%M"),
        register=_register,
    )


def _register(energy_wh: int | None) -> str:
    return text.MISSING if energy_wh is None else text.register(energy_wh)


def _before(row: Row, standing: list[Row], direction: Direction) -> dict[int, int | None]:
    """By interval what the newest edit that stands found there."""
    step = timedelta(seconds=row["interval_s"])
    mine = [e for e in standing if e["direction"] == direction and e["interval_s"] == row["interval_s"]]
    found: dict[int, int | None] = {}
    for n, quality in enumerate(row["quality"]):
        said = covering(mine, row["starts_at"] + n * step) if quality == Quality.EDITED else None
        if said is not None:
            found[n] = said[0]["before_wh"][said[1]]
    return found


def _refused(row: Row, standing: list[Row]) -> set[UUID]:
    """Edits of values that stand and do not hold: the newest one wherever an interval says so."""
    step = timedelta(seconds=row["interval_s"])
    values = [e for e in standing if e["kind"] == "values"]
    flagged = [n for n, flags in enumerate(row["flags"]) if flags & ValidationFlag.EDIT_REFUSED]
    found = (covering(values, row["starts_at"] + n * step) for n in flagged)
    return {said[0]["edit_id"] for said in found if said is not None}


def _intervals(row: Row, direction: Direction, before: Mapping[int, int | None]) -> list[dict[str, Any]]:
    step = timedelta(seconds=row["interval_s"])
    volts = row["voltage_dv"] or [None] * len(row["quality"])
    return [
        {
            "start": row["starts_at"] + n * step,
            "end": row["starts_at"] + (n + 1) * step,
            "energy_wh": row[f"{direction}_wh"][n],
            "voltage_v": None if volts[n] is None else volts[n] / 10,
            "quality": day_plot.QUALITY_NAMES[Quality(row["quality"][n])],
            "flags": flag_words.words(row["flags"][n]),
            "edited": n in before,
            "before_wh": before.get(n),
        }
        for n in range(len(row["quality"]))
    ]


def _said(row: Row, rules: Mapping[int, rule_sets.KeptRuleSet], category: str) -> list[dict[str, Any]]:
    """Each flag of the day with the runs of intervals that carry it, what it means and what it was measured by."""
    step = timedelta(seconds=row["interval_s"])
    document = rules[row["rules"]].rules if row["rules"] in rules else {}
    found: list[dict[str, Any]] = []
    for flag, words in flag_words.FLAGS.items():
        carrying = [n for n, flags in enumerate(row["flags"]) if flags & flag]
        if not carrying:
            continue
        firsts = [n for n in carrying if n - 1 not in carrying]
        lasts = [n for n in carrying if n + 1 not in carrying]
        spans = [
            (row["starts_at"] + a * step, row["starts_at"] + (b + 1) * step) for a, b in zip(firsts, lasts, strict=True)
        ]
        found.append(
            {
                "words": words,
                "spans": spans,
                "count": len(carrying),
                "thresholds": edit_words.thresholds(document, flag, category),
            }
        )
    return sorted(found, key=lambda one: not one["words"].fault)


def _strip(connection: Connection, point: int, first: date, last: date, shown: date) -> list[dict[str, Any]]:
    """A month of days around the one shown, each with the share of what it rests on."""
    by_day = {
        r["day"]: r
        for r in usage_points.qualities(
            connection, point, first, last, refused=int(ValidationFlag.EDIT_REFUSED), faults=day_plot.FAULTS
        )
    }
    names = ("measured", "interpolated", "estimated", "edited", "zero_by_event", "absent")
    found: list[dict[str, Any]] = []
    for n in range((last - first).days + 1):
        day = first + timedelta(days=n)
        row = by_day.get(day)
        shares = [] if row is None else [(name, row[name] / row["intervals"]) for name in names if row[name]]
        found.append({"day": day, "row": row, "shares": shares, "shown": day == shown})
    return found


def _readings(
    connection: Connection, meters: list[Row], start: datetime, end: datetime, standing: list[Row]
) -> list[dict[str, Any]]:
    """Raw registers of the day's meters, its two midnights included, and who set which aside."""
    aside = [e for e in standing if e["kind"] == "readings"]
    found: list[dict[str, Any]] = []
    for meter in meters:
        last = end + timedelta(microseconds=1)
        for row in views.readings(connection, meter["meter_id"], start, last, limit=MOST_READINGS):
            by = next(
                (e for e in aside if e["meter_id"] == meter["meter_id"] and e["from_ts"] <= row["ts"] <= e["to_ts"]),
                None,
            )
            found.append(
                row
                | {
                    "meter": f"{meter['manufacturer']}/{meter['serial']}",
                    "source": SOURCES.get(row["source"], str(row["source"])),
                    "aside": by,
                }
            )
    return sorted(found, key=lambda r: (r["ts"], r["meter"]))


def _tried(tried: Preview) -> dict[str, Any]:
    """Before and after of an edit that is being tried out, interval by interval and in sum."""
    step = timedelta(seconds=tried.interval_s)
    before, after = tried.before_wh.tolist(), tried.after_wh.tolist()
    rows = [
        {
            "start": tried.starts_at + n * step,
            "end": tried.starts_at + (n + 1) * step,
            "before_wh": None if b == ABSENT else b,
            "after_wh": None if a == ABSENT else a,
            "edited": bool(tried.edited[n]),
        }
        for n, (b, a) in enumerate(zip(before, after, strict=True))
    ]
    mine = [r for r in rows if r["edited"]]
    return {
        "rows": rows,
        "set_before_wh": sum(r["before_wh"] or 0 for r in mine),
        "set_after_wh": sum(r["after_wh"] or 0 for r in mine),
        "all_before_wh": sum(r["before_wh"] or 0 for r in rows),
        "all_after_wh": sum(r["after_wh"] or 0 for r in rows),
        "others": len(rows) - len(mine),
        "blocks": tried.blocks,
        "refusal": tried.refusal,
    }
