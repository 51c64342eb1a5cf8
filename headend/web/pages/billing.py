"""What billing was told, batch by batch, and what it would not take."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from headend.api import pagination
from headend.api.deps import PartsDep, ReadDep, unknown
from headend.store import views
from headend.web.render import page

router = APIRouter(include_in_schema=False)
ROWS_OF_A_PAGE = 50
DETERMINANTS_OF_A_PAGE = 200


@router.get("/billing")
def billing(request: Request, parts: PartsDep, connection: ReadDep, cursor: str | None = None) -> Response:
    """Batches, newest first, and the exceptions that wait for somebody."""
    after = pagination.decode(cursor, pagination.whole)
    found = views.batches(connection, limit=ROWS_OF_A_PAGE + 1, before=after[0] if after else None)
    rows, following = pagination.cut(found, ROWS_OF_A_PAGE, lambda row: (row["number"],))
    return page(
        request,
        "billing.html",
        batches=rows,
        exceptions=views.billing_exceptions(connection, limit=100),
        following=following,
        endpoint=parts.settings.billing.endpoint_url,
        grace_days=parts.settings.settlement.grace_days,
    )


@router.get("/billing/{number}")
def batch(
    number: Annotated[int, Path(ge=1, lt=2**63)],
    request: Request,
    connection: ReadDep,
    cursor: str | None = None,
) -> Response:
    """One batch with its determinants."""
    found = views.batches(connection, limit=1, number=number)
    if not found:
        raise unknown("batch", number)
    after = pagination.decode(
        cursor, pagination.whole, pagination.day, pagination.text, pagination.text, pagination.whole
    )
    rows, following = pagination.cut(
        views.determinants(connection, number, limit=DETERMINANTS_OF_A_PAGE + 1, after=after),
        DETERMINANTS_OF_A_PAGE,
        lambda row: (row["usage_point_id"], row["day"], row["direction"], row["tariff_band"], row["revision"]),
    )
    return page(
        request,
        "batch.html",
        batch=found[0],
        determinants=rows,
        following=following,
        exceptions=views.billing_exceptions(connection, limit=500, number=number),
    )
