"""`headend nightly`: every station that changed explained now, here, in several processes, or on a Dask cluster."""
# ruff: noqa: PLC0415

from __future__ import annotations

import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated

import typer

from headend.cli.common import Config, fail, settings_of
from headend.cli.spreading import INTERRUPTED, Workers, check_where, on_cluster, over_cluster, stopped_by_signal

if TYPE_CHECKING:
    from headend.settings import Settings
    from headend.settlement.night import Cost, Night
    from headend.settlement.nightly import Explaining, StationPiece
    from headend.store.pool import Store

    Spread = Callable[[Iterable[StationPiece]], Iterator[Night]]


def nightly(
    config: Config = None,
    area: Annotated[
        list[str] | None, typer.Option(help="Only the station of this area's code, or of several; all where absent.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also stations under which nothing has changed.")] = False,
    workers: Workers = None,
    cluster: Annotated[str | None, on_cluster("stations")] = None,
) -> None:
    """Explain now every station of which settled days or what hangs where changed since its last report.

    Areas are screened, those that stand out explained; reports, technical losses and findings are kept as by the role
    settle, which may run meanwhile: a station is one worker's at a time. What is still loading or waits to be settled
    is left for the next time, and told. Ctrl-C ends it after the stations in hand; asking again goes on where it was.
    Exit status 1: a station could not be explained.
    """
    settings = settings_of(config)
    # Read when numpy is imported, here and in the processes: its threads cost more than they save.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from headend.domain.clock import system_clock
    from headend.settlement.night import Night
    from headend.settlement.nightly import Explaining, wanted
    from headend.store.errors import StoreError
    from headend.store.pool import Store

    check_where(workers, cluster)
    began = time.perf_counter()
    work = Explaining.of(settings, again=everything)
    total = Night()
    try:
        with Store(settings.database.dsn, pool_max=3, prepare=settings.database.prepare) as store:
            asked = wanted(store, work, system_clock, area or [])
            total.left.update(asked.left)
            with (
                stopped_by_signal() as stop,
                _progress(len(asked.pieces)) as told,
                _spread(settings, store, work, len(asked.pieces), workers, cluster, stop=stop) as spread,
            ):
                for night in spread(asked.pieces) if asked.pieces else ():
                    total.add(night)
                    told(night)
    except StoreError as error:
        fail(f"database: {error}")
    except LookupError as error:
        fail(str(error.args[0]))
    _tell(total, len(asked.pieces), time.perf_counter() - began)
    if total.stopped:
        raise typer.Exit(INTERRUPTED)
    if total.failed:
        raise typer.Exit(1)


@contextmanager
def _spread(  # noqa: PLR0917 who asks, what, how much, and who does it
    settings: Settings,
    store: Store,
    work: Explaining,
    pieces: int,
    workers: int | None,
    cluster: str | None,
    *,
    stop: threading.Event,
) -> Iterator[Spread]:
    """Who explains: a cluster, processes, or (where there is no more than one station) this process."""
    from headend.domain.clock import system_clock
    from headend.settlement.processes import Processes
    from headend.settlement.work import Place, here

    if cluster is not None:
        with over_cluster(cluster, store, work, stop) as spread:
            yield spread
        return
    count = min(workers or os.cpu_count() or 1, pieces)
    if count > 1:
        yield Processes(
            count=count, database=settings.database, work=work, clock=system_clock, stop=stop
        ).spread  # fmt: skip
        return
    place = Place(store=store, clock=system_clock, stop=stop.is_set)
    yield lambda some: here(work, place, some)


@contextmanager
def _progress(stations: int) -> Iterator[Callable[[Night], None]]:
    """A bar on the terminal's stderr; nothing where that is none."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    alarms = 0
    columns = (
        BarColumn(), MofNCompleteColumn(), TextColumn("stations"), TextColumn("{task.fields[alarms]} alarms"),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("explaining", total=stations, alarms=0)

        def told(night: Night) -> None:
            nonlocal alarms
            alarms += night.alarmed.areas
            progress.update(task, advance=0 if night.stopped else 1, alarms=alarms)

        yield told


def _tell(total: Night, stations: int, seconds: float) -> None:
    """What was done, on stdout; what was not, on stderr."""
    from headend.web import finding_texts, limit_words

    typer.echo(
        f"{total.stations:,} of {stations:,} stations explained in {seconds:.1f} s: {total.areas:,} areas screened, "
        f"{total.explained:,} explained, {total.alarmed.areas:,} with an alarm"
    )
    if total.areas:
        typer.echo(f"most probable cause: {_counted(total.causes, lambda cause: cause.replace('_', ' '))}")
        typer.echo(
            f"findings opened: {_counted(total.opened, lambda kind: finding_texts.of(kind).title)}; "
            f"closed: {_counted(total.closed, lambda kind: finding_texts.of(kind).title)}"
        )
        typer.echo(
            f"processor time per 100 meters: {_cost(total.quiet)} without an alarm, {_cost(total.alarmed)} with one"
        )
        typer.echo(f"could not be told, in areas: {_counted(total.untold, limit_words.title)}")
    for why, names in sorted(_by_reason(total.left).items()):
        typer.echo(f"left as they are, {why}: {len(names):,} ({', '.join(names[:5])}{', …' * (len(names) > 5)})")
    for code, reason in sorted(total.failed.items()):
        typer.echo(f"not explained: {code}: {reason}", err=True)
    if total.stopped:
        typer.echo(
            f"stopped: {total.stations:,} of {stations:,} stations are done; what is explained is kept, the rest is as "
            "it was",
            err=True,
        )


def _counted(counts: Counter[str], word: Callable[[str], str]) -> str:
    return ", ".join(f"{word(name)} {count:,}" for name, count in counts.most_common()) or "none"


def _cost(cost: Cost) -> str:
    per_100 = cost.of_100_meters()
    return "–" if per_100 is None else f"{per_100:.2f} s"


def _by_reason(left: dict[str, str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, why in sorted(left.items()):
        found.setdefault(why, []).append(name)
    return found
