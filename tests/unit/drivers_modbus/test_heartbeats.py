"""Heartbeats among answers: never taken for one, and no answer spoilt by one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from drivers.errors import DriverConfigError
from drivers.modbus.frames import Answered, MbapFraming
from drivers.modbus.heartbeats import HeartbeatFraming, Heartbeats
from drivers.modbus.rtu import RtuFraming, sealed

ASK = bytes.fromhex("04 0000 0002")
BODY = bytes.fromhex("04 04 43 66 33 34")
RTU = sealed(b"\x01" + BODY)
MBAP = b"\0\x01\0\0\0\x07\x01" + BODY


def rtu(*literals: bytes, patterns: tuple[str, ...] = ()) -> HeartbeatFraming:
    framing = HeartbeatFraming(RtuFraming(), Heartbeats(literals, patterns))
    framing.ask(1, ASK, 2)
    return framing


def mbap(*literals: bytes, patterns: tuple[str, ...] = ()) -> HeartbeatFraming:
    framing = HeartbeatFraming(MbapFraming(noisy=True), Heartbeats(literals, patterns))
    framing.ask(1, ASK, 2)
    return framing


@pytest.mark.parametrize(("make", "answer"), [(rtu, RTU), (mbap, MBAP)])
@pytest.mark.parametrize("beat", [b"\xfe", b"LOG", b"\x00", b"\x01", b"\x01\x04", b"\xff" * 20])
def test_an_answer_is_found_with_a_heartbeat_at_every_place(make: Any, answer: bytes, beat: bytes) -> None:
    assert make(beat).examine(beat * 3) is None
    for at in range(len(answer) + 1):
        inside = 0 < at < len(answer)
        if inside and (beat in answer or (make is mbap and len(beat) < 3)):
            continue  # nobody could tell it from a value
        assert make(beat).examine(answer[:at] + beat + answer[at:]) == Answered(answer), at


def test_without_a_checksum_an_answer_with_a_heartbeat_inside_is_not_believed() -> None:
    torn = MBAP[:9] + b"PING"
    assert mbap().examine(torn) == Answered(torn)
    assert mbap(b"PING").examine(torn) is None
    assert mbap(b"PING").examine(torn + MBAP[9:]) == Answered(MBAP)
    begun = MBAP[:9] + b"\0PIN"  # the rest of the heartbeat is still to come
    assert mbap(b"PING").examine(begun) is None
    assert mbap(b"PING").examine(MBAP[:9] + b"\0PING" + MBAP[10:]) == Answered(MBAP[:9] + b"\0" + MBAP[10:])
    values = sealed(b"\x01\x04\x04PING")
    assert rtu(b"PING").examine(values) == Answered(values)


def test_a_heartbeat_that_is_a_frame_is_never_the_answer() -> None:
    beat = sealed(bytes.fromhex("01 04 04 00 00 00 00"))
    framing = rtu(beat)
    assert framing.examine(beat) is None
    assert framing.examine(beat + b"\x13" + beat) is None
    assert framing.examine(beat + RTU) == Answered(RTU)
    assert framing.examine(beat + beat + RTU) == Answered(RTU)


def test_a_pattern_cuts_what_fixed_bytes_cannot() -> None:
    beat = b"$HB,0017,4.1V\r\n"
    assert rtu(patterns=(r"\$HB,\d+,[0-9.]+V\r\n",)).examine(RTU[:4] + beat + RTU[4:]) == Answered(RTU)
    assert mbap(patterns=(r"\$HB,[^\n]+\n",)).examine(beat + MBAP) == Answered(MBAP)


def test_without_heartbeats_noise_between_the_frames_of_a_modem_breaks_nothing() -> None:
    late = b"\0\0\0\0\0\x07\x01" + BODY
    assert mbap().examine(b"AT+CSQ\r\n" + late + MBAP) == Answered(MBAP)
    assert mbap().examine(b"\0\x01\0\0\xff\xff" + MBAP) == Answered(MBAP)


@seed(5)
@settings(max_examples=300, deadline=None)
@given(before=st.binary(max_size=20), beats=st.integers(0, 3), cut=st.integers(0, len(RTU)))
def test_noise_and_heartbeats_together(before: bytes, beats: int, cut: int) -> None:
    beat = b"\xfe\xfd"
    assert rtu(beat).examine(before + beat * beats + RTU) == Answered(RTU)
    assert rtu(beat).examine(beat * beats + RTU[:cut] + beat + RTU[cut:]) == Answered(RTU)


def test_what_leads_and_what_may_begin() -> None:
    beats = Heartbeats((b"PING", b"P"), ("x+",))
    assert beats.starts(b"PINGPxxID") == [0, 4, 5, 7]
    assert beats.starts(b"ID") == [0]
    assert beats.may_begin(b"PIN")
    assert not beats.may_begin(b"PING")
    assert not beats.may_begin(b"I")
    assert beats.cut(b"aPINGbxPc") == b"abc"
    assert Heartbeats().starts(b"x") == [0]
    assert Heartbeats().cut(b"x") == b"x"
    assert not Heartbeats().make_up(b"")


@pytest.mark.parametrize(
    ("literals", "patterns", "message"),
    [
        ((b"",), (), "without bytes"),
        ((), ("(",), "no regular expression"),
        ((), ("x*",), "matches no bytes"),
        ((), ("(?P<id>x)",), "names a group"),
        ((), (".+",), "takes answers of meters"),
        ((), ("心跳",), "no regular expression over bytes"),
    ],
)
def test_what_cannot_be_a_heartbeat_is_said(
    literals: tuple[bytes, ...], patterns: tuple[str, ...], message: str
) -> None:
    with pytest.raises(DriverConfigError, match=message):
        Heartbeats(literals, patterns)
