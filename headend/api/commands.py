"""Commands to a meter, live reads, its clock: asked for here, carried out by the process that owns its bus."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from headend.api import pagination
from headend.api.deps import Parts, PartsDep, ReadDep, Text, unknown
from headend.api.errors import Problem, describe
from headend.api.pagination import Cursor, Limit, Page
from headend.domain.commands import MOST_NAME, MOST_TEXT, MOST_TTL_S, CommandKind, CommandState, CommandStep, Order
from headend.ingest.clock_policy import drift_of
from headend.ingest.commands import desk
from headend.store import clocks, commands, requests
from headend.store.commands import CommandIdTaken, Step
from headend.store.pool import Connection
from headend.store.requests import DeviceRequest
from headend.store.topology import StoredMeter, find_meter

router = APIRouter(prefix="/meters/{manufacturer}/{serial}", tags=["commands"])

CLOCK_READINGS = 60


class CommandRequest(BaseModel):
    """What is wanted of the meter, by whom and why."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "command_id": "0d9c3b0e-7a5e-4d6e-9a3e-6f2a3c1b5d47",
                    "kind": "clock",
                    "wanted": "now",
                    "requested_by": "Wang Fang",
                    "reason": "off by 40 s since the battery was exchanged",
                    "ttl_s": 900,
                }
            ]
        },
    )

    command_id: UUID = Field(description="made by the caller: sending the same command again changes nothing")
    kind: CommandKind
    wanted: str = Field(
        max_length=10,
        description="the state: relay `open` or `closed`; tariff `1` … `8`; clock `now`",
        examples=["open"],
    )
    requested_by: Text = Field(min_length=1, max_length=MOST_NAME, description="who answers for it")
    reason: Text = Field(min_length=1, max_length=MOST_TEXT)
    note: Text = Field("", max_length=MOST_TEXT)
    ttl_s: int | None = Field(
        None, ge=1, le=MOST_TTL_S, description="never executed later than this from now; null: as the settings say"
    )
    across_intervals: bool = Field(
        False, description="of a clock: may step over interval boundaries; the meter's intervals between are spoilt"
    )


class LifeStep(BaseModel):
    """One step of a command's life."""

    at: datetime
    step: CommandStep
    state: str | None = Field(description="of the meter, as its registers say")
    words: list[int] | None = Field(description="raw registers, as read or written")
    detail: str


class Command(BaseModel):
    """A command and how it stands."""

    command_id: UUID
    manufacturer: str
    serial: str
    kind: CommandKind
    wanted: str
    requested_by: str
    reason: str
    note: str
    automatic: bool = Field(description="by policy, not by a person")
    across_intervals: bool
    requested_at: datetime
    expires_at: datetime = Field(description="not sent later than this")
    state: CommandState = Field(
        description="queued, taken, sent; then for good: confirmed (the state read back is the wanted one), "
        "unconfirmed (it may have been written, and could not be confirmed), refused (by the meter, its model or the "
        "rules), expired (never written: out of time, or a later one of its kind was first)"
    )
    sent_at: datetime | None = Field(description="committed just before the write; null: nothing was written")
    done_at: datetime | None
    before_state: str | None = Field(description="as read from the meter; null: not read, or not understood")
    after_state: str | None
    detail: str = Field(description="why it stands where it stands, for a person")


class CommandLife(Command):
    """A command with every step of its life."""

    steps: list[LifeStep]


class LiveReadRequest(BaseModel):
    """What is to be read now."""

    model_config = ConfigDict(extra="forbid")

    what: Literal["registers", "clock"] = "registers"


class LiveRead(BaseModel):
    """A live read and how it stands."""

    request_id: UUID
    what: Literal["registers", "clock"]
    requested_at: datetime
    state: Literal["queued", "taken", "answered", "failed", "expired"]
    answer: dict[str, Any] | None = Field(description="what the meter said; null in it: not measured")
    error: str | None
    done_at: datetime | None


class ClockReading(BaseModel):
    """How far the clock was off."""

    at: datetime
    offset_ms: int | None = Field(description="the meter's clock minus ours; null: its registers name no instant")
    uncertainty_ms: int
    drifted: bool = Field(description="beyond the threshold of that time")
    after_setting: UUID | None = Field(description="the command that had set it just before")


class ClockDrift(BaseModel):
    """How fast the clock runs ahead (positive) or lags behind."""

    ppm: float
    uncertainty_ppm: float
    since: datetime
    until: datetime


class MeterClock(BaseModel):
    """A meter's clock: the newest readings, and what is done when it drifts."""

    latest: ClockReading | None = Field(description="null: never read")
    drift: ClockDrift | None = Field(description="since it was last set; null: too few readings")
    readings: list[ClockReading] = Field(description="newest first")
    threshold_s: float
    setting: Literal["never", "beyond_threshold"] = Field(description="what is done without being asked")


@router.post(
    "/commands",
    status_code=202,
    summary="Command a meter",
    responses=describe(403, 404, 409) | {200: {"model": CommandLife, "description": "Sent before; nothing changed"}},
)
def command(
    manufacturer: str, serial: str, request: CommandRequest, response: Response, parts: PartsDep
) -> CommandLife:
    """202: queued. 200: this very command had been sent before. 403: not allowed. 409: it cannot be done, or the id was
    sent with another content."""
    order = order_of(parts, request)
    try:
        found, new = desk.submit(parts.store, parts.settings, parts.clock, (manufacturer, serial), order)
    except desk.UnknownMeter as error:
        raise unknown("meter", f"{manufacturer}/{serial}") from error
    except desk.CommandNotTaken as error:
        raise not_taken(error) from error
    except CommandIdTaken as error:
        raise Problem(status=409, code="command-id-taken", detail=str(error)) from error
    if not new:
        response.status_code = 200
    with parts.store.transaction() as connection:
        return _life(connection, (manufacturer, serial), found)


@router.get("/commands", summary="Commands to a meter", responses=describe(404))
def list_commands(
    manufacturer: str, serial: str, connection: ReadDep, limit: Limit = 100, cursor: Cursor = None
) -> Page[Command]:
    """Commands, newest first."""
    meter = _existing(connection, manufacturer, serial)
    after = pagination.decode(cursor, pagination.instant, pagination.uuid)
    found = commands.of_meter(
        connection, meter.meter_id, limit=limit + 1, before=(after[0], after[1]) if after else None
    )
    kept = found[:limit]
    following = (
        pagination.encode((kept[-1].requested_at.isoformat(), str(kept[-1].command_id))) if len(found) > limit else None
    )
    return Page(items=[Command(**_fields((manufacturer, serial), one)) for one in kept], next=following)


@router.get("/commands/{command_id}", summary="One command", responses=describe(404))
def one_command(manufacturer: str, serial: str, command_id: UUID, connection: ReadDep) -> CommandLife:
    """One command with every step of its life."""
    meter = _existing(connection, manufacturer, serial)
    found = commands.find(connection, command_id)
    if found is None or found.meter_id != meter.meter_id:
        raise unknown("command", str(command_id))
    return _life(connection, (manufacturer, serial), found)


@router.post("/reads", status_code=202, summary="Read a meter now", responses=describe(404))
def live_read(manufacturer: str, serial: str, request: LiveReadRequest, parts: PartsDep) -> LiveRead:
    """Has the meter, or its clock, read as soon as its bus is free; look for the answer by the request's id."""
    with parts.store.transaction() as connection:
        meter = _existing(connection, manufacturer, serial)
        found = submit_read(connection, parts, meter, request.what)
    return _read(found)


@router.get("/reads/{request_id}", summary="A live read", responses=describe(404))
def one_read(manufacturer: str, serial: str, request_id: UUID, connection: ReadDep) -> LiveRead:
    """How a live read stands."""
    meter = _existing(connection, manufacturer, serial)
    found = requests.find(connection, request_id)
    if found is None or found.meter_id != meter.meter_id:
        raise unknown("live-read", str(request_id))
    return _read(found)


@router.get("/clock", summary="A meter's clock", responses=describe(404))
def clock(
    manufacturer: str,
    serial: str,
    parts: PartsDep,
    connection: ReadDep,
    limit: Annotated[int, Query(ge=1, le=1000, description="readings at the most")] = CLOCK_READINGS,
) -> MeterClock:
    """The newest readings of the clock against ours, and its rate."""
    meter = _existing(connection, manufacturer, serial)
    found = clocks.recent(connection, meter.meter_id, limit=limit)
    drift = drift_of(found)
    readings = [_clock_reading(r) for r in found]
    return MeterClock(
        latest=readings[0] if readings else None,
        drift=None
        if drift is None
        else ClockDrift(ppm=drift.ppm, uncertainty_ppm=drift.uncertainty_ppm, since=drift.since, until=drift.until),
        readings=readings,
        threshold_s=parts.settings.clock.threshold_s,
        setting=parts.settings.clock.set,
    )


def order_of(parts: Parts, request: CommandRequest) -> Order:
    """The order that a request is. Raises Problem 422 naming the field that is wrong."""
    ttl_s = request.ttl_s if request.ttl_s is not None else parts.settings.commands.ttl_s
    try:
        return Order(**request.model_dump(exclude={"ttl_s"}), ttl_s=ttl_s)
    except ValueError as wrong:
        name, _, detail = str(wrong).partition(": ")
        fault = {"pointer": f"#/{name}", "detail": detail}
        raise Problem(status=422, code="invalid-request", detail=str(wrong), errors=[fault]) from wrong


def not_taken(error: desk.CommandNotTaken) -> Problem:
    """A command that cannot be asked for: 403 where it is not allowed, 409 where it cannot be done."""
    return Problem(
        status=403 if error.code == "not-allowed" else 409, code=f"command-{error.code}", detail=error.reason
    )


def submit_read(
    connection: Connection, parts: Parts, meter: StoredMeter, what: Literal["registers", "clock"]
) -> DeviceRequest:
    """Have a meter, or its clock, read as soon as its bus is free."""
    request_id = requests.submit_read(
        connection, meter_id=meter.meter_id, now=parts.clock(), kind="clock" if what == "clock" else "read"
    )
    found = requests.find(connection, request_id)
    assert found is not None  # inserted in this transaction
    return found


def _existing(connection: Connection, manufacturer: str, serial: str) -> StoredMeter:
    meter = find_meter(connection, manufacturer, serial)
    if meter is None:
        raise unknown("meter", f"{manufacturer}/{serial}")
    return meter


def _life(connection: Connection, meter: tuple[str, str], found: commands.Command) -> CommandLife:
    steps: Sequence[Step] = commands.lives(connection, [found.command_id])[found.command_id]
    return CommandLife(
        **_fields(meter, found),
        steps=[
            LifeStep(
                at=s.at,
                step=s.step,
                state=s.state,
                words=None if s.words is None else list(s.words),
                detail=s.detail,
            )
            for s in steps
        ],
    )


def _fields(meter: tuple[str, str], found: commands.Command) -> dict[str, Any]:
    own = Command.model_fields.keys() - {"manufacturer", "serial"}
    return {"manufacturer": meter[0], "serial": meter[1]} | {name: getattr(found, name) for name in own}


def _read(found: DeviceRequest) -> LiveRead:
    return LiveRead.model_validate(
        {
            "request_id": found.request_id,
            "what": "clock" if found.kind == "clock" else "registers",
            "requested_at": found.requested_at,
            "state": found.state,
            "answer": found.answer,
            "error": found.error,
            "done_at": found.done_at,
        }
    )


def _clock_reading(reading: clocks.ClockReading) -> ClockReading:
    return ClockReading(
        at=reading.at,
        offset_ms=reading.offset_ms,
        uncertainty_ms=reading.uncertainty_ms,
        drifted=reading.drifted,
        after_setting=reading.command_id,
    )
