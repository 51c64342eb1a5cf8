"""Status registers: a bit that changed since the register was read last is an event; nothing else is."""

from __future__ import annotations

from drivers.base import MeterIdentity
from drivers.events import EVENT_CODES, EventKind, code_of
from drivers.modbus.features import StatusSpec
from drivers.modbus.register_map import Table
from headend.ingest.status_events import StatusWord, events_of, status_word

SPEC = StatusSpec(
    table=Table.HOLDING,
    address=258,
    bits={
        0: (EventKind.COVER_OPENED, EventKind.COVER_CLOSED),
        3: (EventKind.MAGNET_DETECTED, None),
        4: (EventKind.PHASE_LOST, EventKind.PHASE_RESTORED),
        5: (EventKind.PHASE_LOST, EventKind.PHASE_RESTORED),
    },
)
S = 1_000_000


def word(value: int, at_s: int) -> StatusWord:
    return status_word(MeterIdentity("Acme", "1"), SPEC, [value], instant_us=at_s * S, uncertainty_ms=20)


def test_a_bit_that_is_set_and_one_that_is_cleared() -> None:
    (opened,) = events_of(word(0b1, 900), 0, 0)
    assert (opened.kind, opened.instant_us, opened.detail) == (
        EventKind.COVER_OPENED, 900 * S, "holding 258: bit 0 set",
    )  # fmt: skip
    assert opened.uncertainty_ms == 900_020, "somewhere since the last poll"
    (closed,) = events_of(word(0b0, 1800), 0b1, 900 * S)
    assert (closed.kind, closed.uncertainty_ms) == (EventKind.COVER_CLOSED, 900_020)


def test_the_same_word_and_bits_that_mean_nothing_are_no_events() -> None:
    assert events_of(word(0b1, 900), 0b1, 0) == ()
    assert events_of(word(0b1100_0000_0000, 900), 0, 0) == ()
    assert events_of(word(0, 900), 0b1000, 0) == (), "the end of a magnet is not told by this meter"


def test_a_word_that_is_not_newer_says_nothing() -> None:
    assert events_of(word(0b1, 900), 0, 900 * S) == ()
    assert events_of(word(0b1, 900), 0, 1800 * S) == ()


def test_what_stood_when_the_register_was_first_read_is_told_as_such() -> None:
    (magnet,) = events_of(word(0b1000, 900), None, None)
    assert (magnet.kind, magnet.uncertainty_ms) == (EventKind.MAGNET_DETECTED, 20)
    assert magnet.detail == "holding 258: bit 3 set; it stood so when the register was first read"
    assert events_of(word(0, 900), None, None) == ()


def test_bits_of_one_kind_are_one_event() -> None:
    (lost,) = events_of(word(0b11_0000, 900), 0, 0)
    assert (lost.kind, lost.detail) == (EventKind.PHASE_LOST, "holding 258: bit 4 set, bit 5 set")


def test_every_kind_has_a_code_or_says_that_there_is_none() -> None:
    assert set(EVENT_CODES) == set(EventKind)
    for kind, code in EVENT_CODES.items():
        assert code is None or [part.isdecimal() for part in code.split(".")] == [True] * 4, kind
        assert code is None or code.startswith("3."), "an electricity meter's"
    assert code_of(EventKind.COMMUNICATION_RESTORED, of_meter=False) == "0.1.52.29"
    assert code_of(EventKind.COMMUNICATION_LOST, of_meter=False) is None
