"""`headend settle`: past days computed again, here, in several processes, or on a Dask cluster."""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated
from zoneinfo import ZoneInfo

import typer

from headend.cli.common import Config, fail, settings_of
from headend.cli.spreading import INTERRUPTED, Workers, check_where, on_cluster, over_cluster, stopped_by_signal

if TYPE_CHECKING:
    from headend.cli.differences import Listing
    from headend.settings import Settings
    from headend.settlement.mass import AreaDays, Spread, Tally
    from headend.settlement.settler import Outcome
    from headend.store.pool import Store


def settle(  # noqa: PLR0917 the command line's own order
    config: Config = None,
    first: Annotated[datetime, typer.Option("--from", help="First local day.", formats=["%Y-%m-%d"])] = ...,  # type: ignore[assignment]
    last: Annotated[datetime, typer.Option("--to", help="Last local day.", formats=["%Y-%m-%d"])] = ...,  # type: ignore[assignment]
    area: Annotated[list[str] | None, typer.Option(help="One area's code, or several; all where absent.")] = None,
    workers: Workers = None,
    cluster: Annotated[str | None, on_cluster("areas")] = None,
    known_at: Annotated[
        str | None,
        typer.Option(
            "--as-known-at",
            metavar="INSTANT",
            help="List what these days came to as was known at an instant (2026-03-05T12:00+08:00), beside what they "
            "come to now; write nothing.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="List differences as one JSON object a line.")] = False,
    csv_path: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write all differences to FILE.")
    ] = None,
) -> None:
    """Compute intervals and balances of past days again from the stored readings, and whatever that touches in turn.

    What comes out as it was before is not written again. The role settle may run meanwhile. Ctrl-C ends it after the
    passes in hand; asking again goes on where it was. Exit status 1: something could not be settled.
    """
    settings = settings_of(config)
    # Read when numpy is imported, here and in the processes: its threads cost more than they save.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from headend.settlement import mass
    from headend.store.errors import StoreError
    from headend.store.pool import Store

    _check_days(settings, first.date(), last.date())
    check_where(workers, cluster)
    if known_at is not None:
        if cluster is not None or workers is not None:
            fail("--as-known-at compares in this process: without --workers and --cluster")
        from headend.cli.as_known import compare

        compare(settings, area or [], first.date(), last.date(), known_at=known_at, as_json=as_json, csv_path=csv_path)
        return
    began = time.perf_counter()
    from headend.cli.differences import listing

    try:
        with (
            listing(as_json=as_json, csv_path=csv_path) as listed,
            Store(settings.database.dsn, pool_max=3, prepare=settings.database.prepare) as store,
        ):
            areas = mass.wanted_areas(store, area or [], first.date(), last.date(), listed=True)
            with (
                stopped_by_signal() as stop,
                _progress(areas) as shown,
                _spread(settings, store, areas, workers, cluster, stop=stop, shown=shown) as spread,
            ):
                total = mass.settle(areas, spread, told=shown.and_listed(listed))
            listed.show("before", "now", csv_path)
    except StoreError as error:
        fail(f"database: {error}")
    except (LookupError, ValueError) as error:
        fail(str(error))
    _tell(total, len(areas), time.perf_counter() - began, out=as_json)
    if total.stopped:
        raise typer.Exit(INTERRUPTED)
    if total.failed:
        raise typer.Exit(1)


def _check_days(settings: Settings, first: date, last: date) -> None:
    """Refuse days that have not come yet, whose rows would say nothing for good, and those beyond the calendar."""
    from headend.domain.calendar import LocalCalendar
    from headend.domain.clock import system_clock

    calendar = LocalCalendar(ZoneInfo(settings.settlement.zone), settings.settlement.interval_s)
    if last > (today := calendar.day_of(system_clock())):
        fail(f"the last day {last} has not come yet: it is {today} in {calendar.zone}")
    try:
        calendar.bounds(first)
    except OverflowError:
        fail(f"the first day {first} is before the calendar begins")


@contextmanager
def _spread(
    settings: Settings,
    store: Store,
    areas: Sequence[tuple[AreaDays, int]],
    workers: int | None,
    cluster: str | None,
    *,
    stop: threading.Event,
    shown: _Shown,
) -> Iterator[Spread]:
    """Who settles: a cluster, processes, or (where there is no more than one piece) this process."""
    from headend.domain.clock import system_clock
    from headend.settlement import mass
    from headend.settlement.processes import Processes
    from headend.settlement.rules import Rules

    rules = Rules.of(settings.settlement, settings.validation)
    if cluster is not None:
        with over_cluster(cluster, store, mass.Settling(rules), stop) as spread:
            yield spread
        return
    count = min(workers or os.cpu_count() or 1, sum(1 for _ in mass.pieces_of(areas)))
    if count > 1:
        yield Processes(
            count=count, database=settings.database, work=mass.Settling(rules), clock=system_clock, stop=stop
        ).spread  # fmt: skip
        return
    worker = mass.Worker(store=store, rules=rules, clock=system_clock, passed=shown.passed, stop=stop.is_set)
    shown.by_pass = True
    yield worker.spread


class _Shown:
    """What the progress bar shows."""

    def __init__(self, update: Callable[[int, int], None]) -> None:
        self._update = update
        self.by_pass = False
        """Passes are told one by one, so pieces need not be."""

    def passed(self, _code: str, outcome: Outcome) -> None:
        """A pass of this process."""
        self._update(outcome.days, outcome.intervals)

    def and_listed(self, listed: Listing) -> Callable[[Tally], None]:
        """Show each piece, and list what it changed."""

        def told(tally: Tally) -> None:
            self.piece(tally)
            for one in tally.differences:
                listed.add(one)

        return told

    def piece(self, tally: Tally) -> None:
        """A piece, settled by whomever."""
        if not self.by_pass:
            self._update(tally.area_days, tally.intervals)


@contextmanager
def _progress(areas: Sequence[tuple[AreaDays, int]]) -> Iterator[_Shown]:
    """A bar on the terminal's stderr; nothing where that is none."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    total = sum(area.count() for area, _ in areas)
    began = time.perf_counter()
    done = intervals = 0
    columns = (
        BarColumn(), MofNCompleteColumn(), TextColumn("area-days"), TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("settling", total=total, rate="")

        def update(days: int, of_them: int) -> None:
            nonlocal done, intervals
            done, intervals = done + days, intervals + of_them
            rate = f"{intervals / (time.perf_counter() - began):,.0f} intervals/s"
            # Days that were touched in turn come on top of those asked for.
            progress.update(task, completed=done, total=max(total, done), rate=rate)

        yield _Shown(update)


def _tell(total: Tally, areas: int, seconds: float, *, out: bool) -> None:
    """What was done, on stdout (on stderr where the list is meant for programs); what was not, on stderr."""
    typer.echo(
        f"{total.area_days:,} area-days settled in {seconds:.1f} s ({total.intervals:,} intervals): "
        f"{total.changed:,} days of metering points say something else than before",
        err=out,
    )
    if waiting := sum(map(len, total.passed_on.values())):
        typer.echo(
            f"{waiting:,} area-days of other areas are out of date by that and wait for the role settle", err=out
        )
    for code, reason in sorted(total.failed.items()):
        typer.echo(f"not settled: {code}: {reason}", err=True)
    if total.stopped:
        typer.echo(
            f"stopped: {total.areas:,} of {areas:,} areas are done; what is settled is kept, the rest is as it was",
            err=True,
        )
