"""What hangs where at an instant, and the writes that make history: install, remove, move.

The rules they keep: nothing that was is overwritten, a span is closed and another opened; whatever contradicts what is
stored is a StoreConflict that says so in words; every change marks the area-days that have to be settled again.
Functions take a connection; the caller owns the transaction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from headend.domain.calendar import LocalCalendar
from headend.domain.topology import MeterId, PollTarget
from headend.store import history
from headend.store.dirty import mark_area
from headend.store.errors import StoreConflict
from headend.store.pool import Connection, row, rows
from headend.store.queries import load

_JUST_BEFORE = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class StoredMembership:
    """A usage point on an area."""

    membership_id: int
    usage_point_id: int
    area_id: int
    area: str
    behind_usage_point_id: int | None
    valid_from: datetime
    valid_to: datetime | None


@dataclass(frozen=True, slots=True)
class StoredInstallation:
    """A meter at a usage point."""

    installation_id: int
    usage_point_id: int
    meter_id: int
    valid_from: datetime
    valid_to: datetime | None
    multiplier: Decimal
    sign: int
    start_import_wh: int | None
    start_export_wh: int | None
    end_import_wh: int | None
    end_export_wh: int | None
    seal: str | None


@dataclass(frozen=True, slots=True)
class StoredMeter:
    """A device."""

    meter_id: int
    manufacturer: str
    serial: str
    model: str
    phases: int
    digits: int
    resolution_wh: int


def meter_ids(connection: Connection, identities: Sequence[MeterId]) -> dict[MeterId, int]:
    """The numbers of the meters among `identities` that are known."""
    parameters = {"manufacturer": [m for m, _ in identities], "serial": [s for _, s in identities]}
    found = rows(connection, load("topology")["meter_ids"], parameters)
    return {(r["manufacturer"], r["serial"]): r["meter_id"] for r in found}


def find_meter(connection: Connection, manufacturer: str, serial: str) -> StoredMeter | None:
    """A meter by what makes it unique."""
    found = row(connection, load("topology")["meter"], {"manufacturer": manufacturer, "serial": serial})
    return None if found is None else StoredMeter(**found)


def models(connection: Connection) -> list[str]:
    """Models that meters are of."""
    return [r["model"] for r in rows(connection, load("topology")["models"])]


def area_id(connection: Connection, code: str) -> int | None:
    """The number of an area."""
    found = row(connection, load("topology")["area_id"], {"code": code})
    return None if found is None else int(found["area_id"])


def usage_point_id(connection: Connection, code: str) -> int | None:
    """The number of a usage point."""
    found = row(connection, load("topology")["usage_point_id"], {"code": code})
    return None if found is None else int(found["usage_point_id"])


def membership_at(connection: Connection, usage_point_id: int, at: datetime) -> StoredMembership | None:
    """Where a usage point hung at an instant; None: nowhere."""
    found = row(connection, load("topology")["membership_at"], {"usage_point_id": usage_point_id, "at": at})
    return None if found is None else StoredMembership(**found)


def installation_of_meter(connection: Connection, meter_id: int, at: datetime) -> StoredInstallation | None:
    """Where a meter served at an instant; None: in stock, or gone."""
    found = row(connection, load("topology")["installation_of_meter"], {"meter_id": meter_id, "at": at})
    return None if found is None else StoredInstallation(**found)


def installation_of_usage_point(connection: Connection, usage_point_id: int, at: datetime) -> StoredInstallation | None:
    """Which meter served a usage point at an instant; None: none of its own."""
    parameters = {"usage_point_id": usage_point_id, "at": at}
    found = row(connection, load("topology")["installation_of_usage_point"], parameters)
    return None if found is None else StoredInstallation(**found)


def poll_targets(connection: Connection, now: datetime) -> list[PollTarget]:
    """Meters that serve now and have a Modbus endpoint: by bus, area meters first."""
    return [PollTarget(**r) for r in rows(connection, load("topology")["poll_targets"], {"now": now})]


def poll_fingerprint(connection: Connection, now: datetime) -> tuple[int, int]:
    """Another value whenever `poll_targets` would answer otherwise; cheap enough to ask every few seconds."""
    found = row(connection, load("topology")["poll_fingerprint"], {"now": now})
    return (0, 0) if found is None else (int(found["targets"]), int(found["digest"]))


def poll_target_of(connection: Connection, meter_id: int) -> PollTarget | None:
    """Where one meter is read over Modbus, installed or not."""
    found = row(connection, load("topology")["poll_target_of"], {"meter_id": meter_id})
    return None if found is None else PollTarget(**found)


def install_meter(
    connection: Connection,
    *,
    usage_point_id: int,
    meter_id: int,
    at: datetime,
    multiplier: Decimal = Decimal(1),
    sign: int = 1,
    start_import_wh: int | None = None,
    start_export_wh: int | None = None,
    seal: str | None = None,
    calendar: LocalCalendar,
    now: datetime,
) -> int:
    """A meter begins to serve a usage point at `at`; returns the installation's number.

    Raises StoreConflict when either serves, or has a meter, at that instant or later, or when there is no such thing.
    """
    queries = load("topology")
    keys = {"usage_point_id": usage_point_id, "meter_id": meter_id, "at": at}
    point = _hold_usage_point(connection, usage_point_id, now)
    meter = row(connection, queries["hold_meter"], keys)
    if meter is None:
        raise StoreConflict(f"there is no meter number {meter_id}", constraint=None)
    other = row(connection, queries["later_installation"], keys)
    if other is not None:
        what = "usage point" if other["usage_point_id"] == usage_point_id else "meter"
        raise StoreConflict(
            f"cannot install {meter['manufacturer']}/{meter['serial']} at {point} from {at.isoformat()}: the {what} is "
            f"taken by the installation of {other['manufacturer']}/{other['serial']} at {other['usage_point']} "
            f"from {other['valid_from'].isoformat()}",
            constraint="installation",
        )
    values = keys | {
        "multiplier": multiplier,
        "sign": sign,
        "start_import_wh": start_import_wh,
        "start_export_wh": start_export_wh,
        "seal": seal,
    }
    made = row(connection, queries["open_installation"], values)
    assert made is not None  # an insert returns its row or raises
    _mark_while_it_hung(connection, usage_point_id, at, calendar, now)
    return int(made["installation_id"])


def remove_meter(
    connection: Connection,
    *,
    usage_point_id: int,
    at: datetime,
    end_import_wh: int | None = None,
    end_export_wh: int | None = None,
    calendar: LocalCalendar,
    now: datetime,
) -> StoredInstallation:
    """The usage point's meter ceases to serve at `at`; returns the installation as it was.

    Raises StoreConflict when no meter served there just before, or when its end is known already.
    """
    point = _hold_usage_point(connection, usage_point_id, now)
    was = installation_of_usage_point(connection, usage_point_id, at - _JUST_BEFORE)
    if was is None:
        raise StoreConflict(f"no meter serves {point} before {at.isoformat()}", constraint="installation")
    if was.valid_to is not None:
        raise StoreConflict(
            f"the meter of {point} was removed at {was.valid_to.isoformat()}", constraint="installation"
        )
    connection.execute(
        load("topology")["close_installation"],
        {
            "installation_id": was.installation_id,
            "at": at,
            "end_import_wh": end_import_wh,
            "end_export_wh": end_export_wh,
        },
    )
    _mark_while_it_hung(connection, usage_point_id, at, calendar, now)
    return was


def move_supply(
    connection: Connection,
    *,
    usage_point_id: int,
    behind: int | None = None,
    at: datetime,
    area_id: int | None = None,
    calendar: LocalCalendar,
    now: datetime,
) -> int:
    """From `at` a usage point is supplied directly, or behind another; on its area, or on another one.

    Returns the membership's number; nothing changes where it is supplied so already. Raises StoreConflict when it hung
    nowhere just before, or moves later already.
    """
    point = _hold_usage_point(connection, usage_point_id, now)
    was = membership_at(connection, usage_point_id, at - _JUST_BEFORE)
    if was is None:
        raise StoreConflict(f"{point} hangs on no area before {at.isoformat()}", constraint="area_membership")
    target = was.area_id if area_id is None else area_id
    if was.valid_to is not None:
        raise StoreConflict(f"{point} moved at {was.valid_to.isoformat()} already", constraint="area_membership")
    if (target, behind) == (was.area_id, was.behind_usage_point_id):
        return was.membership_id
    queries = load("topology")
    connection.execute(queries["close_membership"], {"membership_id": was.membership_id, "at": at})
    values = {"usage_point_id": usage_point_id, "area_id": target, "behind_usage_point_id": behind, "at": at}
    made = row(connection, queries["open_membership"], values)
    assert made is not None  # an insert returns its row or raises
    _mark_areas(connection, usage_point_id, at, calendar, now)
    return int(made["membership_id"])


def end_supply(
    connection: Connection, *, usage_point_id: int, at: datetime, calendar: LocalCalendar, now: datetime
) -> None:
    """From `at` nobody is supplied at a usage point any more: it hangs on no area, and no balance counts it.

    Raises StoreConflict when it hung nowhere just before, or its end is known already, or a meter still serves there.
    """
    point = _hold_usage_point(connection, usage_point_id, now)
    was = membership_at(connection, usage_point_id, at - _JUST_BEFORE)
    if was is None:
        raise StoreConflict(f"{point} hangs on no area before {at.isoformat()}", constraint="area_membership")
    if was.valid_to is not None:
        raise StoreConflict(f"{point} moved at {was.valid_to.isoformat()} already", constraint="area_membership")
    if installation_of_usage_point(connection, usage_point_id, at) is not None:
        raise StoreConflict(f"a meter still serves {point} at {at.isoformat()}", constraint="installation")
    connection.execute(load("topology")["close_membership"], {"membership_id": was.membership_id, "at": at})
    _mark_areas(connection, usage_point_id, at, calendar, now)


def add_customer(
    connection: Connection,
    *,
    code: str,
    category: str,
    name: str,
    phase: str | None,
    area_id: int,
    behind: int | None,
    at: datetime,
    calendar: LocalCalendar,
    now: datetime,
) -> int:
    """A new usage point of kind customer, supplied from `at`; returns its number.

    Raises StoreConflict when the code is taken.
    """
    history.stamp(connection, now)
    queries = load("topology")
    values = {"code": code, "category": category, "name": name, "phase": phase}
    made = row(connection, queries["add_customer"], values)
    if made is None:
        raise StoreConflict(f"there is a usage point {code} already", constraint="usage_point_code_key")
    point = int(made["usage_point_id"])
    place = {"usage_point_id": point, "area_id": area_id, "behind_usage_point_id": behind, "at": at}
    connection.execute(queries["open_membership"], place)
    _mark_areas(connection, point, at, calendar, now)
    return point


def _hold_usage_point(connection: Connection, usage_point_id: int, now: datetime) -> str:
    """Its code; nobody else changes it until the transaction ends, and what this one changes is known from `now`."""
    history.stamp(connection, now)
    found = row(connection, load("topology")["hold_usage_point"], {"usage_point_id": usage_point_id})
    if found is None:
        raise StoreConflict(f"there is no usage point number {usage_point_id}", constraint=None)
    return str(found["code"])


def _mark_areas(
    connection: Connection, usage_point_id: int, at: datetime, calendar: LocalCalendar, now: datetime
) -> None:
    """Mark from the day that `at` lies in; a change at midnight touches the day that it ends, too."""
    first, today = calendar.day_of(at - _JUST_BEFORE), calendar.day_of(now)
    for found in rows(connection, load("topology")["areas_since"], {"usage_point_id": usage_point_id, "at": at}):
        mark_area(connection, found["area_id"], first, today, now)


def _mark_while_it_hung(
    connection: Connection, usage_point_id: int, at: datetime, calendar: LocalCalendar, now: datetime
) -> None:
    """The same of a meter: on each area only while the usage point hung there."""
    today = calendar.day_of(now)
    parameters = {"usage_point_id": usage_point_id, "since": at - _JUST_BEFORE}
    for found in rows(connection, load("topology")["hung_since"], parameters):
        until = found["valid_to"]
        last = today if until is None else min(today, calendar.day_of(until - _JUST_BEFORE))
        mark_area(connection, found["area_id"], calendar.day_of(found["since"]), last, now)
