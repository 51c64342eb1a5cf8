"""A role in the test's own event loop, and waiting until the store says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headend.bootstrap import Role
from headend.store.pool import Store


@asynccontextmanager
async def running(service: Role) -> AsyncIterator[asyncio.Event]:
    """The service until the block ends; a crash of it fails the test."""
    stop = asyncio.Event()
    task = asyncio.create_task(service.run(stop))
    try:
        yield stop
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await task


async def until(condition: Callable[[], Awaitable[Any]] | Callable[[], Any], what: str, timeout_s: float = 20.0) -> Any:
    """Ask until it is true; the answer."""
    try:
        async with asyncio.timeout(timeout_s):
            while True:
                answer = condition()
                if asyncio.iscoroutine(answer):
                    answer = await answer
                if answer:
                    return answer
                await asyncio.sleep(0.02)
    except TimeoutError:
        pytest.fail(f"{what}: not within {timeout_s:g} s")


def asked(store: Store, query: bytes) -> Callable[[], Awaitable[list[tuple[Any, ...]]]]:
    """A query to wait with."""

    async def ask() -> list[tuple[Any, ...]]:
        found = await asyncio.to_thread(store.rows, query)
        return [tuple(row.values()) for row in found]

    return ask
