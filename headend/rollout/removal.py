"""The shared meter goes, and from that instant everybody behind it counts for himself.

The rule it keeps: no energy is counted twice or by nobody. Until `removed_at` the shared meter counts, from then on the
meters of the usage points behind it; whoever has no meter that serves by then keeps the shared one in its place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from headend.domain.calendar import LocalCalendar
from headend.rollout.checklist import Refusal, Step, StepRefused
from headend.rollout.commissioning import NOMINAL_V, NOTING
from headend.rollout.evidence import SharedMeterRemoved
from headend.rollout.steps import register_fault
from headend.store import rollout, topology
from headend.store.pool import Connection
from headend.store.rollout import Door, PointBehind, Register, StoredStep
from headend.store.topology import StoredInstallation, StoredMeter

_JUST_BEFORE: Final = timedelta(microseconds=1)


def remove_shared_meter(
    connection: Connection,
    doors: Sequence[Door],
    closed: Mapping[int, Mapping[Step, StoredStep]],
    evidence: SharedMeterRemoved,
    *,
    now: datetime,
    calendar: LocalCalendar,
) -> str:
    """Close the shared installation and supply everybody behind it directly, from `evidence.removed_at`.

    `doors`: all premises behind the shared meter, held by this transaction; `closed`: their steps by premises_id.
    Raises StepRefused (somebody is not ready; the evidence contradicts what is stored), StoreConflict.
    """
    shared_id, shared = doors[0].shared_usage_point_id, doors[0].shared_usage_point
    at = evidence.removed_at
    behind = rollout.points_behind(connection, shared_id, at)
    _refuse_while_somebody_is_not_ready(shared, doors, closed, behind)
    serves = topology.installation_of_usage_point(connection, shared_id, at - _JUST_BEFORE)
    if serves is None or serves.valid_to is not None:
        raise StepRefused(f"the shared meter cannot be removed: {_why_none(serves, shared, at)}", code=Refusal.CONFLICT)
    meter = rollout.meter(connection, serves.meter_id)
    assert meter is not None  # an installation refers to it
    faults = [*_too_early(behind, at), *_register_faults(connection, doors[0], serves, evidence, meter=meter, now=now)]
    if faults:
        raise StepRefused(f"{Step.SHARED_METER_REMOVED} lacks evidence", faults)
    topology.remove_meter(
        connection, usage_point_id=shared_id, at=at, end_import_wh=evidence.final_import_wh, calendar=calendar, now=now
    )
    for point in behind:
        topology.move_supply(
            connection, usage_point_id=point.usage_point_id, behind=None, at=at, calendar=calendar, now=now
        )
    topology.end_supply(connection, usage_point_id=shared_id, at=at, calendar=calendar, now=now)
    return (
        f"{meter.manufacturer}/{meter.serial} at {shared} counted until {at.isoformat()}, "
        f"{evidence.final_import_wh} Wh; {len(behind)} usage points count for themselves from then on"
    )


def _refuse_while_somebody_is_not_ready(
    shared: str,
    doors: Sequence[Door],
    closed: Mapping[int, Mapping[Step, StoredStep]],
    behind: Sequence[PointBehind],
) -> None:
    missing = []
    for door in sorted(doors, key=lambda one: one.code):
        done = closed[door.premises_id]
        if Step.COMMISSIONED not in done:
            missing.append(f"{door.label} ({door.code}) is not commissioned")
        elif door.has_production and Step.PRODUCTION_SEPARATED not in done:
            missing.append(f"{door.label} ({door.code}): production and living are not separated")
    not_yet = {door.usage_point_id for door in doors if Step.COMMISSIONED not in closed[door.premises_id]}
    missing += [
        f"usage point {point.usage_point} behind {shared} has no meter of its own"
        for point in behind
        if point.own_meter_from is None and point.usage_point_id not in not_yet
    ]
    if missing:
        raise StepRefused(f"the shared meter of {shared} is still needed", missing, code=Refusal.ORDER)


def _why_none(serves: StoredInstallation | None, shared: str, at: datetime) -> str:
    if serves is None or serves.valid_to is None:
        return f"no meter served {shared} before {at.isoformat()}"
    return f"the meter of {shared} was removed at {serves.valid_to.isoformat()} already"


def _too_early(behind: Sequence[PointBehind], at: datetime) -> list[str]:
    """Between the shared meter's end and a household meter's start nobody would count."""
    return [
        f"removed_at: {at.isoformat()} lies before the meter of {point.usage_point} was installed, "
        f"{point.own_meter_from.isoformat()}"
        for point in behind
        if point.own_meter_from is not None and point.own_meter_from > at
    ]


def _register_faults(
    connection: Connection,
    door: Door,
    serves: StoredInstallation,
    evidence: SharedMeterRemoved,
    *,
    meter: StoredMeter,
    now: datetime,
) -> list[str]:
    """What contradicts the final register: the display, what was read before it, what was read after it."""
    final, at = evidence.final_import_wh, evidence.removed_at
    if fault := register_fault("final_import_wh", final, meter):
        return [fault]
    before = rollout.last_import(connection, meter.meter_id, at)
    if before is None or before.ts < serves.valid_from:
        if serves.start_import_wh is not None and final < serves.start_import_wh:
            return [f"final_import_wh: {final} Wh is less than the start register, {serves.start_import_wh} Wh"]
    elif fault := _too_far(final, before, meter, _carried_wh(connection, door, serves, at - before.ts)):
        return [fault]
    after = rollout.next_import(connection, meter.meter_id, at, now)
    if after is not None and _forward(final, after.import_wh + _step_wh(after, meter), meter) > _rollover(meter) // 2:
        return [
            f"final_import_wh: {final} Wh is more than the meter still showed later, {after.import_wh} Wh "
            f"at {after.ts.isoformat()}"
        ]
    return []


def _too_far(final: int, before: Register, meter: StoredMeter, carried_wh: int | None) -> str | None:
    """A display is read to its last digit, so one step less than the stored register is no contradiction."""
    step = _step_wh(before, meter)
    most = _rollover(meter) // 2 if carried_wh is None else min(carried_wh + step, _rollover(meter) // 2)
    if _forward(before.import_wh - step, final, meter) <= most + step:
        return None
    return (
        f"final_import_wh: {final} Wh does not follow from the last stored register, {before.import_wh} Wh at "
        f"{before.ts.isoformat()}: {before.import_wh} to {(before.import_wh + most) % _rollover(meter)} Wh would"
    )


def _step_wh(stored: Register, meter: StoredMeter) -> int:
    """The register's step at the stored value [Wh]: the meter's own, or the coarser one that the reading states."""
    return max(meter.resolution_wh, stored.resolution_wh or 0)


def _carried_wh(connection: Connection, door: Door, serves: StoredInstallation, elapsed: timedelta) -> int | None:
    """What the register can have gained at the most since [Wh as it shows them]; None: nothing bounds it."""
    supply = rollout.largest_supply(connection, door.shared_usage_point_id, door.area_id)
    if supply.rated_current_a is not None:
        phases = 1 if supply.phase in ("L1", "L2", "L3") else 3
        power_w = Decimal(supply.rated_current_a * phases) * Decimal(NOMINAL_V)
    elif supply.transformer_kva is not None:
        power_w = supply.transformer_kva * 1000
    else:
        return None
    hours = Decimal((elapsed + NOTING).total_seconds()) / 3600
    return int(power_w * hours / serves.multiplier) + 1


def _forward(start_wh: int, end_wh: int, meter: StoredMeter) -> int:
    """How far a register counted from one value to another, over its rollover where need be [Wh]."""
    return (end_wh - start_wh) % _rollover(meter)


def _rollover(meter: StoredMeter) -> int:
    return int(10**meter.digits) * meter.resolution_wh
