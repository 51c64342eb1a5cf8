"""Closes rollout steps on evidence: once each, in their order, one transaction a step.

The rules it keeps: the same client id sent again changes nothing and is told the same; a step that somebody else closed
is refused with who and when, never merged; a meter is commissioned only by an answer that the owner of its bus gave.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from math import ceil
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from headend.domain.calendar import LocalCalendar
from headend.domain.clock import Clock
from headend.log import get_logger
from headend.metrics import DEVICE_REQUESTS, ROLLOUT_REFUSED
from headend.rollout import evidence as read_evidence
from headend.rollout import steps, trial
from headend.rollout.checklist import Refusal, Step, StepRefused, StepResult, UnknownPremises, earlier_steps
from headend.rollout.evidence import (
    CommissioningAsked,
    Evidence,
    MeterInstalled,
    ProductionSeparated,
    SharedMeterRemoved,
    Survey,
)
from headend.rollout.progress import Premises, premises_of
from headend.rollout.removal import remove_shared_meter
from headend.rollout.steps import Work
from headend.settings import Settings
from headend.store import requests, rollout
from headend.store.errors import StoreConflict
from headend.store.pool import Connection, Store
from headend.store.rollout import Door, StoredStep

_MOST_BY = 100
_log = get_logger(__name__)


class RolloutService:
    """The rollout stage; thread-safe, keeps nothing in memory."""

    def __init__(
        self,
        store: Store,
        settings: Settings,
        clock: Clock,
        *,
        wait_s: float = 5.0,
        look_s: float = 0.2,
        read_within_s: float = 60.0,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """`wait_s`: how long a commissioning waits for the live read before it answers *waiting*, looking every
        `look_s`; `read_within_s`: after so long nobody reads the meter any more.
        """
        self._store = store
        self._calendar = LocalCalendar(ZoneInfo(settings.settlement.zone), settings.settlement.interval_s)
        self._clock = clock
        self._looks = ceil(wait_s / look_s)
        self._look_s = look_s
        self._read_within_s = read_within_s
        self._sleep = sleep

    def premises(self, area: str) -> list[Premises]:
        """Every premises of an area with its checklist as it is now. Raises StoreError."""
        self.advance()
        return premises_of(self._store, area)

    def close_step(
        self, premises_code: str, step: Step, client_id: UUID, by: str, evidence: Mapping[str, Any]
    ) -> StepResult:
        """Close a step. `evidence` by key, as `headend.rollout.evidence` reads it.

        Raises UnknownPremises; StepRefused, having counted it; StoreError when the database failed: nothing was
        changed, or all of it, and sending again tells which.
        """
        try:
            return self._close(premises_code, step, client_id, by, evidence)
        except StepRefused as refusal:
            ROLLOUT_REFUSED.labels(refusal.code.value).inc()
            _log.warning(
                "rollout step refused",
                premises=premises_code,
                step=step.value,
                by=by,
                reason=refusal.reason,
                missing=list(refusal.missing),
            )
            raise

    def advance(self) -> int:
        """Decide every commissioning whose live read is over; returns how many. Raises StoreError."""
        codes = rollout.decidable(self._store, self._clock())
        if not codes:
            return 0
        with self._store.transaction() as connection:
            if expired := requests.expire(connection, now=self._clock()):
                DEVICE_REQUESTS.labels("expired").inc(expired)
        return sum(self._decide(code) for code in codes)

    def _close(self, code: str, step: Step, client_id: UUID, by: str, evidence: Mapping[str, Any]) -> StepResult:
        name = by.strip()
        if not name or len(name) > _MOST_BY or not name.isprintable():
            raise StepRefused(
                "nobody is named who did it",
                (f"by: wanted a name of 1 to {_MOST_BY} printable characters",),
                code=Refusal.IDENTITY,
            )
        if not code.isprintable():
            raise UnknownPremises(code)
        if step is Step.COMMISSIONED:
            self.advance()  # an earlier attempt may have been answered meanwhile
        try:
            with self._store.transaction() as connection:
                result = self._within(connection, code, step, evidence, client_id=client_id, by=name)
        except StoreConflict as error:
            raise StepRefused(
                "somebody else changed the same thing at the same moment; look again, then send again",
                code=Refusal.CONFLICT,
            ) from error
        if result.state == "waiting" and not result.repeated:
            return self._await(code, step, client_id, result)
        return result

    def _within(
        self,
        connection: Connection,
        code: str,
        step: Step,
        evidence: Mapping[str, Any],
        *,
        client_id: UUID,
        by: str,
    ) -> StepResult:
        doors = _hold(connection, code, step)
        door = next(door for door in doors if door.code == code)
        closed = _closed(connection, doors)
        mine = closed[door.premises_id]
        known = _sent_before(connection, door, mine, step, client_id)
        if known is not None:
            return known
        _refuse_unless_next(door, step, mine)
        now = self._clock()
        read = read_evidence.read(step, evidence, now)
        work = Work(connection=connection, door=door, closed=mine, now=now, calendar=self._calendar)
        if isinstance(read, CommissioningAsked):
            trial.begin(work, read, client_id=client_id, by=by, read_within_s=self._read_within_s)
            return StepResult(premises=code, step=step, state="waiting", detail="the head-end is reading the meter")
        try:
            detail = self._change(work, read, doors, closed)
        except StoreConflict as error:  # in words, and before the database was asked to break a rule
            raise StepRefused(str(error), code=Refusal.CONFLICT) from error
        for one in doors:
            rollout.close_step(
                connection,
                premises_id=one.premises_id,
                step=step.value,
                client_id=client_id,
                by=by,
                evidence=read_evidence.as_json(read),
                detail=detail,
                now=now,
            )
        _log.info("rollout step closed", premises=[one.code for one in doors], step=step.value, by=by, detail=detail)
        return StepResult(premises=code, step=step, state="closed", detail=detail)

    def _change(
        self,
        work: Work,
        evidence: Evidence,
        doors: Sequence[Door],
        closed: Mapping[int, Mapping[Step, StoredStep]],
    ) -> str | None:
        match evidence:
            case Survey():
                return steps.survey(work, evidence)
            case MeterInstalled():
                return steps.install_household_meter(work, evidence)
            case ProductionSeparated():
                return steps.separate_production(work, evidence)
            case SharedMeterRemoved():
                return remove_shared_meter(
                    work.connection, doors, closed, evidence, now=work.now, calendar=self._calendar
                )
            case CommissioningAsked():
                raise AssertionError("a commissioning is begun, and closed by an answer")

    def _await(self, code: str, step: Step, client_id: UUID, waiting: StepResult) -> StepResult:
        """Look for the answer for a while. Raises StepRefused when it speaks against the meter."""
        for _ in range(self._looks):
            self._sleep(self._look_s)
            if not self._decide(code):
                continue
            with self._store.transaction() as connection:
                doors = _hold(connection, code, step)
                mine = _closed(connection, doors)[doors[0].premises_id]
                known = _sent_before(connection, doors[0], mine, step, client_id)
            return waiting if known is None else replace(known, repeated=False)
        return waiting

    def _decide(self, code: str) -> bool:
        """Decide one door's commissioning if its read is over; a transaction of its own, so that a failure stays."""
        now: datetime = self._clock()
        with self._store.transaction() as connection:
            door = rollout.hold_premises(connection, code)
            return door is not None and trial.decide(connection, door, now)


def _hold(connection: Connection, code: str, step: Step) -> list[Door]:
    """The doors that a step closes at, held. Raises UnknownPremises."""
    if step is Step.SHARED_METER_REMOVED:
        doors = rollout.hold_behind_the_same(connection, code)
    else:
        door = rollout.hold_premises(connection, code)
        doors = [] if door is None else [door]
    if not doors:
        raise UnknownPremises(code)
    return doors


def _closed(connection: Connection, doors: Sequence[Door]) -> dict[int, dict[Step, StoredStep]]:
    closed: dict[int, dict[Step, StoredStep]] = {door.premises_id: {} for door in doors}
    for done in rollout.closed_steps(connection, closed):
        closed[done.premises_id][Step(done.step)] = done
    return closed


def _sent_before(
    connection: Connection, door: Door, closed: Mapping[Step, StoredStep], step: Step, client_id: UUID
) -> StepResult | None:
    """What became of this client id when it was sent before; None: it is new. Raises StepRefused as it did then."""
    for used, done in closed.items():
        if done.client_id == client_id:
            _must_be_same(used, step, client_id)
            return StepResult(premises=door.code, step=step, state="closed", detail=done.detail, repeated=True)
    current = rollout.commissioning(connection, door.premises_id)
    failed = rollout.failed_commissioning(connection, door.premises_id, client_id)
    if current is not None and current.client_id == client_id:
        _must_be_same(Step.COMMISSIONED, step, client_id)
        if current.state == "waiting":
            detail = "the head-end is reading the meter"
            return StepResult(premises=door.code, step=step, state="waiting", detail=detail, repeated=True)
        failed = current.detail
    if failed is not None:
        _must_be_same(Step.COMMISSIONED, step, client_id)
        raise trial.refusal(door, failed)
    return None


def _must_be_same(used: Step, step: Step, client_id: UUID) -> None:
    if used is not step:
        raise StepRefused(
            f"client_id {client_id} was sent with the step {used} before; every attempt has its own",
            code=Refusal.IDENTITY,
        )


def _refuse_unless_next(door: Door, step: Step, closed: Mapping[Step, StoredStep]) -> None:
    if (done := closed.get(step)) is not None:
        raise steps.already_closed(door, done)
    if step is Step.PRODUCTION_SEPARATED and not door.has_production:
        raise StepRefused(f"{door.code} is listed without production: nothing to separate", code=Refusal.NOT_NEEDED)
    missing = [
        f"step {earlier} is not closed" for earlier in earlier_steps(step, door.has_production) if earlier not in closed
    ]
    if missing and step is not Step.SHARED_METER_REMOVED:  # the removal names everybody who is not ready
        raise StepRefused(f"{step} comes later at {door.code}", missing, code=Refusal.ORDER)
