"""`headend status`: the health of every part in one screen.

Exit status: 0 all is well, 1 something wants attention, 2 the database cannot be reached.
"""
# ruff: noqa: PLC0415

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from headend.cli.common import Config, fail, settings_of

if TYPE_CHECKING:
    from rich.console import Console

    from headend.settings import Settings
    from headend.upkeep.status_parts import Status

WELL, ATTENTION, UNREACHABLE = 0, 1, 2
_KNOCK_S = 2.0


def status(
    config: Config = None,
    as_json: Annotated[bool, typer.Option("--json", help="The same as JSON, as GET /api/v1/status answers.")] = False,
    watch: Annotated[
        float | None, typer.Option(help="Show it again every so many seconds, until Ctrl-C.", min=1, max=3600)
    ] = None,
) -> None:
    """Show the health of every part in one screen: processes, field, store, settlement, billing, read success, alerts.

    Exit status: 0 all is well, 1 something wants attention, 2 the database cannot be reached.
    """
    settings = settings_of(config)
    from rich.console import Console

    console = Console(highlight=False)
    show = _json if as_json else _screen
    if watch is None:
        raise typer.Exit(_once(settings, console, show))
    try:
        while True:
            if not as_json:
                console.clear()
            _once(settings, console, show)
            time.sleep(watch)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def _once(settings: Settings, console: Console, show: Callable[[Status, Settings, Console], None]) -> int:
    """Look and show; the exit status."""
    from headend.domain.clock import system_clock
    from headend.store import views
    from headend.store.errors import StoreError, StoreUnavailable
    from headend.store.pool import Store
    from headend.upkeep.status import look

    store = Store(settings.database.dsn, pool_max=1, prepare=False, timeout_s=5)
    try:
        pending = views.pending_migrations(store)  # knocks by itself, and says soon whether anybody is there
        if pending:
            fail(f"the database lacks {', '.join(pending)}: run `headend migrate`")
        with store, views.reading(store) as connection:
            found = look(connection, settings, system_clock())
    except StoreUnavailable as error:
        _elsewhere(settings, str(error), console, as_json=show is _json)
        return UNREACHABLE
    except StoreError as error:
        fail(f"database: {error}")
    show(found, settings, console)
    return ATTENTION if found.attention else WELL


def _screen(found: Status, settings: Settings, console: Console) -> None:
    from headend.cli.status_screen import draw

    draw(found, settings, console)


def _json(found: Status, settings: Settings, console: Console) -> None:  # noqa: ARG001 drawn by the same call
    from pydantic import TypeAdapter

    from headend.upkeep.status_parts import Status

    typer.echo(TypeAdapter(Status).dump_json(found, indent=1).decode())


def _elsewhere(settings: Settings, why: str, console: Console, *, as_json: bool) -> None:
    """What can be said without the database."""
    reason = why.strip().splitlines()[0] if why.strip() else "no answer"
    broker = f"{settings.mqtt.host}:{settings.mqtt.port}"
    web = f"{settings.web.host}:{settings.web.port}"
    answers = {
        "broker": _answers(settings.mqtt.host, settings.mqtt.port),
        "web": _answers(settings.web.host, settings.web.port),
    }
    if as_json:
        typer.echo(json.dumps({"database": reason, **answers}, indent=1))
        return
    console.print(f"database  cannot be reached: {reason}", soft_wrap=True, markup=False)
    console.print(f"broker    {broker} {'answers' if answers['broker'] else 'does not answer'}", markup=False)
    console.print(f"web       {web} {'answers' if answers['web'] else 'does not answer'}", markup=False)


def _answers(host: str, port: int) -> bool:
    """Whether anybody takes a connection there."""
    try:
        socket.create_connection((host, port), timeout=_KNOCK_S).close()
    except OSError:
        return False
    return True
