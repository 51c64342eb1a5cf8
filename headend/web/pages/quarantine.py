"""What could not be understood: every message kept whole, with the reason, where somebody can see it."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from headend.api import pagination
from headend.api.deps import ReadDep, unknown
from headend.store import quarantine as kept
from headend.store.pool import Connection, Row
from headend.web import payload
from headend.web.render import page

router = APIRouter(include_in_schema=False)

ROWS_OF_A_PAGE = 100

REASONS = {
    "bad_name": "the topic names no device",
    "bad_shape": "the message does not have the agreed form",
    "bad_state": "neither online nor offline",
    "bad_timestamp": "no usable instant",
    "duplicate_key": "a key that stands twice",
    "identity_mismatch": "topic and message name different devices",
    "missing_key": "a key that the agreed form needs",
    "no_energy": "a reading without a register",
    "not_json": "its text cannot be parsed",
    "not_sparkplug": "no Sparkplug B message",
    "not_text": "its bytes are no text",
    "profile_registers": "a stored record whose registers run backwards",
    "profile_stamp": "a stored record whose stamp names no instant",
    "serial_mismatch": "another meter answered",
    "out_of_range": "a number that nothing measures",
    "store_refused": "the database refused it",
    "too_large": "longer than any message that is read",
    "unknown_alias": "a Sparkplug alias that no birth has declared yet",
    "unknown_concentrator": "a concentrator nobody has imported",
    "unknown_key": "a key that the agreed form does not have",
    "unknown_message": "no rule of its payload map fits",
    "unknown_meter": "a meter nobody has imported",
    "unknown_topic": "a topic nobody has agreed on",
    "wrong_type": "a value of another kind than agreed",
}
"""The machine words, for people; one that is not here is shown as it is."""

_Id = Annotated[int, Path(ge=1, lt=2**63)]


@router.get("/quarantine")
def messages(
    *,
    request: Request,
    connection: ReadDep,
    reason: Annotated[str | None, Query(max_length=100)] = None,
    everything: bool = False,
    cursor: str | None = None,
) -> Response:
    """Open messages, newest first, and how many of each reason there are."""
    after = pagination.decode(cursor, pagination.whole)
    found = kept.listed(
        connection,
        reason=reason or None,
        everything=everything,
        before=after[0] if after else None,
        limit=ROWS_OF_A_PAGE + 1,
    )
    rows, following = pagination.cut(found, ROWS_OF_A_PAGE, lambda row: (row["quarantine_id"],))
    return page(
        request,
        "quarantine.html",
        messages=rows,
        counts=kept.counts(connection),
        reasons=REASONS,
        chosen={"reason": reason, "everything": "true" if everything else None},
        following=following,
    )


@router.get("/quarantine/{quarantine_id}")
def message(quarantine_id: _Id, request: Request, connection: ReadDep) -> Response:
    """One message with its payload."""
    row = _existing(connection, quarantine_id)
    return page(
        request,
        "quarantined.html",
        message=row,
        payload=payload.shown(bytes(row["payload"])),
        reasons=REASONS,
    )


@router.get("/quarantine/{quarantine_id}/payload")
def whole_payload(quarantine_id: _Id, connection: ReadDep) -> Response:
    """The payload byte for byte, as a file: what a device sent is never handed to the browser to interpret."""
    row = _existing(connection, quarantine_id)
    return Response(
        bytes(row["payload"]),
        media_type="application/octet-stream",
        headers={"Content-Disposition": f'attachment; filename="quarantine-{quarantine_id}.bin"'},
    )


def _existing(connection: Connection, quarantine_id: int) -> Row:
    found: dict[str, Any] | None = kept.show(connection, quarantine_id)
    if found is None:
        raise unknown("quarantined-message", quarantine_id)
    return found
