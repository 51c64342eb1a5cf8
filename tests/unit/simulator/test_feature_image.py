"""A meter that can do everything does what its map says, and refuses the rest as meters do."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from drivers.base import Quantity
from drivers.events import EventKind
from drivers.modbus.codec import Value
from drivers.modbus.feature_codec import decode_clock, encode_clock
from drivers.modbus.features import DAY_S, ProfileSpec, WriteTarget
from drivers.modbus.model import MeterModel
from drivers.simulator.days import to_us
from drivers.simulator.feature_image import Entered
from drivers.simulator.refusal import ModbusException
from drivers.simulator.register_image import RegisterImage
from support.featured import ALL

ZONE = ZoneInfo("Asia/Shanghai")
NOON = datetime(2026, 11, 23, 4, 0, 30, tzinfo=UTC)
"""12:00:30 there."""
PROFILE = ALL.features.profile
assert PROFILE is not None


@dataclass
class Meter:
    """One meter under the test's hand; its register counts a Wh a second since 1970."""

    now_us: int = to_us(NOON)
    lead_us: int = 0
    at_relay: str = "closed"
    at_tariff: str = "1"
    going_on: frozenset[EventKind] = frozenset()
    since_us: int = 0
    entered: Entered = field(default_factory=Entered)

    def clock_us(self) -> int:
        return self.now_us + self.lead_us

    def set_clock(self, shown_us: int) -> None:
        self.lead_us = shown_us - self.now_us

    def relay(self) -> str:
        return self.at_relay

    def switch_relay(self, state: str) -> None:
        self.at_relay = state

    def tariff(self) -> str:
        return self.at_tariff

    def switch_tariff(self, tariff: str) -> None:
        self.at_tariff = tariff

    def noticed(self) -> frozenset[EventKind]:
        return self.going_on

    def frozen(self, shown_us: int) -> Mapping[Quantity, Value] | None:
        at = shown_us - self.lead_us
        return None if at < self.since_us else {Quantity.IMPORT_WH: at // 1_000_000 % 10**9}


def asked(meter: Meter, pdu: bytes, model: MeterModel = ALL) -> bytes:
    """The answer's PDU."""
    values: dict[Quantity, Value] = {Quantity.IMPORT_WH: 123_456, Quantity.VOLTAGE_L1_V: 229.5}
    return RegisterImage(model, ZONE).answer(pdu, lambda wanted: {q: values[q] for q in wanted}, meter)


def read(meter: Meter, address: int, count: int, function: int = 3, model: MeterModel = ALL) -> tuple[int, ...]:
    """The words of registers."""
    answer = asked(meter, struct.pack(">BHH", function, address, count), model)
    assert answer[:2] == bytes((function, 2 * count))
    return struct.unpack(f">{count}H", answer[2:])


def write(meter: Meter, function: int, address: int, *words: int, model: MeterModel = ALL) -> bytes:
    """Write with one of the functions that there are."""
    if function == 16:
        body = struct.pack(f">HHB{len(words)}H", address, len(words), 2 * len(words), *words)
    else:
        body = struct.pack(">HH", address, *words)
    return asked(meter, bytes((function,)) + body, model)


def refused(meter: Meter, pdu: bytes, model: MeterModel = ALL) -> int:
    """The exception code of the answer."""
    with pytest.raises(ModbusException) as refusal:
        asked(meter, pdu, model)
    return refusal.value.code


def test_the_clock_is_read_and_set() -> None:
    meter, clock = Meter(), ALL.features.clock
    assert clock is not None
    assert decode_clock(clock.format, read(meter, 0x3C, 3), ZONE) == NOON
    wanted = encode_clock(clock.format, NOON - timedelta(hours=1), ZONE)
    assert write(meter, 16, 0x3C, *wanted) == struct.pack(">BHH", 16, 0x3C, 3)
    assert meter.lead_us == -3_600_000_000
    assert read(meter, 0x3C, 3) == wanted


def test_a_clock_takes_no_nonsense() -> None:
    meter = Meter()
    month_13 = struct.pack(">HHB3H", 0x3C, 3, 6, 26 << 8 | 13, 1 << 8, 0)
    assert refused(meter, b"\x10" + month_13) == 3
    assert refused(meter, b"\x10" + struct.pack(">HHB2H", 0x3C, 2, 4, 26 << 8 | 11, 1 << 8)) == 3
    assert meter.lead_us == 0


def test_the_relay_is_switched_by_a_coil_and_read_back() -> None:
    meter = Meter()
    assert read(meter, 0x40, 1) == (2,)
    assert write(meter, 5, 0x41, 0x0000) == struct.pack(">BHH", 5, 0x41, 0)
    assert meter.at_relay == "open"
    assert read(meter, 0x40, 1) == (1,)
    write(meter, 5, 0x41, 0xFF00)
    assert read(meter, 0x40, 1) == (2,)
    assert refused(meter, struct.pack(">BHH", 5, 0x41, 1)) == 3


def test_the_tariff_wants_its_password_once_and_soon() -> None:
    meter, switch = Meter(), struct.pack(">BHH", 6, 0x43, 2)
    assert refused(meter, switch) == 4
    assert refused(meter, b"\x10" + struct.pack(">HHB2H", 0x30, 2, 4, 0x1234, 0x9999)) == 3
    write(meter, 16, 0x30, 0x1234, 0x5678)
    assert asked(meter, switch) == switch
    assert read(meter, 0x42, 1, function=4) == (2,)
    assert refused(meter, struct.pack(">BHH", 6, 0x43, 1)) == 4, "the password was for one write"
    write(meter, 16, 0x30, 0x1234, 0x5678)
    meter.now_us += 11_000_000
    assert refused(meter, struct.pack(">BHH", 6, 0x43, 1)) == 4, "and does not hold for ever"


def test_status_bits_say_what_goes_on() -> None:
    meter = Meter()
    assert read(meter, 0x44, 1) == (0,)
    meter.going_on = frozenset({EventKind.OVER_VOLTAGE, EventKind.POWER_FAILED})
    assert read(meter, 0x44, 1) == (0b1000,)
    meter.going_on |= {EventKind.COVER_OPENED}
    assert read(meter, 0x44, 1) == (0b1001,)


def test_measured_registers_and_others_share_a_request_where_the_gaps_allow() -> None:
    assert read(Meter(), 0, 5) == (1, 123_456 - 65_536, 0, 0, 2295)
    assert read(Meter(), 0x3C, 5)[3:] == (0, 2), "clock, an unlisted register, relay"
    assert refused(Meter(), struct.pack(">BHH", 3, 0x40, 5)) == 2, "too wide a gap"
    assert refused(Meter(), struct.pack(">BHH", 3, 0x05, 1)) == 2
    assert refused(Meter(), struct.pack(">BHH", 3, 0x45, 1)) == 2
    assert refused(Meter(), struct.pack(">BHH", 6, 0x00, 1)) == 2, "nothing measured can be written"
    assert refused(Meter(), struct.pack(">BHH", 1, 0x41, 1)) == 1
    assert refused(Meter(), b"\x2b\x0e\x01\x00") == 1


def test_the_daily_freezes_newest_first() -> None:
    meter = Meter()
    midnights = [datetime(2026, 11, day, tzinfo=ZONE) for day in (23, 22, 21)]
    words = read(meter, 0x6000, 24)
    for i, midnight in enumerate(midnights):
        record = words[8 * i : 8 * i + 8]
        assert record[:2] == (26 << 8 | 11, midnight.day << 8)
        assert record[4] << 16 | record[5] == to_us(midnight) // 1_000_000 % 10**9
    assert refused(meter, struct.pack(">BHH", 3, 0x6000 + 24, 1)) == 2
    meter.since_us = to_us(midnights[1])
    assert read(meter, 0x6010, 8) == (0xFFFF,) * 8, "it was not there yet"
    assert read(meter, 0x6008, 8) == words[8:16]


def test_a_part_of_a_record_is_the_same_words() -> None:
    meter = Meter()
    whole = read(meter, 0x6000, 24)
    assert read(meter, 0x6003, 10) == whole[3:13]


def test_freezes_follow_the_meters_own_clock() -> None:
    meter = Meter(lead_us=12 * 3600 * 1_000_000)
    assert read(meter, 0x6000, 2) == (26 << 8 | 11, 24 << 8), "there it is tomorrow already"


def featured(profile: ProfileSpec) -> MeterModel:
    """The model with another profile."""
    return replace(ALL, features=replace(ALL.features, profile=profile))


def test_a_selected_record() -> None:
    assert PROFILE is not None
    selector = WriteTarget(function=6, address=0x50)
    model, meter = featured(replace(PROFILE, selector=selector, selector_base=1)), Meter()
    newest = read(meter, 0x6000, 8, model=model)
    assert newest == read(meter, 0x6000, 8)
    write(meter, 6, 0x50, 3, model=model)
    assert read(meter, 0x6000, 8, model=model) == read(Meter(), 0x6010, 8)
    assert refused(meter, struct.pack(">BHH", 6, 0x50, 4), model) == 3
    assert refused(meter, struct.pack(">BHH", 6, 0x50, 0), model) == 3


@pytest.mark.parametrize("period_s", [900, DAY_S])
def test_in_a_ring_every_record_stands_where_its_number_says(period_s: int) -> None:
    assert PROFILE is not None
    model = featured(replace(PROFILE, order="ring", period_s=period_s))

    def stamps(now: datetime) -> list[tuple[int, ...]]:
        words = read(Meter(now_us=to_us(now)), 0x6000, 24, model=model)
        return [words[i : i + 6] for i in (0, 8, 16)]

    before, after = stamps(NOON), stamps(NOON + timedelta(seconds=period_s))
    assert len(set(before)) == 3
    assert sum(a != b for a, b in zip(before, after, strict=True)) == 1, "a new record replaces the oldest"
    newest = max(after)
    assert newest not in before
