"""How a modem that dials in says who it is: rules as data, applied to the first bytes of its connection. Pure.

A rule says where the packet ends (after so many bytes, at a delimiter, or where the modem pauses) and how the id stands
in it (as text, as hexadecimal bytes, as an IMEI; all of it, or the group `id` of a regular expression).
The rule it keeps: of several rules the one whose packet ends first wins, so the verdict does not depend on how the
bytes were cut into pieces.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from drivers.errors import DriverConfigError
from drivers.modbus.heartbeats import NO_HEARTBEATS, Heartbeats

_IMEI_DIGITS: Final = 15
_PADDING: Final = b"\0 \r\n\t"
_VISIBLE: Final = re.compile(rb"[!-~]{1,64}")


class IdForm(StrEnum):
    """How the id is written."""

    TEXT = "text"
    """Visible ASCII characters; spaces, line ends and zero bytes around it are no part of it."""
    HEX = "hex"
    """Any bytes; the id is their hexadecimal text in lower case."""
    IMEI = "imei"
    """15 digits."""


@dataclass(frozen=True, kw_only=True)
class RegistrationRule:
    """One kind of registration packet."""

    form: IdForm = IdForm.TEXT
    length: int | None = None
    """The packet has so many bytes."""
    end: bytes | None = None
    """The packet ends with these bytes, which are no part of it. Without `length` and `end` it ends with a pause."""
    pattern: str | None = None
    """A regular expression over the whole packet, whose group `id` is the id; without it, all of the packet is."""
    _expression: re.Pattern[bytes] | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        """Raises `DriverConfigError` for a rule that could never match."""
        if self.form is IdForm.IMEI and self.length is None and self.end is None and self.pattern is None:
            object.__setattr__(self, "length", _IMEI_DIGITS)
        if self.length is not None and (self.end is not None or not 1 <= self.length <= 1024):
            raise DriverConfigError(f"length = {self.length}: wanted 1..1024, and no `end` beside it")
        if self.end == b"":
            raise DriverConfigError("end = '': wanted at least one byte")
        if self.pattern is not None:
            try:
                expression = re.compile(self.pattern.encode("latin-1"), re.DOTALL)
            except (re.error, UnicodeEncodeError) as error:
                raise DriverConfigError(
                    f"pattern = {self.pattern!r}: no regular expression over bytes: {error}"
                ) from error
            if "id" not in expression.groupindex:
                raise DriverConfigError(f"pattern = {self.pattern!r}: wanted a group (?P<id>…)")
            object.__setattr__(self, "_expression", expression)

    @property
    def by_pause(self) -> bool:
        """Whether only a pause ends the packet."""
        return self.length is None and self.end is None

    def packet(self, received: bytes, paused: bool) -> tuple[bytes, int] | None:
        """The whole packet and where it ends; None while it is not whole."""
        if self.length is not None:
            return (received[: self.length], self.length) if len(received) >= self.length else None
        if self.end is not None:
            at = received.find(self.end)
            return (received[:at], at + len(self.end)) if at >= 0 else None
        return (received, len(received)) if paused and received else None

    def id_of(self, packet: bytes) -> str | None:
        """The id that a whole packet gives; None where it is none of this rule's."""
        if self._expression is not None:
            found = self._expression.fullmatch(packet)
            if found is None or found["id"] is None:
                return None
            packet = found["id"]
        if self.form is IdForm.HEX:
            return packet.hex() or None
        text = packet.strip(_PADDING)
        if self.form is IdForm.IMEI and not (len(text) == _IMEI_DIGITS and text.isdigit()):
            return None
        return text.decode("ascii") if _VISIBLE.fullmatch(text) else None


@dataclass(frozen=True, slots=True)
class Registered:
    """A modem said who it is."""

    modem_id: str


@dataclass(frozen=True, slots=True)
class NotRegistered:
    """The packet fits no rule, and nothing that may follow would make it fit."""

    packet: bytes


def read_registration(
    received: bytes, rules: Sequence[RegistrationRule], heartbeats: Heartbeats = NO_HEARTBEATS, *, paused: bool
) -> Registered | NotRegistered | None:
    """What the first bytes of a connection say; None while more is to be waited for.

    `paused`: the modem has said nothing more for the configured time. Heartbeats may come first; some look like the
    beginning of the registration (`LOG`, `LOGIN:1001`), so fewer of them are passed over where no rule fits the rest.
    """
    undecided = False
    for start in reversed(heartbeats.starts(received)):
        rest = received[start:]
        if not rest or (heartbeats.may_begin(rest) and not paused):
            undecided = True
            continue
        found = _read(rest, rules, paused)
        if isinstance(found, Registered):
            return found
        undecided |= found is None
        if undecided and not paused:
            return None
    return None if undecided else NotRegistered(received)


def _read(received: bytes, rules: Sequence[RegistrationRule], paused: bool) -> Registered | NotRegistered | None:
    whole: list[tuple[int, str]] = []
    failed = 0
    for rule in rules:
        packet = rule.packet(received, paused)
        if packet is None:
            continue
        modem_id = rule.id_of(packet[0])
        if modem_id is None:
            failed += 1
        else:
            whole.append((packet[1], modem_id))
    if whole:
        return Registered(min(whole, key=lambda found: found[0])[1])
    return NotRegistered(received) if failed == len(rules) else None
