"""`headend backup`: is a restored database sound, and what it has to be told before the head-end starts on it."""
# ruff: noqa: PLC0415

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headend.cli.common import Config, fail, settings_of

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="After a restore: check the database, tell it what happened since. The dump itself is PostgreSQL's business.",
)


@app.command()
def check(config: Config = None) -> None:
    """Ask a database whether it agrees with itself; exit 1 when it does not. Reads everything, changes nothing."""
    settings = settings_of(config)
    from headend.store import consistency
    from headend.store.errors import StoreError
    from headend.store.migrate import pending
    from headend.store.pool import Store

    dropped = settings.storage.keep_readings_days is not None
    try:
        if missing := pending(settings.database.dsn):
            fail(f"the database lacks {', '.join(missing)}: run `headend migrate` first")
        with Store(settings.database.dsn, pool_max=1, prepare=settings.database.prepare) as store:
            found = consistency.check(store, zone=settings.settlement.zone, dropped=dropped)
    except StoreError as error:
        fail(f"database: {error}")
    for discord in found:
        example = ", ".join(f"{name} {value}" for name, value in discord.example.items())
        typer.echo(f"{discord.rows} {discord.what}: {example}")
    if found:
        raise typer.Exit(1)
    typer.echo("consistent")


@app.command()
def restored(
    config: Config = None,
    batch: Annotated[
        list[Path] | None,
        typer.Option(help="Body of a batch that billing accepted after the backup was made; one option a file."),
    ] = None,
) -> None:
    """Tell a restored database what it cannot know; run once, before any role is started.

    Commands and live reads that waited when the backup was made are given up: they may have been carried out since.
    The batches that billing accepted since are entered as acknowledged, so that their numbers and their charges are
    not used again.
    """
    settings = settings_of(config)
    from headend.billing.taken_back import NotABatch, read_body
    from headend.domain.clock import system_clock
    from headend.store import restored as restore
    from headend.store.errors import StoreConflict, StoreError
    from headend.store.pool import Store

    now = system_clock()
    try:
        bodies = {file: file.read_bytes() for file in batch or ()}
        ordered = sorted(bodies, key=lambda file: read_body(bodies[file]).number)
        with (
            Store(settings.database.dsn, pool_max=1, prepare=settings.database.prepare) as store,
            store.transaction() as connection,
        ):
            commands, requests = restore.give_up_waiting(connection, now=now)
            for file in ordered:
                codes = {d.usage_point for d in read_body(bodies[file]).determinants}
                known = restore.usage_points(connection, sorted(codes))
                if unknown := sorted(codes - known.keys()):
                    fail(f"{file}: usage points are not known here: {', '.join(unknown[:5])}; import them first")
                restore.take_back(connection, read_body(bodies[file], known), origin=file.name, now=now)
            numbering = restore.numbering(connection)
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    except NotABatch as error:
        fail(str(error))
    except StoreConflict as error:
        fail(f"nothing was changed: {error}")
    except StoreError as error:
        fail(f"database: {error}")
    typer.echo(f"{commands} commands and {requests} live reads given up")
    typer.echo(f"{len(ordered)} batches taken back")
    typer.echo(f"the next batch is number {numbering.newest + 1}; {numbering.unanswered} wait for billing's answer")
