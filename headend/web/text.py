"""Numbers, instants and machine words as people read them; what is missing is a dash, never a zero."""

from __future__ import annotations

import math
import re
from datetime import date, datetime, timedelta
from decimal import Decimal
from zoneinfo import ZoneInfo

MISSING = "–"
"""What stands in a table where there is no value."""

_ABBREVIATIONS = {
    "wh": "Wh",
    "kwh": "kWh",
    "v": "V",
    "a": "A",
    "w": "W",
    "pv": "PV",
    "ct": "CT",
    "id": "ID",
    "json": "JSON",
    "ntl": "NTL",
}


def kwh(energy_wh: float | None) -> str:
    """Energy [Wh] in kWh with about three significant digits, thousands grouped."""
    return number(None if energy_wh is None else energy_wh / 1000)


def register(energy_wh: int | None) -> str:
    """A register [Wh] in kWh to its last digit, as displays show it."""
    if energy_wh is None:
        return MISSING
    return f"{Decimal(energy_wh) / 1000:,.3f}"


def kw(power_w: float | None) -> str:
    """Power [W] in kW."""
    return number(None if power_w is None else power_w / 1000)


def number(value: float | None) -> str:
    """A number with as many decimals as its size deserves."""
    if value is None or not math.isfinite(value):
        return MISSING
    size = abs(value)
    decimals = 0 if size >= 100 or value == 0 else 1 if size >= 10 else 2
    shown = f"{value:,.{decimals}f}"
    return shown.removeprefix("-") if not any(c in shown for c in "123456789") else shown.replace("-", "−")


def factor(value: Decimal | None) -> str:
    """A multiplier without the zeros that its column adds."""
    return MISSING if value is None else f"{value.normalize():f}"


def size(bytes_: float | None) -> str:
    """Bytes in the unit that fits."""
    if bytes_ is None:
        return MISSING
    for unit in ("B", "kB", "MB", "GB"):
        if bytes_ < 1000:
            return f"{bytes_:.3g} {unit}"
        bytes_ /= 1000
    return f"{bytes_:.3g} TB"


def count(value: int | None) -> str:
    """A whole number with its thousands grouped."""
    return MISSING if value is None else f"{value:,}"


def percent(rate: float | None, decimals: int = 1) -> str:
    """A share (0.043) in per cent."""
    if rate is None or not math.isfinite(rate):
        return MISSING
    return f"{rate * 100:.{decimals}f}\u00a0%".replace("-", "−")


def share(rate: float | None) -> str:
    """A share of something countable in per cent; never rounded up to 100 nor down to 0."""
    if rate is None or not math.isfinite(rate):
        return MISSING
    if 0.99 <= rate < 1:
        return f"{math.floor(rate * 1000) / 10:.1f}\u00a0%"
    if 0 < rate < 0.01:
        return f"{math.ceil(rate * 1000) / 10:.1f}\u00a0%"
    return f"{rate * 100:.0f}\u00a0%"


def likelihood(value: float) -> str:
    """A probability in per cent; a small one is not called impossible, nor a large one certain."""
    if 0 < value < 0.001:
        return "< 0.1\u00a0%"
    return "> 99.9\u00a0%" if 0.999 < value < 1 else percent(value)


def instant(value: datetime | None, zone: ZoneInfo) -> str:
    """Local date and time to the minute."""
    return MISSING if value is None else value.astimezone(zone).strftime("%Y-%m-%d %H:%M")


def exactly(value: datetime, zone: ZoneInfo) -> str:
    """The same, to the second where there are seconds: one minute is not before itself."""
    return instant(value, zone) + (f":{value.second:02d}" if value.second else "")


_ENERGY = re.compile(r"\b(\d+)(?: to (\d+))? Wh\b")
_INSTANT = re.compile(r"\b\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:[+-]\d\d:\d\d|Z)")


def plainly(said: str, zone: ZoneInfo) -> str:
    """A sentence of ours with its Wh and instants as pages show them elsewhere."""
    return _INSTANT.sub(lambda found: _there(found[0], zone), _ENERGY.sub(_in_kwh, said))


def _in_kwh(found: re.Match[str]) -> str:
    return " to ".join(register(int(wh)) for wh in found.groups() if wh is not None) + " kWh"


def _there(written: str, zone: ZoneInfo) -> str:
    try:
        return exactly(datetime.fromisoformat(written), zone)
    except (ValueError, OverflowError):  # no instant, or beyond the zone's calendar: it stays as it was said
        return written


def day(value: date | None) -> str:
    """A local day, its weekday with it."""
    return MISSING if value is None else value.strftime("%a %d %b %Y")


def ago(value: datetime | None, now: datetime) -> str:
    """How long since, in the largest unit that fits."""
    if value is None:
        return "never"
    age = now - value
    if age < timedelta(seconds=-60):
        return "in the future"
    for unit, length in (("d", timedelta(days=1)), ("h", timedelta(hours=1)), ("min", timedelta(minutes=1))):
        if age >= length:
            return f"{age // length} {unit} ago"
    return "just now"


def humanise(word: str) -> str:
    """A machine word for a person: `loss_before` is `Loss before`."""
    parts = word.replace("-", "_").replace(".", "_").split("_")
    words = [_ABBREVIATIONS.get(part.lower(), part) for part in parts if part]
    if not words:
        return word
    return " ".join([words[0][:1].upper() + words[0][1:], *words[1:]])


def quantity(name: str, value: object) -> tuple[str, str]:
    """A named scalar as (label, text): the unit that ends its name moves behind the value."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return humanise(name), MISSING if value is None else str(value)
    stem, _, unit = name.rpartition("_")
    match unit:
        case "wh" if stem:
            return humanise(stem), f"{kwh(value)} kWh"
        case "w" if stem:
            return humanise(stem), f"{kw(value)} kW"
        case "v" | "a" | "s" | "nat" if stem:
            return humanise(stem), f"{number(value)} {unit.upper() if unit in 'va' else unit}"
        case "share" | "rate" | "fraction" | "confidence":
            return humanise(name), percent(value)
    return humanise(name), f"{value:g}" if float(value).is_integer() else f"{value:.3g}"
