"""What survey, installation and separation do once their evidence is good: find the meter, change what hangs where.

The rule they keep: everything that is wrong is told at once, and nothing is changed unless all of it is right. They run
within the transaction that closes the step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from headend.domain.calendar import LocalCalendar
from headend.rollout.checklist import Refusal, Step, StepRefused
from headend.rollout.evidence import MeterInstalled, ProductionSeparated, Survey
from headend.store import rollout, topology
from headend.store.pool import Connection
from headend.store.rollout import Door, StoredStep
from headend.store.topology import StoredMeter


@dataclass(frozen=True, kw_only=True, slots=True)
class Work:
    """One step at one door, under way."""

    connection: Connection
    door: Door
    """Held by this transaction."""
    closed: Mapping[Step, StoredStep]
    now: datetime
    calendar: LocalCalendar


def survey(work: Work, evidence: Survey) -> str | None:
    """Keep the phase where none is known; lists that say otherwise than the crew stay, and the crew is told."""
    door = work.door
    point = rollout.usage_point(work.connection, door.usage_point_id)
    assert point is not None  # premises refer to it
    rollout.fill_phase(work.connection, door.usage_point_id, evidence.phase)
    said = [
        f"{door.usage_point} is listed with {what} {listed}, "
        f"the survey says {seen}: the list stays until it is corrected"
        for what, listed, seen in (
            ("category", point.category, evidence.category),
            ("phase", point.phase, evidence.phase),
        )
        if listed is not None and listed != seen
    ]
    return "; ".join(said) or None


def install_household_meter(work: Work, evidence: MeterInstalled) -> str:
    """The household's own meter serves from now on, still behind the shared one."""
    faults: list[str] = []
    meter = _stock_meter(work, evidence, faults)
    _check_instant(work, evidence.installed_at, faults)
    _check_place(work, work.door.usage_point_id, work.door.usage_point, evidence.installed_at, faults)
    if meter is not None and meter.phases == 1 and _surveyed_phase(work) == "L123":
        faults.append(
            f"serial: {_name(meter)} is a single-phase meter, the survey says that the supply has three phases"
        )
    if faults or meter is None:
        raise StepRefused(f"{Step.HOUSEHOLD_METER_INSTALLED} lacks evidence", faults)
    return _install(work, meter, work.door.usage_point_id, work.door.usage_point, evidence)


def separate_production(work: Work, evidence: ProductionSeparated) -> str:
    """Production gets a usage point of its own with a meter of its own: one that is listed, or a new one."""
    code = evidence.production_usage_point
    if code is None:
        return "closed on the note alone: no usage point for production was named"
    faults: list[str] = []
    found = topology.usage_point_id(work.connection, code)
    own = None if found is None else topology.installation_of_usage_point(work.connection, found, work.now)
    if found is not None:
        _check_production_point(work, found, code, faults)
    if evidence.meter is None:
        if own is None:
            faults += [
                f"{key}: is missing: {code} has no meter yet, and the shared meter cannot go while that is so"
                for key in ("serial", "seal", "start_import_wh", "installed_at")
            ]
        if faults:
            raise StepRefused(f"{Step.PRODUCTION_SEPARATED} lacks evidence", faults)
        return f"production is supplied at {code}, which has its own meter"
    meter = _stock_meter(work, evidence.meter, faults)
    _check_instant(work, evidence.meter.installed_at, faults)
    if found is not None:
        _check_place(work, found, code, evidence.meter.installed_at, faults, must_be_behind=False)
    if faults or meter is None:
        raise StepRefused(f"{Step.PRODUCTION_SEPARATED} lacks evidence", faults)
    point = found
    if point is None:
        point = topology.add_customer(
            work.connection,
            code=code,
            category="production",
            name=f"{work.door.label} (production)",
            phase=None,
            area_id=work.door.area_id,
            behind=work.door.shared_usage_point_id,
            at=evidence.meter.installed_at,
            calendar=work.calendar,
            now=work.now,
        )
    return _install(work, meter, point, code, evidence.meter)


def register_fault(key: str, register_wh: int, meter: StoredMeter) -> str | None:
    """Why a register cannot stand on a meter's display; None: it can."""
    rollover_wh = 10**meter.digits * meter.resolution_wh
    if register_wh < rollover_wh:
        return None
    return (
        f"{key}: {register_wh} Wh is more than {_name(meter)} can show "
        f"({meter.digits} digits of {meter.resolution_wh} Wh: less than {rollover_wh} Wh)"
    )


def _install(work: Work, meter: StoredMeter, usage_point_id: int, code: str, evidence: MeterInstalled) -> str:
    topology.install_meter(
        work.connection,
        usage_point_id=usage_point_id,
        meter_id=meter.meter_id,
        at=evidence.installed_at,
        start_import_wh=evidence.start_import_wh,
        seal=evidence.seal,
        calendar=work.calendar,
        now=work.now,
    )
    return f"{_name(meter)} serves {code} from {evidence.installed_at.isoformat()}, {evidence.start_import_wh} Wh"


def _stock_meter(work: Work, evidence: MeterInstalled, faults: list[str]) -> StoredMeter | None:
    """The meter that the crew means, when it is listed once and serves nowhere; what is wrong goes to `faults`."""
    found = rollout.meters_of_serial(
        work.connection, evidence.serial, manufacturer=evidence.manufacturer, at=evidence.installed_at
    )
    if not found:
        maker = f"{evidence.manufacturer}/" if evidence.manufacturer else ""
        faults.append(f"serial: no meter {maker}{evidence.serial} is listed")
        return None
    if len(found) > 1:
        makers = ", ".join(one.meter.manufacturer for one in found)
        faults.append(f"manufacturer: is missing: serial {evidence.serial} is listed for {makers}")
        return None
    (one,) = found
    if one.serves is not None and one.serves_from is not None:
        faults.append(
            f"serial: {_name(one.meter)} is not in stock, it serves {one.serves} from {one.serves_from.isoformat()}"
        )
    if fault := register_fault("start_import_wh", evidence.start_import_wh, one.meter):
        faults.append(fault)
    return one.meter


def _check_instant(work: Work, at: datetime, faults: list[str]) -> None:
    """A household meter goes in behind a shared one that serves."""
    shared = work.door.shared_usage_point
    if topology.installation_of_usage_point(work.connection, work.door.shared_usage_point_id, at) is not None:
        return
    serves = topology.installation_of_usage_point(work.connection, work.door.shared_usage_point_id, work.now)
    if serves is not None and serves.valid_from > at:
        since = serves.valid_from.isoformat()
        faults.append(f"installed_at: {at.isoformat()} lies before the shared meter of {shared} was installed, {since}")
    else:
        faults.append(f"installed_at: no shared meter served {shared} at {at.isoformat()}")


def _check_place(
    work: Work, usage_point_id: int, code: str, at: datetime, faults: list[str], *, must_be_behind: bool = True
) -> None:
    """The place exists then, behind the shared meter, and has no meter."""
    shared = work.door.shared_usage_point
    membership = topology.membership_at(work.connection, usage_point_id, at)
    if membership is None:
        faults.append(f"installed_at: {code} hung on no area at {at.isoformat()}")
    elif must_be_behind and membership.behind_usage_point_id != work.door.shared_usage_point_id:
        faults.append(f"installed_at: {code} was not supplied through {shared} at {at.isoformat()}")
    serves = topology.installation_of_usage_point(work.connection, usage_point_id, work.now)
    if serves is not None:
        has = rollout.meter(work.connection, serves.meter_id)
        assert has is not None  # an installation refers to it
        faults.append(f"serial: {code} has a meter already, {_name(has)} from {serves.valid_from.isoformat()}")


def _check_production_point(work: Work, usage_point_id: int, code: str, faults: list[str]) -> None:
    """A listed usage point that is to carry the production is one of a customer, of that category, on this area."""
    key = "production_usage_point"
    point = rollout.usage_point(work.connection, usage_point_id)
    assert point is not None  # it was just found
    if usage_point_id == work.door.usage_point_id:
        faults.append(f"{key}: {code} is the living supply of these premises; production needs another one")
    elif point.kind != "customer" or point.category != "production":
        faults.append(f"{key}: {code} is listed as {point.kind}, {point.category}; wanted customer, production")
    membership = topology.membership_at(work.connection, usage_point_id, work.now)
    if membership is None or membership.area_id != work.door.area_id:
        where = "no area" if membership is None else membership.area
        faults.append(f"{key}: {code} hangs on {where}, not on {work.door.area}")


def _surveyed_phase(work: Work) -> object:
    done = work.closed.get(Step.SURVEY)
    return None if done is None else done.evidence.get("phase")


def _name(meter: StoredMeter) -> str:
    return f"{meter.manufacturer}/{meter.serial}"


def already_closed(door: Door, done: StoredStep) -> StepRefused:
    """Somebody else has closed the step: told who and when, nothing is merged."""
    return StepRefused(
        f"{done.step} at {door.code} was closed by {done.closed_by} at {done.closed_at.isoformat()}",
        code=Refusal.CONFLICT,
    )
