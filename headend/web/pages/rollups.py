"""Stations and feeders: a month's sums, the months before it, and the areas under them, the largest loss first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from headend.api.deps import Parts, PartsDep, ReadDep, invalid, unknown
from headend.api.rollups import PartBalance, PeriodBalance, days_of, period_balance
from headend.domain.calendar import EARLIEST
from headend.store import rollups
from headend.store.pool import Connection
from headend.store.rollups import Scope
from headend.web import rollup_words
from headend.web.render import page

router = APIRouter(include_in_schema=False)

Sort = Literal["loss", "loss_rate", "unexplained", "supplied", "coverage", "code"]
Month = Annotated[str | None, Query(pattern=r"^\d{4}-\d{2}$", description="YYYY-MM; default: the running one")]

_KEYS: Final[Mapping[str, str]] = {
    "loss": "loss_wh", "loss_rate": "loss_rate", "unexplained": "unexplained_wh", "supplied": "supplied_wh",
    "coverage": "coverage_area_days", "code": "part",
}  # fmt: skip
"""Sort → the field that it goes by."""


@router.get("/stations")
def stations(request: Request, parts: PartsDep, connection: ReadDep, month: Month = None) -> Response:
    """Every station in one month."""
    first, last = month_of(parts, month)
    found = {
        row["part"]: period_balance(row, PartBalance)
        for row in rollups.periods(
            connection, "all", None, first, last, period="month", zone=parts.settings.settlement.zone, by="station"
        )
    }
    return page(
        request, "stations.html", stations=rollups.stations(connection), sums=found, **_frame(parts, first, last)
    )


@router.get("/stations/{code}")
def station(
    *,
    code: str,
    request: Request,
    parts: PartsDep,
    connection: ReadDep,
    month: Month = None,
    sort: Sort = "loss",
    direction: Literal["asc", "desc"] = "desc",
) -> Response:
    """One station: the month, its feeders, its areas."""
    found = rollups.stations(connection, code)
    if not found:
        raise unknown("station", code)
    first, last = month_of(parts, month)
    feeders = {row["code"]: row for row in rollups.feeders(connection, parts.clock(), station=code)}
    by_feeder = _month(parts, connection, ("station", code), (first, last), "feeder")
    return page(
        request,
        "rollup.html",
        scope="station",
        code=code,
        name=found[0]["name"],
        above=None,
        feeders=[(feeders.get(part.part), part) for part in by_feeder if feeders or part.part],
        **_body(parts, connection, ("station", code), (first, last), sort=sort, direction=direction),
    )


@router.get("/feeders/{code}")
def feeder(
    *,
    code: str,
    request: Request,
    parts: PartsDep,
    connection: ReadDep,
    month: Month = None,
    sort: Sort = "loss",
    direction: Literal["asc", "desc"] = "desc",
) -> Response:
    """One feeder: the month, and the areas that hung on it."""
    found = rollups.feeders(connection, parts.clock(), code=code)
    if not found:
        raise unknown("feeder", code)
    first, last = month_of(parts, month)
    return page(
        request,
        "rollup.html",
        scope="feeder",
        code=code,
        name=found[0]["name"],
        above=(found[0]["station"], found[0]["station_name"]),
        feeders=[],
        **_body(parts, connection, ("feeder", code), (first, last), sort=sort, direction=direction),
    )


def month_of(parts: Parts, month: str | None) -> tuple[date, date]:
    """First and last local day of a month, the last not after yesterday. Raises Problem 422."""
    yesterday = parts.today - timedelta(days=1)
    if month is None:
        return yesterday.replace(day=1), yesterday
    try:
        first = date(int(month[:4]), int(month[5:]), 1)
    except ValueError as error:
        raise invalid("month", f"{month} is no month; wanted one such as 2026-03") from error
    if first < EARLIEST.date():
        raise invalid("month", f"{month} is before any meter was read")
    if first > yesterday:
        raise invalid("month", f"{month} has not begun")
    return first, min(_next(first) - timedelta(days=1), yesterday)


def _next(first: date) -> date:
    return (first + timedelta(days=31)).replace(day=1)


def _month(
    parts: Parts, connection: Connection, where: tuple[Scope, str], days: tuple[date, date], by: rollups.Parts
) -> list[PartBalance]:
    """One month's sums of a scope by its parts."""
    found = rollups.periods(connection, *where, *days, period="month", zone=parts.settings.settlement.zone, by=by)
    return [period_balance(row, PartBalance) for row in found]


def _frame(parts: Parts, first: date, last: date) -> dict[str, Any]:
    """What pages of a month share."""
    following = _next(first)
    return {
        "first": first,
        "last": last,
        "month": f"{first:%Y-%m}",
        "this_month": f"{parts.today - timedelta(days=1):%Y-%m}",
        "month_before": f"{first - timedelta(days=1):%Y-%m}",
        "month_after": f"{following:%Y-%m}" if following < parts.today else None,
        "scopes": rollup_words.SCOPES,
        "columns": rollup_words.COLUMNS,
    }


def _body(
    parts: Parts,
    connection: Connection,
    where: tuple[Scope, str],
    days: tuple[date, date],
    *,
    sort: Sort,
    direction: Literal["asc", "desc"],
) -> dict[str, Any]:
    first, last = days
    year = days_of(parts, "month", None, last)
    months = rollups.periods(connection, *where, *year, period="month", zone=parts.settings.settlement.zone)
    shown = [
        period_balance(row, PeriodBalance)
        for row in months
        if row["period"] == first or row["missing"] < row["area_days"]
    ]
    areas = _month(parts, connection, where, days, "area")
    return _frame(parts, first, last) | {
        "sum": next((m for m in shown if m.period == first), None),
        "months": list(reversed(shown)),
        "areas": _sorted(areas, sort, descending=direction == "desc"),
        "names": rollups.names(connection, [a.part for a in areas if a.part]),
        "chosen": {"month": f"{first:%Y-%m}", "sort": sort, "direction": direction},
        "high_limit": parts.settings.settlement.high_loss_rate,
    }


def _sorted(areas: list[PartBalance], sort: Sort, *, descending: bool) -> list[PartBalance]:
    """By the chosen number; areas without it come last, either way."""
    key = _KEYS[sort]
    known = sorted((a for a in areas if getattr(a, key) is not None), key=lambda a: getattr(a, key), reverse=descending)
    return known + [a for a in areas if getattr(a, key) is None]
