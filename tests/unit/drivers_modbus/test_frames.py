"""Modbus TCP frames: what is an answer, what is somebody else's, what is broken."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from drivers.modbus.frames import Answered, Broken, Question, ends_amid, examine

ASKED = Question(transaction=7, unit=3, function=4, count=2)


def frame(tid: int = 7, unit: int = 3, function: int = 4, body: bytes = b"\x04\x00\x01\x00\x02", pid: int = 0) -> bytes:
    return struct.pack(">HHHBB", tid, pid, 2 + len(body), unit, function) + body


GOOD = frame()


def test_the_right_answer_is_taken_whole() -> None:
    assert examine(GOOD, ASKED) == Answered(GOOD)
    assert examine(GOOD + frame(tid=8), ASKED) == Answered(GOOD)


def test_an_exception_is_an_answer_too() -> None:
    refused = frame(function=0x84, body=b"\x02")
    assert examine(refused, ASKED) == Answered(refused)


@pytest.mark.parametrize("stale", [frame(tid=6), frame(tid=0), frame(tid=6, unit=9, function=3, body=b"\x02\xff\xff")])
def test_late_answers_of_other_questions_are_passed_over(stale: bytes) -> None:
    assert examine(stale, ASKED) is None
    assert examine(stale + GOOD, ASKED) == Answered(GOOD)
    assert examine(stale * 5 + GOOD, ASKED) == Answered(GOOD)


@pytest.mark.parametrize("cut", range(len(GOOD)))
def test_part_of_an_answer_is_waited_for(cut: int) -> None:
    assert examine(GOOD[:cut], ASKED) is None


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        (frame(unit=4), "unit 4 answered a question to unit 3"),
        (frame(function=3), "function 3 answered a question of function 4"),
        (frame(function=0x83, body=b"\x02"), "function 131 answered"),
        (frame(function=0x84, body=b"\x02\x00"), "an exception of 2 bytes"),
        (frame(body=b"\x02\x00\x01"), "2 bytes of registers instead of 4"),
        (frame(body=b"\x06\x00\x01\x00\x02\x00\x03"), "6 bytes of registers instead of 4"),
        (frame(body=b"\x04\x00\x01"), "byte count 4, but 2 bytes came"),
        (frame(body=b"\x04\x00\x01\x00\x02\x00\x03"), "byte count 4, but 6 bytes came"),
        (frame(pid=1), "protocol id 1"),
        (b"\x00\x07\x00\x00\x00\x01\x03\x04", "length of 7 bytes"),
        (b"\x00\x07\x00\x00\xff\xff\x03\x04", "length of 65541 bytes"),
    ],
)
def test_what_does_not_fit_is_broken_and_says_how(wrong: bytes, reason: str) -> None:
    verdict = examine(wrong, ASKED)
    assert isinstance(verdict, Broken)
    assert reason in verdict.reason


@pytest.mark.parametrize("missing", range(1, len(GOOD)))
@pytest.mark.parametrize("late", [frame(tid=6), frame(tid=5, function=3, body=bytes([8, *range(8)]))])
def test_an_answer_that_was_cut_and_filled_up_with_another_ones_bytes_is_never_taken(missing: int, late: bytes) -> None:
    assert not isinstance(examine(GOOD[:-missing] + late, ASKED), Answered)


@pytest.mark.parametrize("before", [b"", GOOD, GOOD + frame(tid=9)])
def test_half_a_frame_is_out_of_step_and_whole_ones_are_not(before: bytes) -> None:
    assert not ends_amid(before)
    assert all(ends_amid(before + GOOD[:cut]) for cut in range(1, len(GOOD)))


@pytest.mark.parametrize("asked", [1, 2, 0xFFFF])
def test_frames_that_follow_the_answer_are_no_offence(asked: int) -> None:
    question = Question(transaction=asked, unit=3, function=4, count=2)
    mine = frame(tid=asked)
    for following in (mine, frame(tid=(asked - 2) % 0xFFFF + 1), frame(tid=asked % 0xFFFF + 1)):
        for end in range(len(following) + 1):
            assert examine(mine + following[:end], question) == Answered(mine)
    assert isinstance(examine(mine + frame(tid=asked ^ 0x4000), question), Broken)  # never asked


@seed(5)
@settings(max_examples=500, deadline=None)
@given(noise=st.binary(max_size=300))
def test_noise_is_never_an_answer_with_other_contents(noise: bytes) -> None:
    verdict = examine(noise, ASKED)
    if isinstance(verdict, Answered):
        head, body = verdict.frame[:8], verdict.frame[8:]
        assert head[:4] == b"\x00\x07\x00\x00"
        assert head[6] == 3
        assert (head[7] == 4 and len(body) == 5) or (head[7] == 0x84 and len(body) == 1)
