"""The health of every part on one page: what wants attention first, then processes, stages, read success and alerts."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from headend.api import pagination
from headend.api.deps import PartsDep, ReadDep
from headend.domain.processes import Fact
from headend.store import alerts, views
from headend.upkeep.status import look
from headend.web import alert_words, text
from headend.web.render import page

router = APIRouter(include_in_schema=False)

ALERTS_OF_A_PAGE: Final = 30

ROLES: Final[Mapping[str, str]] = {
    "ingest": "接收",
    "poll": "轮询",
    "settle": "结算",
    "billing": "计费",
    "upkeep": "维护",
    "web": "网页",
}
"""Roles and their Chinese terms."""


@router.get("/status")
def status(
    request: Request, parts: PartsDep, connection: ReadDep, cursor: Annotated[str | None, Query()] = None
) -> Response:
    """Everything, as of now; alerts page by page."""
    before = pagination.decode(cursor, pagination.instant, pagination.whole)
    found = look(connection, parts.settings, parts.clock(), pending=views.pending_migrations(parts.store))
    told, following = pagination.cut(
        alerts.listed(connection, limit=ALERTS_OF_A_PAGE + 1, before=(before[0], before[1]) if before else None),
        ALERTS_OF_A_PAGE,
        lambda row: (row["raised_at"].isoformat(), row["alert_id"]),
    )
    return page(
        request,
        "status.html",
        s=found,
        alerts=told,
        following=following,
        roles=ROLES,
        alert_words=alert_words,
        said=said,
        size=text.size,
        precisely=lambda ratio: text.percent(ratio, 2),
    )


def said(facts: Mapping[str, Fact]) -> list[tuple[str, str]]:
    """What a role says of itself, as names and values."""
    return [
        text.quantity(name, value) if isinstance(value, float) else (text.humanise(name), _plain(name, value))
        for name, value in facts.items()
        if value is not None
    ]


def _plain(name: str, value: Fact) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return text.size(value) if name.endswith("_bytes") else text.count(value)
    return str(value)
