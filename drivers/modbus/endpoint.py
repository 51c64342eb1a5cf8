"""Where a bus is, as a person writes it: `modbus+serial:///dev/ttyUSB0?baud=9600`. Read strictly; pure.

The rule it keeps: one bus has one canonical text, so that two spellings of it do not open two connections.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, NoReturn
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from drivers.errors import DriverConfigError
from drivers.modbus.carrier import host_port

TCP: Final = "modbus+tcp"
RTU_TCP: Final = "modbus+rtu+tcp"
SERIAL: Final = "modbus+serial"
DIALIN: Final = "modbus+dialin"
DIALIN_TCP: Final = "modbus+dialin+tcp"
MODBUS_PORT: Final = 502

SCHEMES: Final = {
    TCP: f"{TCP}://HOST or {TCP}://HOST:PORT",
    RTU_TCP: f"{RTU_TCP}://HOST:PORT",
    SERIAL: f"{SERIAL}:///dev/DEVICE?baud=9600&parity=N&stop=1",
    DIALIN: f"{DIALIN}://MODEM-ID",
    DIALIN_TCP: f"{DIALIN_TCP}://MODEM-ID",
}
"""Scheme → how an endpoint of it is written."""

_BAUDS: Final = (300, 600, 1200, 2400, 4800, 9600, 14400, 19200, 28800, 38400, 57600, 115200, 230400, 460800, 921600)
_PARITIES: Final = ("N", "E", "O")
_STOPS: Final = (1, 2)
_DATA_BITS: Final = 8
"""RTU's only width (Modbus over Serial Line V1.02, section 2.5.1)."""
_FAST_BAUD: Final = 19200
_FAST_SILENCE_S: Final = 0.00175
"""Above 19,200 baud the gap between frames is this one (Modbus over Serial Line V1.02, section 2.5.1.1)."""
_MODEM_ID: Final = re.compile(r"[!-~]{1,64}")


@dataclass(frozen=True, slots=True)
class TcpEndpoint:
    """A gateway that listens."""

    host: str
    port: int
    rtu: bool
    """It passes RTU frames through as they are; otherwise it speaks Modbus TCP."""

    def __str__(self) -> str:
        return f"{RTU_TCP if self.rtu else TCP}://{self.peer}"

    @property
    def peer(self) -> str:
        """`10.1.2.3:502`."""
        return host_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class SerialEndpoint:
    """A serial port of this machine."""

    device: str
    """Absolute path."""
    baud: int
    parity: str = "N"
    """N, E or O. Modbus asks for E; most meters leave their factory with N."""
    stop: int = 1
    """Stop bits, 1 or 2."""

    def __str__(self) -> str:
        return f"{SERIAL}://{quote(self.device)}?baud={self.baud}&parity={self.parity}&stop={self.stop}"

    @property
    def peer(self) -> str:
        """The device's path."""
        return self.device

    @property
    def character_s(self) -> float:
        """Time of one character on the line."""
        return (1 + _DATA_BITS + (self.parity != "N") + self.stop) / self.baud

    @property
    def silence_s(self) -> float:
        """Rest that separates two frames: 3.5 characters."""
        return _FAST_SILENCE_S if self.baud > _FAST_BAUD else 3.5 * self.character_s


@dataclass(frozen=True, slots=True)
class DialInEndpoint:
    """A modem that connects to us."""

    modem_id: str
    """As its registration packet says it; case counts."""
    rtu: bool
    """It passes RTU frames through as they are; otherwise it speaks Modbus TCP."""

    def __str__(self) -> str:
        return f"{DIALIN if self.rtu else DIALIN_TCP}://{quote(self.modem_id, safe='')}"

    @property
    def peer(self) -> str:
        """`modem 861234567890123`."""
        return f"modem {self.modem_id}"


Endpoint = TcpEndpoint | SerialEndpoint | DialInEndpoint


def parse_endpoint(text: str) -> Endpoint:
    """Read an endpoint; `str` of the result is its canonical text.

    Raises `DriverConfigError` naming what would be right.
    """
    try:
        parts = urlsplit(text.strip())
    except ValueError as error:
        raise DriverConfigError(f"endpoint {text!r}: {error}") from error
    if parts.scheme not in SCHEMES:
        known = ", ".join(f"{scheme}://…" for scheme in SCHEMES)
        raise DriverConfigError(f"endpoint {text!r}: unknown scheme {parts.scheme!r}; known are {known}")
    if parts.fragment or parts.username is not None:
        _fail(parts)
    if parts.scheme in (TCP, RTU_TCP):
        return _tcp(parts)
    return _serial(parts) if parts.scheme == SERIAL else _dialin(parts)


def _fail(parts: SplitResult, problem: str = "") -> NoReturn:
    wanted = f"wanted {SCHEMES[parts.scheme]}"
    raise DriverConfigError(f"endpoint {parts.geturl()!r}: {f'{problem}; ' if problem else ''}{wanted}")


def _tcp(parts: SplitResult) -> TcpEndpoint:
    try:
        port = parts.port
    except ValueError as error:
        raise DriverConfigError(f"endpoint {parts.geturl()!r}: {error}") from error
    if not parts.hostname or parts.path.strip("/") or parts.query:
        _fail(parts)
    rtu = parts.scheme == RTU_TCP
    if port is None:
        if rtu:
            _fail(parts, "the port is missing")
        port = MODBUS_PORT
    if port == 0:
        _fail(parts, "port 0 is none")
    return TcpEndpoint(_host(parts, parts.hostname), port, rtu)


def _host(parts: SplitResult, host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    try:
        host.encode("idna")
    except UnicodeError:
        _fail(parts, f"{host!r} is no host name")
    return host  # in lower case already


def _serial(parts: SplitResult) -> SerialEndpoint:
    device = posixpath.normpath(unquote(parts.path)) if parts.path else ""
    if parts.netloc or device in ("", "/"):
        _fail(
            parts, "the device is missing" if not parts.netloc else f"{parts.netloc!r}: three slashes before the path"
        )
    given = parse_qsl(parts.query, keep_blank_values=True)
    values = dict(given)
    if len(values) != len(given):
        _fail(parts, "a parameter stands twice")
    for name in values:
        if name not in ("baud", "parity", "stop", "data"):
            _fail(parts, f"unknown parameter {name!r}")
    if "baud" not in values:
        _fail(parts, "baud is missing")
    baud = _one_of(parts, values, "baud", _BAUDS, 0)
    stop = _one_of(parts, values, "stop", _STOPS, 1)
    _one_of(parts, values, "data", (_DATA_BITS,), _DATA_BITS)
    parity = values.get("parity", "N").upper()
    if parity not in _PARITIES:
        _fail(parts, f"parity = {values['parity']!r}: wanted N (none), E (even) or O (odd)")
    return SerialEndpoint(device, baud, parity, stop)


def _one_of(parts: SplitResult, values: dict[str, str], name: str, allowed: tuple[int, ...], default: int) -> int:
    text = values.get(name, str(default))
    if text not in map(str, allowed):
        _fail(parts, f"{name} = {text!r}: wanted one of {', '.join(map(str, allowed))}")
    return int(text)


def _dialin(parts: SplitResult) -> DialInEndpoint:
    modem_id = unquote(parts.netloc)
    if not modem_id or parts.path.strip("/") or parts.query:
        _fail(parts)
    if not _MODEM_ID.fullmatch(modem_id):
        _fail(parts, f"{modem_id!r}: an id has 1 to 64 visible ASCII characters")
    return DialInEndpoint(modem_id, rtu=parts.scheme == DIALIN)
