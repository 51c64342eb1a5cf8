"""The role that tends the store: a chore that fails holds up no other and is tried again; a stop finishes what runs."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import cast

import pytest

from headend.settings import Database, Settings
from headend.store.errors import StoreUnavailable
from headend.store.pool import Store
from headend.upkeep import service
from headend.upkeep.chore import Chore
from headend.upkeep.service import CHORES_AT_ONCE, UpkeepService

SETTINGS = Settings(database=Database(dsn="dbname=nowhere"))


class Naps:
    """Sleeps of a service that is stopped once so many of its chores sleep."""

    def __init__(self, stop: asyncio.Event, after: int) -> None:
        self.asked: list[float] = []
        self._stop, self._after = stop, after

    async def __call__(self, seconds: float) -> None:
        self.asked.append(seconds)
        if len(self.asked) >= self._after:
            self._stop.set()
        await self._stop.wait()


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Locks that somebody else holds."""
    taken: set[str] = set()

    @contextmanager
    def alone(_: Store, what: str) -> Iterator[bool]:
        yield what not in taken

    monkeypatch.setattr(service, "alone", alone)
    return taken


def run(chores: list[Chore], naps: int) -> list[float]:
    async def whole() -> list[float]:
        stop = asyncio.Event()
        sleep = Naps(stop, naps)
        clock = lambda: datetime(2026, 3, 1, tzinfo=UTC)  # noqa: E731
        role = UpkeepService(cast("Store", None), SETTINGS, clock, chores=chores, sleep=sleep)
        await asyncio.wait_for(role.run(stop), 10)
        return sleep.asked

    return asyncio.run(whole())


@pytest.mark.usefixtures("free")
def test_a_failed_chore_is_tried_again_soon_and_holds_up_no_other() -> None:
    done: list[str] = []

    def fails() -> None:
        done.append("fails")
        raise StoreUnavailable("gone")

    def breaks() -> None:
        done.append("breaks")
        raise ZeroDivisionError

    pauses = run([Chore("a", 7200.0, fails), Chore("b", 30.0, breaks), Chore("c", 7200.0, lambda: done.append("c"))], 3)
    assert sorted(done) == ["breaks", "c", "fails"]
    assert sorted(pauses) == [30.0, SETTINGS.upkeep.check_s, 7200.0]


def test_what_another_process_does_just_now_is_not_done(free: set[str]) -> None:
    free.add("upkeep a")
    done: list[str] = []
    run([Chore("a", 60.0, lambda: done.append("a")), Chore("b", 60.0, lambda: done.append("b"))], 2)
    assert set(done) == {"b"}


def test_a_few_at_once_so_that_connections_are_left_for_their_work(free: set[str]) -> None:
    """Each holds one for its lock and works with another: all at once would wait for each other."""
    lock, inside, most = threading.Lock(), 0, 0

    def work() -> None:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        time.sleep(0.02)  # long enough for all that may begin beside it
        with lock:
            inside -= 1

    chores = [Chore(f"chore {number}", 3600, work) for number in range(8)]
    run(chores, naps=8)
    assert 1 < most <= CHORES_AT_ONCE
    assert SETTINGS.database.pool_max > 2 * CHORES_AT_ONCE
