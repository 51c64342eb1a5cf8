"""How far the premises of an area are, as the stage itself sees it: checklists out of rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from headend.rollout.checklist import ClosedStep, Step, StepState, checklist
from headend.store import views
from headend.store.pool import Row, Store

_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True, slots=True)
class Premises:
    """A door behind a shared meter, and how far it is."""

    code: str
    label: str
    area: str
    usage_point: str
    shared_usage_point: str
    has_production: bool
    steps: tuple[StepState, ...]


def premises_of(store: Store, area: str) -> list[Premises]:
    """Every premises of an area, by code; none where there is no such area. Raises StoreError."""
    found: list[Premises] = []
    with views.reading(store) as connection:
        while True:
            after = found[-1].code if found else None
            part = views.premises(connection, limit=_AT_ONCE, area=area, after=after)
            found += [_premises(row) for row in part]
            if len(part) < _AT_ONCE:
                return found


def _premises(row: Row) -> Premises:
    closed = {
        Step(step): ClosedStep(
            closed_at=datetime.fromisoformat(done["closed_at"]), closed_by=done["closed_by"], evidence=done["evidence"]
        )
        for step, done in row["closed"].items()
    }
    return Premises(
        code=row["code"],
        label=row["label"],
        area=row["area"],
        usage_point=row["usage_point"],
        shared_usage_point=row["shared_usage_point"],
        has_production=row["has_production"],
        steps=checklist(
            has_production=row["has_production"],
            closed=closed,
            commissioning=row["commissioning_state"],
            commissioning_detail=row["commissioning_detail"],
            not_commissioned=row["not_commissioned"],
        ),
    )
