"""The life of a command: from any sequence of crashes and answers never two writes, and confirmed only by the state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headend.domain.commands import CommandState
from headend.ingest.commands.life import Do, Life, Marked, Move, Written


class World:
    """A store, a meter and processes that may die between any two of their doings; every choice is drawn."""

    def __init__(self, draw: st.DataObject, settle_s: float) -> None:
        self.draw = draw
        self.settle_s = settle_s
        self.stored = CommandState.QUEUED
        """As committed."""
        self.meter = draw.draw(st.sampled_from(["open", "closed"]), "at first")
        self.writes = 0
        self.looked = False
        """By the process that is alive."""
        self.writes_by_this_process = 0
        self.read_last: str | None = None
        self.given_back = 0

    def dies(self) -> bool:
        return self.draw.draw(st.integers(0, 9), "dies") == 0

    def one_process(self) -> None:
        """From taking it to its end, or to the death of the process."""
        self.looked, self.writes_by_this_process, self.read_last = False, 0, None
        sent = self.stored is CommandState.SENT
        if not sent:
            self.stored = CommandState.TAKEN
        life = Life(wanted="open", sent=sent, settle_s=self.settle_s)
        move = life.begin()
        while not self.dies():
            ended = self.do(life, move)
            if ended is None:
                return
            move = ended

    def do(self, life: Life, move: Move) -> Move | None:
        draw = self.draw.draw
        match move.do:
            case Do.LOOK:
                assert self.stored is CommandState.TAKEN
                self.looked = True
                answer = draw(st.sampled_from(["state", "silent", "refuses", "too late"]), "look")
                if answer == "state":
                    self.read_last = self.meter
                    return life.looked(agrees=self.meter == "open")
                return {"silent": life.not_now, "refuses": life.refused, "too late": life.out_of_time}[answer]("why")
            case Do.MARK:
                assert self.looked
                result = draw(st.sampled_from(Marked), "mark")
                committed = result in (Marked.YES, Marked.TOO_LATE) or (
                    result is Marked.UNKNOWN and draw(st.booleans())
                )
                if committed:
                    assert self.stored is CommandState.TAKEN
                    self.stored = CommandState.SENT
                return life.marked(result, "why")
            case Do.WRITE:
                assert self.stored is CommandState.SENT, "written before it was committed as sent"
                if draw(st.integers(0, 9), "too late") == 0:
                    return life.not_written("why")
                self.writes += 1
                self.writes_by_this_process += 1
                obeys = draw(st.booleans(), "obeys")
                result = draw(st.sampled_from(Written), "answer")
                if obeys and result is not Written.REFUSED:
                    self.meter = "open"
                return life.written(result, "why")
            case Do.READ_BACK:
                assert self.stored is CommandState.SENT
                if draw(st.booleans(), "readable"):
                    self.read_last = self.meter
                    return life.read_back(agrees=self.meter == "open", seen=self.meter)
                return life.not_read_back("silent")
            case Do.GIVE_BACK:
                assert self.stored is CommandState.TAKEN
                self.stored = CommandState.QUEUED
                self.given_back += 1
                return None
            case Do.LEAVE:
                return None
            case Do.CONCLUDE:
                assert move.state is not None
                assert move.state.done
                if move.state is CommandState.CONFIRMED:
                    assert self.read_last == "open"
                if move.state in (CommandState.EXPIRED, CommandState.REFUSED):
                    # Nobody wrote, or the meter said that it did nothing; never of what another process may have sent.
                    assert self.writes == self.writes_by_this_process
                if move.state is CommandState.EXPIRED:
                    assert self.writes == 0
                self.stored = move.state
                return None


@given(st.data(), st.floats(0.1, 60))
def test_never_two_writes_whatever_dies_and_answers(data: st.DataObject, settle_s: float) -> None:
    world = World(data, settle_s)
    for _ in range(6):
        if world.stored.done:
            break
        world.one_process()
        assert world.writes <= 1
    assert world.writes <= 1


@given(st.floats(0.1, 300))
def test_reading_back_ends_with_the_settle_time(settle_s: float) -> None:
    life = Life(wanted="open", sent=True, settle_s=settle_s)
    move, passed_s, times = life.begin(), 0.0, 0
    while move.do is Do.READ_BACK:
        passed_s += move.pause_s
        times += 1
        move = life.read_back(agrees=False, seen="closed")
    assert move.state is CommandState.UNCONFIRMED
    assert passed_s == pytest.approx(settle_s)
    assert 2 <= times < 70


def test_what_is_left_behind_is_only_read_back() -> None:
    life = Life(wanted="open", sent=True, settle_s=1)
    assert life.begin().do is Do.READ_BACK
    with pytest.raises(RuntimeError):
        life.written(Written.ACCEPTED)
    with pytest.raises(RuntimeError):
        life.looked(agrees=False)


def test_the_same_move_is_not_answered_twice() -> None:
    life = Life(wanted="open", sent=False, settle_s=1)
    life.begin()
    life.looked(agrees=False)
    life.marked(Marked.YES)
    life.written(Written.ACCEPTED)
    with pytest.raises(RuntimeError):
        life.written(Written.ACCEPTED)


def test_what_a_person_is_told() -> None:
    def told(*, result: Written, reads: bool) -> str:
        life = Life(wanted="open", sent=False, settle_s=1)
        life.looked(agrees=False)
        life.marked(Marked.YES)
        move = life.written(result, "no answer within 1 s")
        while move.do is Do.READ_BACK:
            move = life.read_back(agrees=False, seen="closed") if reads else life.not_read_back("no answer")
        return move.detail

    assert told(result=Written.ACCEPTED, reads=True) == (
        "the meter accepted it; within 1 s of reading back it reads closed, wanted open"
    )
    assert told(result=Written.UNKNOWN, reads=False) == (
        "whether the meter obeyed is not known: no answer within 1 s; within 1 s of reading back it could not be read "
        "back: no answer"
    )
