"""Registration packets of modems: what each rule reads, and that pieces change nothing."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from drivers.errors import DriverConfigError
from drivers.modbus.heartbeats import Heartbeats
from drivers.modbus.registration import (
    IdForm,
    NotRegistered,
    Registered,
    RegistrationRule,
    read_registration,
)

IMEI = RegistrationRule(form=IdForm.IMEI)
LINE = RegistrationRule(end=b"\r\n")
FIXED = RegistrationRule(length=8)
HEX = RegistrationRule(form=IdForm.HEX, length=4)
LOGIN = RegistrationRule(pattern=r"LOGIN:(?P<id>\d+)")
PHONE = RegistrationRule(length=21, pattern=r".{4}(?P<id>\d{11})\x00.{4}\x00")


def read(packet: bytes, *rules: RegistrationRule, paused: bool = False) -> Any:
    return read_registration(packet, rules, paused=paused)


@pytest.mark.parametrize(
    ("rule", "packet", "modem_id"),
    [
        (IMEI, b"861234567890123", "861234567890123"),
        (IMEI, b"861234567890123\r\n", "861234567890123"),
        (LINE, b"DTU-07\r\nrest", "DTU-07"),
        (FIXED, b"DTU-0007", "DTU-0007"),
        (FIXED, b"DTU-7\0\0\0", "DTU-7"),
        (HEX, b"\x00\xa1\xff\x10", "00a1ff10"),
        (PHONE, bytes.fromhex("78563412 3133303636363638383838 00 c0a80142 00"), "13066668888"),
        (RegistrationRule(form=IdForm.IMEI, length=19, pattern="(?P<id>.{15}).*"), b"355837089512343\0\1\2\3",
         "355837089512343"),
        (RegistrationRule(form=IdForm.HEX, end=b"\n", pattern="M(?P<id>.+)"), b"M\x01\x02\n", "0102"),
    ],
)  # fmt: skip
def test_a_packet_tells_the_id(rule: RegistrationRule, packet: bytes, modem_id: str) -> None:
    assert read(packet, rule) == Registered(modem_id)


@pytest.mark.parametrize(
    ("rule", "packet"),
    [
        (IMEI, b"86123456789012x"),
        (FIXED, b"DTU 0007"),
        (FIXED, b"DTU-\x80007"),
        (FIXED, b"        "),
        (LINE, b"\r\n"),
        (LINE, b"x" * 65 + b"\r\n"),
        (PHONE, bytes(21)),
    ],
)
def test_what_is_no_registration_is_known_at_once(rule: RegistrationRule, packet: bytes) -> None:
    assert read(packet, rule) == NotRegistered(packet)


def test_a_rule_that_sees_no_end_waits_for_a_pause() -> None:
    assert read(b"LOGIN:10", LOGIN) is None
    assert read(b"LOGIN:1001", LOGIN) is None
    assert read(b"LOGIN:1001", LOGIN, paused=True) == Registered("1001")
    assert read(b"HELLO", LOGIN, paused=True) == NotRegistered(b"HELLO")
    assert read(b"", LOGIN, paused=True) is None


def test_a_rule_that_failed_leaves_the_others_their_chance() -> None:
    assert read(b"86123456789012x", IMEI, LINE) is None
    assert read(b"86123456789012x\r\n", IMEI, LINE) == Registered("86123456789012x")


LOG = Heartbeats((b"LOG", b"PING!"))


def beaten(packet: bytes, rule: RegistrationRule, *, paused: bool = False) -> Any:
    return read_registration(packet, [rule], LOG, paused=paused)


def test_heartbeats_may_come_before_a_registration() -> None:
    for come, to_come in ((b"LOG", b""), (b"LOGLO", b"G"), (b"PING!PI", b"NG!"), (b"LOGPING!", b"")):
        assert beaten(come, IMEI) is None
        assert beaten(come + to_come + b"861234567890123", IMEI) == Registered("861234567890123")
    assert beaten(b"PING!123", FIXED) is None  # not the id PING!123
    assert beaten(b"PING!12345678", FIXED) == Registered("12345678")


def test_a_registration_that_begins_like_a_heartbeat_is_one() -> None:
    """The example of USR's GPRS232-701 manual, section 6.2: LOGIN:1001 registers, LOG beats."""
    for packet in (b"LOGIN:1001", b"LOGLOGIN:1001", b"LOGLOGLOGIN:1001"):
        assert beaten(packet, LOGIN) is None
        assert beaten(packet, LOGIN, paused=True) == Registered("1001")
    assert beaten(b"LOG", LOGIN, paused=True) is None
    assert beaten(b"LOGOUT", LOGIN, paused=True) == NotRegistered(b"LOGOUT")


RULES = (IMEI, LINE, FIXED)


@seed(5)
@settings(max_examples=300, deadline=None)
@given(
    packet=st.one_of(st.binary(max_size=40), st.from_regex(rb"\A[0-9A-Z-]{3,20}(\r\n)?\Z")),
    order=st.permutations(RULES),
    cuts=st.lists(st.integers(0, 40), max_size=6),
)
def test_pieces_and_the_order_of_rules_change_nothing(
    packet: bytes, order: list[RegistrationRule], cuts: list[int]
) -> None:
    verdicts = [read(packet[:end], *order) for end in [*sorted(c for c in cuts if c < len(packet)), len(packet)]]
    in_pieces = next((v for v in verdicts if isinstance(v, Registered)), None)
    whole = read(packet, *RULES)
    assert in_pieces == (whole if isinstance(whole, Registered) else None)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"length": 0}, r"length = 0: wanted 1\.\.1024"),
        ({"length": 4, "end": b"\n"}, "no `end` beside it"),
        ({"end": b""}, "at least one byte"),
        ({"pattern": "("}, "no regular expression"),
        ({"pattern": r"\d+"}, r"wanted a group \(\?P<id>…\)"),
        ({"pattern": "号(?P<id>.)"}, "no regular expression over bytes"),
    ],
)
def test_a_rule_that_could_never_match_is_an_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(DriverConfigError, match=message):
        RegistrationRule(**values)
