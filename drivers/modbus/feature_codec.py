"""Registers of a meter's clock and stored profile ↔ instants and records. Pure; the local zone is handed in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, tzinfo

from drivers.modbus.codec import CodecError
from drivers.modbus.features import ClockField, ClockFormat
from drivers.modbus.register_map import WordOrder


def decode_clock(form: ClockFormat, words: Sequence[int], zone: tzinfo) -> datetime | None:
    """The instant that the registers say (aware, UTC), or None where they name none: never set, or no date at all.

    `words`: (form.count,) registers. Raises `CodecError` for another number of them.
    """
    if len(words) != form.count:
        raise CodecError(f"clock: wanted {form.count} registers, got {len(words)}")
    try:
        if form.encoding == "unix":
            high, low = words if form.word_order is WordOrder.HIGH_FIRST else reversed(words)
            return datetime.fromtimestamp(high << 16 | low, UTC)
        parts = _fields(form, words)
        if parts is None:
            return None
        return datetime(
            parts[ClockField.YEAR] + form.year_base,
            parts[ClockField.MONTH],
            parts[ClockField.DAY],
            parts.get(ClockField.HOUR, 0),
            parts.get(ClockField.MINUTE, 0),
            parts.get(ClockField.SECOND, 0),
            tzinfo=UTC if form.zone == "utc" else zone,
        ).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def encode_clock(form: ClockFormat, instant: datetime, zone: tzinfo) -> tuple[int, ...]:
    """The registers that say `instant` (aware; fractions of a second are cut off). Raises `CodecError`."""
    if form.encoding == "unix":
        seconds = int(instant.timestamp())
        if not 0 <= seconds < 1 << 32:
            raise CodecError(f"clock: {instant.isoformat()} does not fit a u32 of seconds")
        words = (seconds >> 16, seconds & 0xFFFF)
        return words if form.word_order is WordOrder.HIGH_FIRST else words[::-1]
    there = instant.astimezone(UTC if form.zone == "utc" else zone)
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
