"""People move cases: forbidden moves are refused, resent ones change nothing, who comes second sees the first."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, datetime, timedelta
from uuid import uuid4

import pytest

from headend.domain.cases import Inspection, Move, MoveOrder, SeenCause
from headend.settlement import case_desk, case_keeper
from headend.store import findings
from headend.store.errors import StoreError
from headend.store.pool import Row
from support.nights import Nights
from support.waiting import until


@pytest.fixture
def finding(nights: Nights) -> int:
    nights.seen(0)
    return int(nights.case()["finding_id"])


def test_the_whole_life_of_a_case(nights: Nights, finding: int) -> None:
    saw = Inspection(
        cause=SeenCause.METER_STOPPED, visited_at=nights.now, text="dark display", register_wh=123_450,
        seal="S-9 whole", photos=("IMG-1", "IMG-2"),
    )  # fmt: skip
    nights.move(finding, Move.ASSIGN, assigned_to="crew 3")
    nights.move(finding, Move.ASSIGN, assigned_to="crew 4", by="Wang")
    event = nights.move(finding, Move.INSPECT, inspection=saw)
    assert (event["from_state"], event["to_state"], event["saw"]) == ("assigned", "inspected", saw.as_json())
    nights.move(finding, Move.CONFIRM)
    nights.move(finding, Move.REPAIR, repaired_on=nights.day(1))
    case = nights.case()
    assert (case["state"], case["assigned_to"], case["verdict"], case["verdict_at"]) == (
        "confirmed", "crew 4", "confirmed", nights.now,
    )  # fmt: skip
    assert case["repaired_on"] == nights.day(1)
    nights.move(finding, Move.REOPEN)
    case = nights.case()
    assert [case[k] for k in ("state", "assigned_to", "verdict", "verdict_at", "repaired_on")] == [
        "open", None, None, None, None,
    ]  # fmt: skip
    assert nights.life(finding) == ["opened", "assign", "assign", "inspect", "confirm", "repair", "reopen"]


@pytest.mark.parametrize(
    ("way", "move"),
    [
        ([], Move.CONFIRM), ([], Move.REJECT), ([], Move.REOPEN), ([], Move.REPAIR), ([Move.ASSIGN], Move.CONFIRM),
        ([Move.INSPECT], Move.REPAIR), ([Move.INSPECT], Move.REOPEN), ([Move.INSPECT, Move.CONFIRM], Move.REJECT),
        ([Move.INSPECT, Move.CONFIRM], Move.INSPECT), ([Move.INSPECT, Move.REJECT], Move.CONFIRM),
        ([Move.INSPECT, Move.REJECT], Move.ASSIGN),
    ],
)  # fmt: skip
def test_a_forbidden_move_is_refused_and_leaves_nothing(
    nights: Nights, finding: int, way: list[Move], move: Move
) -> None:
    for step in way:
        nights.move(finding, step)
    before, life = nights.case(), nights.life(finding)
    with pytest.raises(case_desk.MoveForbidden, match=f"{move.value} is possible while .*{before['state']}"):
        nights.move(finding, move)
    assert (nights.case(), nights.life(finding)) == (before, life)


def test_a_move_sent_again_changes_nothing_and_another_under_its_id_is_refused(nights: Nights, finding: int) -> None:
    order = nights.order(Move.INSPECT)
    first, new = case_desk.move(nights.field.store, lambda: nights.now, finding, order)
    nights.move(finding, Move.REJECT)
    again, new_again = case_desk.move(nights.field.store, lambda: nights.now + timedelta(days=1), finding, order)
    assert (new, new_again, again) == (True, False, first)
    assert nights.case()["state"] == "rejected"
    other = nights.order(Move.REOPEN, event_id=order.event_id)
    with pytest.raises(case_desk.EventIdTaken, match="inspect of finding"):
        case_desk.move(nights.field.store, lambda: nights.now, finding, other)


def test_an_unknown_case_and_times_that_have_not_come_are_refused(nights: Nights, finding: int) -> None:
    with pytest.raises(case_desk.UnknownFinding):
        nights.move(10**15, Move.ASSIGN)
    early = Inspection(cause=SeenCause.BYPASS, visited_at=nights.now + timedelta(seconds=1))
    with pytest.raises(ValueError, match=r"saw/visited_at: .* has not come yet"):
        nights.move(finding, Move.INSPECT, inspection=early)
    nights.judge(finding, Move.CONFIRM)
    with pytest.raises(ValueError, match=r"repaired_on: .* has not come yet"):
        nights.move(finding, Move.REPAIR, repaired_on=nights.day(9))


def test_a_repair_from_before_the_days_in_which_it_was_seen_is_a_slip(nights: Nights, finding: int) -> None:
    """A wrong year would make a case that goes on a new one every night, each said to have come back."""
    nights.seen(1)
    nights.judge(finding, Move.CONFIRM)
    with pytest.raises(ValueError, match=r"repaired_on: 2025-03-03 is before 2026-02-03, from when on"):
        nights.move(finding, Move.REPAIR, repaired_on=date(2025, 3, 3))
    nights.move(finding, Move.REPAIR, repaired_on=nights.day(-27))
    assert nights.case()["repaired_on"] == date(2026, 2, 3)


def test_a_visit_without_access_is_kept_and_judges_nothing(nights: Nights, finding: int) -> None:
    """The engine still closes what nobody has seen."""
    shut = Inspection(cause=SeenCause.NO_ACCESS, visited_at=nights.now, text="the door was shut")
    nights.move(finding, Move.ASSIGN)
    assert nights.move(finding, Move.INSPECT, inspection=shut)["to_state"] == "assigned"
    with pytest.raises(case_desk.MoveForbidden, match="confirm is possible while a case is inspected"):
        nights.move(finding, Move.CONFIRM)
    nights.night(1)
    assert nights.life(finding) == ["opened", "assign", "inspect", "closed"]


def test_a_rejected_case_is_not_reopened_beside_the_one_that_came_after_it(nights: Nights, finding: int) -> None:
    nights.judge(finding, Move.REJECT)
    nights.seen(1, confidence=0.99)
    with pytest.raises(case_desk.OtherCaseLives) as refused:
        nights.move(finding, Move.REOPEN)
    assert refused.value.other == nights.cases()[1]["finding_id"]
    assert [c["state"] for c in nights.cases()] == ["rejected", "open"]


def test_the_history_is_never_changed(nights: Nights, finding: int) -> None:
    for sql in ("update finding_event set made_by = 'me'", "delete from finding_event"):
        with pytest.raises(StoreError, match="is never changed"):
            nights.field.run(sql)


class Held:
    """Somebody who has a case under its lock and does not go on before he is told to."""

    def __init__(self, nights: Nights) -> None:
        self.nights = nights
        self.reached, self.go_on = threading.Event(), threading.Event()

    def clock(self) -> datetime:
        """Asked for under the lock."""
        self.reached.set()
        assert self.go_on.wait(180)
        return self.nights.now


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def held(nights: Nights, beside: ThreadPoolExecutor) -> Iterator[Held]:
    """Nobody waits for him when a test has failed."""
    somebody = Held(nights)
    yield somebody
    somebody.go_on.set()


def _moved(nights: Nights, finding: int, order: MoveOrder, clock: Callable[[], datetime] | None = None) -> Row:
    return case_desk.move(nights.field.store, clock or (lambda: nights.now), finding, order)[0]


def test_of_two_who_judge_at_once_the_second_is_told_of_the_first(
    nights: Nights, finding: int, held: Held, beside: ThreadPoolExecutor
) -> None:
    nights.move(finding, Move.INSPECT)
    first: Future[Row] = beside.submit(_moved, nights, finding, nights.order(Move.CONFIRM, by="Li"), held.clock)
    assert held.reached.wait(180)
    second: Future[Row] = beside.submit(_moved, nights, finding, nights.order(Move.REJECT, by="Wang"))
    until(lambda: nights.field.waiting() == 1, "the second waits for the first")
    held.go_on.set()
    assert first.result()["to_state"] == "confirmed"
    with pytest.raises(case_desk.MoveForbidden, match="this one is confirmed"):
        second.result()
    assert nights.case()["verdict"] == "confirmed"


def test_one_order_sent_twice_at_once_is_one_event(
    nights: Nights, finding: int, held: Held, beside: ThreadPoolExecutor
) -> None:
    order = nights.order(Move.ASSIGN, event_id=uuid4())
    first = beside.submit(_moved, nights, finding, order, held.clock)
    assert held.reached.wait(180)
    second = beside.submit(_moved, nights, finding, order)
    until(lambda: nights.field.waiting() == 1, "the second waits for the first")
    held.go_on.set()
    assert first.result() == second.result()
    assert nights.life(finding) == ["opened", "assign"]


def test_the_engine_waits_for_a_crew_and_then_leaves_what_it_inspected(
    nights: Nights, finding: int, held: Held, beside: ThreadPoolExecutor
) -> None:
    crew = beside.submit(_moved, nights, finding, nights.order(Move.INSPECT), held.clock)
    assert held.reached.wait(180)
    engine = beside.submit(nights.night, 1)
    until(lambda: nights.field.waiting() == 1, "the engine waits for the crew")
    held.go_on.set()
    crew.result()
    assert engine.result() == []
    assert nights.case()["state"] == "inspected"


def test_a_crew_that_comes_while_the_engine_closes_is_told_so_and_can_go_on(
    nights: Nights, finding: int, beside: ThreadPoolExecutor
) -> None:
    nights.move(finding, Move.ASSIGN)
    order = nights.order(Move.INSPECT)
    with nights.field.store.transaction() as engine:
        case_keeper.keep(engine, nights.area, [], first=nights.day(-26), last=nights.day(1), now=nights.at(1))
        crew = beside.submit(_moved, nights, finding, order)
        until(lambda: nights.field.waiting() == 1, "the crew waits for the engine")
    with pytest.raises(case_desk.MoveForbidden, match=r"this one is closed: .*reopen it"):
        crew.result()
    nights.move(finding, Move.REOPEN)
    _moved(nights, finding, order)
    nights.night(2)
    assert nights.life(finding) == ["opened", "assign", "closed", "reopen", "inspect"]


def test_the_engine_closes_nothing_while_somebody_confirms(
    nights: Nights, finding: int, held: Held, beside: ThreadPoolExecutor
) -> None:
    nights.move(finding, Move.INSPECT)
    person = beside.submit(_moved, nights, finding, nights.order(Move.CONFIRM), held.clock)
    assert held.reached.wait(180)
    engine = beside.submit(nights.night, 1)
    until(lambda: nights.field.waiting() == 1, "the engine waits")
    held.go_on.set()
    person.result()
    engine.result()
    assert (nights.case()["state"], nights.case()["verdict"]) == ("confirmed", "confirmed")
    assert [run["seen"] for run in nights.runs(finding)] == [True, False]


def test_areas_do_not_wait_for_each_other(nights: Nights, finding: int) -> None:
    """The engine holds another area: somebody here goes on."""
    other = nights.field.area("A2")
    with nights.field.store.transaction() as engine:
        findings.lock_area(engine, other)
        assert nights.move(finding, Move.ASSIGN)["to_state"] == "assigned"
