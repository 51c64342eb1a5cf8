"""Areas with their losses, and their balances by day."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Annotated, Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from headend.api import csv_out, pagination, rollups
from headend.api.deps import Day, Parts, PartsDep, ReadDep, invalid, period_of_days, unknown
from headend.api.errors import describe
from headend.api.pagination import Cursor, Limit, Page
from headend.api.rollups import PeriodBalance
from headend.store import views
from headend.store.pool import Connection, Row
from headend.store.views import AreaSort

router = APIRouter(prefix="/areas", tags=["areas"])

BalanceState = Literal["normal", "high", "negative", "not_computable"]
MOST_DAYS = 400
MOST_DAYS_OF_INTERVALS = 35
_DIRECTIONS = Literal["asc", "desc"]


class Balance(BaseModel):
    """Energy of one area on one local day [Wh]; null: not known, which is not zero."""

    model_config = ConfigDict(extra="ignore")

    day: date
    state: BalanceState
    reason: str | None = Field(description="why the balance is not computable")
    supplied_wh: int | None = Field(description="into the area: area meter import − export, primary side")
    delivered_wh: int | None = Field(description="through the household meters: import − export")
    loss_wh: int | None
    technical_wh: int | None = Field(
        description="of the loss, heat in conductors and meters' own use, as technical_source says"
    )
    unexplained_wh: int | None
    loss_rate: float | None = Field(description="loss ÷ gross energy into the area; 0.07 is 7 %", examples=[0.043])
    uncertainty_wh: int | None = Field(description="one standard deviation of the loss")
    coverage_households: float | None = Field(description="share of customers read by a meter of their own")
    coverage_intervals: float | None = Field(description="share of metering-point intervals that is measured")
    estimated_share: float | None = Field(description="of the delivered energy")
    final: bool | None = Field(description="complete, or past the grace: billing may take it")


class Intervals(BaseModel):
    """A balance's vectors: one value an interval [Wh], null: not measured on every metering point."""

    starts_at: datetime = Field(description="UTC start of the first interval")
    interval_s: int
    supplied_wh: list[int | None]
    delivered_wh: list[int | None]
    technical_wh: list[int | None]


class BalanceDay(Balance):
    """A day's balance with how complete it is."""

    unmetered_wh: int | None = Field(description="of delivered_wh: loads without a meter, by schedule")
    technical_source: Literal["report", "model"] | None = Field(
        description="report: of the engine's window with this day in it; model: what its last report taught"
    )
    gross_wh: int | None = Field(description="area import + household export: the loss rate's denominator")
    systematic_wh: int | None = Field(
        description="of uncertainty_wh, what is the same error on every day; over days it adds up, the rest in squares"
    )
    measured_wh: int | None = Field(description="household import + export: of what was measured")
    estimated_wh: int | None = Field(description="... of what was estimated")
    edited_wh: int | None = Field(description="... of what a person set")
    intervals: int = Field(description="on this local day; 92 or 100 where the clocks change")
    intervals_complete: int
    households: int
    households_measured: int
    settled_at: datetime
    vectors: Intervals | None = Field(None, description="only with intervals=day")


_CSV_COLUMNS = ["day", *(key for key in BalanceDay.model_fields if key not in ("day", "vectors"))]


class Loss(BaseModel):
    """Loss over some full local days before today."""

    days: int = Field(description="days with a computable balance among them; the sums cover these only")
    loss_wh: int | None
    loss_rate: float | None


class CoverageNow(BaseModel):
    """Households read by a meter of their own as of now: a new meter counts from its first reading on."""

    households: int = Field(description="customers on the area, those behind a shared meter too")
    households_read: int = Field(description="of them, whose own meter was read within the last 24 h")


class Loading(BaseModel):
    """History that is still on its way."""

    uploads_waiting: int = Field(description="uploads that the area's concentrators still keep")
    days_settled: int = Field(description="of the last 28 local days")
    days_waiting: int = Field(description="past days touched and not settled again yet")


class Area(BaseModel):
    """A transformer area (台区) as a grid engineer looks at it."""

    code: str = Field(examples=["A1"])
    name: str
    station: str
    station_name: str
    transformer_kva: float | None
    latest: Balance | None = Field(description="the latest full local day; null: no balance yet")
    loss_7d: Loss
    loss_28d: Loss
    open_findings: int
    at_stake_wh: float | None = Field(
        description="energy that the open findings say was counted wrongly, in whichever direction"
    )
    coverage_now: CoverageNow
    loading: Loading


class Untold(BaseModel):
    """One thing that the data could not tell, or only roughly."""

    code: str = Field(description="which input lacks", examples=["no_household_voltage"])
    numbers: dict[str, float | None] = Field(description="how much of it; units in the names")


class AreaReport(BaseModel):
    """What the reconciliation last said of an area as a whole."""

    model_config = ConfigDict(extra="ignore")

    window_from: date = Field(description="first local day that was looked at")
    window_to: date
    reported_at: datetime
    alarm: bool = Field(description="the area stands out")
    anomaly_score: float = Field(description="log evidence against a clean area [nat]")
    cause: str = Field(
        description="the most probable one: clean, meter, mapping, area_meter, unmetered; or not_computable"
    )
    cause_probability: dict[str, float] = Field(description="of each cause, 0..1; empty where not computable")
    technical_loss_wh: float | None = Field(description="over the window")
    limits: list[Untold] = Field(description="what could not be told, the gravest first; empty where nothing lacks")


def area_of(row: dict[str, Any], coverage: views.CoverageNow) -> Area:
    """An Area from a row of `views.area_summaries` and its coverage as of now."""
    return Area(
        coverage_now=CoverageNow(households=coverage.households, households_read=coverage.read),
        latest=Balance.model_validate(row) if row["day"] is not None else None,
        loss_7d=Loss(days=row["days_7d"], loss_wh=row["loss_7d_wh"], loss_rate=row["loss_rate_7d"]),
        loss_28d=Loss(days=row["days_28d"], loss_wh=row["loss_28d_wh"], loss_rate=row["loss_rate_28d"]),
        loading=Loading.model_validate(row, from_attributes=False),
        **{
            key: row[key]
            for key in ("code", "name", "station", "station_name", "transformer_kva", "open_findings", "at_stake_wh")
        },
    )


def coverage_of(parts: Parts, connection: Connection, rows: Sequence[Row]) -> dict[int, views.CoverageNow]:
    """Coverage as of now by area_id, of rows that hold one."""
    areas = [row["area_id"] for row in rows]
    return views.coverage_now(connection, areas, now=parts.clock(), read_since=parts.read_since)


@router.get("", summary="Areas with their losses", responses=describe())
def list_areas(
    *,
    parts: PartsDep,
    connection: ReadDep,
    sort: Annotated[AreaSort, Query(description="areas without that number come last")] = "code",
    direction: _DIRECTIONS = "asc",
    state: Annotated[
        BalanceState | Literal["unknown"] | None, Query(description="state of the latest full day")
    ] = None,
    station: Annotated[str | None, Query(description="code of the supply station")] = None,
    q: Annotated[str | None, Query(description="part of code, name or station", max_length=100)] = None,
    with_findings: Annotated[bool, Query(description="only areas with open findings")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[Area]:
    """Every area with its latest full local day, its loss over the last 7 and 28 full days and its open findings.

    A cursor belongs to one choice of sort and direction.
    """
    after = pagination.decode(cursor, pagination.optional_number, pagination.text)
    found = views.area_summaries(
        connection,
        today=parts.today,
        heard_since=parts.heard_since,
        limit=limit + 1,
        station=station,
        state=state,
        search=q,
        with_findings=with_findings,
        sort=sort,
        descending=direction == "desc",
        after=(after[0], after[1]) if after else None,
    )
    kept, following = pagination.cut(found, limit, lambda row: (row["sort_number"], row["code"]))
    coverage = coverage_of(parts, connection, kept)
    return Page(items=[area_of(row, coverage[row["area_id"]]) for row in kept], next=following)


@router.get("/{code}", summary="One area", responses=describe(404))
def one_area(code: str, parts: PartsDep, connection: ReadDep) -> Area:
    """One area as the list shows it."""
    row = views.area_summary(connection, code, today=parts.today, heard_since=parts.heard_since)
    if row is None:
        raise unknown("area", code)
    return area_of(row, coverage_of(parts, connection, [row])[row["area_id"]])


@router.get("/{code}/report", summary="What the reconciliation last said of an area", responses=describe(404))
def area_report(code: str, parts: PartsDep, connection: ReadDep) -> AreaReport:
    """The last report on the area as a whole: its most probable cause, and what its data could not tell. Findings have
    an endpoint of their own.
    """
    if views.area_summary(connection, code, today=parts.today, heard_since=parts.heard_since) is None:
        raise unknown("area", code)
    row = views.area_report(connection, code)
    if row is None:
        raise unknown("report", code)
    return AreaReport.model_validate(row)


@router.get(
    "/{code}/balances",
    summary="Balances by local day or month",
    response_model=Page[BalanceDay] | Page[PeriodBalance],
    responses=describe(404) | csv_out.RESPONSES,
)
@router.get("/{code}/balances.csv", include_in_schema=False, response_model=None)
def list_balances(
    *,
    request: Request,
    code: str,
    parts: PartsDep,
    connection: ReadDep,
    first: Annotated[
        Day | None, Query(alias="from", description="first local day; default: 28 days before `to`, or 12 months")
    ] = None,
    last: Annotated[Day | None, Query(alias="to", description="last local day; default: yesterday")] = None,
    period: rollups.PeriodQuery = "day",
    intervals: Annotated[
        Literal["none", "day"], Query(description="day: with each day's interval vectors (at most 35 days at once)")
    ] = "none",
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[BalanceDay] | Page[PeriodBalance] | Response:
    """Balances oldest first. A day that has not been settled is not in the list: it is not a day of zero; a month with
    such days says so. CSV with `Accept: text/csv`, or under `balances.csv`.
    """
    vectors = intervals == "day"
    if views.area_summary(connection, code, today=parts.today, heard_since=parts.heard_since) is None:
        raise unknown("area", code)
    if period == "month":
        if vectors:
            raise invalid("intervals", "a month has none; wanted period=day")
        wanted = rollups.asked(
            request=request, parts=parts, connection=connection, period=period, first=first, last=last, limit=limit,
            cursor=cursor,
        )  # fmt: skip
        return rollups.balances(wanted, "area", code)
    start, end = period_of_days(
        first, last, today=parts.today, default_days=28, most_days=MOST_DAYS_OF_INTERVALS if vectors else MOST_DAYS
    )
    if csv_out.wanted(request):  # a file has no next page
        limit = MOST_DAYS
    after = pagination.decode(cursor, pagination.day)
    found = views.balances(
        connection, code, start, end, intervals=vectors, limit=limit + 1, after=after[0] if after else None
    )
    kept, following = pagination.cut(found, limit, lambda row: (row["day"],))
    items = [_balance_day(row, vectors) for row in kept]
    if csv_out.wanted(request):
        return csv_out.answer(items, _CSV_COLUMNS, quote(f"{code}-{period}"))
    return Page(items=items, next=following)


def _balance_day(row: dict[str, Any], vectors: bool) -> BalanceDay:
    made = BalanceDay.model_validate(row)
    if vectors:
        made.vectors = Intervals(
            starts_at=row["starts_at"],
            interval_s=row["interval_s"],
            supplied_wh=row["supplied_interval_wh"],
            delivered_wh=row["delivered_interval_wh"],
            technical_wh=row["technical_interval_wh"],
        )
    return made
