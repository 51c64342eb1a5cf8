"""`headend probe`: read one meter, or one message, now, and show what it says, raw and decoded; nothing is stored."""
# ruff: noqa: PLC0415, PLR0917

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from headend.cli.common import Config, fail, settings_of

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    help="Read one meter, or one message, now: values, raw data, what looks wrong.",
)


@app.command()
def modbus(
    host: Annotated[str, typer.Option(help="Address of the gateway or meter.")],
    unit: Annotated[int, typer.Option(help="Unit id on its bus.", min=0, max=255)],
    model: Annotated[str, typer.Option(help="Register map, such as eastron-sdm630, or the end of its name: sdm630.")],
    port: Annotated[int, typer.Option(min=1, max=65535)] = 502,
    serial: Annotated[str | None, typer.Option(help="Serial that the meter should have.")] = None,
    models_dir: Annotated[Path | None, typer.Option(help="Register maps of your own.", file_okay=False)] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for an answer.", min=0.05, max=60)] = 1.0,
) -> None:
    """Read everything that a register map knows from one meter. Needs no database.

    Exits 1 when the meter does not answer, or when something looks wrong with --serial.
    """
    from drivers.errors import DriverError
    from headend.ingest.probe import describe_modbus, probe_modbus
    from headend.settings import Poll

    poll = Poll(timeout_s=timeout, models_dir=models_dir)
    try:
        report = asyncio.run(
            probe_modbus(host=host, port=port, unit=unit, model=model, poll=poll, expected_serial=serial)
        )
    except DriverError as error:
        fail(str(error))
    typer.echo("\n".join(describe_modbus(report)))
    raise typer.Exit(1 if any("serial" in remark for remark in report.remarks) else 0)


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
    from headend.settings import Mqtt

    settings = Mqtt() if host is not None and config is None else settings_of(config).mqtt
    changes = {key: value for key, value in (("host", host), ("port", port)) if value is not None}
    try:
        found = asyncio.run(probe_mqtt(settings.model_copy(update=changes), topic=topic, wait_s=wait, most=count))
    except DriverError as error:
        fail(str(error))
    if not found:
        fail(f"nothing came within {wait:g} s")
    for message in found:
        typer.echo("\n".join(describe_mqtt(message)))
