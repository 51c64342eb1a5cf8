"""How the field is doing: buses, meters that are not read, modems, refused registers, gaps and stored profiles."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import RedirectResponse

from headend.api import pagination
from headend.api.deps import PartsDep, ReadDep, unknown
from headend.store import polling, profiles, refusals
from headend.web.render import page

router = APIRouter(include_in_schema=False)

BUSES_OF_A_PAGE: Final = 50
NEWEST: Final = 50
"""Refused registers and gaps that the page shows; the API has all of them."""
MOST_MODEMS: Final = 200
SHOWN_METERS: Final = 4
"""Meters not read that are listed beside their bus; the bus's own page has all of them."""

OUTCOMES: Final[Mapping[str, str]] = {
    "ok": "Read",
    "resting": "Resting",
    "timeout": "No answer",
    "connection": "No connection",
    "malformed": "Broken answers",
    "exception": "Says no",
    "illegal_address": "Refuses its registers",
    "no_registers": "No energy register",
    "serial_mismatch": "Another meter answers",
    "unknown_model": "No register map",
    "config": "Wrong setting",
}
"""The machine words of polling, for people; one that is not here is shown as it is."""


@router.get("/field")
def field(
    *,
    request: Request,
    connection: ReadDep,
    q: Annotated[str | None, Query(max_length=100)] = None,
    troubled: bool = False,
    cursor: str | None = None,
) -> Response:
    """Everything that is polled, what is in trouble first."""
    after = pagination.decode(cursor, pagination.whole, pagination.text)
    found = polling.buses(
        connection,
        limit=BUSES_OF_A_PAGE + 1,
        search=q or None,
        troubled=troubled,
        after=(after[0], after[1]) if after else None,
    )
    buses, following = pagination.cut(found, BUSES_OF_A_PAGE, lambda row: (row["rank"], row["bus"]))
    modems = polling.modems(connection, limit=MOST_MODEMS)
    return page(
        request,
        "field.html",
        totals=polling.totals(connection),
        buses=buses,
        modems=modems,
        refusals=refusals.listed(connection, limit=NEWEST),
        gaps=profiles.listed(connection, limit=NEWEST),
        outcomes=OUTCOMES,
        shown_meters=SHOWN_METERS,
        newest=NEWEST,
        chosen={"q": q, "troubled": "true" if troubled else None},
        following=following,
    )


@router.get("/field/bus")
def bus(request: Request, connection: ReadDep, bus: Annotated[str, Query(max_length=500)]) -> Response:
    """One bus with every meter on it."""
    found = polling.buses(connection, limit=1, bus=bus)
    if not found:
        raise unknown("bus", bus)
    meters: list[dict[str, Any]] = polling.meters_of(connection, bus)
    return page(request, "field_bus.html", bus=found[0], meters=meters, outcomes=OUTCOMES)


@router.post("/field/refusals/{refusal_id}/forget")
def forget(refusal_id: Annotated[int, Path(ge=1, lt=2**63)], parts: PartsDep) -> Response:
    """Have refused registers asked for again; one that is gone already was what the person wanted."""
    with parts.store.transaction() as connection:
        refusals.forget(connection, refusal_id)
    return RedirectResponse("/field#refusals", status_code=303)
