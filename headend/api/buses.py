"""Polled buses: how each is doing, which meters on it are not read and why, and the modems that dial in."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from headend.api import pagination
from headend.api.deps import ReadDep, unknown
from headend.api.errors import describe
from headend.api.pagination import Cursor, Limit, Page
from headend.store import polling

router = APIRouter(prefix="/buses", tags=["buses"])

_MOST_MODEMS = 10_000


class TroubledMeter(BaseModel):
    """A meter that was not read in its last round."""

    meter: str = Field(examples=["Eastron/210001"], description="manufacturer/serial")
    model: str
    unit: int | None
    outcome: str = Field(examples=["timeout"], description="resting: it is left alone until next_probe_at")
    reason: str
    since: datetime = Field(description="since when it is not read")
    failures: int = Field(description="rounds in a row without a reading")
    next_probe_at: datetime | None = Field(description="when it is asked again; null: at the next round")


class Round(BaseModel):
    """The last round of a bus: a meter counts once, whichever way it ended."""

    began_at: datetime
    took_s: float
    asked: int = Field(description="meters that were due")
    read: int
    failed: int
    resting: int = Field(description="not asked, because they were silent too often")


class Bus(BaseModel):
    """A bus with its last round."""

    bus: str = Field(examples=["modbus+tcp://10.1.2.3:502"])
    peer: str = Field(examples=["10.1.2.3:502"], description="as a person looks for it")
    areas: list[str] = Field(description="codes of the areas whose meters it carries")
    connected: bool | None = Field(description="as of the last round; null: no round yet")
    since: datetime | None = Field(description="since when it is, or is not")
    reason: str | None = Field(description="why it is not")
    meters: int = Field(description="that hang on it and serve")
    response_ms: float | None = Field(description="median of its meters' learnt response times")
    slowest_ms: float | None = Field(description="the slowest meter's")
    last_round: Round | None
    not_read: list[TroubledMeter]


class PolledMeter(TroubledMeter):
    """A meter of a bus with what was learnt of it."""

    usage_point: str | None
    is_area_meter: bool
    response_ms: float | None = Field(description="learnt response time; null: it never answered")
    timeout_ms: float | None = Field(description="how long a question waits for its answer now")
    firmware: str | None = Field(description="as it says itself")
    last_reading_at: datetime | None


class Modem(BaseModel):
    """A modem that dialled in."""

    modem: str = Field(description="as its registration says")
    peer: str = Field(description="the address that it last came from")
    bus: str | None = Field(description="the bus that it carries; null: no meter is reached through it")
    connected: bool
    in_use: bool
    registered_at: datetime
    heard_at: datetime
    registrations: int = Field(description="how often it has dialled in since the process began")


@router.get("", summary="Polled buses", responses=describe())
def list_buses(
    connection: ReadDep,
    q: Annotated[str | None, Query(max_length=100, description="part of its address, an area, or a serial")] = None,
    troubled: Annotated[bool, Query(description="only those that are away or have a meter that is not read")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Bus]:
    """Those that are away first, then those with meters that are not read."""
    after = pagination.decode(cursor, pagination.whole, pagination.text)
    found = polling.buses(
        connection,
        limit=limit + 1,
        search=q or None,
        troubled=troubled,
        after=(after[0], after[1]) if after else None,
    )
    kept, following = pagination.cut(found, limit, lambda row: (row["rank"], row["bus"]))
    return Page(items=[_bus(row) for row in kept], next=following)


@router.get("/meters", summary="Meters of a bus", responses=describe(404))
def list_meters(
    connection: ReadDep, bus: Annotated[str, Query(examples=["modbus+tcp://10.1.2.3:502"], max_length=500)]
) -> list[PolledMeter]:
    """Every meter that is polled on a bus, by unit, with what was learnt of it."""
    if not polling.buses(connection, limit=1, bus=bus):
        raise unknown("bus", bus)
    return [
        PolledMeter(
            **_meter(row),
            usage_point=row["usage_point"],
            is_area_meter=row["kind"] == "area",
            **{key: row[key] for key in ("response_ms", "timeout_ms", "firmware", "last_reading_at")},
        )
        for row in polling.meters_of(connection, bus)
    ]


@router.get("/modems", summary="Modems that dialled in", responses=describe())
def list_modems(connection: ReadDep) -> list[Modem]:
    """Those that are away first."""
    return [Modem(**row) for row in polling.modems(connection, limit=_MOST_MODEMS)]


def _bus(row: dict[str, Any]) -> Bus:
    last_round = None
    if row["began_at"] is not None:
        last_round = Round(**{key: row[key] for key in Round.model_fields})
    return Bus(
        areas=[area["code"] for area in row["areas"]],
        since=row["since_at"],
        last_round=last_round,
        not_read=[TroubledMeter(**_meter(meter)) for meter in row["troubled"]],
        **{key: row[key] for key in ("bus", "peer", "connected", "reason", "meters", "response_ms", "slowest_ms")},
    )


def _meter(row: dict[str, Any]) -> dict[str, Any]:
    same = ("model", "unit", "outcome", "reason", "failures", "next_probe_at")
    return {"meter": f"{row['manufacturer']}/{row['serial']}", "since": row["since_at"]} | {k: row[k] for k in same}
