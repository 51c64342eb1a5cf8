"""Which protocols there are: an explicit table from the scheme of an endpoint to what opens it.

An endpoint is written `modbus+tcp://10.1.2.3:502`. A new transport is a row here and a `Link` of its own; those who
read meters see a `ModbusBus` in either case.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final
from urllib.parse import SplitResult, urlsplit

from drivers.errors import DriverConfigError
from drivers.modbus.bus import BusSettings, ModbusBus
from drivers.modbus.client import ModbusTcpClient
from drivers.modbus.clock import Clock
from drivers.modbus.link import Link
from drivers.modbus.refusals import RefusalMemory

MODBUS_PORT: Final = 502


def _modbus_tcp(parts: SplitResult, clock: Clock | None) -> Link:
    try:
        port = parts.port
    except ValueError as error:
        raise DriverConfigError(f"endpoint {parts.geturl()!r}: {error}") from error
    if not parts.hostname or parts.path.strip("/") or parts.query:
        raise DriverConfigError(f"endpoint {parts.geturl()!r}: wanted modbus+tcp://HOST or modbus+tcp://HOST:PORT")
    return ModbusTcpClient(parts.hostname, port or MODBUS_PORT, clock=clock)


MODBUS_LINKS: Final[Mapping[str, Callable[[SplitResult, Clock | None], Link]]] = MappingProxyType(
    {"modbus+tcp": _modbus_tcp}
)
"""Scheme → what makes the link; nothing is connected yet."""


def open_bus(
    endpoint: str,
    settings: BusSettings | None = None,
    *,
    clock: Clock | None = None,
    refusals: RefusalMemory | None = None,
) -> ModbusBus:
    """The bus at `endpoint`, connected when first read. Raises `DriverConfigError` naming what would be right."""
    try:
        parts = urlsplit(endpoint)
    except ValueError as error:
        raise DriverConfigError(f"endpoint {endpoint!r}: {error}") from error
    if parts.scheme not in MODBUS_LINKS:
        known = ", ".join(f"{scheme}://…" for scheme in MODBUS_LINKS)
        raise DriverConfigError(f"endpoint {endpoint!r}: unknown scheme {parts.scheme!r}; known are {known}")
    return ModbusBus(MODBUS_LINKS[parts.scheme](parts, clock), settings, clock=clock, refusals=refusals)
