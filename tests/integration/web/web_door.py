"""Stands between the web and the rollout stage, which has tests of its own: records what it was asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from headend.rollout.checklist import Step, StepRefused, StepResult, UnknownPremises


class Door:
    """Stands for the rollout stage, which has tests of its own: refuses what lacks a seal, keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Step, UUID, str, Mapping[str, Any]]] = []

    def advance(self) -> int:
        return 0

    def close_step(
        self, premises_code: str, step: Step, client_id: UUID, by: str, evidence: Mapping[str, Any]
    ) -> StepResult:
        if premises_code == "P-404":
            raise UnknownPremises(premises_code)
        repeated = any(client_id == asked[2] for asked in self.asked)
        self.asked.append((premises_code, step, client_id, by, evidence))
        if step is Step.HOUSEHOLD_METER_INSTALLED and "seal" not in evidence:
            raise StepRefused("the evidence is not complete", ["seal"])
        waiting = step is Step.COMMISSIONED
        return StepResult(
            premises=premises_code, step=step, state="waiting" if waiting else "closed", repeated=repeated
        )
