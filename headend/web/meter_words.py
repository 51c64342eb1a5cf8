"""Commands, polling and events of a meter in words: what a machine says, as people on a page read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from headend.domain.commands import CommandKind, CommandState, CommandStep


@dataclass(frozen=True, slots=True)
class Deed:
    """What a command does, as a button and a question say it."""

    button: str
    chinese: str
    question: str
    warning: str = ""


STATES: Final[Mapping[CommandState, tuple[str, str]]] = {
    CommandState.QUEUED: ("Queued", "state-unknown"),
    CommandState.TAKEN: ("Looking", "state-unknown"),
    CommandState.SENT: ("Sent, reading back", "state-unknown"),
    CommandState.CONFIRMED: ("Confirmed", "state-normal"),
    CommandState.UNCONFIRMED: ("Unconfirmed", "state-high"),
    CommandState.REFUSED: ("Refused", "state-high"),
    CommandState.EXPIRED: ("Expired", "state-not_computable"),
}
"""Word and badge of each state."""

UNDER_WAY: Final = {
    CommandState.QUEUED: "waits for the process that owns the meter’s bus",
    CommandState.TAKEN: "the meter is being looked at",
    CommandState.SENT: "its state is being read back",
}
"""What happens just now to a command that says nothing itself."""

STEPS: Final[Mapping[CommandStep, str]] = {
    CommandStep.REQUESTED: "Asked for",
    CommandStep.TAKEN: "Taken by the process that owns the bus",
    CommandStep.FOUND: "Meter found",
    CommandStep.GIVEN_BACK: "Put off",
    CommandStep.SENT: "Marked as sent",
    CommandStep.WRITTEN: "Written",
    CommandStep.NOT_WRITTEN: "Not written after all",
    CommandStep.READ_BACK: "Read back",
    CommandStep.CONFIRMED: "Confirmed",
    CommandStep.UNCONFIRMED: "Unconfirmed",
    CommandStep.REFUSED: "Refused",
    CommandStep.EXPIRED: "Expired",
}

SOURCES: Final = {"modbus": "told by the meter", "mqtt": "told by the device", "headend": "seen by the head-end"}
"""Who says that an event happened."""


def deed(kind: CommandKind, wanted: str) -> Deed:
    """What a command of a kind and a wanted state does."""
    match kind, wanted:
        case CommandKind.RELAY, "open":
            return Deed(
                "Open relay",
                "拉闸",
                "Disconnect this supply?",
                "The customer behind this meter is without electricity from the moment the relay opens.",
            )
        case CommandKind.RELAY, _:
            return Deed(
                "Close relay",
                "合闸",
                "Reconnect this supply?",
                "Electricity is on behind this meter from the moment the relay closes.",
            )
        case CommandKind.CLOCK, _:
            return Deed(
                "Set clock",
                "对时",
                "Set this meter’s clock to ours?",
                "It is set only in a moment in which no interval boundary is stepped over.",
            )
        case _:
            return Deed(
                f"Tariff {wanted}",
                "费率",
                f"Put tariff {wanted} in force?",
                "What is used from then on is counted in this tariff.",
            )


def asked(kind: CommandKind, wanted: str) -> str:
    """A command as a heading: `Relay → open`."""
    return "Clock → ours" if kind is CommandKind.CLOCK else f"{kind.value.capitalize()} → {wanted}"
