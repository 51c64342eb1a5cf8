"""What commands share that spread work: a cluster or this host, and an end that keeps what is done."""
# ruff: noqa: PLC0415

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from headend.cli.common import fail

if TYPE_CHECKING:
    from headend.settlement.work import Piece, Result, Work
    from headend.store.pool import Store

INTERRUPTED: Final = 130
"""Exit status after Ctrl-C, as shells have it."""
Workers = Annotated[
    int | None, typer.Option(min=1, max=256, help="Processes on this host; as many as processors where absent.")
]


def on_cluster(what: str) -> Any:
    """The option --cluster of a command that spreads `what`."""
    return typer.Option(
        metavar="ADDRESS",
        help=f"Scheduler of a Dask cluster to spread {what} over (needs the extra `scale`). Each of its workers "
        "opens the database that its own settings name: HEADEND_… variables, or a file named by HEADEND_CONFIG. A "
        "tls:// address takes certificates from Dask's own configuration.",
    )


def check_where(workers: int | None, cluster: str | None) -> None:
    """Refuse two answers to who does it."""
    if cluster is not None and workers is not None:
        fail("--workers are processes on this host: with --cluster there are none")


@contextmanager
def over_cluster(
    address: str, store: Store, work: Work[Piece, Result], stop: threading.Event
) -> Iterator[Callable[[Iterable[Piece]], Iterator[Result]]]:
    """Has a Dask cluster do the pieces; ends the command where it cannot."""
    try:
        from headend.settlement.cluster import ClusterError, connected
    except ModuleNotFoundError as missing:
        if missing.name not in {"distributed", "dask"}:
            raise
        fail("--cluster needs Dask distributed: pip install 'headend[scale]'")
    try:
        with connected(address, store, work, stop) as found:
            yield found.spread
    except ClusterError as error:
        fail(str(error))


@contextmanager
def stopped_by_signal() -> Iterator[threading.Event]:
    """Set by the first Ctrl-C or SIGTERM; the second one ends at once, and what is in hand is rolled back."""
    stop = threading.Event()

    def heed(number: int, _: Any) -> None:
        stop.set()
        signal.signal(number, before[number])

    before: dict[int, Any] = {number: signal.signal(number, heed) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
