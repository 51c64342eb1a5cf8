"""Live reads as rows: whoever wants one asks here, the owner of the meter's bus takes, executes and answers it.

The rule it keeps: a request is held by a lease. A process that dies holding one delays it, and never loses it; an
answer from a lease that is over is not taken.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from headend.store.pool import Connection, row, rows
from headend.store.queries import load

ReadKind = Literal["read", "clock"]
"""Of a meter's registers, or of its clock."""


@dataclass(frozen=True, slots=True)
class DeviceRequest:
    """A live read and how it stands."""

    request_id: UUID
    meter_id: int
    kind: ReadKind
    requested_at: datetime
    expires_at: datetime
    state: str
    """queued, taken, answered, failed or expired."""
    answer: Mapping[str, Any] | None
    error: str | None
    done_at: datetime | None

    @property
    def done(self) -> bool:
        """Whether it will not change any more."""
        return self.state in ("answered", "failed", "expired")


@dataclass(frozen=True, slots=True)
class TakenRequest:
    """A live read that is ours to execute until `taken_until`."""

    request_id: UUID
    meter_id: int
    kind: ReadKind
    expires_at: datetime
    taken_until: datetime


def submit_read(
    connection: Connection, *, meter_id: int, now: datetime, ttl_s: float = 60.0, kind: ReadKind = "read"
) -> UUID:
    """Have a meter read as soon as its bus is free; nobody reads it after `ttl_s` seconds."""
    request_id = uuid4()
    parameters = {
        "request_id": request_id,
        "meter_id": meter_id,
        "kind": kind,
        "now": now,
        "expires_at": now + timedelta(seconds=ttl_s),
    }
    connection.execute(load("requests")["submit"], parameters)
    return request_id


def find(connection: Connection, request_id: UUID) -> DeviceRequest | None:
    """How a request stands."""
    found = row(connection, load("requests")["find"], {"request_id": request_id})
    return None if found is None else DeviceRequest(**found)


def expire(connection: Connection, *, now: datetime) -> int:
    """Give up what nobody waits for any more; returns how many."""
    return connection.execute(load("requests")["expire"], {"now": now}).rowcount


def take(connection: Connection, *, now: datetime, lease_s: float, most: int) -> list[TakenRequest]:
    """Take up to `most` requests, oldest first; they are free again after `lease_s` seconds."""
    parameters = {"now": now, "taken_until": now + timedelta(seconds=lease_s), "most": most}
    taken = rows(connection, load("requests")["take"], parameters)
    return [TakenRequest(**r) for r in taken]


def finish(
    connection: Connection,
    request: TakenRequest,
    *,
    answer: Mapping[str, Any] | None = None,
    error: str | None = None,
    now: datetime,
) -> bool:
    """Answer a request, or say why it failed; False when the lease was over and another holds it."""
    parameters = {
        "request_id": request.request_id,
        "taken_until": request.taken_until,
        "state": "answered" if error is None else "failed",
        "answer": None if answer is None else json.dumps(answer, ensure_ascii=False, allow_nan=False),
        "error": error,
        "now": now,
    }
    return connection.execute(load("requests")["finish"], parameters).rowcount == 1


def release(connection: Connection, request: TakenRequest) -> None:
    """Give a request back unexecuted."""
    parameters = {"request_id": request.request_id, "taken_until": request.taken_until}
    connection.execute(load("requests")["release"], parameters)
