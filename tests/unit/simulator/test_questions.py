"""Questions are found in the bytes of a connection however they were cut, and only there."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.simulator.questions import Asked, NotModbus, Questions, RtuQuestions, TcpQuestions

READ = bytes.fromhex("01 03 00 00 00 0A C5 CD")
"""Ten holding registers of unit 1: checksum as calculators on the web give it."""
WRITE = bytes.fromhex("11 10 00 01 00 02 04 00 0A 01 02 C6 F0")
"""Modbus over Serial Line, as tutorials show function 16."""


def tcp(transaction: int, unit: int, pdu: bytes) -> bytes:
    """A Modbus TCP frame."""
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def fed(questions: Questions, stream: bytes, cuts: list[int]) -> list[Asked]:
    """What is found when the stream comes in pieces."""
    found, at = [], 0
    for cut in [*sorted(cuts), len(stream)]:
        found += questions.feed(stream[at:cut])
        at = cut
    return found


@given(st.lists(st.integers(0, 40)))
def test_tcp_questions_do_not_depend_on_the_pieces(cuts: list[int]) -> None:
    stream = tcp(7, 3, b"\x03\x00\x00\x00\x0a") + tcp(8, 255, b"\x10\x00\x01\x00\x01\x02\x00\x05") + tcp(9, 1, b"\x2b")
    assert fed(TcpQuestions(), stream, [c for c in cuts if c < len(stream)]) == [
        Asked(7, 3, b"\x03\x00\x00\x00\x0a"),
        Asked(8, 255, b"\x10\x00\x01\x00\x01\x02\x00\x05"),
        Asked(9, 1, b"\x2b"),
    ]


@pytest.mark.parametrize("garbage", [b"GET / HTTP/1.1\r\n", tcp(1, 1, b""), struct.pack(">HHHB", 1, 0, 255, 1)])
def test_what_is_no_tcp_frame_is_said(garbage: bytes) -> None:
    with pytest.raises(NotModbus):
        TcpQuestions().feed(garbage)


def test_the_answer_repeats_number_and_unit() -> None:
    assert TcpQuestions().answer(Asked(513, 9, b"\x03"), b"\x83\x02") == bytes.fromhex("02 01 00 00 00 03 09 83 02")
    assert RtuQuestions().answer(Asked(0, 1, b"\x03"), b"\x83\x02") == bytes.fromhex("01 83 02 C0 F1")


@given(st.lists(st.integers(0, 21)))
def test_rtu_questions_do_not_depend_on_the_pieces(cuts: list[int]) -> None:
    found = fed(RtuQuestions(), READ + WRITE, [c for c in cuts if c < len(READ + WRITE)])
    assert found == [Asked(0, 1, READ[1:-2]), Asked(0, 0x11, WRITE[1:-2])]


@pytest.mark.parametrize(
    "noise",
    [b"\x00", b"\xfe\xfe", READ[:5], READ[:-1] + b"\x00", bytes(range(40)), WRITE[:6], bytes(600)],
)
def test_rtu_noise_is_passed_over(noise: bytes) -> None:
    questions = RtuQuestions()
    questions.feed(noise)
    assert questions.feed(READ) == [Asked(0, 1, READ[1:-2])]


def test_an_unknown_rtu_function_ends_where_the_bytes_do() -> None:
    frame = RtuQuestions().answer(Asked(0, 5, b""), b"\x2b\x0e\x01\x00")  # an answer is sealed as a question is
    assert RtuQuestions().feed(frame) == [Asked(0, 5, b"\x2b\x0e\x01\x00")]
    assert RtuQuestions().feed(frame[:-1]) == []
