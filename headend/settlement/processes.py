"""Pieces of a mass settlement shared among processes of this host; what a killed one had is done again by another."""

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
from typing import Final

from headend.domain.clock import Clock
from headend.log import configure_logging, get_logger
from headend.settings import Database
from headend.settlement.mass import Piece, Tally, Worker
from headend.settlement.rules import Rules
from headend.store.pool import Store

_log = get_logger(__name__)

_LOOK_S: Final = 0.2
_IN_HAND: Final = 2
"""Pieces handed out per process: one that it settles, and one that waits, so that none is idle."""
_MOST_LOSSES: Final = 3
"""A piece whose process died so often is given up."""

_worker: Worker | None = None
"""Of this process, where it is one of those; an executor offers no other place for what a process keeps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Processes:
    """So many processes on this host."""

    count: int
    database: Database
    rules: Rules
    clock: Clock
    stop: threading.Event
    """Once set, no piece is begun any more, and what is in hand ends with its pass."""

    def spread(self, pieces: Iterable[Piece]) -> Iterator[Tally]:
        """The tally of each piece as it comes. Raises StoreUnavailable where the store stays away."""
        todo = iter(pieces)
        lost: dict[Piece, int] = {}
        again: list[Piece] = []
        while True:
            try:
                yield from self._with_a_pool(todo, again, lost)
            except BrokenProcessPool:
                for piece in [piece for piece in again if lost.get(piece, 0) >= _MOST_LOSSES]:
                    again.remove(piece)
                    reason = f"the process that settled it died {_MOST_LOSSES} times"
                    yield Tally(failed={area.code: reason for area in piece})
                _log.warning("a settling process died, its areas are settled again", pieces=len(again))
                continue
            return

    def _with_a_pool(self, todo: Iterator[Piece], again: list[Piece], lost: dict[Piece, int]) -> Iterator[Tally]:
        """Until all is done, or a process dies: then what was handed out stands in `again`."""
        context = multiprocessing.get_context("spawn")
        told = context.Event()
        running: dict[Future[Tally], Piece] = {}
        pool = ProcessPoolExecutor(
            self.count, context, _begin, (self.database.dsn, self.database.prepare, self.rules, self.clock, told)
        )
        try:
            while True:
                while not self.stop.is_set() and len(running) < self.count * _IN_HAND:
                    piece = again.pop() if again else next(todo, None)
                    if piece is None:
                        break
                    again.append(piece)  # until the pool has it: one that is broken takes none
                    running[pool.submit(_settle, piece)] = again.pop()
                if not running:
                    if self.stop.is_set():
                        yield Tally(stopped=True)
                    return
                if self.stop.is_set() and not told.is_set():
                    told.set()
                for future in wait(running, _LOOK_S, FIRST_COMPLETED).done:
                    tally = future.result()
                    running.pop(future)
                    yield tally
        except BrokenProcessPool:
            for piece in running.values():
                lost[piece] = lost.get(piece, 0) + 1
            again += running.values()
            raise
        finally:
            told.set()
            pool.shutdown(cancel_futures=True)


def _begin(dsn: str, prepare: bool, rules: Rules, clock: Clock, told: Event) -> None:
    """What a process does before its first piece. Ctrl-C is its parent's to heed."""
    global _worker  # noqa: PLW0603 see above
    threading.Thread(target=_end_with_the_parent, name="parent-watch", daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging("warning", "console")
    gc.collect()
    gc.freeze()  # what is there by now stays, and need not be looked through for garbage after every few passes
    store = Store(dsn, pool_max=1, prepare=prepare).open()
    _worker = Worker(store=store, rules=rules, clock=clock, stop=told.is_set)


def _end_with_the_parent() -> None:
    """Nobody takes what this process does once its parent was killed: what it has in hand is rolled back."""
    if (parent := multiprocessing.parent_process()) is not None:
        parent.join()
        os._exit(1)


def _settle(piece: Piece) -> Tally:
    assert _worker is not None, "_begin ran first"
    return _worker.settle(piece)
