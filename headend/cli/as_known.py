"""`headend settle --as-known-at`: past days as they were known at an instant, beside what they come to now."""
# ruff: noqa: PLC0415

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import typer

from headend.cli.common import fail

if TYPE_CHECKING:
    from headend.settings import Settings


def compare(
    settings: Settings,
    areas: Sequence[str],
    first: date,
    last: date,
    *,
    known_at: str,
    as_json: bool,
    csv_path: Path | None,
) -> None:
    """List the differences; write nothing. Ends the command with status 1 when it cannot be told."""
    from headend.cli.differences import listing
    from headend.domain.clock import system_clock
    from headend.settlement.known import as_known
    from headend.store.errors import StoreError
    from headend.store.pool import Store

    instant = instant_of(known_at)
    days = closed = 0
    unknown: set[str] = set()
    try:
        with (
            listing(as_json=as_json, csv_path=csv_path) as listed,
            Store(settings.database.dsn, pool_max=1, prepare=settings.database.prepare) as store,
        ):
            for found in as_known(store, settings, system_clock, first, last, areas, known_at=instant):
                days, closed = days + found.days, closed + len(found.closed)
                unknown |= {found.area} if found.unknown else set()
                for one in found.differences:
                    listed.add(one)
            listed.show("then", "now", csv_path)
    except StoreError as error:
        fail(f"database: {error}")
    except (LookupError, ValueError) as error:
        fail(str(error))
    # The list may go into a pipe; what is said of it goes beside it.
    local = instant.astimezone(ZoneInfo(settings.settlement.zone))
    typer.echo(
        f"{days:,} area-days as known at {local.isoformat()} and now: {listed.summary()}. Nothing was written.",
        err=as_json,
    )
    if unknown:
        typer.echo(f"not known then: {', '.join(sorted(unknown))}", err=as_json)
    if closed:
        typer.echo(f"{closed:,} area-days cannot be told: their readings are not kept any more", err=True)


def instant_of(text: str) -> datetime:
    """An instant with its zone, in UTC; the end of the command otherwise."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        fail(f"--as-known-at {text}: an instant looks like 2026-03-05T12:00+08:00")
    if found.tzinfo is None:
        fail(f"--as-known-at {text}: needs a zone, such as {found.isoformat()}+08:00 or {found.isoformat()}Z")
    try:
        return found.astimezone(UTC)
    except OverflowError:
        fail(f"--as-known-at {text}: lies beyond the calendar")
