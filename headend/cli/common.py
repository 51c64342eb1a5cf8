"""What every command shares: where the settings come from, and how a command fails."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from headend.log import configure_logging
from headend.settings import Settings, SettingsError, load_settings

Config = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file (template: config/headend.example.toml); HEADEND_… variables win."),
]


def settings_of(config: Path | None) -> Settings:
    """The checked settings, or the end of the command with every wrong key on stderr; warnings go there, too."""
    configure_logging("warning", "console")
    try:
        return load_settings(config)
    except SettingsError as error:
        fail(str(error))


def fail(message: str) -> NoReturn:
    """End the command with status 1 and a message on stderr."""
    sys.stderr.write(f"headend: {message}\n")
    raise typer.Exit(1)
