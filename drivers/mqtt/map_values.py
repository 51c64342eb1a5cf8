"""A leaf of a document to a number in a quantity's own unit, and to an instant: exact, or refused with the reason.

Exact means in fractions until the very end: 12.345 kWh is 12,345 Wh, and 59 watt-minutes are 1 Wh (to the nearest).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

import msgspec
import numpy as np

from drivers.base import Quantity
from drivers.errors import PayloadError
from drivers.modbus.register_map import ENERGIES, dimension
from drivers.mqtt.columns import FIRST_YEAR, LAST_YEAR
from drivers.mqtt.document import Float32
from drivers.mqtt.messages import MAX_CURRENT_A, MAX_POWER_W, MAX_REGISTER_WH, MAX_VOLTAGE_V
from drivers.mqtt.payload_map import Constant, StampFormat, StampRule, ValueRule

_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?")
_LOCAL: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?")
_MOST_DIGITS: Final = 30
"""A number of more digits, before or behind the point, measures nothing."""
_RANGES: Final = {
    "wh": (0, MAX_REGISTER_WH),
    "v": (0, MAX_VOLTAGE_V),
    "a": (-MAX_CURRENT_A, MAX_CURRENT_A),
    "w": (-MAX_POWER_W, MAX_POWER_W),
}
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST_US: Final = (datetime(FIRST_YEAR, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)
_END_US: Final = (datetime(LAST_YEAR + 1, 1, 1, tzinfo=UTC) - _EPOCH) // timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Measured:
    """A number in its quantity's own unit."""

    value: Fraction
    step: Fraction
    """Of a register's number as it was written, in the same unit; 0: not known."""


def same_constant(value: Any, constant: Constant) -> bool:
    """Whether a leaf is what a map writes; true is not 1, and 1 is 1.0."""
    return (
        isinstance(value, bool) == isinstance(constant, bool)
        and (isinstance(value, str) == isinstance(constant, str))
        and bool(value == constant)
    )


def measured(document: Any, rule: ValueRule, quantity: Quantity, topic: str) -> Measured | None:
    """What a rule finds in a document; None: not measured. Raises PayloadError `wrong_type`, `out_of_range` …"""
    scaler = _scaler(document, rule, topic)
    found: list[Measured] = []
    for path in rule.paths:
        leaf = path.find(document, topic)
        leaves = leaf if path.many and isinstance(leaf, list) else [leaf]
        numbers = [_number(x, rule, path.text, topic) for x in leaves if not _absent(x, rule)]
        if not numbers or len(numbers) < len(leaves):
            if rule.added:
                return None  # a sum of which a part is missing is not measured
            continue
        found += numbers
        if not rule.added:
            break
    if not found:
        return None
    factor = rule.factor * scaler
    total = Measured(sum((m.value for m in found), Fraction(0)) * factor, max(m.step for m in found) * abs(factor))
    low, high = _RANGES[dimension(quantity)]
    exact: Fraction | int = round(total.value) if quantity in ENERGIES else total.value
    if not low <= exact <= high:
        raise PayloadError(
            f"{quantity.value} ({rule.paths[0].text}): {float(total.value):g} is outside {low:g} to {high:g}",
            peer=topic,
            reason="out_of_range",
        )
    return total


def number(value: Any, where: str, topic: str) -> Fraction:
    """A JSON or Sparkplug number, exactly. Raises PayloadError `wrong_type` or `out_of_range`."""
    if not _is_number(value):
        raise PayloadError(f"{where}: {str(value)[:40]!r} is no number", peer=topic, reason="wrong_type")
    exact = _exact(value)
    if exact is None:
        raise PayloadError(f"{where}: {str(value)[:40]} measures nothing", peer=topic, reason="out_of_range")
    return exact


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, Decimal)) and not isinstance(value, bool)


def _exact(value: Any) -> Fraction | None:
    """None: infinite, NaN, or of so many digits that the fraction alone would fill the memory."""
    if isinstance(value, int):
        return Fraction(value) if value.bit_length() <= 100 else None
    exact = Decimal(repr(float(value))) if isinstance(value, float) else value  # the shortest is what was meant
    if not exact.is_finite() or (exact and abs(exact.adjusted()) > _MOST_DIGITS):
        return None
    exponent = exact.as_tuple().exponent
    return Fraction(exact) if isinstance(exponent, int) and abs(exponent) <= 3 * _MOST_DIGITS else None


def _number(leaf: Any, rule: ValueRule, where: str, topic: str) -> Measured:
    if rule.text and isinstance(leaf, str):
        if not _NUMBER.fullmatch(leaf.strip()):
            raise PayloadError(f"{where}: {leaf[:40]!r} is no number", peer=topic, reason="wrong_type")
        leaf = Decimal(leaf.strip())
    value = number(leaf, where, topic)
    step = Fraction(float(np.spacing(np.float32(abs(leaf))))) if isinstance(leaf, Float32) else Fraction(0)
    return Measured(value, step)


def _absent(leaf: Any, rule: ValueRule) -> bool:
    return leaf is None or any(same_constant(leaf, a) for a in rule.absent)


def _scaler(document: Any, rule: ValueRule, topic: str) -> Fraction:
    if rule.scaler is None:
        return Fraction(1)
    power = rule.scaler.find(document, topic)
    if isinstance(power, bool) or not isinstance(power, int):
        raise PayloadError(f"{rule.scaler.text}: {power!r} is no power of ten", peer=topic, reason="wrong_type")
    if abs(power) > 12:
        raise PayloadError(f"{rule.scaler.text}: 10^{str(power)[:20]} is no scale", peer=topic, reason="out_of_range")
    return Fraction(10) ** power


@dataclass(frozen=True, slots=True)
class Instant:
    """When a document was true."""

    us: int
    """UTC, microseconds since 1970."""
    uncertainty_ms: int
    arrived: bool
    """It is when the message came in, for the device sent none."""


def instant(document: Any, rules: tuple[StampRule, ...], received_us: int, site: tzinfo, topic: str) -> Instant:
    """By the first rule whose field is there and fits.

    Raises PayloadError `bad_timestamp` when a field is there and no rule can read it, or none is there and none is for
    the arrival.
    """
    refused: dict[str, dict[str, None]] = {}
    """What stands where → why it is no instant, by each rule that looked."""
    for rule in rules:
        if rule.at is None:
            if refused:
                break
            return Instant(received_us, rule.uncertainty_ms, arrived=True)
        leaf = rule.at.find(document, topic)
        if leaf is None or any(same_constant(leaf, a) for a in rule.absent):
            continue
        found = _instant(leaf, rule, received_us, site)
        if isinstance(found, int):
            return Instant(found, rule.uncertainty_ms, arrived=False)
        refused.setdefault(f"{rule.at.text}: {str(leaf)[:40]!r}", {})[found] = None
    told = "; ".join(f"{there} {', '.join(why)}" for there, why in refused.items())
    raise PayloadError(told or "no instant is given", peer=topic, reason="bad_timestamp")


def _instant(leaf: Any, rule: StampRule, received_us: int, site: tzinfo) -> int | str:
    """The instant, or why it is none."""
    found: int | str
    match rule.format:
        case StampFormat.RFC3339:
            found = _rfc3339(leaf)
        case StampFormat.LOCAL:
            found = _local(leaf, site if rule.zone is None else rule.zone, received_us)
        case _:
            found = _unix(leaf, 1_000_000 if rule.format is StampFormat.UNIX_S else 1000)
    if isinstance(found, int) and not _FIRST_US <= found < _END_US:
        return f"is outside {FIRST_YEAR} to {LAST_YEAR}"
    return found


def _unix(leaf: Any, unit_us: int) -> int | str:
    if not _is_number(leaf):
        return "is no number of seconds or milliseconds"
    exact = _exact(leaf)
    return "is no instant" if exact is None else round(exact * unit_us)


def _rfc3339(leaf: Any) -> int | str:
    if not isinstance(leaf, str):
        return "is no text"
    try:
        stamp = msgspec.convert(leaf, datetime)
    except msgspec.ValidationError:
        return "is not RFC 3339"
    if stamp.tzinfo is None:
        return "has no offset"
    return (stamp - _EPOCH) // timedelta(microseconds=1)


def _local(leaf: Any, zone: tzinfo, received_us: int) -> int | str:
    """Where an hour happens twice, the one nearer to the arrival."""
    if not isinstance(leaf, str) or not _LOCAL.fullmatch(leaf):
        return "is no local time YYYY-MM-DDThh:mm:ss"
    try:
        naive = datetime.fromisoformat(leaf)
    except ValueError:
        return "is on no calendar"
    if not FIRST_YEAR <= naive.year <= LAST_YEAR:
        return f"is outside {FIRST_YEAR} to {LAST_YEAR}"
    found = []
    for fold in (0, 1):
        aware = naive.replace(tzinfo=zone, fold=fold)
        back = aware.astimezone(UTC).astimezone(zone).replace(tzinfo=None)
        if back == naive:
            found.append((aware - _EPOCH) // timedelta(microseconds=1))
    if not found:
        return f"does not exist in {zone}: the clocks went forward"
    return min(found, key=lambda us: abs(us - received_us))
