"""`headend settle`: past days computed again."""
# ruff: noqa: PLC0415

from __future__ import annotations

from datetime import datetime
from typing import Annotated

import typer

from headend.cli.common import Config, fail, settings_of


def settle(
    config: Config = None,
    first: Annotated[datetime, typer.Option("--from", help="First local day.", formats=["%Y-%m-%d"])] = ...,  # type: ignore[assignment]
    last: Annotated[datetime, typer.Option("--to", help="Last local day.", formats=["%Y-%m-%d"])] = ...,  # type: ignore[assignment]
    area: Annotated[str | None, typer.Option(help="One area's code; all areas where absent.")] = None,
) -> None:
    """Compute intervals and balances of past days again from the stored readings."""
    settings = settings_of(config)
    from headend.domain.clock import system_clock
    from headend.settlement.mass import settle_days
    from headend.store.errors import StoreError
    from headend.store.pool import Store

    try:
        with Store(settings.database.dsn, pool_max=2, prepare=settings.database.prepare) as store:
            count = settle_days(store, settings, system_clock, first.date(), last.date(), area)
    except StoreError as error:
        fail(f"database: {error}")
    except (LookupError, ValueError) as error:
        fail(str(error))
    typer.echo(f"{count} area-days settled")
