"""How modems that dial in are received: address, registration rules, heartbeats, limits; strictly from TOML values.

The format with examples of real modems stands in `DIALIN.md` beside this file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Final

from drivers.data_file import DataFile, Part
from drivers.errors import DriverConfigError
from drivers.modbus.heartbeats import NO_HEARTBEATS, Heartbeats
from drivers.modbus.registration import IdForm, RegistrationRule

_KEYS: Final = (
    "host", "port", "registration", "heartbeats", "answer", "ids", "registration_timeout_s", "registration_bytes",
    "pause_s", "most_unregistered", "most_modems",
)  # fmt: skip
_RULE_KEYS: Final = ("id", "length", "end", "pattern")
_BYTES_KEYS: Final = ("text", "hex")
_WHERE: Final = "[dialin]"


@dataclass(frozen=True, slots=True, kw_only=True)
class DialInSettings:
    """One listener; all modems that dial in here follow the same rules."""

    host: str = "0.0.0.0"
    """Address of ours to listen on."""
    port: int = 5020
    """0: any free one."""
    registration: tuple[RegistrationRule, ...]
    """At least one."""
    heartbeats: Heartbeats = NO_HEARTBEATS
    answer: bytes = b""
    """Sent to a modem that registered; some wait for it."""
    ids: frozenset[str] | None = None
    """Who may register; None: everybody. An id is no password: shield the port from strangers in any case."""
    registration_timeout_s: float = 30.0
    """Longest time from the connection to the id."""
    registration_bytes: int = 256
    """Most bytes that may come before the id is known."""
    pause_s: float = 0.5
    """Silence that ends a registration packet whose end nothing else tells."""
    most_unregistered: int = 256
    """Connections that may wait for their registration; one more pushes the oldest out."""
    most_modems: int = 10_000
    """Registered connections, and ids remembered."""

    def __post_init__(self) -> None:
        if not self.registration:
            raise DriverConfigError(f"{_WHERE}: registration: wanted at least one rule")
        if not 0 <= self.port <= 0xFFFF:
            raise DriverConfigError(f"{_WHERE}: port = {self.port}: wanted 0..65535")
        for name in ("registration_timeout_s", "registration_bytes", "pause_s", "most_unregistered", "most_modems"):
            if not getattr(self, name) > 0:
                raise DriverConfigError(f"{_WHERE}: {name} = {getattr(self, name)}: wanted a number greater than 0")


def dialin_settings(values: Mapping[str, object]) -> DialInSettings:
    """Settings from the values of a TOML table. Raises `DriverConfigError` naming key and what would be right."""
    file = DataFile("", file=_WHERE)
    file.data = _exact(values)
    top = file.top(_KEYS)
    default = DialInSettings(registration=(RegistrationRule(form=IdForm.IMEI),))
    ids = top.texts("ids") if top.given("ids") else None
    return DialInSettings(
        host=top.matching("host", bool, "an address to listen on", default=default.host),
        port=top.integer("port", 0, 0xFFFF, default=default.port),
        registration=tuple(_rule(part) for part in file.parts("registration", _RULE_KEYS)),
        heartbeats=_heartbeats(top, file.parts("heartbeats", (*_BYTES_KEYS, "pattern"))),
        answer=_bytes(top.part("answer", _BYTES_KEYS), "") if top.given("answer") else b"",
        ids=None if ids is None else frozenset(ids),
        registration_timeout_s=_seconds(top, "registration_timeout_s", default.registration_timeout_s),
        registration_bytes=top.integer("registration_bytes", 1, 4096, default=default.registration_bytes),
        pause_s=_seconds(top, "pause_s", default.pause_s),
        most_unregistered=top.integer("most_unregistered", 1, 100_000, default=default.most_unregistered),
        most_modems=top.integer("most_modems", 1, 1_000_000, default=default.most_modems),
    )


def _rule(rule: Part) -> RegistrationRule:
    form = rule.enum("id", IdForm, default=IdForm.TEXT)
    length = rule.integer("length", 1, 1024) if rule.given("length") else None
    end = _literal(rule, "end") if rule.given("end") else None
    pattern = rule.text("pattern") if rule.given("pattern") else None
    try:
        return RegistrationRule(form=form, length=length, end=end, pattern=pattern)
    except DriverConfigError as error:
        rule.fail("", str(error))


def _heartbeats(top: Part, items: Sequence[Part]) -> Heartbeats:
    patterns = tuple(item.text("pattern") for item in items if item.given("pattern"))
    literals = tuple(_bytes(item, " or pattern") for item in items if not item.given("pattern"))
    try:
        return Heartbeats(literals, patterns)
    except DriverConfigError as error:
        top.fail("heartbeats", str(error))


def _bytes(part: Part, others: str) -> bytes:
    """The bytes of `{ text = "ping" }` or `{ hex = "FE 00" }`."""
    if part.given("text") == part.given("hex"):
        part.fail("", f"wanted one of text, hex{others}")
    return _literal(part, "text") if part.given("text") else bytes.fromhex(part.matching("hex", _is_hex, "hex digits"))


def _literal(part: Part, key: str) -> bytes:
    wanted = "a text of characters below U+0100, one for each byte"
    return part.matching(key, lambda s: bool(s) and max(s) <= "\xff", wanted).encode("latin-1")


def _is_hex(text: str) -> bool:
    try:
        return bool(bytes.fromhex(text))
    except ValueError:
        return False


def _seconds(top: Part, key: str, default: float) -> float:
    return float(top.positive(key, default=Fraction(default)))


def _exact(value: Any) -> Any:
    """Fractions as `Part` wants them: the decimals that were written."""
    if isinstance(value, Mapping):
        return {k: _exact(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_exact(v) for v in value]
    return Decimal(str(value)) if isinstance(value, float) else value
