"""Devices that nobody has imported: what they said first, and the form that adopts them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError

from headend.api import pagination
from headend.api.deps import Parts, PartsDep, ReadDep, unknown
from headend.api.discovered import AdoptRequest, DiscoveredId, adopted
from headend.api.errors import Problem
from headend.store import discovered, topology, views
from headend.store.pool import Connection, Row
from headend.web import payload
from headend.web.forms import wh_of_kwh
from headend.web.render import page
from headend.web.sent_forms import CREW, FormDep, done, name_of

router = APIRouter(include_in_schema=False)

ROWS_OF_A_PAGE = 100
_FIELDS: Final = (
    "by", "model", "phases", "digits", "resolution_wh", "usage_point", "installed_at", "multiplier", "seal", "area",
)  # fmt: skip
"""Of the form, as the request names them; the start register is entered in kWh."""
_DEFAULTS: Final = {"digits": "8", "resolution_wh": "10", "multiplier": "1"}


@router.get("/discovered")
def listed(
    *,
    request: Request,
    connection: ReadDep,
    q: Annotated[str | None, Query(max_length=100)] = None,
    adopted: bool = False,
    usage_point: Annotated[str | None, Query(max_length=100)] = None,
    cursor: str | None = None,
) -> Response:
    """Heard of last first; `usage_point` is carried on to the form, for whoever comes from there."""
    after = pagination.decode(cursor, pagination.instant, pagination.whole)
    found = discovered.listed(
        connection,
        adopted=adopted,
        search=q or None,
        after=(after[0], after[1]) if after else None,
        limit=ROWS_OF_A_PAGE + 1,
    )
    rows, following = pagination.cut(
        found, ROWS_OF_A_PAGE, lambda row: (row["last_seen_at"].isoformat(), row["discovered_id"])
    )
    return page(
        request,
        "discovered.html",
        devices=rows,
        chosen={"q": q, "adopted": "true" if adopted else None, "usage_point": usage_point},
        following=following,
    )


@router.get("/discovered/{discovered_id}")
def one(
    *,
    discovered_id: DiscoveredId,
    request: Request,
    parts: PartsDep,
    connection: ReadDep,
    usage_point: Annotated[str | None, Query(max_length=100)] = None,
    of: Annotated[int | None, Query(ge=0)] = None,
    understood: Annotated[int, Query(ge=0)] = 0,
    readings: Annotated[int, Query(ge=0)] = 0,
) -> Response:
    """One device with its first messages; the numbers are what an adoption just now brought."""
    row = _existing(connection, discovered_id)
    entered = _DEFAULTS | {
        "model": row["model_guess"] or "",
        "phases": str(row["phases_guess"] or ""),
        "usage_point": usage_point or "",
        "installed_at": _local(row["first_seen_at"], parts) if usage_point else "",
        "by": name_of(request, CREW),
    }
    told = None if of is None else {"of": of, "understood": understood, "readings": readings}
    return _page(request, connection, row, entered, told=told)


@router.post("/discovered/{discovered_id}/adopt")
def adopt(discovered_id: DiscoveredId, request: Request, parts: PartsDep, form: FormDep) -> Response:
    """Adopt it from its form; what does not fit is shown beside what was entered."""
    faults: list[str] = []
    try:
        wanted = AdoptRequest.model_validate(_values(form, parts))
        made = adopted(parts, discovered_id, wanted)
    except ValidationError as error:
        faults = [
            f"{'.'.join(str(p) for p in e['loc']) or 'form'}: {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
    except ValueError as error:
        faults = [str(error)]
    except Problem as problem:
        if problem.status == 404:
            raise
        faults = [problem.detail]
    else:
        told = f"of={made.messages_replayed}&understood={made.messages_understood}&readings={made.readings_stored}"
        return done(f"/discovered/{discovered_id}?{told}", CREW, wanted.by)
    with views.reading(parts.store) as connection:
        return _page(request, connection, _existing(connection, discovered_id), form, faults=faults, status=422)


def _values(form: Mapping[str, str], parts: Parts) -> dict[str, Any]:
    """The request's fields from the form's. Raises ValueError naming a field."""
    found: dict[str, Any] = {key: value.strip() for key in _FIELDS if (value := form.get(key, "")).strip()}
    if "usage_point" not in found:
        found.pop("multiplier", None)
    for key in ("phases", "digits", "resolution_wh"):
        if key in found:
            if not found[key].isdecimal():
                raise ValueError(f"{key}: {found[key]!r} is no whole number")
            found[key] = int(found[key])
    if "installed_at" in found:
        try:
            at = datetime.fromisoformat(found["installed_at"])
        except ValueError as error:
            raise ValueError(f"installed_at: {found['installed_at']!r} is no instant") from error
        found["installed_at"] = (at if at.tzinfo else at.replace(tzinfo=parts.calendar.zone)).isoformat()
    if kwh := form.get("start_import_kwh", "").strip():
        found["start_import_wh"] = wh_of_kwh(kwh)
    if "area" in form:
        found = {key: found[key] for key in ("by", "area") if key in found}
    return found


def _local(instant: datetime, parts: Parts) -> str:
    return instant.astimezone(parts.calendar.zone).strftime("%Y-%m-%dT%H:%M:%S")


def _existing(connection: Connection, discovered_id: int) -> Row:
    found = discovered.show(connection, discovered_id)
    if found is None:
        raise unknown("discovered-device", discovered_id)
    return found


def _page(
    request: Request,
    connection: Connection,
    row: Row,
    entered: Mapping[str, str],
    *,
    faults: list[str] | None = None,
    told: Mapping[str, int] | None = None,
    status: int = 200,
) -> Response:
    return page(
        request,
        "discovered_device.html",
        status=status,
        device=row,
        name=row["serial"] if row["kind"] == "concentrator" else f"{row['manufacturer']}/{row['serial']}",
        messages=[m | {"shown": payload.shown(bytes(m["payload"]))} for m in row["first_messages"]],
        models=topology.models(connection),
        entered=entered,
        faults=faults or [],
        told=told,
    )
