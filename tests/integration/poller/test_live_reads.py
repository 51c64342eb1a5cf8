# ruff: noqa: E501 scenes read better on one line
"""Live reads: rows that whoever owns the bus takes, executes between the meters of a round, and answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from drivers.base import Quantity
from headend.ingest.poller import PollService
from headend.settings import Settings
from headend.store import requests
from headend.store.pool import Store
from headend.store.requests import DeviceRequest
from headend.store.topology import find_meter

Q = Quantity
SDM120, SDM630 = "eastron-sdm120", "eastron-sdm630"


@asynccontextmanager
async def running(service: PollService) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(service.run(stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await task


@pytest.fixture
def submit(store: Store, clock: Callable[[], datetime]) -> Callable[..., UUID]:
    def ask(serial: str, ttl_s: float = 60.0) -> UUID:
        with store.transaction() as connection:
            meter = find_meter(connection, "Eastron", serial)
            assert meter is not None
            return requests.submit_read(connection, meter_id=meter.meter_id, now=clock(), ttl_s=ttl_s)

    return ask


@pytest.fixture
def done(store: Store) -> Callable[[UUID], Any]:
    def look(request_id: UUID) -> DeviceRequest | None:
        with store.transaction() as connection:
            return requests.find(connection, request_id)

    async def wait(request_id: UUID) -> DeviceRequest:
        async with asyncio.timeout(20):
            while True:
                found = await asyncio.to_thread(look, request_id)
                assert found is not None
                if found.done:
                    return found
                await asyncio.sleep(0.02)

    return wait


def test_answers_of_every_kind(
    store: Store,
    settings: Settings,
    clock: Any,
    load: Any,
    serve: Any,
    meter_device: Any,
    planned: Any,
    submit: Any,
    done: Any,
) -> None:
    async def scenario() -> None:
        devices = [
            meter_device(1, SDM630, {Q.IMPORT_WH: 5_000, Q.EXPORT_WH: 40, Q.VOLTAGE_L1_V: 229.5, Q.VOLTAGE_L2_V: 230.5, Q.VOLTAGE_L3_V: 231.5, Q.SERIAL: "630001"}),
            meter_device(2, SDM120, {Q.IMPORT_WH: 70, Q.VOLTAGE_L1_V: 228.25, Q.SERIAL: "777777"}),
            meter_device(3, SDM120, {}),
        ]  # fmt: skip
        async with serve(devices) as gateway:
            gateway.silent.add(3)
            load(
                planned("630001", SDM630, 1, "T", gateway.port),
                planned("120002", SDM120, 2, None, gateway.port),  # in stock, and another meter is there
                planned("120003", SDM120, 3, None, gateway.port),
                planned("120004", SDM120, 4, None, None),
            )
            late = submit("630001", ttl_s=-1)
            began = clock()
            async with running(PollService(store, settings, clock)):
                three, other, dead, nowhere = (
                    await asyncio.gather(*(done(submit(s)) for s in ("630001", "120002", "120003", "120004")))
                )  # fmt: skip
                expired = await done(late)
            assert three.state == other.state == "answered"
            instant = datetime.fromisoformat(three.answer.pop("instant"))
            assert began <= instant <= clock()
            assert 0 <= three.answer.pop("uncertainty_ms") < 1000
            assert three.answer == {
                "serial": "630001",
                "import_wh": 5_000,
                "export_wh": 40,
                "voltage_v": [229.5, 230.5, 231.5],
                "resolution_wh": pytest.approx(2.5),
                "model": SDM630,
                "refused": [],
            }
            assert (other.answer["serial"], other.answer["voltage_v"]) == ("777777", [228.25])  # the asker compares
            assert (dead.state, dead.answer) == ("failed", None)
            assert f"127.0.0.1:{gateway.port} unit 3: no answer within 0.2 s" in dead.error
            assert (nowhere.state, nowhere.error) == ("failed", "the meter has no Modbus endpoint")
            assert expired.state == "expired"
            assert expired.error == "nobody could read the meter in time"
            assert gateway.most_open == 1  # rounds and live reads share the connection

    asyncio.run(scenario())


def test_a_live_read_does_not_wait_for_the_end_of_a_round(
    store: Store,
    settings: Settings,
    clock: Any,
    load: Any,
    serve: Any,
    meter_device: Any,
    planned: Any,
    submit: Any,
    done: Any,
) -> None:
    async def scenario() -> None:
        devices = [meter_device(unit, SDM120, {Q.IMPORT_WH: 1_000, Q.SERIAL: str(unit)}) for unit in range(1, 31)]
        async with serve(devices) as gateway:
            gateway.silent.update(range(1, 30))
            load(*(planned(str(unit), SDM120, unit, f"U{unit}", gateway.port) for unit in range(1, 31)))
            async with running(PollService(store, settings, clock)):
                async with asyncio.timeout(10):
                    while not gateway.questions:
                        await asyncio.sleep(0.01)
                answered = await done(submit("30"))
            assert answered.state == "answered"
            asked_before = set(gateway.questions[: gateway.questions.index(30)])
            assert len(asked_before) < 15  # each silent meter costs 0.2 s; the round alone would have asked 29 of them

    asyncio.run(scenario())


def test_what_a_dead_process_took_is_taken_again(
    store: Store,
    settings: Settings,
    clock: Any,
    load: Any,
    serve: Any,
    meter_device: Any,
    planned: Any,
    submit: Any,
    done: Any,
) -> None:
    async def scenario() -> None:
        async with serve([meter_device(1, SDM120, {Q.IMPORT_WH: 70, Q.SERIAL: "120001"})]) as gateway:
            load(planned("120001", SDM120, 1, None, gateway.port))
            request_id = submit("120001", ttl_s=300)
            with store.transaction() as connection:
                [held] = requests.take(connection, now=clock(), lease_s=30, most=9)
                assert held.request_id == request_id
            with store.transaction() as connection:
                assert requests.take(connection, now=clock(), lease_s=30, most=9) == []
            clock.by = timedelta(seconds=31)
            async with running(PollService(store, settings, clock)):
                assert (await done(request_id)).state == "answered"
            with store.transaction() as connection:  # the dead one was only slow: its answer is not taken
                assert not requests.finish(connection, held, error="late", now=clock())
                found = requests.find(connection, request_id)
            assert found is not None
            assert found.state == "answered"

    asyncio.run(scenario())


def test_two_pollers_never_take_the_same_one(store: Store, load: Any, planned: Any, submit: Any, clock: Any) -> None:
    load(planned("120001", SDM120, 1, None, 502))
    wanted = {submit("120001") for _ in range(4)}
    with store.transaction() as one, store.transaction() as two:
        first = requests.take(one, now=clock(), lease_s=30, most=2)
        second = requests.take(two, now=clock(), lease_s=30, most=9)
    assert len(first) == len(second) == 2
    assert {r.request_id for r in [*first, *second]} == wanted


def test_a_stop_gives_back_what_is_under_way(
    store: Store,
    settings: Settings,
    clock: Any,
    load: Any,
    serve: Any,
    meter_device: Any,
    planned: Any,
    submit: Any,
    done: Any,
) -> None:
    async def scenario() -> None:
        slow = settings.model_copy(update={"poll": settings.poll.model_copy(update={"timeout_s": 20.0})})
        async with serve([meter_device(1, SDM120, {Q.IMPORT_WH: 70, Q.SERIAL: "120001"})]) as gateway:
            gateway.silent.add(1)
            load(planned("120001", SDM120, 1, None, gateway.port))
            request_id = submit("120001")
            async with running(PollService(store, slow, clock)), asyncio.timeout(10):
                while not gateway.questions:
                    await asyncio.sleep(0.01)
            with store.transaction() as connection:
                found = requests.find(connection, request_id)
            assert found is not None
            assert found.state == "queued"
            gateway.silent.clear()
            async with running(PollService(store, slow, clock)):
                assert (await done(request_id)).state == "answered"

    asyncio.run(scenario())
