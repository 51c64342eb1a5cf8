"""Pieces of work spread over a Dask cluster: ids out, counts back; workers read and write the store.

The rule it keeps: no secret travels. Each worker opens the store that its own configuration names (HEADEND_… variables,
HEADEND_CONFIG a TOML file), and proves before it does anything that it is the asker's database, and that it runs the
asker's program. The only file that imports distributed.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic
from uuid import uuid4

import distributed
from dask import config as dask_config
from distributed import Client, Event, Future, Security
from distributed.comm import addressing, registry
from distributed.comm.core import connect
from distributed.scheduler import KilledWorker

from headend.domain.clock import system_clock
from headend.log import get_logger
from headend.settings import SettingsError, load_settings
from headend.settlement.program import program_digest
from headend.settlement.work import Piece, Place, Result, Work
from headend.store import locks
from headend.store.pool import Store

_log = get_logger(__name__)

CONFIG_VARIABLE: Final = "HEADEND_CONFIG"
"""Of a worker: the TOML file with its settings; unset: its HEADEND_… variables say everything."""
_CONNECT_S: Final = 10.0
_LOOK_S: Final = 0.5
_IN_HAND: Final = 2
"""Pieces handed out per thread of a worker: the scheduler holds few, however many there are."""
_MOST_LOSSES: Final = 3
"""A piece is given up when the scheduler has given it up so often; each time, several workers died of it."""
_WORKERS_S: Final = 60.0
"""So long a cluster may be without any worker."""


class ClusterError(Exception):
    """The cluster cannot do it: nobody answers, no worker comes, or a worker is not fit for it."""


@dataclass(frozen=True, slots=True)
class Order(Generic[Piece, Result]):
    """What a worker has to know besides the piece; no secret in it."""

    number: str
    """Of this request: under it the asker holds a lock in the database, and may have it stopped."""
    work: Work[Piece, Result]
    program: str


@contextmanager
def connected(
    address: str, store: Store, work: Work[Piece, Result], stop: threading.Event
) -> Iterator[Cluster[Piece, Result]]:
    """A cluster to spread pieces over. `tls://` addresses take certificates from Dask's own configuration.

    Raises ClusterError when the scheduler does not answer or has no workers.
    """
    number = uuid4().hex
    with ExitStack() as stack:
        with warnings.catch_warnings(record=True) as mismatches:
            warnings.simplefilter("always", distributed.versions.VersionMismatchWarning)
            try:
                _check_address(address)
                client = Client(address, timeout=_CONNECT_S, set_as_default=False, name=f"headend-{work.name}")
                stack.callback(client.close)
                client.wait_for_workers(1, timeout=_WORKERS_S)
            except (OSError, TimeoutError, ValueError, TypeError, ImportError) as error:
                raise ClusterError(
                    f"no cluster at {address}: {str(error) or 'nobody there speaks as Dask does'}"
                ) from error
        for mismatch in mismatches:
            _log.warning("the cluster has other versions", detail=str(mismatch.message))
        if not stack.enter_context(locks.alone(store, _lock_of(work, number))):
            raise ClusterError("the database did not take a lock that nobody else can have")
        yield Cluster(client, Order(number, work, program_digest()), stop)


def _check_address(address: str) -> None:
    """Raises ValueError for what is no address, OSError or TimeoutError where no scheduler answers.

    Asked before a client is made: that one waits without end for somebody who takes the connection and says nothing
    that it understands, and where its address is none it ends 20 s later, with a traceback.
    """
    scheme, place = addressing.parse_address(address)
    registry.get_backend(scheme)
    if scheme == "inproc":
        return
    addressing.parse_host_port(place)
    if dask_config.get("distributed.client.security-loader", None) is not None:
        return  # what it loads is the client's to know
    arguments = Security().get_connection_args("client")
    if scheme == "tls" and arguments.get("ssl_context") is None:
        raise ValueError("Dask's configuration names no certificates (distributed.comm.tls)")
    asyncio.run(asyncio.wait_for(_answers(address, arguments), _CONNECT_S))


async def _answers(address: str, arguments: Mapping[str, Any]) -> None:
    (await connect(address, timeout=_CONNECT_S, **arguments)).abort()


@dataclass(frozen=True, slots=True)
class Cluster(Generic[Piece, Result]):
    """A connected one."""

    client: Client
    order: Order[Piece, Result]
    stop: threading.Event
    """Once set, no piece is begun any more, and what is in hand ends as soon as it can be kept."""

    def spread(self, pieces: Iterable[Piece]) -> Iterator[Result]:
        """The result of each piece as it comes. Raises ClusterError.

        A killed worker's pieces are done again by another one: the scheduler sees to that, and hands them out anew
        here once it has given them up.
        """
        todo = iter(pieces)
        again: list[Piece] = []
        lost: dict[Piece, int] = {}
        running: dict[Future[Result], Piece] = {}
        stopping = Event(_stop_of(self.order), client=self.client)
        try:
            while True:
                room = 0 if self.stop.is_set() else self._threads() * _IN_HAND - len(running)
                for _ in range(room):
                    piece = again.pop() if again else next(todo, None)
                    if piece is None:
                        break
                    running[self._submit(piece)] = piece
                if not running:
                    if self.stop.is_set():
                        yield self.order.work.stopped()
                    return
                if self.stop.is_set():
                    stopping.set()
                for future in self._done(running):
                    yield from self._result(future, running.pop(future), again, lost)
        finally:
            if running:
                self.client.cancel(list(running))

    def _threads(self) -> int:
        """Of all workers. Raises ClusterError when there has been none for long."""
        found: int = sum(self.client.nthreads().values())
        if found == 0:
            try:
                self.client.wait_for_workers(1, timeout=_WORKERS_S)
            except TimeoutError as error:
                raise ClusterError(
                    f"the cluster has been without workers for {_WORKERS_S:.0f} s; their logs say why (they end where "
                    "this program cannot be imported)"
                ) from error
        return max(found, 1)

    def _submit(self, piece: Piece) -> Future[Result]:
        key = f"headend-{self.order.work.name}-{uuid4().hex}"
        return self.client.submit(do_piece, self.order, piece, key=key, pure=False)

    def _done(self, running: Mapping[Future[Result], Piece]) -> list[Future[Result]]:
        with self.client.as_current():
            try:
                return list(distributed.wait(list(running), timeout=_LOOK_S, return_when="FIRST_COMPLETED").done)
            except TimeoutError:
                return []

    def _result(
        self, future: Future[Result], piece: Piece, again: list[Piece], lost: dict[Piece, int]
    ) -> Iterator[Result]:
        """The result; nothing where the piece has to be done again. Raises ClusterError, or what a worker raised."""
        error = future.exception()
        if error is None:
            yield future.result()
            return
        if future.cancelled():
            raise ClusterError(f"the cluster has forgotten what it was asked for: {error}") from error
        if not isinstance(error, KilledWorker):
            raise error
        lost[piece] = lost.get(piece, 0) + 1
        if lost[piece] < _MOST_LOSSES:
            _log.warning("workers died, what they had is handed out again", work=self.order.work.name, error=str(error))
            again.append(piece)
            return
        yield self.order.work.lost(piece, f"workers died of it: {error}")


def do_piece(order: Order[Piece, Result], piece: Piece) -> Result:
    """What a worker does. Raises ClusterError where it is not fit for it, StoreUnavailable where the store stays
    away.
    """
    place = Place(store=_opened.store_for(order), clock=system_clock, stop=_stop_asked(order))
    return order.work.do(piece, place)


class _Opened:
    """The store that a worker's process opened, and for which order it was found to be the right one."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._store: Store | None = None
        self._checked: str | None = None

    def store_for(self, order: Order[Any, Any]) -> Store:
        """Opened once, checked for every order."""
        with self._guard:
            if self._store is None:
                self._store = _open()
                atexit.register(self._store.close)
            if self._checked != order.number:
                _check(self._store, order)
                self._checked = order.number
            return self._store


_opened = _Opened()
"""Of this process: Dask runs all of a worker's tasks in one."""


def _open() -> Store:
    config = os.environ.get(CONFIG_VARIABLE)
    try:
        database = load_settings(Path(config) if config else None).database
    except SettingsError as error:
        raise ClusterError(f"a worker has no settings of its own ({CONFIG_VARIABLE}, HEADEND_…): {error}") from None
    return Store(database.dsn, pool_max=database.pool_max, prepare=database.prepare).open()


def _check(store: Store, order: Order[Any, Any]) -> None:
    if program_digest() != order.program:
        raise ClusterError("a worker runs another version of this program than the one that asks")
    with store.transaction() as connection:
        if not locks.held(connection, _lock_of(order.work, order.number)):
            raise ClusterError("a worker's settings name another database than the one that asks")


def _stop_asked(order: Order[Any, Any]) -> Any:
    """Whether the asker wants an end, as far as it can be asked."""
    event = Event(_stop_of(order))
    return event.is_set


def _lock_of(work: Work[Any, Any], number: str) -> str:
    return f"{work.name} {number}"


def _stop_of(order: Order[Any, Any]) -> str:
    return f"headend-{order.work.name}-stop-{order.number}"
