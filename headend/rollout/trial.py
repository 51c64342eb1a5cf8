"""A commissioning from the wish for a live read to the decision on its answer, in the store.

The rule it keeps: nothing but an answered request decides for a meter; a read that failed or that nobody executed
decides against it, with the reason, and the crew may try again.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from headend.log import get_logger
from headend.rollout.checklist import Refusal, Step, StepRefused
from headend.rollout.commissioning import NOTING, Expected, faults, told
from headend.rollout.evidence import CommissioningAsked
from headend.rollout.steps import Work, register_fault
from headend.store import requests, rollout, topology
from headend.store.pool import Connection
from headend.store.requests import DeviceRequest
from headend.store.rollout import Commissioning, Door

_BETWEEN = "; "
_log = get_logger(__name__)


def begin(work: Work, evidence: CommissioningAsked, *, client_id: UUID, by: str, read_within_s: float) -> None:
    """Ask for a live read of the meter at the door. Raises StepRefused."""
    connection, door = work.connection, work.door
    current = rollout.commissioning(connection, door.premises_id)
    if current is not None and current.state == "waiting":
        raise StepRefused(
            f"{door.code} is being commissioned by {current.requested_by} since {current.requested_at.isoformat()}",
            code=Refusal.CONFLICT,
        )
    serves = topology.installation_of_usage_point(connection, door.usage_point_id, work.now)
    meter = None if serves is None else rollout.meter(connection, serves.meter_id)
    if serves is None or meter is None:
        raise StepRefused(f"no meter serves {door.usage_point} now: nothing to commission", code=Refusal.CONFLICT)
    wrong = []
    noted, start = evidence.noted_import_wh, serves.start_import_wh or 0
    if fault := register_fault("noted_import_wh", noted, meter):
        wrong.append(fault)
    if noted < start:
        wrong.append(f"noted_import_wh: {noted} Wh is less than the start register, {start} Wh")
    if evidence.noted_at is not None and evidence.noted_at < serves.valid_from:
        wrong.append(f"noted_at: lies before the meter was installed, {serves.valid_from.isoformat()}")
    if wrong:
        raise StepRefused(f"{Step.COMMISSIONED} lacks evidence", wrong)
    request_id = requests.submit_read(connection, meter_id=meter.meter_id, now=work.now, ttl_s=read_within_s)
    rollout.begin_commissioning(
        connection,
        premises_id=door.premises_id,
        request_id=request_id,
        client_id=client_id,
        by=by,
        noted_import_wh=noted,
        noted_at=evidence.noted_at,
    )


def decide(connection: Connection, door: Door, now: datetime) -> bool:
    """Close the step, or keep why not, once the live read is over; False while there is nothing to decide.

    `door` is held by this transaction.
    """
    current = rollout.commissioning(connection, door.premises_id)
    if current is None or current.state != "waiting":
        return False
    request = requests.find(connection, current.request_id)
    if request is None or not request.done:
        return False
    against = _against(connection, door, current, request, now)
    passed = not against
    detail = told(request.answer) if passed and request.answer is not None else _BETWEEN.join(against)
    rollout.end_commissioning(connection, door.premises_id, passed=passed, detail=detail)
    if passed:
        rollout.close_step(
            connection,
            premises_id=door.premises_id,
            step=Step.COMMISSIONED.value,
            client_id=current.client_id,
            by=current.requested_by,
            evidence=_evidence(current, request),
            detail=detail,
            now=now,
        )
    _log.info("commissioning decided", premises=door.code, passed=passed, detail=detail)
    return True


def refusal(door: Door, detail: str) -> StepRefused:
    """What a crew is told of a commissioning that failed."""
    return StepRefused(
        f"{door.code} is not commissioned: the head-end's own read does not show the meter that was installed",
        detail.split(_BETWEEN),
        code=Refusal.COMMISSIONING,
    )


def _against(
    connection: Connection, door: Door, current: Commissioning, request: DeviceRequest, now: datetime
) -> list[str]:
    if request.state != "answered" or request.answer is None:
        return [f"the meter was not read: {request.error}"]
    serves = topology.installation_of_usage_point(connection, door.usage_point_id, now)
    meter = None if serves is None else rollout.meter(connection, serves.meter_id)
    point = rollout.usage_point(connection, door.usage_point_id)
    if serves is None or meter is None or point is None or serves.meter_id != current.meter_id:
        return ["another meter serves there by now"]
    expected = Expected(
        meter=f"{meter.manufacturer}/{meter.serial}",
        serial=meter.serial,
        phases=meter.phases,
        resolution_wh=meter.resolution_wh,
        start_import_wh=serves.start_import_wh or 0,
        noted_import_wh=current.noted_import_wh,
        noted_at=current.noted_at if current.noted_at_given else current.noted_at - NOTING,
        rated_current_a=point.rated_current_a,
    )
    return faults(expected, request.answer)


def _evidence(current: Commissioning, request: DeviceRequest) -> dict[str, object]:
    """What the crew noted, and the whole answer of the meter."""
    noted = {"noted_at": current.noted_at.isoformat()} if current.noted_at_given else {}
    return (
        {"noted_import_wh": current.noted_import_wh}
        | noted
        | {"request_id": str(request.request_id), "read": request.answer}
    )
