"""`headend demo`: everything on this machine, with a simulated neighbourhood in place of the field."""
# ruff: noqa: PLC0415, PLR0917

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from headend.cli.common import fail


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
    (TCP, RTU over TCP, a modem that dials in) and MQTT, a billing import endpoint, and the head-end with all its roles.
    Ctrl-C stops everything; the next start goes on where it was.
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
        fail(f"--host {host}: only 127.0.0.1 is accepted, since there is no login yet")
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
        fail(str(error))
