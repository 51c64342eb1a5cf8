"""`headend probe`: read one meter, or one message, now, and show what it says, raw and decoded; nothing is stored."""
# ruff: noqa: PLC0415, PLR0917

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from headend.cli.common import Config, fail, settings_of

if TYPE_CHECKING:
    from headend.settings import Poll

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Read one meter, or one message, now: values, raw data, what looks wrong.",
)


@app.command()
def modbus(
    host: Annotated[str | None, typer.Option(help="Gateway or meter that speaks Modbus TCP.")] = None,
    port: Annotated[int, typer.Option(min=1, max=65535)] = 502,
    bus: Annotated[
        str | None,
        typer.Option(
            help="Any other bus: modbus+rtu+tcp://HOST:PORT, modbus+serial:///dev/ttyUSB0?baud=9600&parity=N&stop=1."
        ),
    ] = None,
    unit: Annotated[int | None, typer.Option(help="Unit id on its bus.", min=0, max=255)] = None,
    model: Annotated[
        str | None, typer.Option(help="Register map, such as eastron-sdm630, or the end of its name: sdm630.")
    ] = None,
    scan: Annotated[bool, typer.Option("--scan", help="Look which unit ids answer.")] = False,
    units: Annotated[str, typer.Option(help="Unit ids that --scan asks.")] = "1-247",
    detect: Annotated[bool, typer.Option("--detect", help="Guess the model of --unit by plausibility.")] = False,
    serial: Annotated[str | None, typer.Option(help="Serial that the meter should have.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Register maps of your own.", file_okay=False)] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.", min=0.05, max=60)] = 1.0,
) -> None:
    """Read everything that a register map knows from one meter; or find meters, or guess a model. Needs no database.

    Exits 1 when nobody answers, when no model fits, or when something looks wrong with --serial.
    """
    if (host is None) == (bus is None):
        fail("say where: either --host (and --port), or --bus")
    if scan == (unit is not None) or (not scan and detect == (model is not None)):
        fail("say what: --unit N --model M, --unit N --detect, or --scan")
    from drivers.errors import DriverError
    from headend.settings import Poll

    poll = Poll(timeout_s=timeout, models_dir=models_dir)
    endpoint = bus or (f"modbus+tcp://[{host}]:{port}" if host and ":" in host else f"modbus+tcp://{host}:{port}")
    try:
        if scan:
            _scan(endpoint, units, poll)
        elif unit is not None and model is not None:
            _read(endpoint, unit, model, poll, serial)
        elif unit is not None:
            _detect(endpoint, unit, poll)
    except DriverError as error:
        fail(str(error))


def _read(endpoint: str, unit: int, model: str, poll: Poll, serial: str | None) -> NoReturn:
    from headend.ingest.probe_modbus import describe_modbus, probe_modbus

    report = asyncio.run(probe_modbus(endpoint=endpoint, unit=unit, model=model, poll=poll, expected_serial=serial))
    typer.echo("\n".join(describe_modbus(report)))
    raise typer.Exit(1 if any("serial" in remark for remark in report.remarks) else 0)


def _scan(endpoint: str, units: str, poll: Poll) -> NoReturn:
    from headend.ingest.probe_modbus import describe_scan, scan_modbus, units_of

    wanted = units_of(units)
    with _progress(len(wanted)) as told:
        found = asyncio.run(scan_modbus(endpoint=endpoint, units=wanted, poll=poll, told=told))
    typer.echo("\n".join(describe_scan(found)))
    raise typer.Exit(0 if found else 1)


def _detect(endpoint: str, unit: int, poll: Poll) -> NoReturn:
    from drivers.modbus.detect import best
    from drivers.modbus.map_file import load_models
    from headend.ingest.probe_modbus import describe_guesses, detect_modbus

    with _progress(len(load_models(poll.models_dir))) as told:
        guesses = asyncio.run(detect_modbus(endpoint=endpoint, unit=unit, poll=poll, told=told))
    typer.echo("\n".join(describe_guesses(guesses)))
    raise typer.Exit(0 if best(guesses) else 1)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[object], None]]:
    """A bar on stderr, where that is a terminal: a silent unit costs its time-out, and there are 247."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("asking", total=total)

        def told(what: object) -> None:
            bar.update(task, advance=1, description=f"asking {what}")

        yield told


@app.command()
def mqtt(
    config: Config = None,
    host: Annotated[str | None, typer.Option(help="Broker, instead of the settings'.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535)] = None,
    topic: Annotated[str | None, typer.Option(help="Topic filter [default: everything below the prefix].")] = None,
    count: Annotated[int, typer.Option(help="Messages to wait for.", min=1)] = 1,
    wait: Annotated[float, typer.Option(help="Seconds to wait at the most.", min=0.1)] = 30.0,
) -> None:
    """Listen beside the head-end and show what it makes of the messages. Needs no database when --host is given."""
    from drivers.errors import DriverError
    from headend.ingest.probe import describe_mqtt, probe_mqtt
    from headend.settings import Mqtt, Settlement

    given = None if host is not None and config is None else settings_of(config)
    settings = Mqtt() if given is None else given.mqtt
    zone = (Settlement() if given is None else given.settlement).zone
    changes = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    try:
        wanted = settings.model_copy(update=changes)
        found = asyncio.run(probe_mqtt(wanted, zone=zone, topic=topic, wait_s=wait, most=count))
    except DriverError as error:
        fail(str(error))
    if not found:
        fail(f"nothing came within {wait:g} s")
    for message in found:
        typer.echo("\n".join(describe_mqtt(message)))
