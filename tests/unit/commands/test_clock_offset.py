"""How far a clock is off, from what it shows: the bound always holds, and there is no bias."""

from __future__ import annotations

import random
from datetime import UTC, datetime
from statistics import fmean
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.feature_codec import encode_clock
from drivers.modbus.features import ClockField, ClockFormat, ClockSpec
from drivers.modbus.register_map import Table
from headend.domain.calendar import from_us, to_us
from headend.ingest.clock_offset import ClockOffset, offset_of, step_s

SHANGHAI, BERLIN = ZoneInfo("Asia/Shanghai"), ZoneInfo("Europe/Berlin")
F = ClockField
FIELDS = ClockFormat(encoding="word_fields", fields=(F.YEAR, F.MONTH, F.DAY, F.HOUR, F.MINUTE, F.SECOND))
MINUTES = ClockFormat(encoding="word_fields", fields=(F.YEAR, F.MONTH, F.DAY, F.HOUR, F.MINUTE))
UNIX = ClockFormat(encoding="unix", zone="utc")
LOCAL_UNIX = ClockFormat(encoding="unix", zone="local")
IEC870 = ClockFormat(encoding="iec870", year_base=2000)
S = 1_000_000


def spec(form: ClockFormat, resolution_s: float = 1.0) -> ClockSpec:
    return ClockSpec(table=Table.HOLDING, address=0x100, format=form, resolution_s=resolution_s)


def asked(form: ClockFormat, *, sent_us: int, there_us: int, back_us: int, off_us: int, zone: ZoneInfo) -> ClockOffset:
    """A meter whose clock is off by `off_us` and cuts off what it cannot show."""
    shows = from_us(sent_us + there_us + off_us)
    words = encode_clock(form, shows, zone)
    return offset_of(spec(form), words, sent_us=sent_us, span_us=there_us + back_us, zone=zone)


@given(
    form=st.sampled_from([FIELDS, MINUTES, UNIX, LOCAL_UNIX, IEC870]),
    sent_us=st.integers(to_us(datetime(2026, 1, 1, tzinfo=UTC)), to_us(datetime(2027, 1, 1, tzinfo=UTC))),
    there_us=st.integers(0, 3 * S),
    back_us=st.integers(0, 3 * S),
    off_us=st.integers(-20 * 60 * S, 20 * 60 * S),
    zone=st.sampled_from([SHANGHAI, BERLIN]),
)
def test_the_true_offset_lies_within_the_bound(
    form: ClockFormat, sent_us: int, there_us: int, back_us: int, off_us: int, zone: ZoneInfo
) -> None:
    found = asked(form, sent_us=sent_us, there_us=there_us, back_us=back_us, off_us=off_us, zone=zone)
    assert found.offset_us is not None
    assert abs(found.offset_us - off_us) <= found.uncertainty_us
    assert found.uncertainty_us == pytest.approx((there_us + back_us) / 2 + step_s(spec(form)) * S / 2, abs=2)


def test_truncation_is_not_a_bias() -> None:
    chance = random.Random(3)
    errors = []
    for _ in range(4000):
        sent = to_us(datetime(2026, 5, 1, tzinfo=UTC)) + chance.randrange(86400 * S)
        off = chance.randrange(-30 * S, 30 * S)
        found = asked(FIELDS, sent_us=sent, there_us=40_000, back_us=40_000, off_us=off, zone=SHANGHAI)
        assert found.offset_us is not None
        errors.append((found.offset_us - off) / S)
    assert abs(fmean(errors)) < 0.02  # without the half second it would be −0.5
    assert max(abs(e) for e in errors) <= 0.541


def test_the_hour_that_is_told_twice() -> None:
    first = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)  # 02:30 in Berlin, for the first time
    second = datetime(2026, 10, 25, 1, 30, tzinfo=UTC)  # and for the second
    for form in (FIELDS, LOCAL_UNIX, IEC870):
        for now in (first, second):
            found = asked(form, sent_us=to_us(now), there_us=0, back_us=0, off_us=3 * S, zone=BERLIN)
            assert found.offset_us == pytest.approx(3 * S, abs=0.5 * S)


def test_a_clock_that_shows_fractions_is_taken_at_its_word() -> None:
    words = (26, 5 << 8 | 1 << 5 | 4, 12 << 8 | 30, 15_250)  # 4 May 2026 12:30:15.250
    now = to_us(datetime(2026, 5, 4, 4, 30, 15, tzinfo=UTC))
    found = offset_of(spec(IEC870), words, sent_us=now - 20_000, span_us=40_000, zone=SHANGHAI)
    assert (found.offset_us, found.uncertainty_us) == (250_500, 20_500)


def test_no_date_is_no_offset() -> None:
    found = offset_of(spec(FIELDS), [0] * 6, sent_us=10**15, span_us=80_000, zone=SHANGHAI)
    assert (found.offset_us, found.offset_ms) == (None, None)
    assert found.told == "names no instant"


def test_told_and_stored() -> None:
    found = asked(FIELDS, sent_us=1_764_000_000 * S, there_us=30_000, back_us=30_000, off_us=12_400_000, zone=SHANGHAI)
    assert found.told == "+12.5 s ± 0.5 s"
    assert (found.offset_ms, found.uncertainty_ms) == (12_470, 530)
    assert found.transit_us == 30_000
    late = ClockOffset(0, -3_960_000_000, 0, S, ())
    assert late.told == "−3,960.0 s ± 0.5 s"


@pytest.mark.parametrize(
    ("form", "resolution_s", "wanted"),
    [(FIELDS, 1.0, 1.0), (MINUTES, 1.0, 60.0), (UNIX, 1.0, 1.0), (UNIX, 10.0, 10.0), (IEC870, 0.01, 0.01)],
)
def test_what_the_registers_tell_apart(form: ClockFormat, resolution_s: float, wanted: float) -> None:
    assert step_s(spec(form, resolution_s)) == wanted
