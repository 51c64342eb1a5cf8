"""Billing batches: what billing was told, in JSON by pages and in CSV whole."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from datetime import date, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field

from headend.api import pagination
from headend.api.deps import PartsDep, ReadDep, unknown
from headend.api.errors import describe
from headend.api.pagination import Cursor, Limit, Page
from headend.store import views
from headend.store.pool import Connection, Row, Store

router = APIRouter(prefix="/billing/batches", tags=["billing"])

BatchState = Literal["created", "acknowledged", "rejected"]
Number = Annotated[int, Path(ge=1, lt=2**63, description="the batch's number")]
_CSV_PAGE_ROWS = 5000
CSV_COLUMNS = (
    "usage_point", "category", "day", "direction", "tariff_band", "revision", "energy_wh", "estimated_wh",
    "start_register_wh", "start_ts", "end_register_wh", "end_ts", "multiplier", "meters", "reason",
)  # fmt: skip


class Batch(BaseModel):
    """An immutable, numbered batch with its control totals."""

    number: int
    state: BatchState = Field(description="created: waits for billing; acknowledged: locked; rejected: see exceptions")
    created_at: datetime
    period_from: date
    period_to: date
    determinants: int = Field(description="control count")
    energy_wh: int = Field(description="control total")
    checksum: str = Field(examples=["sha256:9f86d0…"], description="over the canonical determinants")
    idempotency_key: UUID
    attempts: int
    last_error: str | None
    acknowledged_at: datetime | None
    receipt: dict[str, Any] | None = Field(description="what billing answered")
    exceptions: int = Field(description="not worked off yet")


class Determinant(BaseModel):
    """Energy of one usage point, day, direction and tariff band, with the registers behind it."""

    usage_point: str
    category: str
    day: date
    direction: Literal["import", "export"]
    tariff_band: str
    revision: int = Field(description="0: the original; n: the n-th adjustment, holding the difference")
    energy_wh: int
    estimated_wh: int
    start_register_wh: int | None = Field(description="raw, as the meter showed it; null: no register there")
    start_ts: datetime
    end_register_wh: int | None
    end_ts: datetime
    multiplier: str | None
    meters: list[str]
    reason: str | None


class BatchException(BaseModel):
    """What billing would not take."""

    usage_point: str | None
    day: date | None
    reason: str
    noted_at: datetime
    worked_off_at: datetime | None


class BatchDetail(Batch):
    """A batch with a page of its determinants."""

    items: list[Determinant]
    next: str | None = Field(description="cursor of the determinants after these; null: these are the last")
    billing_exceptions: list[BatchException]


@router.get("", summary="Billing batches", responses=describe())
def list_batches(
    connection: ReadDep, state: BatchState | None = None, limit: Limit = 50, cursor: Cursor = None
) -> Page[Batch]:
    """Batches, newest first."""
    after = pagination.decode(cursor, pagination.whole)
    found = views.batches(connection, limit=limit + 1, state=state, before=after[0] if after else None)
    kept, following = pagination.cut(found, limit, lambda row: (row["number"],))
    return Page(items=[Batch.model_validate(row) for row in kept], next=following)


@router.get("/{number}", summary="One batch with its determinants", responses=describe(404))
def one_batch(number: Number, connection: ReadDep, limit: Limit = 200, cursor: Cursor = None) -> BatchDetail:
    """A batch, its exceptions and its determinants by pages."""
    batch = _existing(connection, number)
    after = pagination.decode(
        cursor, pagination.whole, pagination.day, pagination.text, pagination.text, pagination.whole
    )
    found = views.determinants(connection, number, limit=limit + 1, after=after)
    kept, following = pagination.cut(found, limit, _key)
    return BatchDetail(
        **Batch.model_validate(batch).model_dump(),
        items=[_determinant(row) for row in kept],
        next=following,
        billing_exceptions=[
            BatchException.model_validate(row)
            for row in views.billing_exceptions(connection, number=number, limit=limit)
        ],
    )


@router.get(
    "/{number}/determinants.csv",
    summary="All determinants of a batch as CSV",
    response_class=StreamingResponse,
    responses=describe(404) | {200: {"content": {"text/csv": {}}, "description": "UTF-8, header row, RFC 4180"}},
)
def csv_of_batch(number: Number, parts: PartsDep) -> StreamingResponse:
    """The batch whole. Null is empty; several meters are separated by a space."""
    with views.reading(parts.store) as connection:
        _existing(connection, number)
    return StreamingResponse(
        _csv(parts.store, number),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="billing-batch-{number}.csv"'},
    )


def _existing(connection: Connection, number: int) -> Row:
    found = views.batches(connection, limit=1, number=number)
    if not found:
        raise unknown("batch", number)
    return found[0]


def _csv(store: Store, number: int) -> Iterator[str]:
    after: tuple[int, date, str, str, int] | None = None
    header = True
    while True:
        with views.reading(store) as connection:
            rows = views.determinants(connection, number, limit=_CSV_PAGE_ROWS, after=after)
        page = io.StringIO(newline="")
        writer = csv.writer(page)
        if header:
            writer.writerow(CSV_COLUMNS)
            header = False
        for row in rows:
            flat = row | {
                "meters": " ".join(row["meters"]),
                "start_ts": row["start_ts"].isoformat(),
                "end_ts": row["end_ts"].isoformat(),
            }
            writer.writerow([flat[column] for column in CSV_COLUMNS])
        yield page.getvalue()
        if len(rows) < _CSV_PAGE_ROWS:
            return
        after = _key(rows[-1])


def _key(row: Row) -> tuple[int, date, str, str, int]:
    return row["usage_point_id"], row["day"], row["direction"], row["tariff_band"], row["revision"]


def _determinant(row: Row) -> Determinant:
    multiplier = row["multiplier"]
    return Determinant.model_validate(
        row | {"multiplier": None if multiplier is None else f"{multiplier.normalize():f}"}
    )
