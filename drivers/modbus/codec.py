"""Registers ↔ values: pure, both ways, so that a simulated meter speaks exactly what the driver understands.

The rule it keeps: an encoding that means *no value* becomes None, never zero, and so does a sum with such a term; a
number of registers that does not fit is an error, never a guess.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Final

from drivers.base import Quantity
from drivers.errors import DriverError
from drivers.modbus.register_map import ENERGIES, TEXTS, ByteOrder, RegisterSpec, RegisterType, WordOrder

Value = int | float | str
"""Energies and CT ratios of whole numbers are int, other measurements float, serials str."""

_SIGNED: Final = frozenset({RegisterType.S16, RegisterType.S32, RegisterType.S64})
_FLOAT: Final = {RegisterType.F32: (">f", ">I"), RegisterType.F64: (">d", ">Q")}


class CodecError(DriverError):
    """Registers and specification do not fit each other, or a value does not fit its registers."""

    code = "codec"


def decode(spec: RegisterSpec, words: Sequence[int]) -> Value | None:
    """The value in the quantity's own unit, or None where the meter says that it has none.

    Beside the encodings listed as `invalid`, NaN and infinity, a BCD nibble above 9 and unprintable text are none.

    `words`: the `spec.count` registers as received, each 0..65535. Energies come as integer Wh, rounded to the nearest.
    Raises `CodecError` for another number of registers or a word that is none.
    """
    if len(words) != spec.count:
        raise CodecError(f"{spec.quantity.value}: wanted {spec.count} registers, got {len(words)}")
    if spec.terms > 1:
        raws = [_raw(spec.term, part) for part in _terms(spec, words)]
        known = [raw for raw in raws if raw is not None]
        return _measured(spec, sum(known)) if len(known) == spec.terms else None
    bits = _bits(spec, words)
    if bits in spec.invalid:
        return None
    if spec.type is RegisterType.ASCII:
        return _text(bits.to_bytes(2 * spec.count, "big"))
    if spec.type is RegisterType.DOTTED:
        return ".".join(str(n) for n in _shifted(bits, spec.count))
    raw = _number(spec, bits)
    return None if raw is None else _measured(spec, raw)


def encode(spec: RegisterSpec, value: Value | None) -> tuple[int, ...]:
    """The registers that a meter of this model shows for `value` (in the quantity's own unit; None = *no value*).

    Numbers are rounded to what the type holds. Raises `CodecError` when the value does not fit, or when None is asked
    of a register that has no encoding for it.
    """
    if spec.terms > 1:
        rest = None if value is None else 0
        return sum((encode(spec.term, v) for v in (value, *[rest] * (spec.terms - 1))), ())
    if value is None:
        return _words(spec, _no_value(spec))
    if spec.type is RegisterType.ASCII:
        return _words(spec, _text_bits(spec, str(value)))
    if spec.type is RegisterType.DOTTED:
        return _words(spec, _dotted_bits(spec, str(value)))
    try:
        number = (int(value) if value.isdecimal() else float(value)) if isinstance(value, str) else value
    except ValueError as error:
        raise CodecError(f"{spec.quantity.value}: {value!r} is no number, and the register is {spec.type}") from error
    bits = _number_bits(spec, number)
    if bits in spec.invalid:
        raise CodecError(f"{spec.quantity.value}: {value!r} would be read as *no value* (0x{bits:X})")
    return _words(spec, bits)


def step(spec: RegisterSpec, value: float) -> float:
    """Smallest change that the register can show at `value`, in the quantity's own unit.

    A 32-bit float of kWh shows only 0.008 kWh at 100,000 kWh: its own spacing counts where it is coarser than the
    resolution that the manual gives.
    """
    resolution = float(spec.resolution)
    if spec.type not in _FLOAT:
        return resolution
    factor = spec.factor_float
    raw = abs(value / factor)
    if spec.type is RegisterType.F64:
        return max(resolution, math.ulp(raw) * factor)
    exponent = max(math.frexp(raw)[1], -125)
    return max(resolution, math.ldexp(1.0, exponent - 24) * factor)


def _terms(spec: RegisterSpec, words: Sequence[int]) -> list[Sequence[int]]:
    return [words[i : i + spec.term.count] for i in range(0, spec.count, spec.term.count)]


def _raw(spec: RegisterSpec, words: Sequence[int]) -> int | float | None:
    bits = _bits(spec, words)
    return None if bits in spec.invalid else _number(spec, bits)


def _measured(spec: RegisterSpec, raw: int | float) -> Value:
    if spec.quantity in TEXTS:
        number = raw * spec.scale
        return str(int(number)) if number == int(number) else f"{float(number):g}"
    if spec.quantity in ENERGIES:
        return _whole(raw, spec)
    factor = spec.factor
    if isinstance(raw, float):
        return raw * spec.factor_float
    exact = raw * factor
    return exact.numerator if spec.quantity is Quantity.CT_RATIO and exact.denominator == 1 else float(exact)


def _bits(spec: RegisterSpec, words: Sequence[int]) -> int:
    bits = 0
    for word in words if spec.word_order is WordOrder.HIGH_FIRST else reversed(words):
        if not 0 <= word <= 0xFFFF:
            raise CodecError(f"{spec.quantity.value}: {word} is no 16-bit register")
        bits = bits << 16 | (word if spec.byte_order is ByteOrder.BIG else _swapped(word))
    return bits


def _words(spec: RegisterSpec, bits: int) -> tuple[int, ...]:
    words = _shifted(bits, spec.count)
    if spec.word_order is WordOrder.LOW_FIRST:
        words.reverse()
    return tuple(words if spec.byte_order is ByteOrder.BIG else map(_swapped, words))


def _shifted(bits: int, count: int) -> list[int]:
    return [bits >> 16 * (count - 1 - i) & 0xFFFF for i in range(count)]


def _swapped(word: int) -> int:
    return word >> 8 | (word & 0xFF) << 8


def _number(spec: RegisterSpec, bits: int) -> int | float | None:
    if spec.type in _FLOAT:
        as_float, as_int = _FLOAT[spec.type]
        value: float = struct.unpack(as_float, struct.pack(as_int, bits))[0]
        return value if math.isfinite(value) else None
    if spec.type is RegisterType.BCD:
        digits = f"{bits:0{4 * spec.count}x}"
        return int(digits) if digits.isdecimal() else None
    width = 16 * spec.count
    return bits - (1 << width) if spec.type in _SIGNED and bits >> (width - 1) else bits


def _whole(raw: int | float, spec: RegisterSpec) -> int:
    factor = spec.factor
    if isinstance(raw, int):
        return round(raw * factor)
    # A float's product with a whole factor below 2**29 is exact for f32, so the nearest Wh is the right one.
    return round(raw * spec.factor_float)


def _text(raw: bytes) -> str | None:
    # NUL is padding wherever it stands: some meters put one character into each register.
    text = raw.replace(b"\0", b"").strip(b" ").decode("ascii", errors="replace")
    return text if text and text.isprintable() and "�" not in text else None


def _text_bits(spec: RegisterSpec, text: str) -> int:
    if not text.isascii() or not text.isprintable() or not text.strip() or len(text) > 2 * spec.count:
        raise CodecError(f"{spec.quantity.value}: {text!r} is not 1..{2 * spec.count} printable ASCII characters")
    return int.from_bytes(text.encode("ascii").ljust(2 * spec.count, b"\0"), "big")


def _dotted_bits(spec: RegisterSpec, text: str) -> int:
    numbers = [int(part) if part.isdecimal() else -1 for part in text.split(".")]
    if len(numbers) > spec.count or not all(0 <= n <= 0xFFFF for n in numbers):
        raise CodecError(f"{spec.quantity.value}: {text!r} is not {spec.count} numbers 0..65535 with points between")
    numbers += [0] * (spec.count - len(numbers))
    return sum(n << 16 * i for i, n in enumerate(reversed(numbers)))


def _number_bits(spec: RegisterSpec, number: float) -> int:
    if not math.isfinite(number):
        raise CodecError(f"{spec.quantity.value}: {number} is no value; None says that there is none")
    width = 16 * spec.count
    if spec.type in _FLOAT:
        as_float, as_int = _FLOAT[spec.type]
        try:
            packed = struct.pack(as_float, number / spec.factor_float)
        except OverflowError as error:
            raise CodecError(f"{spec.quantity.value}: {number} does not fit {spec.type}") from error
        bits: int = struct.unpack(as_int, packed)[0]
        return bits
    raw = round(number / spec.factor) if isinstance(number, int) else round(number / spec.factor_float)
    if spec.type is RegisterType.BCD:
        low, high = 0, 10 ** (4 * spec.count) - 1
    elif spec.type in _SIGNED:
        low, high = -(1 << (width - 1)), (1 << (width - 1)) - 1
    else:
        low, high = 0, (1 << width) - 1
    if not low <= raw <= high:
        raise CodecError(f"{spec.quantity.value}: {number} is {raw} in the register, outside {low}..{high}")
    return int(str(raw), 16) if spec.type is RegisterType.BCD else raw & ((1 << width) - 1)


def _no_value(spec: RegisterSpec) -> int:
    if spec.invalid:
        return spec.invalid[0]
    if spec.type is RegisterType.F32:
        return 0x7FC0_0000
    if spec.type is RegisterType.F64:
        return 0x7FF8_0000_0000_0000
    if spec.type is RegisterType.ASCII:
        return 0
    if spec.type is RegisterType.BCD:
        return (1 << 16 * spec.count) - 1  # F is no digit
    raise CodecError(f"{spec.quantity.value}: this register has no encoding for *no value*")
