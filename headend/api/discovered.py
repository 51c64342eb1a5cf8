"""Devices that speak and that nobody has imported, and their adoption."""

from __future__ import annotations

import base64
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from headend.api import pagination
from headend.api.deps import Instant, PartsDep, ReadDep, Text, unknown
from headend.api.errors import Problem, describe
from headend.api.pagination import Cursor, Limit, Page
from headend.ingest.adoption import AdoptionRefused, AsConcentrator, AsMeter, Placing, UnknownDiscovered
from headend.store import discovered
from headend.store.errors import StoreConflict

router = APIRouter(prefix="/discovered", tags=["discovered"])
DiscoveredId = Annotated[int, Path(ge=1, lt=2**63)]


class Discovered(BaseModel):
    """A device that spoke."""

    id: int
    kind: Literal["meter", "concentrator"]
    manufacturer: str = Field(description="of a concentrator: empty")
    serial: str = Field(description="of a concentrator: its code")
    protocol: Literal["mqtt", "modbus"]
    origin: str = Field(description="topic, or bus and unit, of its newest message")
    concentrator: str | None = Field(description="code of the concentrator that uploads for it")
    model_guess: str | None
    phases_guess: int | None
    first_seen_at: datetime
    last_seen_at: datetime
    messages: int
    adopted_at: datetime | None
    adopted_by: str | None


class FirstMessage(BaseModel):
    """One of its first messages."""

    received_at: datetime
    origin: str
    size: int = Field(description="of the whole message [bytes]; the payload is cut at 65536")
    payload: str = Field(description="base64")


class DiscoveredWithMessages(Discovered):
    """A device with its first messages."""

    first_messages: list[FirstMessage]


Line = Annotated[Text, Field(min_length=1, max_length=100)]


class AdoptRequest(BaseModel):
    """What somebody says of the device: of a meter its model and registers, of a concentrator its area."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [
                {
                    "by": "Li Wei", "model": "eastron-sdm120", "phases": 1, "digits": 8, "resolution_wh": 10,
                    "usage_point": "U17", "installed_at": "2026-11-23T14:05:00+08:00", "start_import_wh": 1200,
                },
                {"by": "Li Wei", "area": "TA-017"},
            ]
        },
    )  # fmt: skip

    by: Line = Field(description="who adopts it")
    model: Line | None = None
    phases: Literal[1, 3] | None = None
    digits: int | None = Field(None, ge=4, le=12, description="the register rolls over at 10^digits * resolution_wh")
    resolution_wh: int | None = Field(None, ge=1, le=1_000_000)
    usage_point: Line | None = Field(None, description="where it serves; left out: it is in stock")
    installed_at: Instant | None = Field(None, description="default: when it was first heard of")
    multiplier: Decimal | None = Field(None, gt=0, le=Decimal(99_999_999), decimal_places=4)
    start_import_wh: int | None = Field(None, ge=0, le=10**15)
    seal: Line | None = None
    area: Line | None = Field(None, description="of a concentrator: code of the area that it serves")

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        of_meter = ("model", "phases", "digits", "resolution_wh")
        given = [key for key in of_meter if getattr(self, key) is not None]
        if self.area is not None:
            others = [key for key in self.model_fields_set if key not in ("area", "by")]
            if others:
                raise ValueError(f"area is a concentrator's, {', '.join(sorted(others))} a meter's")
        elif len(given) < len(of_meter):
            missing = ", ".join(key for key in of_meter if key not in given)
            raise ValueError(f"{missing} missing: a meter needs {', '.join(of_meter)}, a concentrator its area")
        placed = [k for k in ("installed_at", "multiplier", "start_import_wh", "seal") if getattr(self, k) is not None]
        if self.usage_point is None and placed:
            raise ValueError(f"{', '.join(placed)} without a usage_point")
        return self

    def what(self, first_seen_at: datetime) -> AsMeter | AsConcentrator:
        """The same as the adoption takes it."""
        if self.area is not None:
            return AsConcentrator(self.area)
        assert self.model is not None, "checked above"
        assert self.phases is not None
        assert self.digits is not None
        assert self.resolution_wh is not None
        placing = None
        if self.usage_point is not None:
            placing = Placing(
                usage_point=self.usage_point,
                since=self.installed_at or first_seen_at,
                multiplier=self.multiplier or Decimal(1),
                start_import_wh=self.start_import_wh,
                seal=self.seal,
            )
        return AsMeter(
            model=self.model,
            phases=self.phases,
            digits=self.digits,
            resolution_wh=self.resolution_wh,
            placing=placing,
        )


class AdoptAnswer(BaseModel):
    """What became of it."""

    device: str = Field(description="MANUFACTURER/SERIAL, or the concentrator's code")
    made: bool = Field(description="false: it was there already, as it was")
    usage_point: str | None
    messages_replayed: int = Field(description="of it that lay in the quarantine")
    messages_understood: int
    readings_stored: int


@router.get("", summary="Devices that nobody has imported", responses=describe())
def list_discovered(
    *,
    connection: ReadDep,
    kind: Literal["meter", "concentrator"] | None = None,
    q: Annotated[str | None, Query(max_length=100, description="part of manufacturer/serial")] = None,
    adopted: Annotated[bool, Query(description="also those that were adopted")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Discovered]:
    """Heard of last first."""
    after = pagination.decode(cursor, pagination.instant, pagination.whole)
    found = discovered.listed(
        connection,
        adopted=adopted,
        kind=kind,
        search=q or None,
        after=(after[0], after[1]) if after else None,
        limit=limit + 1,
    )
    kept, following = pagination.cut(found, limit, lambda row: (row["last_seen_at"].isoformat(), row["discovered_id"]))
    return Page(items=[Discovered(**_common(row)) for row in kept], next=following)


@router.get("/{discovered_id}", summary="One of them with its first messages", responses=describe(404))
def one_discovered(discovered_id: DiscoveredId, connection: ReadDep) -> DiscoveredWithMessages:
    """One device."""
    row = discovered.show(connection, discovered_id)
    if row is None:
        raise unknown("discovered-device", discovered_id)
    messages = [
        FirstMessage(
            received_at=m["received_at"],
            origin=m["origin"],
            size=m["size"],
            payload=base64.b64encode(bytes(m["payload"])).decode(),
        )
        for m in row["first_messages"]
    ]
    return DiscoveredWithMessages(**_common(row), first_messages=messages)


@router.post("/{discovered_id}/adopt", summary="Make it one of ours", responses=describe(404, 409))
def adopt(discovered_id: DiscoveredId, request: AdoptRequest, parts: PartsDep) -> AdoptAnswer:
    """Creates the meter (in stock, or at a usage point) or the concentrator, and replays what it has sent so far.

    Sending it twice changes nothing. 409 where its place is taken.
    """
    return adopted(parts, discovered_id, request)


def adopted(parts: PartsDep, discovered_id: int, request: AdoptRequest) -> AdoptAnswer:
    """The same for the page. Raises Problem."""
    with parts.store.transaction() as connection:
        row = discovered.show(connection, discovered_id)
    if row is None:
        raise unknown("discovered-device", discovered_id)
    try:
        done = parts.adoption.adopt(discovered_id, request.what(row["first_seen_at"]), by=request.by)
    except UnknownDiscovered as gone:
        raise unknown("discovered-device", discovered_id) from gone
    except AdoptionRefused as refused:
        raise Problem(status=409, code="adoption-refused", detail=str(refused)) from refused
    except StoreConflict as conflict:
        if conflict.constraint != "installation":
            raise
        raise Problem(status=409, code="adoption-refused", detail=str(conflict)) from conflict
    return AdoptAnswer(
        device=done.name,
        made=done.made,
        usage_point=done.usage_point,
        messages_replayed=done.replayed.messages,
        messages_understood=done.replayed.closed,
        readings_stored=done.replayed.stored,
    )


def _common(row: dict[str, Any]) -> dict[str, Any]:
    return {"id": row["discovered_id"]} | {key: row[key] for key in Discovered.model_fields if key != "id"}
