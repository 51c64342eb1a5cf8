"""The command line: `headend demo | run | migrate | import | settle | probe | quarantine`.

Imports are made inside the commands, so that `--help` answers at once.
"""
# ruff: noqa: PLC0415, PLR0917

from __future__ import annotations

import sys
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from headend.settings import Settings

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Meter-data head-end: reads household and transformer-area meters over Modbus and MQTT, balances every "
    "transformer area, says why and where energy is lost, and feeds billing.",
)
probe = typer.Typer(no_args_is_help=True, help="Read one meter now and show what it says, raw and decoded.")
quarantine = typer.Typer(no_args_is_help=True, help="What could not be understood: list it, look at it, replay it.")
app.add_typer(probe, name="probe")
app.add_typer(quarantine, name="quarantine")

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file (template: config/headend.example.toml); HEADEND_… variables win."),
]


@app.command()
def demo(
    data_dir: Annotated[
        Path | None, typer.Option(help="Where everything is kept [default: .headend; with --once a temporary one].")
    ] = None,
    once: Annotated[
        bool,
        typer.Option("--once", help="Go through once, print a JSON summary to stdout, exit 0 if all of it worked."),
    ] = False,
    reveal: Annotated[
        bool, typer.Option("--reveal", help="Show the simulator's ground truth beside what was found.")
    ] = False,
    port: Annotated[
        int, typer.Option(help="Preferred port of the web pages; moves when taken.", min=1, max=65535)
    ] = 8080,
    host: Annotated[
        str, typer.Option(help="Only a loopback address is accepted: there is no login yet.")
    ] = "127.0.0.1",
    poll_period: Annotated[int, typer.Option(help="Seconds between two rounds of Modbus polls.", min=1, max=900)] = 15,
    scenario: Annotated[
        Path | None, typer.Option(help="Another neighbourhood than the packaged one.", exists=True)
    ] = None,
    give_up: Annotated[float, typer.Option(help="With --once: seconds after which it gives up.", min=1)] = 120,
) -> None:
    """Start everything on this machine with a simulated neighbourhood: no root, no docker, nothing else to install.

    An embedded PostgreSQL and MQTT broker, a simulated neighbourhood of three transformer areas that speaks real Modbus
    TCP and MQTT, a billing import endpoint, and the head-end with all its roles. Ctrl-C stops everything; the next
    start goes on where it was.
    """
    from rich.console import Console

    from headend.demo.house import DemoError
    from headend.demo.run import Demo, run_once
    from headend.embedded.errors import EmbeddedError
    from headend.log import configure_logging
    from headend.settings import SettingsError, Web
    from headend.store.errors import StoreError

    configure_logging("warning", "console")
    try:
        Web(host=host)
    except ValueError:
        _fail(f"--host {host}: only 127.0.0.1 is accepted, since there is no login yet")
    console = Console(stderr=once, highlight=False)

    def make(directory: Path) -> Demo:
        return Demo(
            directory, web_port=port, poll_period_s=poll_period, reveal=reveal, console=console, scenario=scenario
        )

    try:
        if once:
            raise typer.Exit(run_once(data_dir, make, give_up))
        make(data_dir or Path(".headend")).stay()
    except KeyboardInterrupt:
        console.print("stopped")
        raise typer.Exit(130) from None
    except (DemoError, EmbeddedError, SettingsError, StoreError) as error:
        _fail(str(error))


@app.command()
def run(
    config: Config = None,
    roles: Annotated[
        str, typer.Option(help="Which parts run in this process, of ingest, poll, settle, billing, web.")
    ] = "ingest,poll,settle,billing,web",
    ready_file: Annotated[Path | None, typer.Option(help="Written once everything has been started.")] = None,
) -> None:
    """Run the head-end against a PostgreSQL/TimescaleDB and an MQTT broker: the production start."""
    settings = _settings(config)
    from headend.bootstrap import ROLES, run_service
    from headend.log import configure_logging
    from headend.store.errors import StoreError

    configure_logging(settings.log.level, settings.log.format)
    wanted = [role.strip() for role in roles.split(",") if role.strip()]
    if unknown := [role for role in wanted if role not in ROLES]:
        _fail(f"--roles: {', '.join(unknown)} is not one of {', '.join(ROLES)}")
    try:
        run_service(settings, wanted, ready_file=ready_file)
    except StoreError as error:
        _fail(f"database: {error}")


@app.command()
def migrate(
    config: Config = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit 1 when something is to be done.")
    ] = False,
) -> None:
    """Bring the database's schema up to date; safe to run again, and from several hosts at once."""
    settings = _settings(config)
    from headend.store import migrate as migrations
    from headend.store.errors import StoreError

    try:
        names = migrations.pending(settings.database.dsn) if check else migrations.migrate(settings.database.dsn)
    except StoreError as error:
        _fail(f"database: {error}")
    for name in names:
        typer.echo(f"{'pending' if check else 'applied'}: {name}")
    if not names:
        typer.echo("nothing to do")
    raise typer.Exit(1 if check and names else 0)


@app.command("import")
def import_(
    directory: Annotated[Path, typer.Argument(help="Directory with the CSV files (columns: config/import-template/).")],
    config: Config = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Import the good rows although others are bad.")] = False,
) -> None:
    """Load stations, areas, usage points, meters, installations and endpoints from CSV files.

    Every bad row is reported with file, line, column and reason, and nothing is changed unless all rows are good (or
    --skip-bad). Importing the same files again changes nothing.
    """
    settings = _settings(config)
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
        _fail(str(error))
    except StoreError as error:
        _fail(f"database: {error}")
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


@app.command()
def settle(
    config: Config = None,
    first: Annotated[datetime, typer.Option("--from", help="First local day.", formats=["%Y-%m-%d"])] = ...,  # type: ignore[assignment]
    last: Annotated[datetime, typer.Option("--to", help="Last local day.", formats=["%Y-%m-%d"])] = ...,  # type: ignore[assignment]
    area: Annotated[str | None, typer.Option(help="One area's code; all areas where absent.")] = None,
) -> None:
    """Compute intervals and balances of past days again from the stored readings."""
    settings = _settings(config)
    from headend.domain.clock import system_clock
    from headend.settlement.service import settle_days
    from headend.store.errors import StoreError
    from headend.store.pool import Store

    try:
        with Store(settings.database.dsn, pool_max=2, prepare=settings.database.prepare) as store:
            count = settle_days(store, settings, system_clock, _day(first), _day(last), area)
    except (StoreError, LookupError) as error:
        _fail(str(error))
    typer.echo(f"{count} area-days settled")


def _day(moment: datetime) -> date:
    return moment.date()


def _settings(config: Path | None) -> Settings:
    from headend.settings import SettingsError, load_settings

    try:
        return load_settings(config)
    except SettingsError as error:
        _fail(str(error))


def _fail(message: str) -> NoReturn:
    sys.stderr.write(f"headend: {message}\n")
    raise typer.Exit(1)


def main() -> None:
    """Entry point."""
    app()


if __name__ == "__main__":
    main()
