"""Balances rolled up: areas to feeders and stations, by local day and month; what a sum lacks stands beside it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from itertools import dropwhile
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote

from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import BaseModel, Field

from headend.api import csv_out, pagination
from headend.api.deps import Day, Parts, PartsDep, ReadDep, invalid, period_of_days, unknown
from headend.api.errors import describe
from headend.api.pagination import Cursor, Limit, Page
from headend.store import rollups
from headend.store.pool import Connection, Row
from headend.store.rollups import Scope

router = APIRouter(tags=["roll-ups"])

MOST_DAYS = 400
MONTHS_BY_DEFAULT = 12
MOST_MONTHS = 120
_WHOLE = 100_000

PeriodOfDays = Literal["day", "month"]
PeriodQuery = Annotated[PeriodOfDays, Query(description="one row a local day, or a calendar month")]
FirstDay = Annotated[Day | None, Query(alias="from", description="first local day")]
LastDay = Annotated[Day | None, Query(alias="to", description="last local day; default: yesterday")]


class States(BaseModel):
    """How many area-days are in each state."""

    normal: int
    high: int
    negative: int
    not_computable: int
    missing: int = Field(description="not settled")


class PeriodBalance(BaseModel):
    """Sums over a day or month [Wh]; they cover computable area-days only, and nothing is scaled up for the others."""

    period: date = Field(description="the day, or the first of the month")
    first_day: date
    last_day: date = Field(description="last local day in the sums; a running month ends yesterday")
    running: bool = Field(description="whether days of the period are still to come, or were not asked for")
    complete: bool = Field(description="whether it is not running and every area-day of it is computable")
    areas: int
    areas_computable: int = Field(description="areas with at least one computable day")
    area_days: int
    area_days_computable: int
    area_days_final: int
    supplied_wh: int | None
    delivered_wh: int | None
    unmetered_wh: int | None = Field(description="of the delivered energy: loads without a meter, by schedule")
    loss_wh: int | None
    technical_wh: int | None = Field(description="null unless it is known of every computable area-day")
    unexplained_wh: int | None
    gross_wh: int | None = Field(description="area import + household export: the rate's denominator")
    loss_rate: float | None
    uncertainty_wh: int | None = Field(description="one standard deviation of the loss")
    households: int | None = Field(description="customers on the areas, at most at once")
    coverage_households: float | None = Field(description="share of them that a meter of their own was read at")
    coverage_area_days: float = Field(description="share of area-days that are computable")
    measured_wh: int | None = Field(description="household import + export: of what was measured")
    estimated_wh: int | None
    edited_wh: int | None
    estimated_share: float | None
    states: States


class PartBalance(PeriodBalance):
    """The same of one part: an area of a station, say."""

    part: str | None = Field(description="code of the area, feeder or station; null: areas that hang on no feeder")


class Station(BaseModel):
    """A local supply station (供电所)."""

    code: str
    name: str
    areas: int
    feeders: int


class Feeder(BaseModel):
    """A medium-voltage line (馈线) that transformer areas hang on."""

    code: str
    name: str
    station: str
    station_name: str
    areas: int = Field(description="that hang on it now")


Made = TypeVar("Made", bound=PeriodBalance)


def period_balance(row: Row, kind: type[Made]) -> Made:
    """A row of `store.rollups.periods`, whole or by parts."""
    values = {key: row[key] for key in kind.model_fields if key in row}
    return kind.model_validate(
        values
        | {
            "running": not row["whole"],
            "complete": row["whole"] and row["area_days_computable"] == row["area_days"],
            "coverage_area_days": row["area_days_computable"] / row["area_days"],
            "states": {key: row[key] for key in States.model_fields},
        }
    )


def days_of(parts: Parts, period: PeriodOfDays, first: date | None, last: date | None) -> tuple[date, date]:
    """The days asked for; months begin with their first day. Raises Problem 422."""
    yesterday = parts.today - timedelta(days=1)
    end = min(last or yesterday, yesterday)
    if period == "month":
        start = first or _months_before(end, MONTHS_BY_DEFAULT - 1)
        start = start.replace(day=1)
        if start > end:
            raise invalid("from", f"{start} is after `to`, {end}")
        if start < _months_before(end, MOST_MONTHS - 1):
            raise invalid("from", f"{start} to {end} is too long; at most {MOST_MONTHS} months at once")
        return start, end
    return period_of_days(first, end, today=parts.today, default_days=28, most_days=MOST_DAYS)


def _months_before(day: date, months: int) -> date:
    year, month = divmod(day.year * 12 + day.month - 1 - months, 12)
    return date(max(year, 1), month + 1, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Asked:
    """Which sums a request wants, and as what."""

    request: Request
    parts: Parts
    connection: Connection
    period: PeriodOfDays
    first: date | None
    last: date | None
    limit: int
    cursor: str | None


def asked(
    *,
    request: Request,
    parts: PartsDep,
    connection: ReadDep,
    period: PeriodQuery = "month",
    first: FirstDay = None,
    last: LastDay = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Asked:
    """The query of a station's or a feeder's balances."""
    return Asked(
        request=request, parts=parts, connection=connection, period=period, first=first, last=last, limit=limit,
        cursor=cursor,
    )  # fmt: skip


def balances(wanted: Asked, scope: Scope, code: str) -> Page[PeriodBalance] | Response:
    """One page of a scope's sums, oldest first; all of them at once where CSV was asked for."""
    parts, as_csv = wanted.parts, csv_out.wanted(wanted.request)
    start, end = days_of(parts, wanted.period, wanted.first, wanted.last)
    limit = _WHOLE if as_csv else wanted.limit  # a file has no next page
    after = pagination.decode(wanted.cursor, pagination.day)
    found = rollups.periods(
        wanted.connection, scope, code, start, end, period=wanted.period, zone=parts.settings.settlement.zone,
        after=after[0] if after else None, limit=limit + 1,
    )  # fmt: skip
    kept, following = pagination.cut(found, limit, lambda row: (row["period"],))
    if wanted.first is None and after is None:  # nobody asked for the time before anything was settled
        kept = list(dropwhile(lambda row: row["missing"] == row["area_days"], kept))
    items = [period_balance(row, PeriodBalance) for row in kept]
    if as_csv:
        return csv_out.answer(items, list(PeriodBalance.model_fields), quote(f"{code}-{wanted.period}"))
    return Page(items=items, next=following)


@router.get("/stations", summary="Supply stations", responses=describe())
def list_stations(connection: ReadDep) -> list[Station]:
    """Every station with how many areas and feeders it answers for."""
    return [Station(**row) for row in rollups.stations(connection)]


@router.get("/feeders", summary="Feeders", responses=describe())
def list_feeders(
    parts: PartsDep,
    connection: ReadDep,
    station: Annotated[str | None, Query(description="code of the supply station")] = None,
) -> list[Feeder]:
    """Every feeder, or a station's."""
    return [Feeder(**row) for row in rollups.feeders(connection, parts.clock(), station=station)]


@router.get(
    "/stations/{code}/balances", summary="A station's balances", response_model=Page[PeriodBalance],
    responses=describe(404) | csv_out.RESPONSES,
)  # fmt: skip
@router.get("/stations/{code}/balances.csv", include_in_schema=False, response_model=None)
def station_balances(code: str, wanted: Annotated[Asked, Depends(asked)]) -> Page[PeriodBalance] | Response:
    """Sums over the station's areas, oldest first. CSV with `Accept: text/csv`, or under `balances.csv`."""
    if not rollups.stations(wanted.connection, code):
        raise unknown("station", code)
    return balances(wanted, "station", code)


@router.get(
    "/stations/{code}/parts", summary="A station's areas or feeders in one period", response_model=list[PartBalance],
    responses=describe(404),
)  # fmt: skip
def station_parts(
    *,
    code: str,
    parts: PartsDep,
    connection: ReadDep,
    by: Literal["area", "feeder"] = "area",
    first: FirstDay = None,
    last: LastDay = None,
) -> list[PartBalance]:
    """One row for each area or feeder: sums from `from` (default: the first of the month) to `to`, within one month."""
    if not rollups.stations(connection, code):
        raise unknown("station", code)
    start, end = _one_month(parts, first, last)
    found = rollups.periods(
        connection, "station", code, start, end, period="month", zone=parts.settings.settlement.zone, by=by
    )
    return [period_balance(row, PartBalance) for row in found]


def _one_month(parts: Parts, first: date | None, last: date | None) -> tuple[date, date]:
    end = min(last or parts.today, parts.today - timedelta(days=1))
    start = first or end.replace(day=1)
    if (start.year, start.month) != (end.year, end.month) or start > end:
        raise invalid("from", f"{start} to {end} is not within one month")
    return start, end


@router.get(
    "/feeders/{code}/balances", summary="A feeder's balances", response_model=Page[PeriodBalance],
    responses=describe(404) | csv_out.RESPONSES,
)  # fmt: skip
@router.get("/feeders/{code}/balances.csv", include_in_schema=False, response_model=None)
def feeder_balances(code: str, wanted: Annotated[Asked, Depends(asked)]) -> Page[PeriodBalance] | Response:
    """Sums over the areas that hung on the feeder on each day, oldest first; CSV as for stations."""
    if not rollups.feeders(wanted.connection, wanted.parts.clock(), code=code):
        raise unknown("feeder", code)
    return balances(wanted, "feeder", code)
