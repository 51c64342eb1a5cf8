"""Where commands are asked for: checks what can be known without asking the meter, and queues what may be done.

The API, the pages, the command line and whatever later decides by itself (a lawful disconnection, a tariff calendar)
come through `place`; who executes a command decides once more. Nothing here speaks with a meter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from headend.domain.clock import Clock
from headend.domain.commands import CommandKind, Order
from headend.domain.topology import MeterId
from headend.log import get_logger
from headend.metrics import COMMANDS_NOT_TAKEN
from headend.settings import Settings
from headend.store import commands, models
from headend.store.commands import Command
from headend.store.pool import Connection, Store
from headend.store.topology import StoredMeter, find_meter, poll_target_of

NotTakenCode = Literal["not-allowed", "not-reached", "model-not-told", "model-cannot"]
_log = get_logger(__name__)


class CommandNotTaken(Exception):
    """A command cannot be asked for; says why."""

    def __init__(self, code: NotTakenCode, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class UnknownMeter(Exception):
    """There is no such meter."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be asked of a meter, of one kind."""

    kind: CommandKind
    states: tuple[str, ...]
    """That can be wanted; empty where `why_not` says why."""
    why_not: CommandNotTaken | None


def submit(store: Store, settings: Settings, clock: Clock, wanted_of: MeterId, order: Order) -> tuple[Command, bool]:
    """Queue an order for a meter, in a transaction of its own; (the command as it stands, whether it is new).

    Raises UnknownMeter, CommandNotTaken, CommandIdTaken, StoreError. The same order sent again changes nothing.
    """
    with store.transaction() as connection:
        meter = find_meter(connection, *wanted_of)
        if meter is None:
            raise UnknownMeter(f"there is no meter {'/'.join(wanted_of)}")
        return place(connection, settings, clock, meter, order)


def place(
    connection: Connection, settings: Settings, clock: Clock, meter: StoredMeter, order: Order
) -> tuple[Command, bool]:
    """The same within the caller's transaction."""
    known = commands.find(connection, order.command_id)
    if known is None and (why_not := _why_not(connection, settings, meter, order.kind, order.wanted)) is not None:
        COMMANDS_NOT_TAKEN.labels(order.kind.value, why_not.code).inc()
        _log.warning(
            "command not taken",
            command=str(order.command_id),
            meter=f"{meter.manufacturer}/{meter.serial}",
            kind=order.kind.value,
            wanted=order.wanted,
            by=order.requested_by,
            reason=order.reason,
            why=why_not.reason,
        )
        raise why_not
    command, new = commands.add(connection, meter.meter_id, order, now=clock())
    if new:
        _log.info(
            "command queued",
            command=str(order.command_id),
            meter=f"{meter.manufacturer}/{meter.serial}",
            kind=order.kind.value,
            wanted=order.wanted,
            by=order.requested_by,
            reason=order.reason,
        )
    return command, new


def offers(connection: Connection, settings: Settings, meter: StoredMeter) -> dict[CommandKind, Offer]:
    """What can be asked of a meter now, kind by kind."""
    told = models.find(connection, meter.model)
    found = {}
    for kind in CommandKind:
        why_not = _why_not(connection, settings, meter, kind, None)
        found[kind] = Offer(kind, () if why_not is not None or told is None else told.can(kind), why_not)
    return found


def allowed(settings: Settings, kind: CommandKind) -> bool:
    """Whether the settings allow commands of a kind at all."""
    return {
        CommandKind.RELAY: settings.commands.relay,
        CommandKind.CLOCK: settings.commands.clock,
        CommandKind.TARIFF: settings.commands.tariff,
    }[kind]


def _why_not(
    connection: Connection, settings: Settings, meter: StoredMeter, kind: CommandKind, wanted: str | None
) -> CommandNotTaken | None:
    """What speaks against a kind of command at a meter (`wanted` None: against any state of it); None: nothing does."""
    told = models.find(connection, meter.model)
    if told is None:
        return CommandNotTaken(
            "model-not-told", f"no polling process has told yet what the model {meter.model} can do: is one running?"
        )
    can = told.can(kind)
    if not can:
        return CommandNotTaken("model-cannot", f"the register map of {meter.model} knows no {_THINGS[kind]}")
    if wanted is not None and wanted not in can:
        return CommandNotTaken(
            "model-cannot", f"the register map of {meter.model} knows {kind} {', '.join(can)}, not {wanted}"
        )
    if poll_target_of(connection, meter.meter_id) is None:
        return CommandNotTaken("not-reached", "the meter has no Modbus endpoint: nobody can command it")
    if not allowed(settings, kind):
        return CommandNotTaken("not-allowed", f"switched off by the settings: commands.{kind} = false")
    return None


_THINGS = {
    CommandKind.RELAY: "relay",
    CommandKind.CLOCK: "way to set its clock",
    CommandKind.TARIFF: "tariff that could be switched",
}
