"""Registers ↔ values: round trips by property, every order by hand, and what means *no value*."""

from __future__ import annotations

import math
import struct
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given, seed, settings
from hypothesis import strategies as st

from drivers.base import Quantity
from drivers.modbus.codec import CodecError, decode, encode, step
from drivers.modbus.register_map import ByteOrder, RegisterType, WordOrder

_WIDTH = {"u16": 16, "s16": 16, "u32": 32, "s32": 32, "u64": 64, "s64": 64}
orders = st.tuples(st.sampled_from(list(WordOrder)), st.sampled_from(list(ByteOrder)))


@seed(1)
@settings(max_examples=300, deadline=None)
@given(data=st.data(), kind=st.sampled_from(list(_WIDTH)), order=orders, scale=st.sampled_from(["1", "0.01", "1000"]))
def test_integer_energies_survive_the_round_trip_exactly(
    data: Any, kind: str, order: Any, scale: str, make_spec: Any
) -> None:
    width, signed = _WIDTH[kind], kind.startswith("s")
    raw = data.draw(st.integers(-(1 << width - 1) if signed else 0, (1 << width - signed) - 1))
    spec = make_spec(
        quantity=Quantity.IMPORT_WH, type=RegisterType(kind), unit="kWh", scale=Fraction(scale),
        word_order=order[0], byte_order=order[1],
    )  # fmt: skip
    energy_wh = raw * spec.factor
    assert energy_wh.denominator == 1
    words = encode(spec, int(energy_wh))
    assert len(words) == spec.count
    assert decode(spec, words) == energy_wh


@seed(2)
@settings(max_examples=300, deadline=None)
@given(value=st.floats(-1e9, 1e9, width=32), order=orders)
def test_floats_survive_the_round_trip_exactly(value: float, order: Any, make_spec: Any) -> None:
    spec = make_spec(type=RegisterType.F32, word_order=order[0], byte_order=order[1])
    assert decode(spec, encode(spec, value)) == value
    double = make_spec(type=RegisterType.F64, word_order=order[0], byte_order=order[1])
    assert decode(double, encode(double, value)) == value


@seed(3)
@settings(max_examples=300, deadline=None)
@given(energy_wh=st.integers(0, 10**9))
def test_a_float_energy_is_off_by_no_more_than_half_its_step(energy_wh: int, make_spec: Any) -> None:
    spec = make_spec(quantity=Quantity.IMPORT_WH, type=RegisterType.F32, unit="kWh", resolution=Fraction(0))
    decoded = decode(spec, encode(spec, energy_wh))
    assert isinstance(decoded, int)
    assert abs(decoded - energy_wh) <= step(spec, energy_wh) / 2 + 0.5


@seed(4)
@settings(max_examples=200, deadline=None)
@given(words=st.lists(st.integers(0, 0xFFFF), min_size=4, max_size=4), kind=st.sampled_from(list(RegisterType)))
def test_whatever_a_meter_sends_decodes_to_a_finite_value_or_to_none(
    words: list[int], kind: RegisterType, make_spec: Any
) -> None:
    quantity = Quantity.SERIAL if kind is RegisterType.ASCII else Quantity.POWER_W
    spec = make_spec(type=kind, quantity=quantity, unit="1" if kind is RegisterType.ASCII else "W")
    value = decode(spec, words[: spec.count])
    assert value is None or isinstance(value, str) or math.isfinite(value)


@pytest.mark.parametrize(
    ("word_order", "byte_order", "words"),
    [
        (WordOrder.HIGH_FIRST, ByteOrder.BIG, (0x0102, 0x0304)),
        (WordOrder.LOW_FIRST, ByteOrder.BIG, (0x0304, 0x0102)),
        (WordOrder.HIGH_FIRST, ByteOrder.LITTLE, (0x0201, 0x0403)),
        (WordOrder.LOW_FIRST, ByteOrder.LITTLE, (0x0403, 0x0201)),
    ],
)
def test_each_order_by_hand(word_order: Any, byte_order: Any, words: tuple[int, int], make_spec: Any) -> None:
    spec = make_spec(type=RegisterType.U32, word_order=word_order, byte_order=byte_order)
    assert decode(spec, words) == 0x01020304
    assert encode(spec, 0x01020304) == words


def test_signed_numbers_are_negative_below_the_sign_bit(make_spec: Any) -> None:
    assert decode(make_spec(type=RegisterType.S16), [0xFFFE]) == -2
    assert decode(make_spec(type=RegisterType.U16), [0xFFFE]) == 0xFFFE
    assert decode(make_spec(type=RegisterType.S32), [0xFFFF, 0xFFFE]) == -2


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_registers_is_an_error(count: int, make_spec: Any) -> None:
    with pytest.raises(CodecError, match=f"power_w: wanted 2 registers, got {count}"):
        decode(make_spec(type=RegisterType.U32), [0] * count)


def test_a_word_out_of_range_is_an_error(make_spec: Any) -> None:
    with pytest.raises(CodecError, match="65536 is no 16-bit register"):
        decode(make_spec(), [65536])


@pytest.mark.parametrize("bits", [0x7FC00000, 0xFFC00001, 0x7F800000, 0xFF800000])
def test_not_a_number_and_infinity_are_no_value(bits: int, make_spec: Any) -> None:
    spec = make_spec(type=RegisterType.F32, quantity=Quantity.IMPORT_WH, unit="kWh")
    assert decode(spec, [bits >> 16, bits & 0xFFFF]) is None


def test_listed_encodings_are_no_value_and_zero_is_one(make_spec: Any) -> None:
    spec = make_spec(type=RegisterType.U32, invalid=(0xFFFFFFFF, 0x80000000), word_order=WordOrder.LOW_FIRST)
    assert decode(spec, [0xFFFF, 0xFFFF]) is None
    assert decode(spec, [0x0000, 0x8000]) is None
    assert decode(spec, [0x8000, 0x0000]) == 0x8000
    assert decode(spec, [0, 0]) == 0
    assert decode(spec, encode(spec, None)) is None
    with pytest.raises(CodecError, match="would be read as"):
        encode(spec, 0xFFFFFFFF)


def test_none_needs_an_encoding_of_its_own(make_spec: Any) -> None:
    with pytest.raises(CodecError, match="no encoding for"):
        encode(make_spec(), None)
    for kind in (RegisterType.F32, RegisterType.F64, RegisterType.BCD):
        spec = make_spec(type=kind)
        assert decode(spec, encode(spec, None)) is None


def test_bcd_reads_digits_and_refuses_to_guess(make_spec: Any) -> None:
    spec = make_spec(type=RegisterType.BCD, count=2)
    assert decode(spec, [0x1234, 0x5678]) == 12345678
    assert encode(spec, 42) == (0x0000, 0x0042)
    assert decode(spec, [0x12A4, 0x5678]) is None
    with pytest.raises(CodecError, match=r"outside 0\.\.99999999"):
        encode(spec, 10**8)


def test_serials_are_text(make_spec: Any) -> None:
    number = make_spec(quantity=Quantity.SERIAL, type=RegisterType.U32, unit="1")
    assert decode(number, [0x0003, 0x3450]) == "210000"
    assert encode(number, "210000") == (0x0003, 0x3450)
    with pytest.raises(CodecError, match="is no number"):
        encode(number, "A1")
    text = make_spec(quantity=Quantity.SERIAL, type=RegisterType.ASCII, count=4, unit="1")
    assert encode(text, "AB12") == (0x4142, 0x3132, 0, 0)
    assert decode(text, [0x4142, 0x3132, 0x2020, 0]) == "AB12"
    assert decode(text, [0, 0, 0, 0]) is None
    assert decode(text, [0x0141, 0, 0, 0]) is None
    with pytest.raises(CodecError, match="printable ASCII"):
        encode(text, "ÄÖ")


def test_a_text_with_one_character_to_the_register_is_read_too(make_spec: Any) -> None:
    text = make_spec(quantity=Quantity.SERIAL, type=RegisterType.ASCII, count=4, unit="1")
    assert decode(text, [0x0041, 0x0042, 0x0031, 0x0032]) == "AB12"
    assert decode(text, [0x4142, 0x0031, 0x3200, 0]) == "AB12"


@pytest.mark.parametrize(
    ("kind", "scale", "words", "said"),
    [
        (RegisterType.F32, 1, [0x400B, 0x851F], "2.18"),  # a float of a version: 2.1800000667
        (RegisterType.F32, 1, [0x4BA0, 0x37A0], "21000000"),
        (RegisterType.U16, "0.01", [218], "2.18"),
        (RegisterType.U16, "0.01", [300], "3"),
        (RegisterType.U32, 10, [0x0003, 0x3450], "2100000"),
    ],
)
def test_a_number_that_is_a_text_keeps_its_digits(
    kind: RegisterType, scale: float | str, words: list[int], said: str, make_spec: Any
) -> None:
    spec = make_spec(quantity=Quantity.FIRMWARE, type=kind, scale=Fraction(scale), unit="1")
    assert decode(spec, words) == said
    assert encode(spec, said) == tuple(words)


def test_a_version_is_numbers_with_points_between(make_spec: Any) -> None:
    version = make_spec(quantity=Quantity.FIRMWARE, type=RegisterType.DOTTED, count=4, unit="1")
    assert decode(version, [2, 1, 0, 4]) == "2.1.0.4"
    assert encode(version, "2.1.0.40000") == (2, 1, 0, 40_000)
    assert encode(version, "2.1") == (2, 1, 0, 0)
    assert decode(replace(version, invalid=(0,)), [0, 0, 0, 0]) is None
    for wrong in ("2.1.0.0.0", "2.1.0.x", "2.1.0.65536", "2.1.0.-1", ""):
        with pytest.raises(CodecError, match=r"is not 4 numbers 0\.\.65535 with points between"):
            encode(version, wrong)


def test_values_that_do_not_fit_are_errors(make_spec: Any) -> None:
    with pytest.raises(CodecError, match=r"outside 0\.\.65535"):
        encode(make_spec(), -1)
    with pytest.raises(CodecError, match="does not fit f32"):
        encode(make_spec(type=RegisterType.F32), 1e39)
    with pytest.raises(CodecError, match="None says"):
        encode(make_spec(type=RegisterType.F32), math.nan)


def test_a_32_bit_float_resolves_8_wh_at_100000_kwh(make_spec: Any) -> None:
    spec = make_spec(quantity=Quantity.IMPORT_WH, type=RegisterType.F32, unit="kWh", resolution=Fraction(5, 2))
    assert step(spec, 1_000_000) == 2.5
    assert step(spec, 100_000_000) == pytest.approx(7.8125)
    one, next_up = struct.pack(">f", 100_000.0), struct.pack(">I", struct.unpack(">I", struct.pack(">f", 1e5))[0] + 1)
    spacing_kwh = struct.unpack(">f", next_up)[0] - struct.unpack(">f", one)[0]
    assert step(spec, 100_000_000) == 1000 * spacing_kwh
    assert step(make_spec(type=RegisterType.U32, resolution=Fraction(10)), 10**9) == 10


def test_units_and_scales_are_applied_exactly(make_spec: Any) -> None:
    spec = make_spec(quantity=Quantity.IMPORT_WH, type=RegisterType.U32, unit="kWh", scale=Fraction("0.01"))
    assert decode(spec, [0, 29]) == 290
    assert decode(make_spec(unit="kW", scale=Fraction("0.001"), type=RegisterType.S32), [0xFFFF, 0xFFFF]) == -1.0
    ratio = make_spec(quantity=Quantity.CT_RATIO, unit="1")
    assert decode(ratio, [40]) == 40
    assert isinstance(decode(ratio, [40]), int)


def test_values_of_several_tariffs_are_added_and_missing_with_any_of_them(make_spec: Any) -> None:
    spec = make_spec(quantity=Quantity.IMPORT_WH, type=RegisterType.U32, unit="kWh", count=4, terms=2)
    assert decode(spec, [0, 5, 1, 2]) == (5 + 65538) * 1000
    assert encode(spec, 7000) == (0, 7, 0, 0)
    floats = make_spec(quantity=Quantity.IMPORT_WH, type=RegisterType.F32, unit="Wh", count=4, terms=2)
    assert decode(floats, [0x447A, 0, 0x3F80, 0]) == 1001
    assert decode(floats, [0x447A, 0, 0x7FC0, 0]) is None
    assert decode(floats, encode(floats, None)) is None
