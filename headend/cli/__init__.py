"""The command line: `headend demo | run | migrate | import | settle | reconcile | …`, all of them in `app`.

Commands import what they need when they run, so that `--help` answers at once.
"""

from __future__ import annotations

import typer

from headend.cli import (
    backup,
    command,
    demo,
    explain,
    export,
    models,
    nightly,
    probe,
    quarantine,
    reconcile,
    rules,
    service,
    settle,
    status,
)

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Meter-data head-end: reads household and transformer-area meters over Modbus and MQTT, balances every "
    "transformer area, says why and where energy is lost, and feeds billing.",
)
app.command()(demo.demo)
app.command()(service.run)
app.command()(service.migrate)
app.command("import")(service.import_)
app.command()(settle.settle)
app.command()(nightly.nightly)
app.command()(rules.rules)
app.command()(explain.explain)
app.command()(status.status)
app.command(epilog=reconcile.LAYOUT)(reconcile.reconcile)
app.command()(export.export)
app.add_typer(probe.app, name="probe")
app.add_typer(models.app, name="models")
app.add_typer(command.app, name="command")
app.add_typer(quarantine.app, name="quarantine")
app.add_typer(backup.app, name="backup")


def main() -> None:
    """Entry point."""
    app()
