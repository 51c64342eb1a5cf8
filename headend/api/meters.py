"""Raw register readings of a meter, as it showed them, and other values that came for the same instants."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field

from headend.api import pagination
from headend.api.deps import Instant, PartsDep, ReadDep, invalid, unknown
from headend.api.errors import Problem, describe
from headend.api.pagination import Cursor, Limit, Page
from headend.domain.rates import rates_of
from headend.store import revisions, views
from headend.store.topology import find_meter

router = APIRouter(prefix="/meters", tags=["meters"])

MOST_DAYS = 400
SOURCES = {1: "modbus", 2: "mqtt", 3: "concentrator", 4: "manual"}
"""How a reading reached us, as stored."""


class RegisterValues(BaseModel):
    """What a meter said at an instant, raw: no multiplier, no sign. Null: it did not say."""

    import_wh: int | None
    export_wh: int | None
    voltage_v: float | None
    power_w: int | None
    import_phase_wh: list[int | None] | None = Field(description="L1, L2, L3; null: not measured per phase")
    export_phase_wh: list[int | None] | None
    import_tariff_wh: list[int | None] | None = Field(
        description="registers per rate, rate 1 first, up to the last one read; null: the meter told none"
    )
    voltage_phase_v: list[float | None] | None
    current_phase_a: list[float | None] | None
    source: str = Field(examples=["modbus"], description="modbus, mqtt, concentrator or manual")


class RegisterReading(RegisterValues):
    """The meter's registers at an instant."""

    ts: datetime
    uncertainty_ms: int = Field(description="how far the stamped instant may be off")
    resolution_wh: int | None = Field(
        description="step of the energy registers at this value; null: not stated, the meter's own holds"
    )


class MeterReadings(BaseModel):
    """A page of readings with the meter they are of."""

    manufacturer: str
    serial: str
    model: str
    resolution_wh: int
    items: list[RegisterReading]
    next: str | None = Field(description="cursor of the page after this one; null: this is the last")


class Revision(BaseModel):
    """Another value for an instant of which the meter's reading was stored already."""

    ts: datetime
    noted_at: datetime = Field(description="when the other value came")
    kept: RegisterValues = Field(
        description="what stays, as it stood when the other came; its power and phases only where the other has such"
    )
    other: RegisterValues = Field(description="what came too, and is used for nothing")
    rule: str = Field(examples=["first_stored"], description="what chose; first_stored: the one that was stored first")


@router.get("/{serial}/readings", summary="Register readings of a meter", responses=describe(404, 409))
def list_readings(
    *,
    serial: str,
    parts: PartsDep,
    connection: ReadDep,
    first: Annotated[Instant | None, Query(alias="from", description="with offset; default: a day before `to`")] = None,
    end: Annotated[Instant | None, Query(alias="to", description="not included; default: now")] = None,
    manufacturer: Annotated[str | None, Query(description="needed where manufacturers share the serial")] = None,
    limit: Limit = 200,
    cursor: Cursor = None,
) -> MeterReadings:
    """Readings with from <= ts < to, oldest first. 409 where the serial is not one meter's."""
    until = end if end is not None else parts.clock() + timedelta(seconds=1)
    try:
        since = first if first is not None else until - timedelta(days=1)
    except OverflowError as error:
        raise invalid("to", f"{until.isoformat()} is before the calendar begins") from error
    if since >= until:
        raise invalid("from", f"{since.isoformat()} is not before `to`, {until.isoformat()}")
    if until - since > timedelta(days=MOST_DAYS):
        raise invalid("from", f"the period is longer than {MOST_DAYS} days")
    after = pagination.decode(cursor, pagination.instant)
    meters = views.meters_of_serial(connection, serial, manufacturer)
    if not meters:
        raise unknown("meter", serial if manufacturer is None else f"{manufacturer}/{serial}")
    if len(meters) > 1:
        makers = [meter["manufacturer"] for meter in meters]
        raise Problem(
            status=409,
            code="ambiguous-serial",
            detail=f"serial {serial!r} is a meter of each of {', '.join(makers)}; add ?manufacturer=",
            extra={"manufacturers": makers},
        )
    (meter,) = meters
    found = views.readings(
        connection, meter["meter_id"], since, until, limit=limit + 1, after=after[0] if after else None
    )
    kept, following = pagination.cut(found, limit, lambda row: (row["ts"].isoformat(),))
    return MeterReadings(
        items=[_reading(row) for row in kept],
        next=following,
        **{key: meter[key] for key in ("manufacturer", "serial", "model", "resolution_wh")},
    )


@router.get("/{manufacturer}/{serial}/revisions", summary="Other values for the same instants", responses=describe(404))
def list_revisions(
    manufacturer: str, serial: str, connection: ReadDep, limit: Limit = 100, cursor: Cursor = None
) -> Page[Revision]:
    """What came for an instant whose reading was stored already with another value; newest noted first."""
    meter = find_meter(connection, manufacturer, serial)
    if meter is None:
        raise unknown("meter", f"{manufacturer}/{serial}")
    before = pagination.decode(cursor, pagination.instant, pagination.instant, pagination.uuid)
    found = revisions.of_meter(
        connection, meter.meter_id, limit=limit + 1, before=(before[0], before[1], before[2]) if before else None
    )
    kept, following = pagination.cut(
        found, limit, lambda row: (row["noted_at"].isoformat(), row["ts"].isoformat(), str(row["digest"]))
    )
    return Page(items=[_revision(row) for row in kept], next=following)


def _revision(row: Mapping[str, Any]) -> Revision:
    kept, other = (
        RegisterValues(**_values(row, row[f"{which}_phases"] or {}, f"{which}_")) for which in ("kept", "other")
    )
    return Revision(ts=row["ts"], noted_at=row["noted_at"], kept=kept, other=other, rule=row["rule"])


def _reading(row: Mapping[str, Any]) -> RegisterReading:
    return RegisterReading(
        **_values(row, row), ts=row["ts"], uncertainty_ms=row["uncertainty_ms"], resolution_wh=row["resolution_wh"]
    )


def _values(row: Mapping[str, Any], phases: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Fields of RegisterValues; `phases`: where power, phases and rates stand, `prefix`: of the other columns."""
    source = row[f"{prefix}source"]
    return {
        "import_wh": row[f"{prefix}import_wh"],
        "export_wh": row[f"{prefix}export_wh"],
        "voltage_v": scaled(row[f"{prefix}voltage_dv"], 10),
        "power_w": phases.get("power_w"),
        "import_phase_wh": _phases(phases, "import_l{}_wh"),
        "export_phase_wh": _phases(phases, "export_l{}_wh"),
        "import_tariff_wh": rates_of(phases),
        "voltage_phase_v": _phases(phases, "voltage_l{}_dv", 10),
        "current_phase_a": _phases(phases, "current_l{}_ma", 1000),
        "source": SOURCES.get(source, str(source)),
    }


def scaled(value: int | None, divisor: int) -> float | None:
    """A stored integer in its unit, None where it is absent."""
    return None if value is None else value / divisor


def _phases(row: Mapping[str, Any], pattern: str, divisor: int | None = None) -> list[Any] | None:
    values = [row.get(pattern.format(phase)) for phase in (1, 2, 3)]
    if all(value is None for value in values):
        return None
    return values if divisor is None else [scaled(value, divisor) for value in values]
