"""How each cell of an import file is read. Pure: text in, a value out, or a ValueError that says what is right."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from ipaddress import ip_address
from typing import Final

from drivers.errors import DriverConfigError
from drivers.modbus.endpoint import parse_endpoint
from headend.domain.unmetered import parse_schedule

_CODE: Final = re.compile(r"[^\s/+#?%\x00-\x1f\x7f]+( [^\s/+#?%\x00-\x1f\x7f]+)*")
_HOST: Final = re.compile(r"(?=.*[A-Za-z])[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_DECIMAL: Final = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")
_WHOLE: Final = re.compile(r"-?[0-9]{1,19}")
_DEGREES: Final = re.compile(r"-?[0-9]{1,3}(\.[0-9]{1,9})?")


def code(text: str) -> str:
    """A code or serial: it stands in addresses and MQTT topics, so some characters are out."""
    if len(text) > 64 or not _CODE.fullmatch(text):
        raise ValueError("wanted 1 to 64 characters without / + # ? % or line breaks")
    return text


def name(text: str) -> str:
    """A name for people."""
    if len(text) > 200 or not text.isprintable():
        raise ValueError("wanted at most 200 printable characters")
    return text


def host(text: str) -> str:
    """A host name or IP address, in lower case: meters with the same one share a connection."""
    try:
        return ip_address(text).compressed
    except ValueError:
        if len(text) > 253 or not _HOST.fullmatch(text):
            raise ValueError("wanted a host name or IP address alone, such as 10.1.2.3") from None
    return text.lower()


def bus(text: str) -> str:
    """A Modbus bus as a URI, in its one spelling: meters with the same one share a connection."""
    try:
        return str(parse_endpoint(text))
    except DriverConfigError as error:
        raise ValueError(str(error).removeprefix(f"endpoint {text!r}: ")) from error


def one_of(*choices: str) -> Callable[[str], str]:
    """One of a few words."""

    def read(text: str) -> str:
        if text not in choices:
            raise ValueError(f"wanted one of {', '.join(choices)}")
        return text

    return read


def whole(least: int, most: int) -> Callable[[str], int]:
    """A whole number within bounds, both included."""

    def read(text: str) -> int:
        if not _WHOLE.fullmatch(text) or not least <= int(text) <= most:
            bound = f"{least} or more" if most >= 2**31 - 1 else f"{least} to {most}"
            raise ValueError(f"wanted a whole number, {bound}")
        return int(text)

    return read


def positive(digits: int, places: int) -> Callable[[str], Decimal]:
    """A decimal number above zero that a numeric(digits, places) column holds without rounding."""

    limit = Decimal(10) ** (digits - places)

    def read(text: str) -> Decimal:
        if (
            not _DECIMAL.fullmatch(text)
            or len(text.partition(".")[2].rstrip("0")) > places
            or not 0 < Decimal(text) < limit
        ):
            raise ValueError(f"wanted a number above 0 and below {limit:f} with at most {places} decimals")
        return Decimal(text)

    return read


def rate(least: float, most: float) -> Callable[[str], float]:
    """A share, such as 0.07 for 7 %."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most or not text.isascii() or "_" in text:
            raise ValueError(f"wanted a share from {least:g} to {most:g}, such as {least + 0.9 * (most - least):.2f}")
        return value

    return read


def instant(text: str) -> datetime:
    """An instant with its offset, as UTC."""
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError("wanted an instant such as 2026-11-01T00:00:00+08:00") from None
    if value.tzinfo is None:
        raise ValueError("has no offset from UTC; wanted an instant such as 2026-11-01T00:00:00+08:00")
    if not 1970 <= value.year < 2200:
        raise ValueError("wanted a year from 1970 to 2199")
    return value.astimezone(UTC)


def flag(text: str) -> bool:
    """Yes or no."""
    known = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
    if text.lower() not in known:
        raise ValueError("wanted true or false")
    return known[text.lower()]


def degrees(most: float) -> Callable[[str], float]:
    """Latitude or longitude [degrees], north and east positive."""

    def read(text: str) -> float:
        if not _DEGREES.fullmatch(text) or abs(float(text)) > most:
            raise ValueError(f"wanted degrees from -{most:g} to {most:g}, such as 31.2304")
        return float(text)

    return read


def schedule(text: str) -> str:
    """When a load without a meter runs; read, and kept as it is written."""
    if len(text) > 1000:
        raise ValueError("wanted at most 1,000 characters")
    parse_schedule(text)
    return text
