"""Payloads as shown: unchanged, cut without harm, and bytes as bytes."""

from __future__ import annotations

import pytest

from headend.web.payload import MOST_SHOWN, shown


def test_text_is_shown_as_it_came() -> None:
    said = '{"b": 1,\r\n "a": <电表>'
    one = shown(said.encode())
    assert (one.text, one.kind, one.cut, one.size) == (said, "text", False, len(said.encode()))


@pytest.mark.parametrize("payload", [b"\xff\x00ab", b"ab\x00cd", b"ab\x1b[2Jcd", "a\u202eb".encode()])
def test_what_is_no_plain_text_is_dumped(payload: bytes) -> None:
    one = shown(payload)
    assert one.kind == "bytes"
    assert payload.hex(" ") in one.text


def test_a_dump_has_sixteen_bytes_a_line() -> None:
    lines = shown(bytes(range(0x40, 0x51)) + b"\xff").text.split("\n")
    assert lines[0] == "000000  40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  @ABCDEFGHIJKLMNO"
    assert lines[1].split() == ["000010", "50", "ff", "P."]


@pytest.mark.parametrize("shift", [0, 1, 2])
def test_a_cut_through_a_character_is_no_fault_of_the_text(shift: int) -> None:
    one = shown(("a" * shift + "表" * MOST_SHOWN).encode())
    assert one.kind == "text"
    assert one.cut
    assert one.text.strip("a表") == ""
    assert MOST_SHOWN - 3 < len(one.text.encode()) <= MOST_SHOWN


def test_a_broken_character_at_the_end_of_the_message_is() -> None:
    assert shown("表".encode()[:2]).kind == "bytes"


def test_nothing_is_nothing() -> None:
    assert shown(b"").size == 0
