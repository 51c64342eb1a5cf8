"""What could not be understood: every message kept whole, with the reason, where somebody can find and replay it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import RedirectResponse

from headend.api import pagination
from headend.api.deps import Parts, PartsDep, ReadDep, invalid
from headend.api.quarantine import (
    MOST_REPLAYED,
    QuarantineId,
    ReplayAnswer,
    existing,
    payload,
    replayed,
    replayed_one,
    search_of,
)
from headend.ingest.quarantine import Outcome
from headend.store import quarantine as kept
from headend.store.quarantine import Search
from headend.web.payload import shown
from headend.web.render import page
from headend.web.sent_forms import FormDep

router = APIRouter(include_in_schema=False)

ROWS_OF_A_PAGE = 100

REASONS = {
    "bad_name": "the topic names no device",
    "bad_shape": "the message does not have the agreed form",
    "bad_state": "neither online nor offline",
    "bad_timestamp": "no usable instant",
    "duplicate_key": "a key that stands twice",
    "identity_mismatch": "topic and message name different devices",
    "in_future": "stamped later than now",
    "missing_key": "a key that the agreed form needs",
    "no_energy": "a reading without a register",
    "not_json": "its text cannot be parsed",
    "not_sparkplug": "no Sparkplug B message",
    "not_text": "its bytes are no text",
    "profile_registers": "a stored record whose registers run backwards",
    "profile_stamp": "a stored record whose stamp names no instant",
    "serial_mismatch": "another meter answered",
    "spoiled_record": "a record of the spool that cannot be read",
    "out_of_range": "a number that nothing measures",
    "store_refused": "the database refused it",
    "too_large": "longer than any message that is read",
    "too_old": "stamped before anything that is kept",
    "unknown_alias": "a Sparkplug alias that no birth has declared yet",
    "unknown_concentrator": "a concentrator nobody has imported",
    "unknown_key": "a key that the agreed form does not have",
    "unknown_message": "no rule of its payload map fits",
    "unknown_meter": "a meter nobody has imported",
    "unknown_topic": "a topic nobody has agreed on",
    "wrong_type": "a value of another kind than agreed",
}
"""The machine words, for people; one that is not here is shown as it is."""

WHY = {
    "origin": "its origin had filled its share",
    "full": "the quarantine was full",
    "age": "nobody mended the cause in time",
}
"""Why a message was counted and not kept."""

_TOLD = ("of", "understood", "became", "elsewhere", "readings")
_FILTERS = ("reason", "source", "origin", "device", "detail", "content", "from", "to")
_FURTHER = ("source", "detail", "content", "from", "to", "everything")
"""Of the form, what is folded away until it is used."""
_Field = Annotated[str | None, Query(max_length=1000)]


@router.get("/quarantine")
def messages(
    *,
    request: Request,
    parts: PartsDep,
    connection: ReadDep,
    reason: _Field = None,
    source: Literal["mqtt", "modbus", ""] | None = None,
    origin: _Field = None,
    device: _Field = None,
    detail: _Field = None,
    content: _Field = None,
    first: Annotated[str | None, Query(alias="from", max_length=40)] = None,
    last: Annotated[str | None, Query(alias="to", max_length=40)] = None,
    everything: bool = False,
    cursor: str | None = None,
) -> Response:
    """Newest first, and how many are open of each reason; `from` and `to` are local days, both included."""
    chosen: dict[str, Any] = {
        "reason": reason, "source": source, "origin": origin, "device": device, "detail": detail, "content": content,
        "from": first, "to": last, "everything": "true" if everything else None,
    }  # fmt: skip
    wanted = _search(parts, chosen)
    after = pagination.decode(cursor, pagination.whole)
    found = kept.search(
        connection,
        wanted,
        state="all" if everything else "open",
        before=after[0] if after else None,
        limit=ROWS_OF_A_PAGE,
    )
    filtered = any(chosen[key] for key in _FILTERS)
    return page(
        request,
        "quarantine.html",
        messages=found.rows,
        looked_back_to=found.looked_back_to,
        counts=kept.counts(connection),
        fits=kept.count(connection, wanted) if filtered and not chosen["content"] else None,
        given_up=kept.given_up(connection, limit=20),
        reasons=REASONS,
        why=WHY,
        chosen=chosen,
        filtered=filtered,
        more_filters=any(chosen[key] for key in _FURTHER),
        most_replayed=MOST_REPLAYED,
        told=_told_by(request),
        following=None if found.before is None else pagination.encode([found.before]),
    )


@router.post("/quarantine/replay")
def replay_many(parts: PartsDep, form: FormDep) -> Response:
    """Try again what is open and fits the filter that the page showed: the oldest, a bounded number."""
    chosen = {key: form.get(key, "") for key in _FILTERS}
    answer = replayed(parts, _search(parts, chosen))
    query = {key: value for key, value in chosen.items() if value}
    return RedirectResponse(f"/quarantine?{urlencode(query | _telling(answer))}", status_code=303)


@router.get("/quarantine/{quarantine_id}")
def message(quarantine_id: QuarantineId, request: Request, connection: ReadDep) -> Response:
    """One message with its payload."""
    row = existing(connection, quarantine_id)
    return page(
        request,
        "quarantined.html",
        message=row,
        payload=shown(bytes(row["payload"])),
        reasons=REASONS,
        told=_told_by(request),
    )


@router.post("/quarantine/{quarantine_id}/replay")
def replay_one(quarantine_id: QuarantineId, parts: PartsDep) -> Response:
    """Try it again."""
    answer = replayed_one(parts, quarantine_id)
    return RedirectResponse(f"/quarantine/{quarantine_id}?{urlencode(_telling(answer))}", status_code=303)


router.get("/quarantine/{quarantine_id}/payload")(payload)


def _search(parts: Parts, chosen: Mapping[str, Any]) -> Search:
    """What the page's form says. Raises Problem 422."""
    begin, end = _day(chosen["from"], "from"), _day(chosen["to"], "to")
    zone = parts.calendar.zone
    try:
        return search_of(
            reason=chosen["reason"],
            source=chosen["source"],
            origin=chosen["origin"],
            device=chosen["device"],
            detail=chosen["detail"],
            content=chosen["content"],
            since=None if begin is None else datetime.combine(begin, time(), zone),
            until=None if end is None else datetime.combine(end + timedelta(days=1), time(), zone),
        )
    except OverflowError as error:
        raise invalid("to", "is beyond the calendar") from error


def _day(given: str | None, parameter: str) -> date | None:
    """A day of the filter; an empty field is none."""
    if not given:
        return None
    try:
        return date.fromisoformat(given)
    except ValueError as error:
        raise invalid(parameter, f"{given!r} is no day, such as 2026-11-01") from error


def _telling(answer: ReplayAnswer) -> dict[str, int]:
    """What a replay did, for the address of the page that follows."""
    return {
        "of": len(answer.messages),
        "understood": answer.outcomes.get(Outcome.UNDERSTOOD, 0),
        "became": answer.outcomes.get(Outcome.BECAME, 0),
        "elsewhere": answer.outcomes.get(Outcome.ELSEWHERE, 0),
        "readings": answer.stored,
    }


def _told_by(request: Request) -> dict[str, int] | None:
    given = request.query_params
    if not all(given.get(key, "").isdecimal() and len(given[key]) < 10 for key in _TOLD):
        return None
    return {key: int(given[key]) for key in _TOLD}
