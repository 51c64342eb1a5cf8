"""The steps of a premises' rollout in their order, and what keeps each of them from being closed; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal


class Step(StrEnum):
    """A step; the order of the members is the order of the work."""

    SURVEY = "survey"
    HOUSEHOLD_METER_INSTALLED = "household_meter_installed"
    PRODUCTION_SEPARATED = "production_separated"
    COMMISSIONED = "commissioned"
    SHARED_METER_REMOVED = "shared_meter_removed"


StepCondition = Literal["done", "open", "waiting", "blocked", "not_needed"]
"""done: closed on evidence; open: can be closed now; waiting: the head-end reads the meter; blocked: see missing."""


class Refusal(StrEnum):
    """Why a step was refused, as a counter names it."""

    EVIDENCE = "evidence"
    """Something is missing in the evidence, or wrong."""
    ORDER = "order"
    """Another step comes first, here or at another door behind the same shared meter."""
    NOT_NEEDED = "not_needed"
    """There is nothing to do."""
    CONFLICT = "conflict"
    """Somebody else has done it, or is doing it, or what is stored says otherwise."""
    COMMISSIONING = "commissioning"
    """The head-end's own read did not come, or does not fit."""
    IDENTITY = "identity"
    """Who sends it, or its client id, is not usable."""


class StepRefused(Exception):
    """A step cannot be closed as asked; says why, and what is missing or wrong, one thing each."""

    def __init__(self, reason: str, missing: Sequence[str] = (), *, code: Refusal = Refusal.EVIDENCE) -> None:
        super().__init__("; ".join([reason, *missing]))
        self.reason = reason
        self.missing = tuple(missing)
        self.code = code


class UnknownPremises(Exception):
    """There are no premises with this code."""

    def __init__(self, code: str) -> None:
        super().__init__(f"there are no premises {code!r}")
        self.code = code


@dataclass(frozen=True, kw_only=True, slots=True)
class StepResult:
    """What became of a step that was not refused."""

    premises: str
    step: Step
    state: Literal["closed", "waiting"]
    """waiting: accepted, and the head-end's own read of the meter is still under way."""
    detail: str | None = None
    repeated: bool = False
    """The same client id had been sent before; nothing changed."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ClosedStep:
    """A step as it was closed."""

    closed_at: datetime
    closed_by: str
    evidence: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class StepState:
    """One line of the checklist."""

    step: Step
    condition: StepCondition
    closed: ClosedStep | None = None
    missing: tuple[str, ...] = ()
    """What has to happen first, for a person."""
    detail: str | None = None
    """What the last attempt said, where there was one."""


def checklist(
    *,
    has_production: bool,
    closed: Mapping[Step, ClosedStep],
    commissioning: Literal["waiting", "passed", "failed"] | None = None,
    commissioning_detail: str | None = None,
    not_commissioned: Sequence[str] = (),
) -> tuple[StepState, ...]:
    """Every step of one premises with its condition.

    `not_commissioned`: labels of the premises behind the same shared meter (this one too) that the head-end has not
    read yet; while there is one, the shared meter stays.
    """
    states: list[StepState] = []
    before: list[Step] = []
    for step in Step:
        done = closed.get(step)
        if step is Step.PRODUCTION_SEPARATED and not has_production and done is None:
            states.append(StepState(step=step, condition="not_needed"))
            continue
        detail = commissioning_detail if step is Step.COMMISSIONED else None
        if done is not None:
            states.append(StepState(step=step, condition="done", closed=done, detail=detail))
            before.append(step)
            continue
        missing = [
            f"step {earlier} is not closed" for earlier in earlier_steps(step, has_production) if earlier not in before
        ]
        if step is Step.SHARED_METER_REMOVED:
            missing += [f"{label} is not commissioned" for label in not_commissioned]
        condition: StepCondition = "blocked" if missing else "open"
        if step is Step.COMMISSIONED and commissioning == "waiting" and not missing:
            condition = "waiting"
        states.append(StepState(step=step, condition=condition, missing=tuple(missing), detail=detail))
    return tuple(states)


def earlier_steps(step: Step, has_production: bool) -> list[Step]:
    """The steps that have to be closed before `step`."""
    order = [s for s in Step if has_production or s is not Step.PRODUCTION_SEPARATED]
    return order[: order.index(step)]
