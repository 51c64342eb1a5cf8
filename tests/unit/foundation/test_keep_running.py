"""The supervisor of roles: what fails is told, counted and started again after a growing pause; nobody else suffers."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from headend import bootstrap
from headend.bootstrap import MOST_PAUSE_S, keep_running
from headend.domain.clock import system_clock
from headend.settings import Settings
from headend.store.pool import Store
from headend.web.server import WebRole

Behaviour = Callable[[asyncio.Event], Awaitable[None]]


class Scripted:
    """A role whose runs follow a script, one behaviour a run; after the last it waits for the end."""

    def __init__(self, script: Iterator[Behaviour]) -> None:
        self._script = script
        self.runs = 0

    async def run(self, stop: asyncio.Event) -> None:
        self.runs += 1
        behaviour = next(self._script, None)
        await (stop.wait() if behaviour is None else behaviour(stop))


async def fails(_: asyncio.Event) -> None:
    raise RuntimeError("the meter bit me")


async def ends(_: asyncio.Event) -> None:
    return


async def finishes(stop: asyncio.Event) -> None:
    stop.set()


def failures(role: str) -> float:
    return REGISTRY.get_sample_value("headend_role_failures_total", {"role": role}) or 0.0


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between starts, taken at once."""
    taken: list[float] = []

    async def at_once(waiting: Any, timeout: float) -> None:
        waiting.close()
        taken.append(timeout)
        await asyncio.sleep(0)
        raise TimeoutError

    monkeypatch.setattr(bootstrap.asyncio, "wait_for", at_once)
    return taken


def supervise(name: str, *script: Behaviour) -> tuple[Scripted, list[dict[str, Any]]]:
    role = Scripted(iter(script))

    async def scene() -> None:
        await keep_running(name, lambda: role, asyncio.Event())

    with capture_logs() as logs:
        asyncio.run(scene())
    return role, [dict(entry) for entry in logs]


def test_a_role_that_fails_is_logged_with_its_traceback_counted_and_started_again(pauses: list[float]) -> None:
    before = failures("r1")
    role, logs = supervise("r1", fails, fails, finishes)
    assert (role.runs, failures("r1") - before) == (3, 2)
    assert [(e["event"], e["role"], e["exc_info"]) for e in logs] == [("role failed", "r1", True)] * 2


def test_pauses_double_up_to_a_limit(pauses: list[float]) -> None:
    supervise("r2", *[fails] * 8, finishes)
    assert pauses == [1, 2, 4, 8, 16, 32, 60, 60]


def test_after_a_long_good_run_the_first_pause_is_short_again(pauses: list[float]) -> None:
    async def long_run(_: asyncio.Event) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        loop.time = lambda: now + MOST_PAUSE_S + 1  # type: ignore[method-assign]
        raise RuntimeError("after a minute")

    supervise("r3", fails, fails, fails, long_run, fails, finishes)
    assert pauses == [1, 2, 4, 1, 2]


def test_a_role_that_ends_before_its_time_is_started_again(pauses: list[float]) -> None:
    before = failures("r4")
    role, logs = supervise("r4", ends, finishes)
    assert (role.runs, failures("r4") - before) == (2, 1)
    assert [e["event"] for e in logs] == ["role ended before its time"]


def test_a_role_that_cannot_be_built_is_tried_again(pauses: list[float]) -> None:
    made = 0

    def build() -> Scripted:
        nonlocal made
        made += 1
        if made == 1:
            raise ValueError("no key file")
        return Scripted(iter([finishes]))

    async def scene() -> None:
        await keep_running("r5", build, asyncio.Event())

    asyncio.run(scene())
    assert (made, pauses) == (2, [1])


def test_the_others_go_on_while_one_fails(pauses: list[float]) -> None:
    async def scene() -> None:
        stop, beats = asyncio.Event(), 0

        async def beat(stopped: asyncio.Event) -> None:
            nonlocal beats
            while not stopped.is_set():
                beats += 1
                if beats == 50:
                    stop.set()
                await asyncio.sleep(0)

        steady, broken = Scripted(iter([beat])), Scripted(iter([fails] * 1000))
        async with asyncio.TaskGroup() as group:
            group.create_task(keep_running("steady", lambda: steady, stop))
            group.create_task(keep_running("broken", lambda: broken, stop))
        assert (steady.runs, beats) == (1, 50)
        assert broken.runs > 3

    before = failures("steady")
    asyncio.run(scene())
    assert failures("steady") == before


def test_a_stop_ends_the_pause() -> None:
    async def scene() -> None:
        stop = asyncio.Event()
        running = asyncio.create_task(keep_running("r6", lambda: Scripted(iter([fails])), stop))
        await asyncio.sleep(0.01)
        stop.set()
        async with asyncio.timeout(0.5):  # the pause would last a second
            await running

    asyncio.run(scene())


def test_a_cancelled_role_is_not_started_again() -> None:
    async def scene() -> None:
        running = asyncio.create_task(keep_running("r7", lambda: Scripted(iter([])), asyncio.Event()))
        await asyncio.sleep(0)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(scene())


def test_a_web_role_whose_port_is_taken_says_so(store: Store) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = Settings(database={"dsn": store.dsn}, web={"port": port})
        with pytest.raises(RuntimeError, match=f"cannot listen on 127.0.0.1:{port}"):
            asyncio.run(WebRole(store, settings, system_clock).run(asyncio.Event()))
