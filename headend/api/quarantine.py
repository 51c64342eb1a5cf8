"""What could not be understood: searched, shown whole, replayed once its cause is mended."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from headend.api import pagination
from headend.api.deps import Instant, Parts, PartsDep, ReadDep, invalid, unknown
from headend.api.errors import describe
from headend.api.pagination import Cursor, Limit, Page
from headend.ingest.quarantine import Outcome, Quarantine, Replayed, Summary
from headend.store import quarantine as kept
from headend.store.pool import Connection, Row
from headend.store.quarantine import Search

router = APIRouter(prefix="/quarantine", tags=["quarantine"])

MOST_REPLAYED: Final = 1000
"""Messages replayed in one request; the command line knows no such bound."""
QuarantineId = Annotated[int, Path(ge=1, lt=2**63)]
Word = Annotated[str | None, Query(max_length=200)]


class Quarantined(BaseModel):
    """A message without its payload."""

    id: int
    source: Literal["mqtt", "modbus"]
    origin: str = Field(description="topic, or bus address")
    reason: str = Field(examples=["unknown_meter"])
    detail: str
    received_at: datetime = Field(description="for the first time")
    last_received_at: datetime
    times: int = Field(description="how often the very same message came with the same result")
    size: int = Field(description="of the payload [bytes]")
    whole_size: int | None = Field(description="of the message, where it was too large to be kept whole")
    devices: list[str] = Field(description="unknown ones that it names: MANUFACTURER/SERIAL, or a concentrator's code")
    closed_at: datetime | None = Field(description="understood, or in here for another reason, since; null: open")
    became: int | None = Field(description="id of the entry with that other reason")


class QuarantinedWhole(Quarantined):
    """A message with its payload."""

    came_from: list[int] = Field(description="ids of the entries that became this one")
    payload: str = Field(description="base64")


class OpenOfReason(BaseModel):
    """What is open of one reason."""

    reason: str
    messages: int
    bytes: int


class GivenUp(BaseModel):
    """Messages that were counted and not kept."""

    source: str
    origin: str = Field(description="empty: all those of whom nothing is kept any more")
    reason: str
    why: Literal["origin", "full", "age"] = Field(
        description="origin: it had filled its share; full: the whole had; age: nobody mended the cause in time"
    )
    messages: int
    bytes: int
    first_at: datetime
    last_at: datetime


class QuarantineSummary(BaseModel):
    """How it stands."""

    open: list[OpenOfReason]
    given_up: list[GivenUp] = Field(description="latest first, 100 at the most")


class ReplayRequest(BaseModel):
    """Which open messages to try again: everything that is said has to hold. Nothing said: all of them."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"reason": "unknown_meter"}]})

    reason: str | None = Field(None, max_length=200)
    source: Literal["mqtt", "modbus"] | None = None
    origin: str | None = Field(None, max_length=1000, description="its beginning; * stands for anything")
    device: str | None = Field(None, max_length=200)
    since: Instant | None = None
    until: Instant | None = None
    limit: int = Field(MOST_REPLAYED, ge=1, le=MOST_REPLAYED, description="the oldest so many")
    dry_run: bool = Field(False, description="only say what would happen")


class ReplayedMessage(BaseModel):
    """What became of one message."""

    id: int
    outcome: Outcome
    became: int | None
    still: list[str] = Field(description="why it, or a part of it, is still in here")


class ReplayAnswer(BaseModel):
    """What became of them."""

    messages: list[ReplayedMessage]
    stored: int = Field(description="readings")
    known_already: int = Field(description="readings")
    outcomes: dict[Outcome, int]


@router.get("", summary="Messages that could not be understood", responses=describe())
def list_quarantined(
    *,
    connection: ReadDep,
    reason: Word = None,
    source: Literal["mqtt", "modbus"] | None = None,
    origin: Annotated[str | None, Query(max_length=1000, description="its beginning; * stands for anything")] = None,
    device: Annotated[str | None, Query(max_length=200, description="an unknown one that it names")] = None,
    detail: Annotated[str | None, Query(max_length=200, description="part of the detail")] = None,
    content: Annotated[
        str | None, Query(max_length=1000, description="part of the payload: text, or 0x and hexadecimal digits")
    ] = None,
    since: Annotated[Instant | None, Query(description="came then or later")] = None,
    until: Annotated[Instant | None, Query(description="came before")] = None,
    state: Literal["open", "closed", "all"] = "open",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Quarantined]:
    """Newest first. A search by detail or content looks through a part at once: a page may be empty and have a next."""
    wanted = search_of(
        reason=reason, source=source, origin=origin, device=device, detail=detail, content=content,
        since=since, until=until,
    )  # fmt: skip
    after = pagination.decode(cursor, pagination.whole)
    found = kept.search(connection, wanted, state=state, limit=limit, before=after[0] if after else None)
    following = None if found.before is None else pagination.encode([found.before])
    return Page(items=[Quarantined(**_common(row)) for row in found.rows], next=following)


@router.get("/summary", summary="How many are open, and what was not kept", responses=describe())
def summary(connection: ReadDep) -> QuarantineSummary:
    """Open messages by reason; what was counted only."""
    lost = [{key: row[key] for key in GivenUp.model_fields} for row in kept.given_up(connection, limit=100)]
    return QuarantineSummary(
        open=[OpenOfReason(**row) for row in kept.counts(connection)], given_up=[GivenUp(**row) for row in lost]
    )


@router.post("/replay", summary="Try messages again", responses=describe(409))
def replay(request: ReplayRequest, parts: PartsDep) -> ReplayAnswer:
    """The oldest of those that fit, in the order in which they came. Nothing is stored twice; sending it again goes on
    with what is open then.
    """
    said = request.model_dump(exclude={"limit", "dry_run"})
    return replayed(parts, search_of(**said, detail=None, content=None), limit=request.limit, dry_run=request.dry_run)


@router.get("/{quarantine_id}", summary="One of them with its payload", responses=describe(404))
def one(quarantine_id: QuarantineId, connection: ReadDep) -> QuarantinedWhole:
    """One message."""
    row = existing(connection, quarantine_id)
    payload = base64.b64encode(bytes(row["payload"])).decode()
    return QuarantinedWhole(**_common(row), came_from=row["came_from"], payload=payload)


@router.get(
    "/{quarantine_id}/payload",
    summary="Its payload, byte for byte",
    response_class=Response,
    responses=describe(404) | {200: {"content": {"application/octet-stream": {}}}},
)
def payload(quarantine_id: QuarantineId, connection: ReadDep) -> Response:
    """As a file: what a device sent is never handed to a browser to interpret."""
    row = existing(connection, quarantine_id)
    return Response(
        bytes(row["payload"]),
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="quarantine-{quarantine_id}.bin"'},
    )


@router.post("/{quarantine_id}/replay", summary="Try one again", responses=describe(404, 409))
def replay_one(quarantine_id: QuarantineId, parts: PartsDep) -> ReplayAnswer:
    """One message, open or not: replaying what was understood before changes nothing."""
    return replayed_one(parts, quarantine_id)


def replayed_one(parts: Parts, quarantine_id: int) -> ReplayAnswer:
    """The same for the page. Raises Problem."""
    done = Summary()
    try:
        (batch,) = Quarantine(parts.store, parts.settings, parts.clock).replay_named([quarantine_id])
    except LookupError as missing:
        raise unknown("quarantined-message", quarantine_id) from missing
    done.add(batch)
    return _answer(done, list(batch.messages))


def replayed(parts: Parts, wanted: Search, *, limit: int = MOST_REPLAYED, dry_run: bool = False) -> ReplayAnswer:
    """The same for the page."""
    done = Summary()
    messages: list[Replayed] = []
    desk = Quarantine(parts.store, parts.settings, parts.clock)
    for batch in desk.replay_all(wanted, limit=limit, rehearse=dry_run):
        done.add(batch)
        messages += batch.messages
    return _answer(done, messages)


def search_of(*, since: datetime | None, until: datetime | None, content: str | None, **said: str | None) -> Search:
    """What a request says; an empty field says nothing. Raises Problem 422."""
    if since is not None and until is not None and since >= until:
        raise invalid("since", f"{since.isoformat()} is not before `until`, {until.isoformat()}")
    words = {key: value or None for key, value in said.items()}
    return Search(since=since, until=until, content=kept.content_of(content) if content else None, **words)


def existing(connection: Connection, quarantine_id: int) -> Row:
    """A message with its payload. Raises Problem 404."""
    found = kept.show(connection, quarantine_id)
    if found is None:
        raise unknown("quarantined-message", quarantine_id)
    return found


def _answer(done: Summary, messages: list[Replayed]) -> ReplayAnswer:
    told = [
        ReplayedMessage(
            id=m.quarantine_id,
            outcome=m.outcome,
            became=m.became,
            still=sorted({f"{entry.reason}: {entry.detail}" for entry in m.still}),
        )
        for m in messages
    ]
    return ReplayAnswer(messages=told, stored=done.stored, known_already=done.duplicates, outcomes=dict(done.outcomes))


def _common(row: Mapping[str, Any]) -> dict[str, Any]:
    renamed = {
        "id": row["quarantine_id"],
        "devices": row["strangers"] or [],
        "closed_at": row["replayed_at"],
        "became": row["became_id"],
    }
    return renamed | {key: row[key] for key in Quarantined.model_fields if key not in renamed}
