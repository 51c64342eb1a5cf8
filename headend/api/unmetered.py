"""Known loads without a meter: street lights and the like, whose energy a balance counts by schedule."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter, Path, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt, model_validator

from headend.api import pagination
from headend.api.deps import Instant, PartsDep, ReadDep, Text, unknown
from headend.api.discovered import Line
from headend.api.errors import Problem, describe
from headend.api.pagination import Cursor, Limit, Page
from headend.domain.calendar import EARLIEST, LATEST
from headend.domain.unmetered import UnmeteredLoad, parse_schedule
from headend.ingest.topology_cells import code as read_code
from headend.store import unmetered
from headend.store.errors import StoreConflict

router = APIRouter(prefix="/unmetered-loads", tags=["unmetered loads"])

Kind = Literal["street_light", "traffic_light", "cabinet", "cctv", "telecom", "advertising", "other"]
Code = Annotated[str, AfterValidator(read_code), Field(min_length=1, max_length=64, examples=["SL-A1-1"])]
CodeInPath = Annotated[str, Path(min_length=1, max_length=64)]


def _sensible(at: datetime) -> datetime:
    if not EARLIEST <= at <= LATEST:
        raise ValueError(f"{at.isoformat()} is not within {EARLIEST.year} to {LATEST.year}")
    return at


Moment = Annotated[Instant, AfterValidator(_sensible)]


def _schedule(text: str) -> str:
    parse_schedule(text)
    return text


class Load(BaseModel):
    """A load from an instant to an instant."""

    code: Code
    area: str = Field(description="code of the area", examples=["A1"])
    kind: Kind
    name: Text = Field("", max_length=200)
    power_w: StrictInt = Field(gt=0, le=10_000_000)
    tolerance: float = Field(0.1, ge=0, le=1, description="limit of its error, as share of the power")
    schedule: Annotated[str, AfterValidator(_schedule)] = Field(
        max_length=1000,
        description="a subset of OpenStreetMap's opening_hours, by the local clock: 24/7; sunset-sunrise; "
        "Jan-Mar 18:10-06:20; Apr-Dec 19:00-05:30",
        examples=["Nov-Feb 17:50-06:40; Mar-Oct 19:00-05:30"],
    )
    latitude_deg: float | None = Field(None, ge=-90, le=90, description="needed where the schedule goes by the sun")
    longitude_deg: float | None = Field(None, ge=-180, le=180)
    valid_from: Moment
    valid_to: Moment | None = None


class StoredLoad(Load):
    """The same with who noted it last."""

    noted_by: str


class NewLoad(Load):
    """A load to be counted, or another version of one."""

    model_config = ConfigDict(extra="forbid")

    by: Line = Field(description="who says so")
    replace: bool = Field(False, description="the version that still holds ends where this one begins")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if (self.latitude_deg is None) != (self.longitude_deg is None):
            raise ValueError("latitude_deg and longitude_deg come together")
        if parse_schedule(self.schedule).needs_place and self.latitude_deg is None:
            raise ValueError("schedule goes by the sun: latitude_deg and longitude_deg are needed")
        if self.valid_to is not None and self.valid_to <= self.valid_from:
            raise ValueError("valid_to is not after valid_from")
        return self

    def load(self) -> UnmeteredLoad:
        """The same as the store takes it."""
        return UnmeteredLoad(**self.model_dump(exclude={"by", "replace"}))


class EndOfLoad(BaseModel):
    """When a load ceases."""

    model_config = ConfigDict(extra="forbid")

    by: Line
    at: Moment


class Withdrawal(BaseModel):
    """A version that never held."""

    model_config = ConfigDict(extra="forbid")

    by: Line
    valid_from: Moment


@router.get("", summary="Unmetered loads", responses=describe())
def list_loads(
    *,
    connection: ReadDep,
    area: Annotated[str | None, Query(description="code of an area")] = None,
    at: Annotated[Instant | None, Query(description="only those that hold then")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[StoredLoad]:
    """Every version of every load, by code and `valid_from`."""
    after = pagination.decode(cursor, pagination.text, pagination.instant)
    found = unmetered.listed(
        connection, limit=limit + 1, area=area, at=at, after=(after[0], after[1]) if after else None
    )
    kept, following = pagination.cut(found, limit, lambda row: (row["code"], row["valid_from"].isoformat()))
    return Page(items=[StoredLoad.model_construct(**row) for row in kept], next=following)


@router.post("", status_code=201, summary="Count a load", responses=describe(404, 409))
def add_load(request: NewLoad, parts: PartsDep) -> Load:
    """From `valid_from` its energy is delivered energy of its area; days that this touches are settled again."""
    load = request.load()
    with parts.store.transaction() as connection:
        try:
            unmetered.add(
                connection, load, by=request.by, replace_open=request.replace, calendar=parts.calendar,
                now=parts.clock(),
            )  # fmt: skip
        except LookupError as missing:
            raise unknown("area", load.area) from missing
        except StoreConflict as conflict:
            raise _refused(conflict) from conflict
    return _shown(load)


@router.post("/{code}/end", summary="A load ceases", responses=describe(404, 409))
def end_load(code: CodeInPath, request: EndOfLoad, parts: PartsDep) -> Load:
    """Its version that still holds ends at `at`."""
    with parts.store.transaction() as connection:
        try:
            was = unmetered.end(connection, code, request.at, by=request.by, calendar=parts.calendar, now=parts.clock())
        except LookupError as missing:
            raise unknown("unmetered-load", code) from missing
        except StoreConflict as conflict:
            raise _refused(conflict) from conflict
    return _shown(was, request.at)


@router.post("/{code}/withdraw", summary="A load never was", responses=describe(404))
def withdraw_load(code: CodeInPath, request: Withdrawal, parts: PartsDep) -> Load:
    """The version that begins at `valid_from` was an error; what was known of it stays in the history."""
    with parts.store.transaction() as connection:
        try:
            was = unmetered.withdraw(
                connection, code, request.valid_from, by=request.by, calendar=parts.calendar, now=parts.clock()
            )
        except LookupError as missing:
            raise unknown("unmetered-load", f"{code} from {request.valid_from.isoformat()}") from missing
    return _shown(was)


def _shown(load: UnmeteredLoad, valid_to: datetime | None = None) -> Load:
    values = {name: getattr(load, name) for name in Load.model_fields}
    return Load.model_construct(**values | ({} if valid_to is None else {"valid_to": valid_to}))


def _refused(conflict: StoreConflict) -> Problem:
    return Problem(status=409, code="unmetered-load-refused", detail=str(conflict))
