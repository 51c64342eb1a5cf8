"""Commands of an installation: `headend run | migrate | import`."""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from headend.cli.common import Config, fail, settings_of


def run(
    config: Config = None,
    roles: Annotated[
        str, typer.Option(help="Which parts run in this process, of ingest, poll, settle, billing, upkeep, web.")
    ] = "ingest,poll,settle,billing,upkeep,web",
    ready_file: Annotated[Path | None, typer.Option(help="Written once everything has been started.")] = None,
    workers: Annotated[
        int,
        typer.Option(
            min=1,
            max=64,
            help="Processes of the role ingest, which share the messages, or of the role settle, which share the "
            "areas: they are this one's children. Those of ingest are named mqtt.client_id, …-2, …-3 in the group "
            "mqtt.share_group (unset: ingest); on several hosts give each a client_id of its own, such as "
            "ingest-{host}. Those of settle need nothing, on any number of hosts.",
        ),
    ] = 1,
) -> None:
    """Run the head-end against a PostgreSQL/TimescaleDB and an MQTT broker: the production start."""
    settings = settings_of(config)
    # Read when numpy is imported: its threads wait for each other and cost far more CPU than they save.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from drivers.errors import DriverConfigError
    from headend.bootstrap import ROLES, run_service
    from headend.log import configure_logging
    from headend.settings import SettingsError
    from headend.store.errors import StoreError

    configure_logging(settings.log.level, settings.log.format)
    wanted = [role.strip() for role in roles.split(",") if role.strip()]
    if unknown := [role for role in wanted if role not in ROLES]:
        fail(f"--roles: {', '.join(unknown)} is not one of {', '.join(ROLES)}")
    if not wanted:
        fail(f"--roles: none is named, of {', '.join(ROLES)}")
    if workers > 1:
        from headend.cli import workers as processes

        if len(wanted) != 1 or wanted[0] not in processes.ROLES:
            fail(
                f"--workers: one role of {', '.join(processes.ROLES)} runs in several processes; start the others by "
                "themselves"
            )
        try:
            processes.run_workers(settings, workers, config, role=wanted[0], ready_file=ready_file)
        except processes.WorkerNotStarted as error:
            fail(str(error))
        return
    try:
        run_service(settings, wanted, ready_file=ready_file)
    except (SettingsError, DriverConfigError) as error:
        fail(str(error))
    except StoreError as error:
        fail(f"database: {error}")


def migrate(
    config: Config = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when something is to be done.")
    ] = False,
    plain: Annotated[
        bool, typer.Option("--plain", help="A new database does without TimescaleDB, even where the server has it.")
    ] = False,
) -> None:
    """Bring the database's schema up to date; safe to run again, and from several hosts at once."""
    settings = settings_of(config)
    from headend.store import migrate as migrations
    from headend.store.errors import StoreError

    try:
        dsn = settings.database.dsn
        names = migrations.pending(dsn) if check else migrations.migrate(dsn, timescale=not plain)
    except StoreError as error:
        fail(f"database: {error}")
    for name in names:
        typer.echo(f"{'pending' if check else 'applied'}: {name}")
    if not names:
        typer.echo("nothing to do")
    raise typer.Exit(1 if check and names else 0)


def import_(
    directory: Annotated[Path, typer.Argument(help="Directory with the CSV files (columns: config/import-template/).")],
    config: Config = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Import the good rows although others are bad.")] = False,
) -> None:
    """Load stations, areas, usage points, meters, installations and endpoints from CSV files.

    Every bad row is reported with file, line, column and reason, and nothing is changed unless all rows are good (or
    --skip-bad). Importing the same files again changes nothing.
    """
    settings = settings_of(config)
    from zoneinfo import ZoneInfo

    from drivers.errors import DriverConfigError
    from drivers.modbus.map_file import load_models
    from headend.domain.calendar import LocalCalendar
    from headend.domain.clock import system_clock
    from headend.ingest.topology_import import import_directory
    from headend.store.errors import StoreError
    from headend.store.pool import Store

    calendar = LocalCalendar(ZoneInfo(settings.settlement.zone), settings.settlement.interval_s)
    try:
        models = load_models(settings.poll.models_dir).keys()
        with Store(settings.database.dsn, pool_max=2, prepare=settings.database.prepare) as store:
            report = import_directory(
                store, directory, skip_bad=skip_bad, clock=system_clock, calendar=calendar, models=models
            )
    except DriverConfigError as error:
        fail(str(error))
    except StoreError as error:
        fail(f"database: {error}")
    for problem in report.problems:
        typer.echo(str(problem), err=True)
    for name, count in report.files.items():
        typer.echo(
            f"{name}: {count.added} added, {count.changed} changed, "
            f"{count.unchanged} unchanged, {count.refused} refused"
        )
    if not report.applied:
        typer.echo("nothing was changed: mend the rows above, or import the good ones with --skip-bad", err=True)
    raise typer.Exit(1 if report.problems and not skip_bad else 0)
