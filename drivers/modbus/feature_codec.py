"""Registers of a meter's clock ↔ instants. Pure; the local zone is handed in.

The rule it keeps: a clock that was never set names no instant; it does not name one in 1970.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final

from drivers.modbus.codec import CodecError
from drivers.modbus.features import ClockField, ClockFormat
from drivers.modbus.register_map import WordOrder

FIRST_YEAR: Final = 2000
"""A clock that says an earlier year was never set."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DAY_H: Final = 24
_NEVER: Final = 0xFFFF_FFFF
"""Of `unix`: erased memory."""


def decode_clock(form: ClockFormat, words: Sequence[int], zone: tzinfo) -> datetime | None:
    """The instant that the registers say (aware, UTC), or None where they name none: never set, or no date at all.

    `words`: (form.count,) registers. Raises `CodecError` for another number of them.
    """
    if len(words) != form.count:
        raise CodecError(f"clock: wanted {form.count} registers, got {len(words)}")
    try:
        told = _told(form, words, UTC if form.zone == "utc" else zone)
        return None if told is None or told.year < FIRST_YEAR else told.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def encode_clock(form: ClockFormat, instant: datetime, zone: tzinfo) -> tuple[int, ...]:
    """The registers that say `instant` (aware; fractions of a second are cut off). Raises `CodecError`."""
    if instant.tzinfo is None:
        raise CodecError(f"clock: {instant.isoformat()} has no zone")
    there = instant.astimezone(UTC if form.zone == "utc" else zone)
    if form.encoding == "unix":
        seconds = (there.replace(tzinfo=UTC) - _EPOCH) // timedelta(seconds=1)
        if not 0 <= seconds < _NEVER:
            raise CodecError(f"clock: {instant.isoformat()} does not fit a u32 of seconds")
        words = (seconds >> 16, seconds & 0xFFFF)
        return words if form.word_order is WordOrder.HIGH_FIRST else words[::-1]
    if form.encoding == "iec870":
        return _packed(form, there)
    values = {
        ClockField.YEAR: there.year - form.year_base,
        ClockField.MONTH: there.month,
        ClockField.DAY: there.day,
        ClockField.HOUR: there.hour,
        ClockField.MINUTE: there.minute,
        ClockField.SECOND: there.second,
        ClockField.WEEKDAY: there.isoweekday(),
        ClockField.FILLER: 0,
    }
    width = 8 if form.encoding == "byte_fields" else 16
    cells = [_cell(values[field], field, form.bcd, width) for field in form.fields]
    if width == 16:
        return tuple(cells)
    cells += [0] * (len(cells) % 2)
    return tuple(high << 8 | low for high, low in zip(cells[::2], cells[1::2], strict=True))


def _told(form: ClockFormat, words: Sequence[int], zone: tzinfo) -> datetime | None:
    """Date and time as they stand there, in `zone`. Raises `ValueError` for what is no date."""
    if form.encoding == "unix":
        high, low = words if form.word_order is WordOrder.HIGH_FIRST else reversed(words)
        seconds = high << 16 | low
        return None if seconds == _NEVER else (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=zone)
    if form.encoding == "iec870":
        year, date, time, milliseconds = words
        day = datetime(form.year_base + (year & 0x7F), date >> 8 & 0xF, date & 0x1F, tzinfo=zone)
        return _on(day, time >> 8 & 0x1F, time & 0x3F, milliseconds // 1000, milliseconds % 1000 * 1000)
    parts = _fields(form, words)
    if parts is None:
        return None
    day = datetime(parts[ClockField.YEAR] + form.year_base, parts[ClockField.MONTH], parts[ClockField.DAY], tzinfo=zone)
    clock = (parts.get(field, 0) for field in (ClockField.HOUR, ClockField.MINUTE, ClockField.SECOND))
    return _on(day, *clock)


def _on(day: datetime, hour: int, minute: int, second: int, microsecond: int = 0) -> datetime:
    """That time of the day; 24:00:00 is the end of it, as ISO 8601 has it and meters that freeze a day write it."""
    if hour == _DAY_H and not (minute or second or microsecond):
        return day + timedelta(days=1)
    return day.replace(hour=hour, minute=minute, second=second, microsecond=microsecond)


def _packed(form: ClockFormat, there: datetime) -> tuple[int, ...]:
    year = there.year - form.year_base
    if not 0 <= year < 1 << 7:
        raise CodecError(f"clock: year {there.year} does not fit 7 bits from {form.year_base}")
    return (
        year,
        there.month << 8 | there.isoweekday() << 5 | there.day,
        there.hour << 8 | there.minute,
        there.second * 1000,
    )


def _fields(form: ClockFormat, words: Sequence[int]) -> Mapping[ClockField, int] | None:
    cells = list(words) if form.encoding == "word_fields" else [b for w in words for b in (w >> 8, w & 0xFF)]
    found: dict[ClockField, int] = {}
    for field, cell in zip(form.fields, cells, strict=False):
        if field in (ClockField.FILLER, ClockField.WEEKDAY):
            continue
        if form.bcd:
            digits = f"{cell:x}"
            if not digits.isdecimal():
                return None
            found[field] = int(digits)
        else:
            found[field] = cell
    return found


def _cell(value: int, field: ClockField, bcd: bool, width: int) -> int:
    cell = int(str(value), 16) if bcd and value >= 0 else value
    if not 0 <= cell < 1 << width:
        raise CodecError(f"clock: {field.value} {value} does not fit {width} bits")
    return cell
