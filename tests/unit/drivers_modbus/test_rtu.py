"""RTU frames: checksums as the specification and manuals print them, and an answer found in whatever surrounds it."""

from __future__ import annotations

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st
from pymodbus.framer import FramerRTU

from drivers.modbus.frames import Answered, Broken, Verdict
from drivers.modbus.rtu import RtuFraming, crc16, sealed

ASK = bytes.fromhex("04 0000 0002")
"""Two input registers from 0."""
ANSWER = bytes.fromhex("01 04 04 43 66 33 34 1B 38")
"""Unit 1 to ASK, as printed in Eastron's SDM630 protocol: 230.2 V."""
REFUSAL = sealed(bytes.fromhex("01 84 02"))
OTHER_UNIT = sealed(bytes.fromhex("02 04 04 00 01 00 02"))
OTHER_FUNCTION = sealed(bytes.fromhex("01 03 04 00 01 00 02"))
OTHER_LENGTH = sealed(bytes.fromhex("01 04 02 00 01"))


def asked(pdu: bytes = ASK, unit: int = 1, count: int = 2) -> RtuFraming:
    framing = RtuFraming()
    framing.ask(unit, pdu, count)
    return framing


def heard(framing: RtuFraming, stream: bytes, cuts: list[int]) -> Verdict:
    """The verdict of a link that gets `stream` in pieces."""
    for end in [*sorted(cuts), len(stream)]:
        if (verdict := framing.examine(stream[:end])) is not None:
            return verdict
    return None


@pytest.mark.parametrize(
    "frame",
    [
        "02 07 41 12",  # Modbus over Serial Line V1.02, section 6.2.2
        "01 04 00 00 00 02 71 CB",  # Eastron SDM630 Modbus protocol, the example of function 4
        "01 04 04 43 66 33 34 1B 38",
        "11 03 00 6B 00 03 76 87",
        "11 03 06 AE 41 56 52 43 40 49 AD",
        "11 05 00 AC FF 00 4E 8B",
        "11 06 00 01 00 03 9A 9B",
        "11 10 00 01 00 02 04 00 0A 01 02 C6 F0",
        "0A 81 02 B0 53",
    ],
)
def test_recorded_frames_have_the_checksum_that_we_compute(frame: str) -> None:
    recorded = bytes.fromhex(frame)
    assert sealed(recorded[:-2]) == recorded


@seed(5)
@given(data=st.binary(max_size=300))
def test_the_checksum_is_the_one_of_another_implementation(data: bytes) -> None:
    assert crc16(data).to_bytes(2, "little") == FramerRTU.compute_CRC(data).to_bytes(2, "big")


def test_questions_are_sealed_and_answers_opened() -> None:
    framing = RtuFraming()
    assert framing.ask(1, ASK, 2) == bytes.fromhex("01 04 00 00 00 02 71 CB")
    verdict = framing.examine(ANSWER)
    assert verdict == Answered(ANSWER)
    assert framing.pdu(Answered(ANSWER)) == ANSWER[1:-2]
    assert framing.numbered is False


def test_an_exception_is_an_answer_too() -> None:
    assert asked().examine(REFUSAL) == Answered(REFUSAL)


LYING_COUNT = sealed(bytes.fromhex("01 04 02 00 01 00 02"))


@pytest.mark.parametrize("other", [OTHER_UNIT, OTHER_FUNCTION, OTHER_LENGTH, LYING_COUNT, sealed(b"\x01\x83\x02")])
def test_what_fits_another_question_is_passed_over(other: bytes) -> None:
    framing = asked()
    assert framing.examine(other) is None
    assert framing.examine(other * 3 + ANSWER) == Answered(ANSWER)


@pytest.mark.parametrize("at", range(len(ANSWER)))
def test_a_bit_that_fell_over_is_never_an_answer(at: int) -> None:
    for bit in range(8):
        wrong = bytearray(ANSWER)
        wrong[at] ^= 1 << bit
        assert asked().examine(bytes(wrong)) is None
        assert asked().examine(bytes(wrong) + ANSWER) == Answered(ANSWER)


@pytest.mark.parametrize("cut", range(len(ANSWER)))
def test_part_of_an_answer_is_waited_for_and_a_torn_one_hides_no_whole_one(cut: int) -> None:
    assert asked().examine(ANSWER[:cut]) is None
    assert asked().examine(ANSWER[:cut] + ANSWER) == Answered(ANSWER)


PIECES = st.one_of(
    st.binary(max_size=12),
    st.integers(1, len(ANSWER) - 1).map(lambda n: ANSWER[:n]),
    st.integers(1, len(ANSWER) - 1).map(lambda n: ANSWER[n:]),
    st.sampled_from([OTHER_UNIT, OTHER_FUNCTION, OTHER_LENGTH]),
    st.just(sealed(b"\x01" + ASK)),
)
CUTS = st.lists(st.integers(0, 80), max_size=8)


@seed(5)
@settings(max_examples=500, deadline=None)
@given(before=st.lists(PIECES, max_size=4), after=st.lists(PIECES, max_size=2), cuts=CUTS)
def test_an_answer_is_found_whatever_surrounds_it_and_however_it_is_cut(
    before: list[bytes], after: list[bytes], cuts: list[int]
) -> None:
    stream = b"".join([*before, ANSWER, *after])
    assert heard(asked(), stream, []) == Answered(ANSWER)
    assert heard(asked(), stream, [c for c in cuts if c < len(stream)]) == Answered(ANSWER)
    assert heard(asked(), stream, list(range(len(stream)))) == Answered(ANSWER)


@seed(6)
@settings(max_examples=500, deadline=None)
@given(pieces=st.lists(PIECES, max_size=6), cuts=CUTS)
def test_without_an_answer_none_is_found(pieces: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(pieces)
    if ANSWER not in stream:  # two halves may have met
        assert heard(asked(), stream, [c for c in cuts if c < len(stream)]) is None


@seed(7)
@settings(max_examples=300, deadline=None)
@given(words=st.lists(st.integers(0, 0xFFFF), min_size=1, max_size=125), noise=st.binary(max_size=40))
def test_registers_of_any_number_come_through(words: list[int], noise: bytes) -> None:
    count = len(words)
    body = b"".join(w.to_bytes(2, "big") for w in words)
    answer = sealed(bytes((9, 3, 2 * count)) + body)
    framing = asked(b"\x03\x00\x00" + count.to_bytes(2, "big"), 9, count)
    assert framing.examine(noise + answer) == Answered(answer)


# --- converters that give back what they send ---

WRITE = bytes.fromhex("06 0001 0003")
WRITTEN = sealed(b"\x01" + WRITE)


def test_the_echo_of_a_read_is_passed_over() -> None:
    echo = sealed(b"\x01" + ASK)
    framing = asked()
    for end in range(1, len(echo) + 1):
        assert framing.examine(echo[:end]) is None
    assert framing.examine(echo + ANSWER) == Answered(ANSWER)


def test_an_echo_that_reads_like_an_answer_is_still_an_echo() -> None:
    """For some unit and address the first 7 bytes of a question for one register pass for its answer."""
    for address in range(0x0200, 0x0300):
        for unit in range(1, 248):
            question = sealed(bytes((unit, 3)) + address.to_bytes(2, "big") + b"\x00\x01")
            if crc16(question[:5]) == int.from_bytes(question[5:7], "little"):
                for noise in (b"", b"\x00"):
                    framing = asked(question[1:-2], unit, 1)
                    for end in range(1, len(question) + 1):
                        assert framing.examine(noise + question[:end]) is None
                    real = sealed(bytes((unit, 3, 2, 0, 7)))
                    assert framing.examine(noise + question + real) == Answered(real)
                return
    raise AssertionError("there is such a question")


@pytest.mark.parametrize("noise", [b"", b"\x00", b"\xff\x00", b"\x01"])
def test_on_an_echoing_line_the_echo_of_a_write_confirms_nothing(noise: bytes) -> None:
    """Converters that echo often add a byte of noise where the line changes hands."""
    framing = asked()
    assert framing.examine(noise + sealed(b"\x01" + ASK) + ANSWER) == Answered(ANSWER)
    assert framing.ask(1, WRITE, 1) == WRITTEN
    assert framing.examine(noise + WRITTEN) is None
    assert framing.examine(noise + WRITTEN + noise + WRITTEN) == Answered(WRITTEN)


def test_an_echoing_line_stays_one_while_a_meter_is_silent() -> None:
    framing = asked()
    assert framing.examine(sealed(b"\x01" + ASK)) is None  # and no more: the meter is dead
    framing.ask(1, WRITE, 1)
    assert framing.examine(WRITTEN) is None


def test_where_the_echo_has_ended_one_question_is_lost_and_no_more() -> None:
    framing = asked()
    framing.examine(sealed(b"\x01" + ASK) + ANSWER)
    framing.ask(1, ASK, 2)
    assert framing.examine(ANSWER) is None
    framing.ask(1, ASK, 2)
    assert framing.examine(ANSWER) == Answered(ANSWER)
    framing.ask(1, WRITE, 1)
    assert framing.examine(WRITTEN) == Answered(WRITTEN)


# --- writes ---


@pytest.mark.parametrize(
    ("pdu", "count", "answer"),
    [
        ("05 00AC FF00", 1, "11 05 00 AC FF 00 4E 8B"),
        ("06 0001 0003", 1, "11 06 00 01 00 03 9A 9B"),
        ("10 0001 0002 04 000A 0102", 2, "11 10 00 01 00 02 12 98"),
    ],
)
def test_a_write_is_confirmed_by_its_repetition_only(pdu: str, count: int, answer: str) -> None:
    frame = bytes.fromhex(answer)
    assert asked(bytes.fromhex(pdu), 0x11, count).examine(frame) == Answered(frame)
    refused = sealed(bytes((0x11, int(pdu[:2], 16) | 0x80, 3)))
    assert asked(bytes.fromhex(pdu), 0x11, count).examine(refused) == Answered(refused)
    for at in range(2, 6):
        other = bytearray(frame[:-2])
        other[at] ^= 1
        verdict = asked(bytes.fromhex(pdu), 0x11, count).examine(sealed(bytes(other)))
        assert isinstance(verdict, Broken)
        assert "repeated" in verdict.reason


def test_the_echo_of_a_write_of_several_registers_is_no_answer() -> None:
    pdu = bytes.fromhex("10 0001 0002 04 000A 0102")
    framing = asked(pdu, 0x11, 2)
    echo, answer = sealed(b"\x11" + pdu), bytes.fromhex("11 10 00 01 00 02 12 98")
    assert framing.examine(echo) is None
    assert framing.examine(echo + answer) == Answered(answer)
