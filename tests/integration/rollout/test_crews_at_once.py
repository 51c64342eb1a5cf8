"""Two crews at the same moment: one wins, the other is told, and nothing is done twice or half."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any
from uuid import uuid4

import pytest

from headend.rollout.checklist import Refusal, Step, StepRefused, StepResult

CREWS = 6


def at_once(works: Sequence[Callable[[], StepResult]]) -> list[StepResult | StepRefused]:
    """Start all of it at the same moment."""
    barrier = Barrier(len(works))

    def run(work: Callable[[], StepResult]) -> StepResult | StepRefused:
        barrier.wait(10)
        try:
            return work()
        except StepRefused as refusal:
            return refusal

    with ThreadPoolExecutor(len(works)) as pool:
        return list(pool.map(run, works))


def outcomes(found: Sequence[StepResult | StepRefused]) -> Counter[str]:
    return Counter(
        str(one.code) if isinstance(one, StepRefused) else f"{one.state}{' again' * one.repeated}" for one in found
    )


@pytest.mark.parametrize("step", [Step.SURVEY, Step.HOUSEHOLD_METER_INSTALLED])
def test_one_of_many_crews_closes_the_step(yard: Any, step: Step) -> None:
    if step is Step.HOUSEHOLD_METER_INSTALLED:
        yard.survey("P1")
        evidence = yard.meter("P1")
    else:
        evidence = {"people": 3, "category": "residential", "phase": "L1"}
    found = at_once(
        [lambda i=i: yard.service.close_step("P1", step, uuid4(), f"crew {i}", evidence) for i in range(CREWS)]
    )
    assert outcomes(found) == {"closed": 1, Refusal.CONFLICT: CREWS - 1}
    (row,) = yard.query("select closed_by from rollout_step where step = %s", step.value)
    for one in found:
        assert isinstance(one, StepResult) or f"was closed by {row['closed_by']} at" in one.reason


def test_one_phone_that_sends_many_times_closes_it_once(yard: Any) -> None:
    yard.survey("P1")
    client_id, evidence = uuid4(), yard.meter("P1")
    work = lambda: yard.service.close_step("P1", Step.HOUSEHOLD_METER_INSTALLED, client_id, "Li Wei", evidence)  # noqa: E731
    assert outcomes(at_once([work] * CREWS)) == {"closed": 1, "closed again": CREWS - 1}


def test_one_meter_is_not_installed_at_two_doors(yard: Any) -> None:
    for premises in ("P1", "P2", "P3"):
        yard.survey(premises)
    evidence = yard.meter("P1")
    found = at_once(
        [
            lambda p=p: yard.service.close_step(p, Step.HOUSEHOLD_METER_INSTALLED, uuid4(), "Li Wei", evidence)
            for p in ("P1", "P2", "P3")
        ]
    )
    kinds = outcomes(found)
    assert kinds["closed"] == 1
    assert kinds[Refusal.CONFLICT] + kinds[Refusal.EVIDENCE] == 2
    for one in found:
        assert isinstance(one, StepResult) or "Eastron/210001" in str(one)
    assert len(yard.query("select from installation join meter using (meter_id) where serial = '210001'")) == 1


def test_the_shared_meter_is_removed_once_from_whichever_door(yard: Any) -> None:
    yard.all_commissioned()
    evidence = yard.removal()
    doors = ["P1", "P2", "P3"] * 2
    found = at_once(
        [
            lambda p=p, i=i: yard.service.close_step(p, Step.SHARED_METER_REMOVED, uuid4(), f"crew {i}", evidence)
            for i, p in enumerate(doors)
        ]
    )
    assert outcomes(found) == {"closed": 1, Refusal.CONFLICT: len(doors) - 1}
    for one in found:
        assert isinstance(one, StepResult) or "shared_meter_removed at P" in one.reason
        assert isinstance(one, StepResult) or "was closed by crew" in one.reason
    assert (
        len(
            {
                row["client_id"]
                for row in yard.query("select client_id from rollout_step where step = 'shared_meter_removed'")
            }
        )
        == 1
    )


def test_one_live_read_for_two_crews(yard: Any) -> None:
    yard.install("P1")
    found = at_once(
        [
            lambda i=i: yard.service.close_step(
                "P1", Step.COMMISSIONED, uuid4(), f"crew {i}", {"noted_import_wh": 1250}
            )
            for i in range(CREWS)
        ]
    )
    assert outcomes(found) == {"waiting": 1, Refusal.CONFLICT: CREWS - 1}
    assert len(yard.query("select from device_request")) == 1


def test_an_answer_is_decided_once_by_all_who_look(yard: Any) -> None:
    yard.install("P1")
    yard.close("P1", Step.COMMISSIONED, {"noted_import_wh": 1250})
    yard.answer("P1")
    with ThreadPoolExecutor(CREWS) as pool:
        assert sum(pool.map(lambda _: yard.service.advance(), range(CREWS))) == 1
