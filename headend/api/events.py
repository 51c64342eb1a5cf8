"""What devices noticed, or what the head-end noticed of them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from headend.api import pagination
from headend.api.deps import Instant, ReadDep, invalid
from headend.api.errors import describe
from headend.api.pagination import Cursor, Limit, Page
from headend.store import events

router = APIRouter(prefix="/events", tags=["events"])


class Event(BaseModel):
    """One event of one meter, or of one concentrator."""

    id: int
    kind: str = Field(examples=["over_voltage"])
    code: str | None = Field(
        description="EndDeviceEventType of IEC 61968-9, type.domain.subdomain.event; null: none is known for the kind",
        examples=["3.26.38.93"],
    )
    occurred_at: datetime
    uncertainty_ms: int = Field(description="it happened within so much of occurred_at: most are seen at a reading")
    received_at: datetime
    meter: str | None = Field(description="manufacturer/serial; null: a concentrator's", examples=["Acme/310004"])
    concentrator: str | None
    area: str | None = Field(description="where the device was then; null: in stock")
    usage_point: str | None
    phase: int | None = Field(description="1, 2 or 3 where it concerns one phase")
    value: float | None = Field(description="in the unit of the kind: volts, amperes, watts, seconds")
    detail: str
    source: str = Field(description="modbus or mqtt: told by the device; headend: seen in what it sent")


@router.get("", summary="Events", responses=describe())
def list_events(
    *,
    connection: ReadDep,
    manufacturer: Annotated[str | None, Query(description="needed where manufacturers share the serial")] = None,
    serial: Annotated[str | None, Query(description="serial of a meter, or code of a concentrator")] = None,
    area: Annotated[str | None, Query(description="code of an area")] = None,
    kind: Annotated[str | None, Query(examples=["power_failed"])] = None,
    first: Annotated[Instant | None, Query(alias="from", description="with offset")] = None,
    end: Annotated[Instant | None, Query(alias="to", description="not included")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Event]:
    """Events with from <= occurred_at < to, newest first."""
    if first is not None and end is not None and first >= end:
        raise invalid("from", f"{first.isoformat()} is not before `to`, {end.isoformat()}")
    after = pagination.decode(cursor, pagination.instant, pagination.whole)
    found = events.listed(
        connection,
        limit=limit + 1,
        manufacturer=manufacturer,
        serial=serial,
        area=area,
        kind=kind,
        first=first,
        end=end,
        after=(after[0], after[1]) if after else None,
    )
    kept, following = pagination.cut(found, limit, lambda row: (row["occurred_at"].isoformat(), row["event_id"]))
    return Page(items=[_event(row) for row in kept], next=following)


def _event(row: dict[str, Any]) -> Event:
    meter = None if row["serial"] is None else f"{row['manufacturer']}/{row['serial']}"
    own = {key: row[key] for key in Event.model_fields if key not in ("id", "meter")}
    return Event(id=row["event_id"], meter=meter, **own)
