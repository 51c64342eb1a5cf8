"""A usage point: what it is, and its settled energy with quality, flags, registers and what was edited."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from headend.api.deps import Day, PartsDep, ReadDep, invalid, period_of_days, unknown
from headend.api.errors import describe
from headend.domain.edits import EditState
from headend.domain.quality import Quality, ValidationFlag
from headend.store import edits, rule_sets, usage_points
from headend.store.pool import Connection, Row

router = APIRouter(prefix="/usage-points", tags=["usage points"])

MOST_DAYS = 31


class ServingMeter(BaseModel):
    """A meter that serves, or served, there."""

    manufacturer: str
    serial: str
    model: str
    multiplier: Decimal
    sign: int = Field(description="-1: wired the other way round")
    since: datetime
    until: datetime | None = Field(description="null: it still serves")


class UsagePoint(BaseModel):
    """Where one customer is supplied, several behind one meter, or the transformer itself."""

    code: str
    name: str
    kind: str = Field(examples=["customer"], description="customer, shared or area")
    category: str = Field(examples=["residential"], description="now; it may have been another one")
    phase: str | None
    rated_current_a: int | None
    area: str | None = Field(description="code of the area that it hangs on, or hung on last")
    behind: str | None = Field(description="the shared usage point whose meter counts instead")
    meters: list[ServingMeter] = Field(description="that serve now")


class IntervalEnergy(BaseModel):
    """Energy between two aligned instants, on the primary side."""

    starts_at: datetime
    import_wh: int | None = Field(description="null: absent, which is not zero")
    export_wh: int | None
    voltage_v: float | None
    quality: str = Field(
        examples=["measured"], description="absent, measured, interpolated, estimated, edited, zero_by_event"
    )
    flags: list[str] = Field(examples=[["spike"]], description="what validation said; the rule set has the thresholds")
    edit_id: str | None = Field(description="the newest edit that covers it and stands, held or not; null: none")
    edit_direction: str | None = Field(description="import or export: which energy that edit is of")
    before_wh: int | None = Field(description="where it holds: what that energy was when the edit was made")
    before_quality: str | None


class UsagePointDay(BaseModel):
    """One settled local day."""

    day: date
    interval_s: int
    start_import_wh: int | None = Field(description="raw register at the first midnight; null: not read there")
    end_import_wh: int | None
    start_export_wh: int | None
    end_export_wh: int | None
    multiplier: Decimal | None
    meters: list[str]
    rule_set: int = Field(description="the rules that judged it, see `rule_sets`")
    settled_at: datetime
    intervals: list[IntervalEnergy]


class RuleSet(BaseModel):
    """What judged and estimated: rules with versions and thresholds."""

    id: int
    rules: dict[str, Any]


class UsagePointIntervals(BaseModel):
    """Settled days of a usage point."""

    usage_point: str
    days: list[UsagePointDay] = Field(description="only those that have been settled")
    rule_sets: list[RuleSet]


@router.get("/{code}", summary="A usage point", responses=describe(404))
def one_usage_point(code: str, parts: PartsDep, connection: ReadDep) -> UsagePoint:
    """What it is now."""
    head = existing(connection, code, parts.clock())
    now = parts.clock()
    serving = usage_points.meters(connection, head["usage_point_id"], now, now + timedelta(microseconds=1))
    return UsagePoint(
        **{key: head[key] for key in UsagePoint.model_fields if key != "meters"},
        meters=[
            ServingMeter(
                **{key: m[key] for key in ("manufacturer", "serial", "model", "multiplier", "sign")},
                since=m["valid_from"],
                until=m["valid_to"],
            )
            for m in serving
        ],
    )


@router.get("/{code}/intervals", summary="Settled energy of a usage point", responses=describe(404))
def list_intervals(
    *,
    code: str,
    parts: PartsDep,
    connection: ReadDep,
    day: Annotated[Day | None, Query(description="one local day, instead of `from` and `to`")] = None,
    first: Annotated[Day | None, Query(alias="from", description="first local day; default: `to`")] = None,
    last: Annotated[Day | None, Query(alias="to", description="last local day, included; default: yesterday")] = None,
) -> UsagePointIntervals:
    """Every interval with how its energy came to be, what failed, and what a person set."""
    head = existing(connection, code, parts.clock())
    if day is not None and (first is not None or last is not None):
        raise invalid("day", "give either a day, or `from` and `to`")
    since, until = period_of_days(day or first, day or last, today=parts.today, default_days=1, most_days=MOST_DAYS)
    try:
        start, end = parts.calendar.bounds(since)[0], parts.calendar.bounds(until)[1]
    except OverflowError as error:
        raise invalid("day" if day else "from", f"{since} to {until} is at the end of the calendar") from error
    found = usage_points.days(connection, head["usage_point_id"], since, until)
    standing = [
        e
        for e in edits.of_stretch(connection, head["usage_point_id"], start, end)
        if e["undone_at"] is None and e["kind"] == "values"
    ]
    kept = rule_sets.get(connection, [row["rules"] for row in found])
    return UsagePointIntervals(
        usage_point=code,
        days=[_day(row, standing) for row in found],
        rule_sets=[RuleSet(id=number, rules=one.rules) for number, one in sorted(kept.items())],
    )


def existing(connection: Connection, code: str, now: datetime) -> Row:
    """The usage point. Raises Problem 404."""
    head = usage_points.head(connection, code, now=now)
    if head is None:
        raise unknown("usage-point", code)
    return head


def flag_names(flags: int) -> list[str]:
    """Machine words of the flags of an interval."""
    return [(f.name or str(f.value)).lower() for f in ValidationFlag if f and flags & f]


def quality_name(quality: int) -> str:
    """Machine word of a quality."""
    return Quality(quality).name.lower()


def covering(standing: Iterable[Row], at: datetime) -> tuple[Row, int] | None:
    """The newest of some edits of values that covers the interval which starts at an instant, and its place in it;
    `standing`: newest first.
    """
    for edit in standing:
        if edit["from_ts"] <= at < edit["to_ts"]:
            return edit, (at - edit["from_ts"]) // timedelta(seconds=edit["interval_s"])
    return None


def _day(row: Row, standing: Sequence[Row]) -> UsagePointDay:
    step = timedelta(seconds=row["interval_s"])
    plain = ("day", "interval_s", "start_import_wh", "end_import_wh", "start_export_wh", "end_export_wh")
    return UsagePointDay(
        **{key: row[key] for key in (*plain, "multiplier", "meters", "settled_at")},
        rule_set=row["rules"],
        intervals=[_interval(row, n, row["starts_at"] + n * step, standing) for n in range(len(row["import_wh"]))],
    )


def _interval(row: Row, n: int, at: datetime, standing: Sequence[Row]) -> IntervalEnergy:
    said = covering(standing, at)
    told = said is not None and said[0]["interval_s"] == row["interval_s"] and said[0]["state"] == EditState.HOLDS
    voltage = None if row["voltage_dv"] is None else row["voltage_dv"][n]
    return IntervalEnergy(
        starts_at=at,
        import_wh=row["import_wh"][n],
        export_wh=row["export_wh"][n],
        voltage_v=None if voltage is None else voltage / 10,
        quality=quality_name(row["quality"][n]),
        flags=flag_names(row["flags"][n]),
        edit_id=None if said is None else str(said[0]["edit_id"]),
        edit_direction=None if said is None else said[0]["direction"],
        before_wh=said[0]["before_wh"][said[1]] if said is not None and told else None,
        before_quality=quality_name(said[0]["before_quality"][said[1]]) if said is not None and told else None,
    )
