"""The areas list, where a grid engineer's day begins, and the page of one area."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from headend.api import pagination
from headend.api.areas import BalanceState, coverage_of
from headend.api.deps import Parts, PartsDep, ReadDep, unknown
from headend.api.meters import SOURCES
from headend.api.rollups import PeriodBalance, days_of, period_balance
from headend.domain.quality import ValidationFlag
from headend.settlement import judgement
from headend.store import events, read_success, rollups, unmetered, views
from headend.store.pool import Connection, Row
from headend.store.views import AreaSort
from headend.web import event_words, flag_words, limit_words, plots, rollup_words, text
from headend.web.render import page
from headend.web.sparkline import sparkline

router = APIRouter(include_in_schema=False)

DAYS = 28
ROWS_OF_A_PAGE = 100
LARGEST_FINDINGS = 6
EVENT_DAYS = 7
READ_DAYS = 7
MOST_LOADS = 200
LEAST_PROBABLE = 0.005
"""A cause that would be shown as 0 % is not."""
_REFRESH_LOADING_S, _REFRESH_S = 3, 60


@router.get("/")
def areas(
    *,
    request: Request,
    parts: PartsDep,
    connection: ReadDep,
    sort: AreaSort = "loss_rate_7d",
    direction: Literal["asc", "desc"] = "desc",
    state: BalanceState | Literal["unknown", ""] | None = None,
    station: str | None = None,
    q: Annotated[str | None, Query(max_length=100)] = None,
    with_findings: bool = False,
    cursor: str | None = None,
) -> Response:
    """Every area, the worst loss first."""
    after = pagination.decode(cursor, pagination.optional_number, pagination.text)
    found = views.area_summaries(
        connection,
        today=parts.today,
        heard_since=parts.heard_since,
        limit=ROWS_OF_A_PAGE + 1,
        station=station or None,
        state=state or None,
        search=q or None,
        with_findings=with_findings,
        sort=sort,
        descending=direction == "desc",
        after=(after[0], after[1]) if after else None,
    )
    rows, following = pagination.cut(found, ROWS_OF_A_PAGE, lambda row: (row["sort_number"], row["code"]))
    fleet = views.fleet(connection, today=parts.today, heard_since=parts.heard_since)
    chosen = {
        "sort": sort, "direction": direction, "state": state, "station": station, "q": q,
        "with_findings": "true" if with_findings else None,
    }  # fmt: skip
    loading = loading_of(fleet)
    return page(
        request,
        "areas.html",
        areas=rows,
        coverage=coverage_of(parts, connection, rows),
        high_limit=parts.settings.settlement.high_loss_rate,
        sparks=_sparklines(connection, parts, rows),
        findings=views.findings(connection, limit=LARGEST_FINDINGS, state="unresolved", sort="energy"),
        fleet=fleet,
        fleet_rate=_rate(fleet["loss_28d_wh"], fleet["gross_28d_wh"]),
        loading=loading,
        refresh_s=_REFRESH_LOADING_S if loading else _REFRESH_S,
        stations=views.stations(connection),
        chosen=chosen,
        following=following,
        yesterday=parts.today - timedelta(days=1),
    )


@router.get("/areas/{code}")
def area(code: str, request: Request, parts: PartsDep, connection: ReadDep, day: date | None = None) -> Response:
    """One area: 28 days, one chosen day, its households, its findings."""
    row = views.area_summary(connection, code, today=parts.today, heard_since=parts.heard_since)
    if row is None:
        raise unknown("area", code)
    yesterday = parts.today - timedelta(days=1)
    days = list(parts.calendar.days(parts.today - timedelta(days=DAYS), yesterday))
    balances = views.balances(connection, code, days[0], parts.today)
    full = [balance for balance in balances if balance["day"] <= yesterday]
    shown_day = day or row["day"] or yesterday
    judged = _judged(parts, connection, code, shown_day)
    chosen = next(iter(views.balances(connection, code, shown_day, shown_day, intervals=True)), None)
    zone = parts.calendar.zone
    loading = loading_of(row)
    return page(
        request,
        "area.html",
        area=row,
        coverage=coverage_of(parts, connection, [row])[row["area_id"]],
        limits=limits(parts, connection, code),
        balances=sorted(balances, key=lambda b: b["day"], reverse=True),
        days_missing=len(days) - len(full),
        plot_days=plots.area_days(full, days),
        plot_day=plots.area_intervals(chosen, zone) if chosen else None,
        chosen=chosen,
        judged=judged,
        judged_flags=_in_words(judged),
        shown_day=shown_day,
        today=parts.today,
        day_before=shown_day - timedelta(days=1) if shown_day > date.min else None,
        day_after=shown_day + timedelta(days=1) if shown_day < parts.today else None,
        households=[
            _household(one, parts)
            for one in views.households(connection, code, now=parts.clock(), today=parts.today, day=shown_day)
        ],
        area_meters=[_live(one) for one in views.area_meters(connection, code, now=parts.clock())],
        findings=views.findings(connection, limit=50, area=code, sort="energy"),
        report=(report := views.area_report(connection, code)),
        untold=[limit_words.of(limit) for limit in report["limits"]] if report else [],
        odds=_odds(report["cause_probability"]) if report else [],
        rollout=next(iter(views.rollout_areas(connection, area=code)), None),
        months=_months(parts, connection, code),
        columns=rollup_words.COLUMNS,
        sources=rollup_words.SOURCES,
        feeder=rollups.feeder_of(connection, code, parts.clock()),
        unmetered=unmetered.listed(connection, limit=MOST_LOADS, area=code),
        load_kind=rollup_words.kind,
        events=events.recent(connection, row["area_id"], parts.clock() - timedelta(days=EVENT_DAYS)),
        events_since=parts.calendar.day_of(parts.clock() - timedelta(days=EVENT_DAYS)),
        event_word=event_words.word,
        reads=read_success.of_area(connection, row["area_id"], parts.today - timedelta(days=READ_DAYS)),
        objectives=parts.settings.objectives,
        precisely=lambda ratio: text.percent(ratio, 2),
        loading=loading,
        refresh_s=_REFRESH_LOADING_S if loading else 15,
    )


def _judged(parts: Parts, connection: Connection, code: str, day: date) -> judgement.AreaJudged | None:
    """What validation found; None: the day has not been settled."""
    try:
        found = judgement.judged(connection, code, day, parts.calendar)
    except OverflowError:  # at an end of the calendar, where no day is ever settled
        return None
    return found if found.usage_points else None


def _in_words(judged: judgement.AreaJudged | None) -> list[tuple[flag_words.FlagWords, judgement.Found]]:
    """What was found, with its words: faults first, then what only says how a value came to be."""
    if judged is None:
        return []
    found = [(flag_words.FLAGS[ValidationFlag[one.code.upper()]], one) for one in judged.found]
    return sorted(found, key=lambda one: (not one[0].fault, -one[1].intervals))


def _months(parts: Parts, connection: Connection, code: str) -> list[PeriodBalance]:
    """Newest first; months before the first settled day are left out."""
    first, last = days_of(parts, "month", None, None)
    found = rollups.periods(connection, "area", code, first, last, period="month", zone=parts.settings.settlement.zone)
    return [period_balance(row, PeriodBalance) for row in reversed(found) if row["missing"] < row["area_days"]]


def loading_of(row: Mapping[str, Any]) -> dict[str, int] | None:
    """What is still on its way for one area or all of them, or None when history is there.

    Uploads that concentrators keep mean that history is loading; a day or two to be settled again are everyday life.
    """
    uploads, waiting, settled = (int(row[key]) for key in ("uploads_waiting", "days_waiting", "days_settled"))
    if uploads == 0 and waiting == 0 and settled > 0:
        return None
    if uploads == 0 and settled > 0 and waiting <= max(2, settled // 10):
        return None
    return {"uploads": uploads, "waiting": waiting, "settled": settled, "days": settled + waiting}


def _odds(probability: Mapping[str, float]) -> list[tuple[str, float]]:
    """Causes with their probability, the likeliest first; what is next to impossible is left out."""
    return sorted(((c, p) for c, p in probability.items() if p >= LEAST_PROBABLE), key=lambda pair: -pair[1])


def limits(parts: Parts, connection: Connection, code: str) -> dict[str, float]:
    """High and negative limit of an area's loss rate: its own, or the default of the settings."""
    own = views.area_limits(connection, code)
    defaults = parts.settings.settlement
    return {
        "high": defaults.high_loss_rate if own["high_loss_rate"] is None else own["high_loss_rate"],
        "negative": defaults.negative_loss_rate if own["negative_loss_rate"] is None else own["negative_loss_rate"],
        "coverage": defaults.coverage_limit,
    }


def _sparklines(connection: Connection, parts: Parts, rows: list[Row]) -> dict[str, Any]:
    first, last = parts.today - timedelta(days=DAYS), parts.today - timedelta(days=1)
    days = list(parts.calendar.days(first, last))
    rates: dict[int, dict[date, float | None]] = {row["area_id"]: {} for row in rows}
    for entry in views.area_days(connection, list(rates), first, last):
        rates[entry["area_id"]][entry["day"]] = None if entry["state"] == "not_computable" else entry["loss_rate"]
    default = parts.settings.settlement.high_loss_rate
    return {
        row["code"]: sparkline(
            [rates[row["area_id"]].get(d) for d in days],
            default if row["high_loss_rate"] is None else row["high_loss_rate"],
            f"loss rate of {DAYS} days, {row['days_28d']} of them known; mean {text.percent(row['loss_rate_28d'])}",
        )
        for row in rows
    }


def _household(row: Row, parts: Parts) -> dict[str, Any]:
    first, _ = parts.calendar.bounds(parts.today - timedelta(days=7))
    last, _ = parts.calendar.bounds(parts.today)
    expected = int((last - first).total_seconds()) // parts.calendar.interval_s
    measured, estimated = row["measured_7d"], row["estimated_7d"]
    return row | {
        "source": SOURCES.get(row["source"]),
        "voltage_v": None if row["voltage_dv"] is None else row["voltage_dv"] / 10,
        "measured_share": None if measured is None else min(measured / expected, 1.0),
        "estimated_share": None if estimated is None else estimated / expected,
        "power_w": _primary(row),
    }


def _live(row: Row) -> dict[str, Any]:
    phases = [None if row[f"voltage_l{k}_dv"] is None else row[f"voltage_l{k}_dv"] / 10 for k in (1, 2, 3)]
    return row | {
        "power_w": _primary(row),
        "voltages_v": phases if any(v is not None for v in phases) else None,
        "voltage_v": None if row["voltage_dv"] is None else row["voltage_dv"] / 10,
        "source": SOURCES.get(row["source"]),
    }


def _primary(row: Row) -> float | None:
    """Power as it flows: what the meter shows × multiplier × sign of its installation."""
    if row["power_w"] is None or row["multiplier"] is None:
        return None
    return float(row["power_w"] * row["multiplier"] * row["sign"])


def _rate(loss: int | None, gross: int | None) -> float | None:
    return None if loss is None or not gross else loss / gross
