"""The order of the steps, and what is said of those that cannot be closed yet."""

from __future__ import annotations

from datetime import UTC, datetime

from headend.rollout.checklist import ClosedStep, Step, StepRefused, checklist, earlier_steps

DONE = ClosedStep(closed_at=datetime(2026, 11, 23, tzinfo=UTC), closed_by="Li Wei", evidence={})


def conditions(closed: list[Step], *, has_production: bool = True, **more: object) -> dict[str, str]:
    states = checklist(has_production=has_production, closed=dict.fromkeys(closed, DONE), **more)  # type: ignore[arg-type]
    return {state.step.value: state.condition for state in states}


def test_each_step_waits_for_those_before_it() -> None:
    assert earlier_steps(Step.COMMISSIONED, has_production=True) == [
        Step.SURVEY,
        Step.HOUSEHOLD_METER_INSTALLED,
        Step.PRODUCTION_SEPARATED,
    ]
    assert earlier_steps(Step.COMMISSIONED, has_production=False) == [Step.SURVEY, Step.HOUSEHOLD_METER_INSTALLED]
    for step in Step:
        open_ones = [s for s, c in conditions(earlier_steps(step, True)).items() if c == "open"]
        assert open_ones == [step]


def test_without_production_nothing_has_to_be_separated() -> None:
    found = conditions([Step.SURVEY, Step.HOUSEHOLD_METER_INSTALLED], has_production=False)
    assert found["production_separated"] == "not_needed"
    assert found["commissioned"] == "open"


def test_a_live_read_under_way_shows_as_waiting() -> None:
    before = earlier_steps(Step.COMMISSIONED, True)
    assert conditions(before, commissioning="waiting")["commissioned"] == "waiting"
    assert conditions(before, commissioning="failed")["commissioned"] == "open"


def test_the_removal_names_who_is_not_commissioned() -> None:
    states = checklist(
        has_production=False,
        closed=dict.fromkeys(earlier_steps(Step.SHARED_METER_REMOVED, False), DONE),
        not_commissioned=["Old Yard 2"],
    )
    assert states[-1].condition == "blocked"
    assert states[-1].missing == ("Old Yard 2 is not commissioned",)


def test_a_refusal_says_everything_when_it_is_printed() -> None:
    assert (
        str(StepRefused("survey lacks evidence", ["people: is missing"])) == "survey lacks evidence; people: is missing"
    )
