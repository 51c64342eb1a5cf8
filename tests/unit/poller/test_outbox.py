"""The queue between polling and the database: in order, nothing given up before its commit, bounded by pausing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from headend.ingest.poll_outbox import Outbox
from headend.store.errors import StoreConflict, StoreError, StoreUnavailable


class Database:
    """Fails as often as told, then keeps what it is given."""

    def __init__(self, failures: Sequence[StoreError] = ()) -> None:
        self.failures = list(failures)
        self.batches: list[list[str]] = []

    async def write(self, items: Sequence[str]) -> None:
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append(list(items))


async def _until(done: Any) -> None:
    async with asyncio.timeout(5):
        while not done():
            await asyncio.sleep(0)


def test_everything_is_written_once_in_order_however_often_the_database_fails(time: Any) -> None:
    database = Database([StoreUnavailable("gone")] * 3 + [StoreConflict("deadlock", constraint=None)])
    box: Outbox[str] = Outbox(database.write, hold=100, sleep=time.sleep)

    async def scenario() -> None:
        writing = asyncio.create_task(box.run())
        for word in ("a", "bb", "ccc", ""):
            box.put(word)
            await asyncio.sleep(0)
        await _until(lambda: box.held == 0)
        box.put("dddd")
        await _until(lambda: box.held == 0)
        writing.cancel()

    asyncio.run(scenario())
    assert [word for batch in database.batches for word in batch] == ["a", "bb", "ccc", "dddd"]
    assert time.slept == [0.5, 1.0, 2.0, 4.0]


def test_it_is_full_until_something_was_committed(time: Any) -> None:
    database = Database([StoreUnavailable("gone")])
    box: Outbox[str] = Outbox(database.write, hold=5, sleep=time.sleep)

    async def scenario() -> None:
        box.put("abc")
        assert box.has_room
        box.put("defg")  # the round that was under way
        assert (box.held, box.has_room) == (7, False)
        with pytest.raises(StoreUnavailable):
            await box.flush()
        assert (box.held, box.has_room) == (7, False)
        await box.flush()
        assert (box.held, box.has_room) == (0, True)

    asyncio.run(scenario())
    assert database.batches == [["abc", "defg"]]


def test_who_waits_for_his_own_waits_until_it_is_committed(time: Any) -> None:
    database = Database([StoreUnavailable("gone")])
    box: Outbox[str] = Outbox(database.write, hold=100, sleep=time.sleep)

    async def scenario() -> None:
        await box.safe()  # nothing was put
        box.put("")
        await box.safe()  # nothing that needs to be written
        box.put("a")
        first = asyncio.create_task(box.safe())
        given_up = asyncio.create_task(box.safe())
        await asyncio.sleep(0)
        box.put("b")
        given_up.cancel()
        with pytest.raises(StoreUnavailable):
            await box.flush()
        await asyncio.sleep(0)
        assert not first.done()
        await box.flush()
        await first
        assert database.batches == [["a", "b"]]
        await box.safe()

    asyncio.run(scenario())


def test_who_waits_is_told_when_his_own_part_is_committed(time: Any) -> None:
    async def scenario() -> None:
        async def write(items: Sequence[str]) -> None:
            await asyncio.sleep(0)
            told.append([waiter.done() for waiter in waiters])

        told: list[list[bool]] = []
        waiters: list[asyncio.Task[None]] = []
        box: Outbox[str] = Outbox(write, hold=10**6, sleep=time.sleep)
        for _ in range(3):  # each a portion of its own
            box.put("x" * 15_000)
            waiters.append(asyncio.create_task(box.safe()))
            await asyncio.sleep(0)
        await box.flush()
        assert told == [[False, False, False], [True, False, False], [True, True, False]]

    asyncio.run(scenario())


def test_a_long_queue_is_written_in_portions(time: Any) -> None:
    database = Database()
    box: Outbox[str] = Outbox(database.write, hold=10**6, sleep=time.sleep)

    async def scenario() -> None:
        for size in (30_000, 9_000, 9_000, 9_000):
            box.put("x" * size)
        await box.flush()

    asyncio.run(scenario())
    assert [sum(map(len, batch)) for batch in database.batches] == [30_000, 18_000, 9_000]


def test_what_comes_while_it_writes_is_written_too(time: Any) -> None:
    async def scenario() -> None:
        async def write(items: Sequence[str]) -> None:
            batches.append(list(items))
            if len(batches) == 1:
                box.put("late")
            await asyncio.sleep(0)

        batches: list[list[str]] = []
        box: Outbox[str] = Outbox(write, hold=100, sleep=time.sleep)
        box.put("early")
        await box.flush()
        assert batches == [["early"], ["late"]]

    asyncio.run(scenario())
