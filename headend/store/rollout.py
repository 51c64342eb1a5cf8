"""Doors of the rollout, the steps closed at them, and the live reads behind their commissioning.

Functions take a connection; the caller owns the transaction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from headend.store.pool import Connection, Store, row, rows
from headend.store.queries import load
from headend.store.topology import StoredMeter

_LOOK_BACK = timedelta(days=40)
"""How old a register may be to be compared with what a crew notes."""


@dataclass(frozen=True, slots=True)
class Door:
    """One premises, by names and numbers."""

    premises_id: int
    code: str
    label: str
    has_production: bool
    area_id: int
    area: str
    shared_usage_point_id: int
    shared_usage_point: str
    usage_point_id: int
    usage_point: str


@dataclass(frozen=True, slots=True)
class StoredStep:
    """A step as it was closed."""

    premises_id: int
    step: str
    client_id: UUID
    closed_at: datetime
    closed_by: str
    evidence: Mapping[str, Any]
    detail: str | None


@dataclass(frozen=True, slots=True)
class FoundMeter:
    """A meter with a serial that somebody looks for."""

    meter: StoredMeter
    serves: str | None
    """Usage point that it serves, or will serve; None: in stock."""
    serves_from: datetime | None


@dataclass(frozen=True, slots=True)
class UsagePointRow:
    """What is known of a usage point."""

    usage_point_id: int
    code: str
    kind: str
    category: str
    phase: str | None
    rated_current_a: int | None


@dataclass(frozen=True, slots=True)
class PointBehind:
    """A usage point that is supplied through a shared meter."""

    usage_point_id: int
    usage_point: str
    valid_from: datetime
    own_meter_from: datetime | None
    """Since when the meter of its own serves that does so then, or first afterwards; None: there is none."""


@dataclass(frozen=True, slots=True)
class Register:
    """An import register [Wh] at an instant, as the meter showed it."""

    ts: datetime
    import_wh: int
    resolution_wh: int | None = None
    """Its step, where the reading states one."""


@dataclass(frozen=True, slots=True)
class LargestSupply:
    """What bounds the power of a supply; None: not known."""

    phase: str | None
    rated_current_a: int | None
    transformer_kva: Decimal | None


@dataclass(frozen=True, slots=True)
class Commissioning:
    """The live read behind a door's commissioning."""

    premises_id: int
    request_id: UUID
    client_id: UUID
    requested_by: str
    noted_import_wh: int
    noted_at: datetime
    """When the crew read the register; where it did not say, when it asked for the read."""
    noted_at_given: bool
    requested_at: datetime
    state: str
    """waiting, passed or failed."""
    detail: str | None
    meter_id: int


def hold_premises(connection: Connection, code: str) -> Door | None:
    """One door, held until the transaction ends."""
    found = row(connection, load("rollout")["hold_premises"], {"code": code})
    return None if found is None else Door(**found)


def hold_behind_the_same(connection: Connection, code: str) -> list[Door]:
    """Every door behind the same shared meter as `code`, that one too, all held until the transaction ends."""
    return [Door(**found) for found in rows(connection, load("rollout")["hold_behind_the_same"], {"code": code})]


def closed_steps(connection: Connection, premises: Iterable[int]) -> list[StoredStep]:
    """Every step closed at some doors."""
    found = rows(connection, load("rollout")["closed_steps"], {"premises": list(premises)})
    return [StoredStep(**one) for one in found]


def close_step(
    connection: Connection,
    *,
    premises_id: int,
    step: str,
    client_id: UUID,
    by: str,
    evidence: Mapping[str, Any],
    detail: str | None,
    now: datetime,
) -> None:
    """Close a step. A second row for the same step violates `rollout_step_pkey`."""
    parameters = {
        "premises_id": premises_id,
        "step": step,
        "client_id": client_id,
        "by": by,
        "evidence": Jsonb(dict(evidence)),
        "detail": detail,
        "now": now,
    }
    connection.execute(load("rollout")["close_step"], parameters)


def meters_of_serial(
    connection: Connection, serial: str, *, manufacturer: str | None, at: datetime
) -> list[FoundMeter]:
    """Meters with a serial, and where each serves at `at` or later."""
    parameters = {"serial": serial, "manufacturer": manufacturer, "at": at}
    found = rows(connection, load("rollout")["meters_of_serial"], parameters)
    return [
        FoundMeter(serves=one.pop("serves"), serves_from=one.pop("serves_from"), meter=StoredMeter(**one))
        for one in found
    ]


def meter(connection: Connection, meter_id: int) -> StoredMeter | None:
    """A meter by its number."""
    found = row(connection, load("rollout")["meter"], {"meter_id": meter_id})
    return None if found is None else StoredMeter(**found)


def usage_point(connection: Connection, usage_point_id: int) -> UsagePointRow | None:
    """A usage point by its number."""
    found = row(connection, load("rollout")["usage_point"], {"usage_point_id": usage_point_id})
    return None if found is None else UsagePointRow(**found)


def fill_phase(connection: Connection, usage_point_id: int, phase: str) -> None:
    """Keep the phase that a survey saw, where none is known."""
    connection.execute(load("rollout")["fill_phase"], {"usage_point_id": usage_point_id, "phase": phase})


def points_behind(connection: Connection, shared_usage_point_id: int, at: datetime) -> list[PointBehind]:
    """Usage points that are supplied through a shared meter at `at`, or later."""
    parameters = {"shared_usage_point_id": shared_usage_point_id, "at": at}
    return [PointBehind(**found) for found in rows(connection, load("rollout")["points_behind"], parameters)]


def last_import(connection: Connection, meter_id: int, at: datetime) -> Register | None:
    """The newest stored import register at or before `at`; None: none within 40 days."""
    parameters = {"meter_id": meter_id, "at": at, "since": at - _LOOK_BACK}
    found = row(connection, load("rollout")["last_import"], parameters)
    return None if found is None else Register(**found)


def next_import(connection: Connection, meter_id: int, at: datetime, until: datetime) -> Register | None:
    """The first stored import register from `at` to `until`."""
    found = row(connection, load("rollout")["next_import"], {"meter_id": meter_id, "at": at, "until": until})
    return None if found is None else Register(**found)


def largest_supply(connection: Connection, usage_point_id: int, area_id: int) -> LargestSupply:
    """What bounds the power at a usage point of an area."""
    parameters = {"usage_point_id": usage_point_id, "area_id": area_id}
    found = row(connection, load("rollout")["largest_supply"], parameters)
    return LargestSupply(None, None, None) if found is None else LargestSupply(**found)


def commissioning(connection: Connection, premises_id: int) -> Commissioning | None:
    """The newest commissioning of a door; None: nobody has tried."""
    found = row(connection, load("rollout")["commissioning"], {"premises_id": premises_id})
    return None if found is None else Commissioning(**found)


def failed_commissioning(connection: Connection, premises_id: int, client_id: UUID) -> str | None:
    """Why an earlier attempt failed; None: there was none with this id."""
    parameters = {"premises_id": premises_id, "client_id": client_id}
    found = row(connection, load("rollout")["failed_commissioning"], parameters)
    return None if found is None else str(found["detail"])


def begin_commissioning(
    connection: Connection,
    *,
    premises_id: int,
    request_id: UUID,
    client_id: UUID,
    by: str,
    noted_import_wh: int,
    noted_at: datetime | None,
) -> None:
    """A live read is wanted; an attempt that failed before is kept aside."""
    queries = load("rollout")
    connection.execute(queries["keep_failed"], {"premises_id": premises_id})
    parameters = {
        "premises_id": premises_id,
        "request_id": request_id,
        "client_id": client_id,
        "by": by,
        "noted_import_wh": noted_import_wh,
        "noted_at": noted_at,
    }
    connection.execute(queries["begin_commissioning"], parameters)


def end_commissioning(connection: Connection, premises_id: int, *, passed: bool, detail: str) -> None:
    """What the live read showed."""
    parameters = {"premises_id": premises_id, "state": "passed" if passed else "failed", "detail": detail}
    connection.execute(load("rollout")["end_commissioning"], parameters)


def decidable(store: Store, now: datetime) -> list[str]:
    """Codes of doors whose commissioning can be decided now."""
    return [found["code"] for found in store.rows(load("rollout")["decidable"], {"now": now})]
