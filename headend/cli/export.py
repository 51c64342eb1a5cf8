"""`headend export AREA…`: settled readings as files that `headend reconcile` takes, for an engineer elsewhere."""
# ruff: noqa: PLC0415, PLR0917

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from headend.cli.common import Config, fail, settings_of
from headend.cli.reconcile import refuse

if TYPE_CHECKING:
    from headend.settings import Settings
    from reconciliation import AreaWindow


def export(
    areas: Annotated[list[str], typer.Argument(metavar="AREA…", help="Codes; areas of one file are neighbours.")],
    out: Annotated[Path, typer.Option(help="File to write: .csv (and .meters.csv beside it), .parquet or .npz.")],
    first: Annotated[datetime, typer.Option("--from", help="First local day.", formats=["%Y-%m-%d"])] = ...,  # type: ignore[assignment]
    last: Annotated[datetime, typer.Option("--to", help="Last local day.", formats=["%Y-%m-%d"])] = ...,  # type: ignore[assignment]
    names: Annotated[
        bool,
        typer.Option("--names", help="Keep the real names. Else invented ones, and beside them a key to keep at home."),
    ] = False,
    config: Config = None,
) -> None:
    """Write areas' settled readings as the engine gets them: what was estimated is left out, names are invented.

    No customer's name, address or account is in it, only energies and voltages. `FILE.names.csv` says which invented
    name is whose: it is for this side only.
    """
    settings = settings_of(config)
    from headend.store.errors import StoreError
    from headend.workbench.errors import WrongInput
    from headend.workbench.write import pseudonymous, write

    if last < first:
        refuse(f"--to {last.date()} is before --from {first.date()}")
    if len(set(areas)) < len(areas):
        refuse("an area is named twice")
    try:
        windows = load_areas(settings, areas, first, last)
        keys: list[tuple[str, str, str]] = []
        if not names:
            windows, keys = pseudonymous(windows)
        written = write(out, windows, _zone(settings))
        if keys:
            _write_keys(out.with_name(out.name.split(".")[0] + ".names.csv"), keys)
    except StoreError as error:
        fail(f"database: {error}")
    except LookupError as error:
        refuse(str(error.args[0]))
    except WrongInput as wrong:
        refuse(str(wrong))
    except OSError as error:
        fail(f"{error.filename}: {error.strerror}")
    meters = sum(window.n_meters for window in windows)
    typer.echo(f"{len(windows)} areas, {meters} meters: {', '.join(map(str, written))}")
    if keys:
        typer.echo(
            f"invented names; whose they are: {out.with_name(out.name.split('.')[0] + '.names.csv')} (do not send it)"
        )
    typer.echo(f"headend reconcile {out} --zone {settings.settlement.zone}")


def load_areas(settings: Settings, areas: Sequence[str], first: datetime, last: datetime) -> list[AreaWindow]:
    """The engine's windows of some areas. Raises LookupError for an unknown code, or where nothing was settled."""
    from headend.domain.calendar import LocalCalendar
    from headend.settlement.grid import DayRange
    from headend.settlement.rules import Rules
    from headend.settlement.windows import load_window
    from headend.store import topology, views
    from headend.store.pool import Store

    rules = Rules.of(settings.settlement, settings.validation)
    days = DayRange(LocalCalendar(_zone(settings), settings.settlement.interval_s), first.date(), last.date())
    windows = []
    with (
        Store(settings.database.dsn, pool_max=1, prepare=settings.database.prepare) as store,
        views.reading(store) as connection,
    ):
        for code in areas:
            area_id = topology.area_id(connection, code)
            if area_id is None:
                raise LookupError(f"{code}: there is no such area")
            window = load_window(connection, area_id, code, days, rules).window
            if not window.n_meters:
                raise LookupError(f"{code}: no meter hung on it from {first.date()} to {last.date()}")
            windows.append(window)
    return windows


def _zone(settings: Settings):  # type: ignore[no-untyped-def]
    from zoneinfo import ZoneInfo

    return ZoneInfo(settings.settlement.zone)


def _write_keys(path: Path, keys: Sequence[tuple[str, str, str]]) -> None:
    """Readable by nobody else on this machine."""
    with os.fdopen(
        os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8", newline=""
    ) as out:
        writer = csv.writer(out)
        writer.writerow(("kind", "invented", "real"))
        writer.writerows(keys)
