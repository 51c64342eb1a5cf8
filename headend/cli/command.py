"""`headend command`: change something at a meter, and see what became of it."""
# ruff: noqa: PLC0415, PLR0917

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from uuid import UUID, uuid4

import typer

from headend.cli.common import Config, fail, settings_of

if TYPE_CHECKING:
    from headend.settings import Settings
    from headend.store.pool import Store

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Open or close a relay, set a clock, switch a tariff; confirmed only by the state read back.",
)

Meter = Annotated[str, typer.Argument(help="MANUFACTURER/SERIAL, such as Eastron/210001.")]
By = Annotated[str, typer.Option("--by", help="Who answers for it.")]
Reason = Annotated[str, typer.Option("--reason", help="Why it is done.")]
Note = Annotated[str, typer.Option("--note", help="Whatever else is to be kept with it.")]
Ttl = Annotated[int | None, typer.Option("--ttl", help="Seconds after which it is not executed any more.", min=1)]
Id = Annotated[UUID | None, typer.Option("--id", help="Id of the command: the same one again changes nothing.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until it is done.")]

_LOOK_S = 0.3
_PATIENCE_S = 120.0
"""Beside its time-to-live and the reading back: a process that dies with a command leaves it to the next one."""


@contextmanager
def _opened(config: Path | None) -> Iterator[tuple[Settings, Store]]:
    settings = settings_of(config)
    from headend.store.errors import StoreError
    from headend.store.pool import Store

    try:
        with Store(settings.database.dsn, pool_max=2, prepare=settings.database.prepare) as store:
            yield settings, store
    except StoreError as error:
        fail(f"database: {error}")


@app.command()
def relay(
    meter: Meter,
    state: Annotated[str, typer.Argument(help="open or closed.")],
    by: By,
    reason: Reason,
    config: Config = None,
    note: Note = "",
    ttl: Ttl = None,
    id_: Id = None,
    wait: Wait = True,
) -> None:
    """Open or close a supply relay; switched off unless the settings allow it (commands.relay)."""
    _submit(config, meter, "relay", state, by=by, reason=reason, note=note, ttl=ttl, id_=id_, wait=wait)


@app.command()
def clock(
    meter: Meter,
    by: By,
    reason: Reason,
    config: Config = None,
    note: Note = "",
    ttl: Ttl = None,
    across_intervals: Annotated[
        bool, typer.Option("--across-intervals", help="May step over interval boundaries: for a clock that is far off.")
    ] = False,
    id_: Id = None,
    wait: Wait = True,
) -> None:
    """Set a meter's clock to ours, in a moment in which no interval boundary is stepped over."""
    _submit(
        config, meter, "clock", "now",
        by=by, reason=reason, note=note, ttl=ttl, across=across_intervals, id_=id_, wait=wait,
    )  # fmt: skip


@app.command()
def tariff(
    meter: Meter,
    number: Annotated[int, typer.Argument(help="Of the tariff.", min=1, max=8)],
    by: By,
    reason: Reason,
    config: Config = None,
    note: Note = "",
    ttl: Ttl = None,
    id_: Id = None,
    wait: Wait = True,
) -> None:
    """Put a tariff in force."""
    _submit(config, meter, "tariff", str(number), by=by, reason=reason, note=note, ttl=ttl, id_=id_, wait=wait)


@app.command()
def show(command_id: Annotated[UUID, typer.Argument(help="Id of a command.")], config: Config = None) -> None:
    """One command with its whole life; exits 0 only when it is confirmed."""
    with _opened(config) as (_, store):
        confirmed = _show(store, command_id)
    raise typer.Exit(0 if confirmed else 1)


def _submit(
    config: Path | None,
    meter: str,
    kind: str,
    wanted: str,
    *,
    by: str,
    reason: str,
    note: str,
    ttl: int | None,
    id_: UUID | None,
    wait: bool,
    across: bool = False,
) -> None:
    manufacturer, slash, serial = meter.partition("/")
    if not (manufacturer and slash and serial):
        fail(f"{meter!r}: wanted MANUFACTURER/SERIAL")
    with _opened(config) as (settings, store):
        from headend.domain.clock import system_clock
        from headend.domain.commands import CommandKind, Order
        from headend.ingest.commands import desk
        from headend.store.commands import CommandIdTaken

        try:
            order = Order(
                command_id=id_ or uuid4(),
                kind=CommandKind(kind),
                wanted=wanted,
                requested_by=by,
                reason=reason,
                note=note,
                ttl_s=settings.commands.ttl_s if ttl is None else ttl,
                across_intervals=across,
            )
            desk.submit(store, settings, system_clock, (manufacturer, serial), order)
        except (ValueError, desk.UnknownMeter, desk.CommandNotTaken, CommandIdTaken) as error:
            fail(str(error))
        if not wait:
            typer.echo(str(order.command_id))
            return
        until = time.monotonic() + order.ttl_s + settings.commands.settle_s + _PATIENCE_S
        while not _done(store, order.command_id) and time.monotonic() < until:
            time.sleep(_LOOK_S)
        confirmed = _show(store, order.command_id)
    raise typer.Exit(0 if confirmed else 1)


def _done(store: Store, command_id: UUID) -> bool:
    from headend.domain.clock import system_clock
    from headend.store import commands

    with store.transaction() as connection:
        commands.expire(connection, now=system_clock())  # where no process polls, nobody else does
        found = commands.find(connection, command_id)
    return found is None or found.state.done


def _show(store: Store, command_id: UUID) -> bool:
    from headend.domain.commands import CommandState
    from headend.store import commands

    with store.transaction() as connection:
        found = commands.find(connection, command_id)
        if found is None:
            fail(f"there is no command {command_id}")
        life = commands.lives(connection, [command_id])[command_id]
    typer.echo(f"{found.command_id}  {found.kind} → {found.wanted}  by {found.requested_by}: {found.reason}")
    for step in life:
        words = "" if step.words is None else " [" + " ".join(f"{word:04X}" for word in step.words) + "]"
        said = " ".join(text for text in (step.state, step.detail) if text)
        typer.echo(f"  {step.at.isoformat(timespec='milliseconds')}  {step.step:<11} {said}{words}".rstrip())
    changed = f": {found.before_state or 'not known'} → {found.after_state or 'not known'}" if found.sent_at else ""
    typer.echo(f"{found.state}{changed}" + (f"; {found.detail}" if found.detail else ""))
    return found.state is CommandState.CONFIRMED
