"""The health of every part of the head-end, what its operators have been told, and the read success behind it."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from headend.api import pagination
from headend.api.deps import PartsDep, ReadDep, unknown
from headend.api.errors import describe
from headend.api.pagination import Cursor, Limit, Page
from headend.domain.alerts import AlertKind, Severity
from headend.store import alerts, read_success, views
from headend.upkeep.status import look
from headend.upkeep.status_parts import Status

router = APIRouter(tags=["operation"])


class Alert(BaseModel):
    """Something that operators were told of: it stands until its cause is gone."""

    id: int
    kind: AlertKind
    severity: Severity
    subject: str = Field(description="of what: an area's code, a process, a table ...")
    area: str | None = Field(description="code of the area that it is about; null: about none")
    raised_at: datetime
    renewed_at: datetime = Field(description="last seen to stand")
    cleared_at: datetime | None = Field(description="null: it stands")
    value: float | None = Field(description="in the unit of the kind, as it was last; of read_success: the share")
    detail: str


class DayOfArea(BaseModel):
    """Reads of one area on one local day."""

    day: date
    scheduled: int = Field(description="reads that were due by computed_at")
    stored: int = Field(description="of them")
    ratio: float | None = Field(description="null: none was due")
    ratio_first: float | None = Field(
        description="when the day's grace ended, before any backfill; null: it has not, or none was due"
    )
    meters: int = Field(description="that had a read scheduled")
    meters_complete: int = Field(description="of them with every one stored")
    computed_at: datetime


@router.get("/status", summary="Health of every part", responses=describe())
def status(parts: PartsDep, connection: ReadDep) -> Status:
    """What `headend status` shows: all is well where `attention` is empty."""
    return look(connection, parts.settings, parts.clock(), pending=views.pending_migrations(parts.store))


@router.get("/alerts", summary="Alerts to operators", responses=describe())
def list_alerts(
    *,
    connection: ReadDep,
    kind: AlertKind | None = None,
    area: Annotated[str | None, Query(description="code of an area")] = None,
    standing: Annotated[bool, Query(description="only those whose cause is not gone")] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Alert]:
    """Newest first, those whose cause is gone among them."""
    after = pagination.decode(cursor, pagination.instant, pagination.whole)
    found = alerts.listed(
        connection,
        limit=limit + 1,
        kind=kind,
        area=area,
        standing_only=standing,
        before=(after[0], after[1]) if after else None,
    )
    kept, following = pagination.cut(found, limit, lambda row: (row["raised_at"].isoformat(), row["alert_id"]))
    return Page(items=[_alert(row) for row in kept], next=following)


@router.get("/areas/{code}/read-success", summary="Read success of an area by day", responses=describe(404))
def read_success_of_area(
    code: str,
    parts: PartsDep,
    connection: ReadDep,
    days: Annotated[int, Query(ge=1, le=800, description="so many local days back from today")] = 28,
) -> list[DayOfArea]:
    """Reads stored of those scheduled, newest day first; today so far. A day that was not counted is left out."""
    area = views.area_summary(connection, code, today=parts.today, heard_since=parts.heard_since)
    if area is None:
        raise unknown("area", code)
    found = read_success.of_area(connection, area["area_id"], parts.today - timedelta(days=days - 1))
    return [DayOfArea(**row) for row in found]


def _alert(row: dict[str, Any]) -> Alert:
    return Alert(id=row["alert_id"], **{key: row[key] for key in Alert.model_fields if key != "id"})
