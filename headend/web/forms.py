"""Forms as data: what a field asks for, and how what a person typed into it becomes a value.

The rule it keeps: nothing is guessed. A register has at most three decimals of a kWh, and a local instant that the
clocks skip or repeat is asked for again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from headend.web.render import CATEGORIES

FieldKind = Literal["text", "note", "whole", "kwh", "multiplier", "instant", "day", "choice"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Field:
    """One thing to enter."""

    name: str
    """Key of its value."""
    label: str
    chinese: str
    kind: FieldKind = "text"
    required: bool = True
    hint: str = ""
    choices: tuple[tuple[str, str], ...] = ()
    suggests: str = ""
    """Id of the page's list of what may be meant."""
    group: str = ""
    """What a run of fields is entered for, where that is not always so; empty: always."""


_CHINESE_CATEGORIES: Final = (
    ("residential", "居民"), ("production", "生产"), ("commercial", "商业"), ("irrigation", "农灌"),
    ("public_lighting", "路灯"), ("temporary", "临时"),
)  # fmt: skip
CATEGORY: Final = Field(
    name="category",
    label="Category",
    chinese="用电类别",
    kind="choice",
    choices=tuple((word, f"{CATEGORIES[word]} {chinese}") for word, chinese in _CHINESE_CATEGORIES),
)
"""What a customer is billed as."""

_LARGEST_KWH: Final = Decimal(10) ** 12


def value_of(field: Field, text: str, zone: ZoneInfo) -> Any:
    """What was typed, as JSON has it: registers in Wh, instants in UTC. Raises ValueError saying what is wrong."""
    match field.kind:
        case "whole":
            if not (text.isascii() and text.isdigit() and len(text) < 10):
                raise ValueError(f"{text!r} is not a whole number")
            return int(text)
        case "kwh":
            return wh_of_kwh(text)
        case "multiplier":
            return text.replace(",", ".")
        case "instant":
            return local_instant(text, zone).isoformat()
        case "day":
            return local_day(text).isoformat()
        case "choice":
            if text not in dict(field.choices):
                raise ValueError(f"{text!r} is not one of the choices")
    return text


def wh_of_kwh(text: str) -> int:
    """A register entered in kWh, in Wh. Raises ValueError."""
    try:
        kwh = Decimal(text.replace(",", ".") if text.count(",") == 1 and "." not in text else text)
    except InvalidOperation as wrong:
        raise ValueError(f"{text!r} is not a register in kWh such as 1234.56") from wrong
    if not kwh.is_finite() or not 0 <= kwh < _LARGEST_KWH:
        raise ValueError(f"{text!r} is not a register in kWh such as 1234.56")
    wh = kwh * 1000
    if wh != wh.to_integral_value():
        raise ValueError(f"{text!r} has more than three decimals; a register is read to the Wh")
    return int(wh)


def local_day(text: str) -> date:
    """A day as a date field sends it. Raises ValueError."""
    try:
        return date.fromisoformat(text)
    except ValueError as wrong:
        raise ValueError(f"{text!r} is no day such as 2026-11-23") from wrong


def local_instant(text: str, zone: ZoneInfo) -> datetime:
    """The instant of a local date and time, with or without its offset, in UTC.

    Raises ValueError where it names no instant, or two.
    """
    try:
        given = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise ValueError(f"{text!r} is not a date and time such as 2026-11-23T14:05") from wrong
    earlier, later = (given.replace(tzinfo=given.tzinfo or zone, fold=fold) for fold in (0, 1))
    if earlier.utcoffset() == later.utcoffset():
        try:
            return earlier.astimezone(UTC)
        except OverflowError as wrong:
            raise ValueError(f"{text!r} lies beyond the calendar") from wrong
    if earlier.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != given:
        raise ValueError(f"{text} does not exist: the clocks were put forward over it")
    offsets = " or ".join(one.isoformat()[-6:] for one in (earlier, later))
    raise ValueError(f"{text} happens twice on that day: write it with its offset, {offsets}")
