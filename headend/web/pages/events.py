"""Events of all meters and concentrators, whoever told them: newest first, with the code of IEC 61968-9."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from headend.api import pagination
from headend.api.deps import PartsDep, ReadDep, invalid
from headend.store import alerts, events
from headend.web import alert_words, event_words
from headend.web.render import page

router = APIRouter(include_in_schema=False)

ROWS_OF_A_PAGE = 100


@router.get("/events")
def listed(
    *,
    request: Request,
    parts: PartsDep,
    connection: ReadDep,
    area: Annotated[str | None, Query(max_length=100)] = None,
    serial: Annotated[str | None, Query(max_length=100)] = None,
    kind: Annotated[str | None, Query(max_length=100)] = None,
    first: Annotated[date | str | None, Query(alias="from")] = None,
    last: Annotated[date | str | None, Query(alias="to")] = None,
    cursor: str | None = None,
) -> Response:
    """Events of local days from `from` to `to`, both included."""
    begin, end = _day(first, "from"), _day(last, "to")
    after = pagination.decode(cursor, pagination.instant, pagination.whole)
    zone = parts.calendar.zone
    try:
        found = events.listed(
            connection,
            limit=ROWS_OF_A_PAGE + 1,
            area=area or None,
            serial=serial or None,
            kind=kind or None,
            first=None if begin is None else datetime.combine(begin, time(), zone),
            end=None if end is None else datetime.combine(end + timedelta(days=1), time(), zone),
            after=(after[0], after[1]) if after else None,
        )
    except OverflowError as error:
        raise invalid("to", "is beyond the calendar") from error
    rows, following = pagination.cut(
        found, ROWS_OF_A_PAGE, lambda row: (row["occurred_at"].isoformat(), row["event_id"])
    )
    return page(
        request,
        "events.html",
        events=rows,
        alerts=alerts.standing(connection),
        alert_word=alert_words.word,
        kinds=sorted(set(events.kinds(connection)) | ({kind} if kind else set()), key=event_words.word),
        words=event_words,
        chosen={"area": area, "serial": serial, "kind": kind, "from": begin, "to": end},
        following=following,
    )


def _day(given: date | str | None, parameter: str) -> date | None:
    """A day of the filter; an empty field is none."""
    if given is None or given == "":
        return None
    if isinstance(given, date):
        return given
    try:
        return date.fromisoformat(given)
    except ValueError as error:
        raise invalid(parameter, f"{given!r} is no day, such as 2026-11-01") from error
