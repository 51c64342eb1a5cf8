"""Heartbeats: a process says how each of its roles is doing, and harms none of them whatever the database does."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from headend.domain.processes import FORGOTTEN, Fact, RoleState
from headend.store import heartbeats
from headend.store.errors import StoreUnavailable
from headend.store.heartbeats import Heard, Identity
from headend.store.pool import Connection, Store
from headend.upkeep.heartbeat import Heartbeat, Watched, sweeping
from support.running import until

NOW = datetime(2026, 3, 1, 8, tzinfo=UTC)


class Clock:
    """Says what it is told to."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Speaker:
    """A role with something to say, or that cannot say it."""

    def __init__(self, say: Callable[[], Mapping[str, Fact]] = lambda: {"zeal": 3, "idle": None, "age_s": 1.5}) -> None:
        self.say = say

    def health(self) -> Mapping[str, Fact]:
        return self.say()


class Sometimes(Store):
    """A store whose database is away at times."""

    away = False
    asked = 0

    @contextmanager
    def transaction(self, *, timeout_s: float | None = None) -> Iterator[Connection]:
        self.asked += 1
        if self.away:
            raise StoreUnavailable("gone fishing")
        with super().transaction(timeout_s=timeout_s) as connection:
            yield connection


@pytest.fixture
def sometimes(dsn: str) -> Iterator[Sometimes]:
    with Sometimes(dsn) as store:
        yield store


def heard(store: Store) -> list[Heard]:
    with store.transaction() as connection:
        return heartbeats.listed(connection)


def one(store: Store, role: str = "r") -> Any:
    (found,) = heard(store)
    return found.health[role]


def skipped() -> float:
    return REGISTRY.get_sample_value("headend_heartbeats_skipped_total") or 0.0


def test_a_role_from_start_to_goodbye(store: Store) -> None:
    clock = Clock()
    watched = Watched(clock)
    heart = Heartbeat(store, {"r": watched}, clock, every_s=0.02)

    async def scene() -> None:
        async with heart.beating():
            await until(lambda: heard(store), "the first beat")
            assert (one(store).state, one(store).facts) == (RoleState.STARTING, {})
            clock.now += timedelta(seconds=1)
            watched.runs(Speaker())
            await until(lambda: one(store).state is RoleState.RUNNING, "running")
            assert one(store).facts == {"zeal": 3, "idle": None, "age_s": 1.5}
            assert list(one(store).facts) == ["zeal", "idle", "age_s"], "in the order in which it was said"
            assert one(store).since_at == NOW + timedelta(seconds=1)
            for times in (1, 2):
                clock.now += timedelta(seconds=1)
                watched.failed("RuntimeError: bitten")
                await until(lambda times=times: one(store).restarts == times, "failure")
            assert (one(store).state, one(store).error, one(store).facts) == (
                RoleState.RESTARTING,
                "RuntimeError: bitten",
                {},
            )
            assert one(store).since_at == NOW + timedelta(seconds=2), "since when it is down"
            watched.runs(Speaker())
            await until(lambda: one(store).state is RoleState.RUNNING, "running again")
            assert (one(store).error, one(store).failed_at) == ("RuntimeError: bitten", NOW + timedelta(seconds=3))
            watched.stopped()

    asyncio.run(scene())
    (process,) = heard(store)
    assert process.stopped_at == clock.now
    assert process.health["r"].state is RoleState.STOPPED
    who = process.identity
    assert (who.host, who.pid, who.roles, who.started_at) == (socket.gethostname(), os.getpid(), ("r",), NOW)
    assert who.version


def test_while_the_database_is_away_beats_are_skipped_counted_and_told_once(sometimes: Sometimes) -> None:
    ticks = 0

    async def scene() -> None:
        nonlocal ticks
        watched = Watched(Clock())
        watched.runs(Speaker())
        async with Heartbeat(sometimes, {"r": watched}, Clock(), every_s=0.01).beating():
            await until(lambda: heard(sometimes), "the first beat")
            sometimes.away, before, asked = True, skipped(), sometimes.asked
            while sometimes.asked < asked + 10:  # the event loop, where roles work, goes on meanwhile
                ticks += 1
                await asyncio.sleep(0.001)
            assert skipped() - before >= 9
            sometimes.away = False
            watched.stopped()
            await until(lambda: one(sometimes).state is RoleState.STOPPED, "a beat again")
            sometimes.away, asked = True, sometimes.asked
            await until(lambda: sometimes.asked > asked + 3, "away again")

    with capture_logs() as logs:
        asyncio.run(scene())
    assert ticks > 10
    assert [e["event"] for e in logs] == [
        "heartbeats are skipped while the database is away",
        "heartbeats are written again",
        "heartbeats are skipped while the database is away",
    ]


def test_a_database_that_hangs_delays_neither_the_roles_nor_the_end(sometimes: Sometimes) -> None:
    """The writer is stuck; the process goes on and ends all the same."""
    release = threading.Event()

    @contextmanager
    def hang(*, timeout_s: float | None = None) -> Iterator[Connection]:
        release.wait(60)
        raise StoreUnavailable("at last")
        yield

    async def scene() -> float:
        sometimes.transaction = hang  # type: ignore[method-assign,assignment]
        watched = Watched(Clock())
        loop = asyncio.get_running_loop()
        async with Heartbeat(sometimes, {"r": watched}, Clock(), every_s=0.001).beating():
            for _ in range(20):
                await asyncio.sleep(0.002)
            began = loop.time()
        return loop.time() - began

    try:
        assert asyncio.run(scene()) < 10
    finally:
        release.set()


def test_a_role_that_cannot_say_how_it_is_is_told_once(store: Store) -> None:
    def stumble() -> Mapping[str, Fact]:
        raise KeyError("tongue")

    watched = Watched(Clock())
    watched.runs(Speaker(stumble))
    with capture_logs() as logs:
        assert watched.health("r").facts == {}
        assert watched.health("r").state is RoleState.RUNNING
    assert [(e["event"], e["role"]) for e in logs] == [("a role cannot say how it is", "r")]


def test_who_counts_what_it_stored_is_shown_its_rate() -> None:
    clock, stored = Clock(), [100]
    watched = Watched(clock)
    watched.runs(Speaker(lambda: {"readings_stored": stored[0]}))
    assert watched.health("r").facts == {"readings_stored": 100}, "no rate of one count"
    clock.now += timedelta(seconds=5)
    stored[0] = 1101
    assert watched.health("r").facts == {"readings_stored": 1101, "readings_per_second": 200.2}
    watched.failed("x")
    watched.runs(Speaker(lambda: {"readings_stored": 0}))
    clock.now += timedelta(seconds=5)
    assert watched.health("r").facts == {"readings_stored": 0}, "it counts from anew"


def beat(
    store: Store, number: int, *, pid: int, host: str | None = None, roles: tuple[str, ...] = ("r",), **more: Any
) -> None:
    who = Identity(
        process_id=UUID(int=number),
        host=host or socket.gethostname(),
        pid=pid,
        version="1",
        roles=roles,
        started_at=NOW,
    )
    with store.transaction() as connection:
        heartbeats.beat(connection, who, {}, **({"now": NOW} | more))


def test_a_killed_predecessor_is_forgotten(store: Store) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    beat(store, 1, pid=ended.pid)
    beat(store, 2, pid=os.getpid())  # our number had another owner before, or has one in another container
    beat(store, 3, pid=os.getppid())
    beat(store, 4, pid=ended.pid, host="elsewhere")
    beat(store, 5, pid=ended.pid, stopped=True)

    async def scene() -> None:
        async with Heartbeat(store, {}, Clock()).beating():
            await until(lambda: len(heard(store)) == 4, "the first beat")

    asyncio.run(scene())
    assert {h.identity.process_id for h in heard(store)} >= {UUID(int=3), UUID(int=4), UUID(int=5)}
    beat(store, 2, pid=os.getpid())
    assert UUID(int=2) in {h.identity.process_id for h in heard(store)}, "one that lives is back with its next beat"


def test_those_long_gone_are_swept(store: Store) -> None:
    later = NOW + FORGOTTEN
    beat(store, 1, pid=1, host="a", now=NOW - timedelta(seconds=1))
    beat(store, 2, pid=1, host="b", now=later)
    beat(store, 3, pid=1, host="c", now=NOW + timedelta(hours=3))  # gone: to be seen for a day
    beat(store, 4, pid=1, host="d", now=NOW + timedelta(hours=3), stopped=True)  # b does its work
    beat(store, 5, pid=1, host="e", now=NOW + timedelta(hours=3), stopped=True, roles=("r", "s"))  # nobody does
    chore = sweeping(store, lambda: later)
    chore.do()
    assert {h.identity.process_id.int for h in heard(store)} == {2, 3, 5}


def test_one_that_is_gone_is_told_of_until_somebody_does_its_work(store: Store) -> None:
    """After a long weekend, too: what has no process any more must not pass for all being well."""
    later = NOW + 3 * FORGOTTEN
    chore = sweeping(store, lambda: later)
    beat(store, 1, pid=1, host="a", roles=("r", "s"))
    beat(store, 2, pid=1, host="b", roles=("r",), now=later)
    chore.do()
    assert {h.identity.process_id.int for h in heard(store)} == {1, 2}
    beat(store, 3, pid=1, host="c", roles=("s", "t"), now=later)  # now its two roles are with two others
    chore.do()
    assert {h.identity.process_id.int for h in heard(store)} == {2, 3}
