"""A modem dials in, is polled like any gateway, is shown, goes, and is shown as gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from drivers.base import Quantity
from drivers.errors import DriverConfigError
from headend.ingest.poller import PollService
from headend.settings import Settings
from headend.store import polling
from headend.store.pool import Store
from support.running import asked, running, until

Q = Quantity
SDM120 = "eastron-sdm120"


@asynccontextmanager
async def modem(dialin_port: int, gateway_port: int, says: bytes) -> AsyncIterator[None]:
    """Connects to us, says who it is, and passes on whatever it is asked to a gateway behind it."""
    ours, to_us = await asyncio.open_connection("127.0.0.1", dialin_port)
    theirs, to_them = await asyncio.open_connection("127.0.0.1", gateway_port)
    to_us.write(says)

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(4096):
            writer.write(data)

    both = [asyncio.create_task(pass_on(ours, to_them)), asyncio.create_task(pass_on(theirs, to_us))]
    try:
        yield
    finally:
        for task in both:
            task.cancel()
        await asyncio.gather(*both, return_exceptions=True)
        to_us.close()
        to_them.close()


def test_a_modem_that_dials_in_is_polled(
    store: Store,
    settings: Settings,
    clock: Any,
    load: Any,
    serve: Any,
    meter_device: Any,
    planned: Any,
    unused_port: int,
) -> None:
    dialin = {"host": "127.0.0.1", "port": unused_port, "registration": [{"length": 5}], "pause_s": 0.05}
    told = settings.model_copy(update={"poll": settings.poll.model_copy(update={"dialin": dialin})})

    def modems() -> list[dict[str, Any]]:
        with store.transaction() as connection:
            return polling.modems(connection, limit=10)

    async def scenario() -> None:
        async with serve([meter_device(1, SDM120, {Q.IMPORT_WH: 5_000, Q.SERIAL: "120001"})]) as gateway:
            load(planned("120001", SDM120, 1, "U1", gateway.port))
            with store.transaction() as connection:
                connection.execute("update endpoint set bus = 'modbus+dialin+tcp://DTU-1'")
            async with running(PollService(store, told, clock)):
                await until(asked(store, b"select 1 as n from poll_bus where connected is false"), "nobody came yet")
                async with modem(unused_port, gateway.port, b"DTU-1"):
                    await until(asked(store, b"select 1 as n from register_reading"), "a reading through the modem")
                    await until(asked(store, b"select 1 as n from poll_modem where in_use"), "the modem is shown")
                    [row] = modems()
                    assert (row["modem"], row["connected"], row["registrations"]) == ("DTU-1", True, 1)
                    assert row["bus"] == "modbus+dialin+tcp://DTU-1"
                    assert row["peer"].startswith("127.0.0.1:")
                await until(asked(store, b"select 1 as n from poll_modem where not connected"), "it is gone")
                async with modem(unused_port, gateway.port, b"DTU-1"):
                    more = b"select 1 as n from poll_modem where connected and registrations = 2"
                    await until(asked(store, more), "it came again")
        assert gateway.questions

    asyncio.run(scenario())
    assert store.rows(b"select distinct import_wh from register_reading") == [{"import_wh": 5_000}]


def test_a_listener_that_is_described_wrongly_is_refused_before_anything_starts(
    store: Store, settings: Settings, clock: Any
) -> None:
    wrong = settings.poll.model_copy(update={"dialin": {"port": 70_000, "registration": [{"length": 5}]}})
    with pytest.raises(DriverConfigError, match="70000"):
        PollService(store, settings.model_copy(update={"poll": wrong}), clock)
