"""A meter's clock in registers and back: every format by property, and what is no instant."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.codec import CodecError
from drivers.modbus.feature_codec import decode_clock, encode_clock
from drivers.modbus.features import ClockField, ClockFormat
from drivers.modbus.register_map import WordOrder

LOCAL = ZoneInfo("Asia/Shanghai")
F = ClockField
FORMATS = [
    ClockFormat(encoding="unix", zone="utc"),
    ClockFormat(encoding="unix", zone="local", word_order=WordOrder.LOW_FIRST),
    ClockFormat(encoding="word_fields", fields=(F.YEAR, F.MONTH, F.DAY, F.HOUR, F.MINUTE, F.SECOND)),
    ClockFormat(encoding="word_fields", fields=(F.DAY, F.MONTH, F.YEAR, F.HOUR, F.MINUTE, F.SECOND), bcd=True),
    ClockFormat(
        encoding="byte_fields", fields=(F.YEAR, F.MONTH, F.DAY, F.HOUR, F.MINUTE, F.SECOND), year_base=2000, zone="utc"
    ),
    ClockFormat(
        encoding="byte_fields",
        fields=(F.SECOND, F.MINUTE, F.HOUR, F.WEEKDAY, F.DAY, F.MONTH, F.YEAR),
        year_base=2000,
        bcd=True,
    ),
    ClockFormat(encoding="iec870", fields=(F.YEAR, F.MONTH, F.DAY, F.HOUR, F.MINUTE, F.SECOND), year_base=2000),
]
INSTANTS = st.integers(946_771_200, 4_070_736_000).map(lambda s: datetime.fromtimestamp(s, UTC))  # 2000 … 2098


@given(form=st.sampled_from(FORMATS), instant=INSTANTS)
def test_an_instant_survives_every_format(form: ClockFormat, instant: datetime) -> None:
    words = encode_clock(form, instant, LOCAL)
    assert len(words) == form.count
    assert all(0 <= word <= 0xFFFF for word in words)
    assert decode_clock(form, words, LOCAL) == instant


@given(form=st.sampled_from(FORMATS), words=st.lists(st.integers(0, 0xFFFF), min_size=7, max_size=7))
def test_no_registers_break_it(form: ClockFormat, words: list[int]) -> None:
    said = decode_clock(form, words[: form.count], LOCAL)
    assert said is None or said.tzinfo is UTC


@pytest.mark.parametrize(
    ("form", "words", "local"),
    [
        # Recorded: an event of a DTSD1352, Acrel's manual, page 31: 12 01 08 0A 01 01.
        (FORMATS[4], (0x1201, 0x080A, 0x0101), datetime(2018, 1, 8, 10, 1, 1, tzinfo=UTC)),
        # Recorded: dates of manufacture of an iEM3255 and a PM5330 (SolarNetwork).
        (FORMATS[6], (0x0010, 0x0661, 0x0000, 0x0000), datetime(2016, 6, 1, tzinfo=LOCAL)),
        (FORMATS[6], (0x0010, 0x081E, 0x060A, 0x000D), datetime(2016, 8, 30, 6, 10, 0, 13_000, tzinfo=LOCAL)),
        # Computed: 1,600,000,000 s = 0x5F5E1000 are 2020-09-13 12:26:40, here of local time, low word first.
        (FORMATS[1], (0x1000, 0x5F5E), datetime(2020, 9, 13, 12, 26, 40, tzinfo=LOCAL)),
        # The end of a day as its hour 24.
        (FORMATS[2], (2023, 12, 31, 24, 0, 0), datetime(2024, 1, 1, tzinfo=LOCAL)),
        (FORMATS[6], (0x0018, 0x021D, 0x1800, 0x0000), datetime(2024, 3, 1, tzinfo=LOCAL)),
        # Computed: digits of 59 s, 58 min, 23 h, weekday 5, day 10, month 6, year 22.
        (FORMATS[5], (0x5958, 0x2305, 0x1006, 0x2200), datetime(2022, 6, 10, 23, 58, 59, tzinfo=LOCAL)),
    ],
)
def test_registers_say_an_instant(form: ClockFormat, words: tuple[int, ...], local: datetime) -> None:
    assert decode_clock(form, words, LOCAL) == local.astimezone(UTC)


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (FORMATS[0], (0, 0)),
        (FORMATS[0], (0xFFFF, 0xFFFF)),
        (FORMATS[2], (0, 0, 0, 0, 0, 0)),
        (FORMATS[2], (2024, 2, 30, 0, 0, 0)),
        (FORMATS[2], (2024, 2, 29, 24, 0, 1)),
        (FORMATS[2], (2024, 2, 29, 25, 0, 0)),
        (FORMATS[2], (1999, 12, 31, 0, 0, 0)),
        (FORMATS[3], (0x000A, 0x0001, 0x2024, 0, 0, 0)),
        (FORMATS[4], (0xFFFF, 0xFFFF, 0xFFFF)),
        (FORMATS[6], (0x0018, 0x0101, 0x0000, 60_000)),
    ],
)
def test_a_clock_that_was_never_set_names_no_instant(form: ClockFormat, words: tuple[int, ...]) -> None:
    assert decode_clock(form, words, LOCAL) is None


@pytest.mark.parametrize(
    ("form", "instant", "message"),
    [
        (FORMATS[0], datetime(1969, 1, 1, tzinfo=UTC), "does not fit a u32"),
        (FORMATS[0], datetime(2107, 1, 1, tzinfo=UTC), "does not fit a u32"),
        (FORMATS[4], datetime(1999, 1, 1, tzinfo=UTC), "year -1 does not fit 8 bits"),
        (FORMATS[5], datetime(2200, 1, 1, tzinfo=UTC), "year 200 does not fit 8 bits"),
        (FORMATS[6], datetime(2128, 1, 1, tzinfo=UTC), "year 2128 does not fit 7 bits from 2000"),
        (FORMATS[2], datetime(2024, 1, 1, tzinfo=UTC).replace(tzinfo=None), "has no zone"),
    ],
)
def test_what_a_clock_cannot_hold_is_not_written(form: ClockFormat, instant: datetime, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        encode_clock(form, instant, LOCAL)


def test_the_number_of_registers_is_checked() -> None:
    for form, extra in product(FORMATS, (-1, 1)):
        with pytest.raises(CodecError, match=f"clock: wanted {form.count} registers, got {form.count + extra}"):
            decode_clock(form, [1] * (form.count + extra), LOCAL)


def test_the_weekday_is_written_and_not_believed() -> None:
    words = encode_clock(FORMATS[5], datetime(2022, 6, 10, 23, 58, 59, tzinfo=LOCAL), LOCAL)
    assert words[1] == 0x2305  # a Friday
    assert decode_clock(FORMATS[5], (words[0], 0x2301, *words[2:]), LOCAL) == decode_clock(FORMATS[5], words, LOCAL)
