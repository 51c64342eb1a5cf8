"""`headend quarantine`: what could not be understood, listed, looked at, replayed."""
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headend.cli.common import Config, fail, settings_of

if TYPE_CHECKING:
    from headend.ingest.quarantine import Quarantine

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="What could not be understood: list it, look at it, replay it.",
)

Reason = Annotated[str | None, typer.Option(help="Only this reason, such as unknown_meter.")]
Origin = Annotated[str | None, typer.Option(help="Only origins (topics, bus addresses) that begin so.")]


@contextmanager
def _opened(config: Path | None) -> Iterator[Quarantine]:
    settings = settings_of(config)
    from drivers.errors import DriverConfigError
    from headend.domain.clock import system_clock
    from headend.ingest.quarantine import Quarantine
    from headend.store.errors import StoreError
    from headend.store.pool import Store

    try:
        with Store(settings.database.dsn, pool_max=2, prepare=settings.database.prepare) as store:
            yield Quarantine(store, settings, system_clock)
    except DriverConfigError as error:
        fail(f"payload maps: {error}")
    except StoreError as error:
        fail(f"database: {error}")


@app.command("list")
def list_(
    config: Config = None,
    reason: Reason = None,
    origin: Origin = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what was replayed already.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """Messages in the quarantine, newest first."""
    with _opened(config) as quarantine:
        for row in quarantine.list(reason=reason, origin=origin, everything=everything, limit=limit):
            received = row["received_at"].isoformat(timespec="seconds")
            typer.echo(f"{row['quarantine_id']:>8}  {received}  {row['reason']:<20} {row['origin']}")
            typer.echo(f"          {row['detail']}")


@app.command()
def show(number: Annotated[int, typer.Argument(help="Number from the list.")], config: Config = None) -> None:
    """One message: why it is here, and its payload."""
    with _opened(config) as quarantine:
        row = quarantine.show(number)
        if row is None:
            fail(f"quarantine has no message {number}")
        payload = bytes(row.pop("payload"))
        for name, value in row.items():
            typer.echo(f"{name}: {value}")
        typer.echo("")
        typer.echo(payload.decode("utf-8", "backslashreplace"))


@app.command()
def replay(
    numbers: Annotated[
        list[int] | None, typer.Argument(help="Numbers from the list; none with --reason or --origin.")
    ] = None,
    config: Config = None,
    reason: Reason = None,
    origin: Origin = None,
) -> None:
    """Try messages again, once their cause is mended; what is understood now is stored, the rest stays. Idempotent."""
    if not numbers and reason is None and origin is None:
        fail("say which: numbers, --reason or --origin")
    with _opened(config) as quarantine:
        stay = 0
        for number in numbers or quarantine.waiting(reason=reason, origin=origin):
            try:
                done = quarantine.replay(number)
            except LookupError as error:
                fail(str(error))
            stay += bool(done.still)
            why = "; ".join(entry.detail for entry in done.still)
            typer.echo(
                f"{number}: {done.stored} stored, {done.duplicates} known already" + (f", stays: {why}" if why else "")
            )
    raise typer.Exit(1 if stay else 0)
