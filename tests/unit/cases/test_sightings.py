"""What a sighting means for the cases there are, and when a case is over."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from headend.domain.cases import LIVE, CaseState
from headend.domain.sightings import (
    Answer,
    KnownCase,
    Meaning,
    Sighting,
    Strength,
    clearly_stronger,
    is_over,
    meaning_of,
)

THEN = Strength(confidence=0.8, energy_low_wh=900, energy_high_wh=1100)
LAST = date(2026, 3, 31)
SEEN = Sighting(kind="stuck", strength=THEN, first=LAST)


def case(state: CaseState, finding_id: int = 1, **more: object) -> KnownCase:
    made = KnownCase(
        finding_id=finding_id, state=state, kind="stuck", strength=THEN, window_to=LAST,
        verdict=state.value if state in (CaseState.CONFIRMED, CaseState.REJECTED) else None,
    )  # fmt: skip
    return replace(made, **more)  # type: ignore[arg-type]


def known(*cases: KnownCase) -> dict[CaseState, KnownCase]:
    return {one.state: one for one in cases}


@pytest.mark.parametrize("state", sorted(LIVE))
def test_a_live_case_is_seen_again_whatever_was_before_or_after(state: CaseState) -> None:
    live = case(state, 2)
    for others in ([], [case(CaseState.REJECTED, 1)], [case(CaseState.CLOSED, 3)]):
        assert meaning_of(SEEN, known(live, *others)) == Answer(Meaning.SEEN_AGAIN, live)


def test_what_is_seen_in_days_after_its_repair_only_is_back() -> None:
    repaired = case(CaseState.CONFIRMED, repaired_on=LAST - timedelta(days=9))
    assert meaning_of(replace(SEEN, first=LAST - timedelta(days=9)), known(repaired)).meaning is Meaning.SEEN_AGAIN
    answer = meaning_of(replace(SEEN, first=LAST - timedelta(days=8)), known(repaired))
    assert answer == Answer(Meaning.NEW, repaired, "returned")
    unrepaired = case(CaseState.CONFIRMED)
    assert meaning_of(replace(SEEN, first=LAST + timedelta(days=90)), known(unrepaired)).meaning is Meaning.SEEN_AGAIN


def test_nothing_before_is_new() -> None:
    assert meaning_of(SEEN, {}) == Answer(Meaning.NEW, None, "first")


@pytest.mark.parametrize(("late", "meaning"), [(0, Meaning.RETURNED), (1, Meaning.NEW)])
def test_what_was_closed_returns_while_its_days_are_looked_at(late: int, meaning: Meaning) -> None:
    closed = case(CaseState.CLOSED)
    answer = meaning_of(replace(SEEN, first=LAST + timedelta(days=late)), known(closed))
    assert (answer.meaning, answer.case) == (meaning, closed)


def test_what_was_confirmed_and_is_gone_returns_as_a_new_case() -> None:
    gone = case(CaseState.CLOSED, verdict="confirmed")
    assert meaning_of(SEEN, known(gone)) == Answer(Meaning.NEW, gone, "returned")


@pytest.mark.parametrize(
    ("late", "strength", "meaning", "why"),
    [
        (0, THEN, Meaning.STAYS_REJECTED, "first"),
        (0, replace(THEN, confidence=0.97), Meaning.STAYS_REJECTED, "first"),
        (0, replace(THEN, confidence=0.976), Meaning.NEW, "stronger"),
        (1, THEN, Meaning.NEW, "later"),
    ],
)
def test_a_rejection_stands_until_there_is_clearly_more(
    late: int, strength: Strength, meaning: Meaning, why: str
) -> None:
    rejected = case(CaseState.REJECTED)
    sighting = replace(SEEN, strength=strength, first=LAST + timedelta(days=late))
    assert meaning_of(sighting, known(rejected)) == Answer(meaning, rejected, why)


def test_the_latest_of_those_that_are_over_decides() -> None:
    rejected, closed = case(CaseState.REJECTED, 1), case(CaseState.CLOSED, 2)
    assert meaning_of(SEEN, known(rejected, closed)) == Answer(Meaning.RETURNED, closed)
    rejected = case(CaseState.REJECTED, 3)
    assert meaning_of(SEEN, known(rejected, closed)) == Answer(Meaning.STAYS_REJECTED, rejected)


@pytest.mark.parametrize(
    ("low", "high", "stronger"),
    [(2199, 9000, False), (2201, 9000, True), (-9000, -2201, True), (-3000, 9000, False), (0, 0, False)],
)
def test_twice_the_energy_at_least_is_clearly_more(low: float, high: float, stronger: bool) -> None:
    now = Strength(confidence=0.8, energy_low_wh=low, energy_high_wh=high)
    assert clearly_stronger(now, THEN) is stronger


def test_certainty_is_not_more_than_certainty() -> None:
    sure = Strength(confidence=1.0, energy_low_wh=0, energy_high_wh=0)
    assert not clearly_stronger(sure, sure)
    assert not clearly_stronger(replace(sure, confidence=0.0), replace(sure, confidence=0.0))


@pytest.mark.parametrize("state", CaseState)
def test_when_a_case_that_was_not_seen_is_over(state: CaseState) -> None:
    expected = {CaseState.OPEN: True, CaseState.ASSIGNED: True}
    assert is_over(case(state), LAST) is expected.get(state, False)
    later = LAST + timedelta(days=1)
    assert is_over(case(state), later) is (expected | {CaseState.CONFIRMED: True}).get(state, False)


def test_what_was_confirmed_is_over_when_its_repair_is_before_the_window() -> None:
    repaired = case(CaseState.CONFIRMED, repaired_on=LAST - timedelta(days=10))
    assert not is_over(repaired, LAST - timedelta(days=10))
    assert is_over(repaired, LAST - timedelta(days=9))
