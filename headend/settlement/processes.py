"""Pieces of work shared among processes of this host; what a killed one had is done again by another."""

from __future__ import annotations

import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.synchronize import Event
from typing import Any, Final, Generic

from headend import allocator
from headend.domain.clock import Clock
from headend.log import configure_logging, get_logger
from headend.settings import Database
from headend.settlement.work import Piece, Place, Result, Work
from headend.store.pool import Store

_log = get_logger(__name__)

_LOOK_S: Final = 0.2
_IN_HAND: Final = 2
"""Pieces handed out per process: one that it does, and one that waits, so that none is idle."""
_MOST_LOSSES: Final = 3
"""A piece whose process died so often is given up."""

_begun: tuple[Work[Any, Any], Place] | None = None
"""What this process does and where, if it is one of those; an executor offers no other place for what it keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes(Generic[Piece, Result]):
    """So many processes on this host."""

    count: int
    database: Database
    work: Work[Piece, Result]
    clock: Clock
    stop: threading.Event
    """Once set, no piece is begun any more, and what is in hand ends as soon as it can be kept."""

    def spread(self, pieces: Iterable[Piece]) -> Iterator[Result]:
        """The result of each piece as it comes. Raises StoreUnavailable where the store stays away."""
        todo = iter(pieces)
        lost: dict[Piece, int] = {}
        again: list[Piece] = []
        while True:
            try:
                yield from self._with_a_pool(todo, again, lost)
            except BrokenProcessPool:
                for piece in [piece for piece in again if lost.get(piece, 0) >= _MOST_LOSSES]:
                    again.remove(piece)
                    yield self.work.lost(piece, f"the process that had it died {_MOST_LOSSES} times")
                _log.warning("a process died, what it had is done again", work=self.work.name, pieces=len(again))
                continue
            return

    def _with_a_pool(self, todo: Iterator[Piece], again: list[Piece], lost: dict[Piece, int]) -> Iterator[Result]:
        """Until all is done, or a process dies: then what was handed out stands in `again`."""
        context = multiprocessing.get_context("spawn")
        told = context.Event()
        running: dict[Future[Result], Piece] = {}
        pool = ProcessPoolExecutor(
            self.count, context, _begin, (self.database.dsn, self.database.prepare, self.work, self.clock, told)
        )
        try:
            while True:
                while not self.stop.is_set() and len(running) < self.count * _IN_HAND:
                    piece = again.pop() if again else next(todo, None)
                    if piece is None:
                        break
                    again.append(piece)  # until the pool has it: one that is broken takes none
                    running[pool.submit(_do, piece)] = again.pop()
                if not running:
                    if self.stop.is_set():
                        yield self.work.stopped()
                    return
                if self.stop.is_set() and not told.is_set():
                    told.set()
                for future in wait(running, _LOOK_S, FIRST_COMPLETED).done:
                    result = future.result()
                    running.pop(future)
                    yield result
        except BrokenProcessPool:
            for piece in running.values():
                lost[piece] = lost.get(piece, 0) + 1
            again += running.values()
            raise
        finally:
            told.set()
            pool.shutdown(cancel_futures=True)


def _begin(dsn: str, prepare: bool, work: Work[Any, Any], clock: Clock, told: Event) -> None:
    """What a process does before its first piece. Ctrl-C is its parent's to heed."""
    global _begun  # noqa: PLW0603 see above
    threading.Thread(target=_end_with_the_parent, name="parent-watch", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging("warning", "console")
    gc.collect()
    gc.freeze()  # what is there by now stays, and need not be looked through for garbage after every few passes
    allocator.keep()
    store = Store(dsn, pool_max=work.connections, prepare=prepare).open()
    _begun = work, Place(store=store, clock=clock, stop=told.is_set)


def _end_with_the_parent() -> None:
    """Nobody takes what this process does once its parent was killed: what it has in hand is rolled back."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _do(piece: Any) -> Any:
    assert _begun is not None, "_begin ran first"
    work, place = _begun
    return work.do(piece, place)
