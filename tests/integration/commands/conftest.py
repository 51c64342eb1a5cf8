"""Meters that can be commanded, on a bus and in the store, and a polling process on them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from drivers.modbus.map_file import load_models
from headend.domain.clock import system_clock
from headend.domain.commands import CommandKind, Order
from headend.ingest.commands import desk
from headend.ingest.commands.executor import features_of
from headend.ingest.poller import PollService
from headend.ingest.topology_import import import_directory
from headend.settings import Clock, Commands, Database, Poll, Settings
from headend.store import commands, models
from headend.store.commands import Command, Step
from headend.store.pool import Store
from support.switchable import PLAIN, SWITCHABLE, write_models

BEGIN = "2026-01-01T00:00:00Z"


class Shifted:
    """This machine's clock, moved by the test."""

    def __init__(self) -> None:
        self.by = timedelta(0)

    def __call__(self) -> datetime:
        return datetime.now(UTC) + self.by

    def move_to(self, of_the_hour: timedelta) -> None:
        """Move on to this time of an hour."""
        past = timedelta(minutes=self().minute, seconds=self().second, microseconds=self().microsecond)
        self.by += (of_the_hour - past) % timedelta(hours=1)


@pytest.fixture
def clock() -> Shifted:
    """Moved by the test."""
    return Shifted()


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """Register maps of the test's meters."""
    return write_models(tmp_path / "models")


@pytest.fixture
def settings(dsn: str, models_dir: Path) -> Settings:
    """One round at the start, impatient time-outs, everything allowed."""
    return Settings(
        database=Database(dsn=dsn),
        poll=Poll(period_s=3600, timeout_s=0.5, retries=0, reload_s=0.05, request_check_s=0.02, models_dir=models_dir),
        commands=Commands(relay=True, settle_s=1.5),
        clock=Clock(guard_s=1),
    )


@pytest.fixture
def load(store: Store, tmp_path: Path, models_dir: Path) -> Callable[..., None]:
    """Import meters `(serial, unit, port[, model])` of Eastron, each installed at a usage point of its own."""

    def imported(*meters: tuple[Any, ...]) -> None:
        directory = tmp_path / "import"
        directory.mkdir(exist_ok=True)
        rows = [(serial, unit, port, *(more or (SWITCHABLE,))) for serial, unit, port, *more in meters]

        def write(name: str, header: str, lines: list[str]) -> None:
            (directory / f"{name}.csv").write_text("\n".join([header, *lines]) + "\n")

        write("stations", "station,name", ["S,Station"])
        write("areas", "area,station,name,transformer_kva,high_loss_rate,negative_loss_rate", ["A,S,Area,,,"])
        write(
            "usage_points",
            "usage_point,kind,category,area,behind,valid_from,name,phase,rated_current_a",
            [f"U{serial},customer,residential,A,,{BEGIN},,," for serial, *_ in rows],
        )
        write(
            "meters",
            "manufacturer,serial,model,phases,digits,resolution_wh",
            [f"Eastron,{serial},{model},1,8,10" for serial, _, _, model in rows],
        )
        write(
            "installations",
            "usage_point,manufacturer,serial,valid_from,valid_to,multiplier,sign,start_import_wh,start_export_wh,seal",
            [f"U{serial},Eastron,{serial},{BEGIN},,,,,," for serial, *_ in rows],
        )
        write(
            "endpoints",
            "manufacturer,serial,protocol,host,port,unit,concentrator",
            [f"Eastron,{serial},modbus,127.0.0.1,{port},{unit}," for serial, unit, port, _ in rows if port],
        )
        report = import_directory(
            store, directory, skip_bad=False, clock=system_clock, models=[*load_models(models_dir)]
        )
        assert report.applied, [str(p) for p in report.problems]

    return imported


@pytest.fixture
def told(store: Store, models_dir: Path, clock: Shifted) -> None:
    """What the models can do stands in the store, as a polling process tells it."""
    features = [features_of(m) for name, m in load_models(models_dir).items() if name in (SWITCHABLE, PLAIN)]
    with store.transaction() as connection:
        models.tell(connection, features, now=clock())


def make_order(kind: str, wanted: str, **more: Any) -> Order:
    """An order with whatever it needs."""
    given = {"requested_by": "Li Wei", "reason": "a test", "ttl_s": 60, "command_id": uuid4()} | more
    return Order(kind=CommandKind(kind), wanted=wanted, **given)


@pytest.fixture
def order() -> Callable[..., Order]:
    """make_order"""
    return make_order


@pytest.fixture
def submit(store: Store, settings: Settings, clock: Shifted, told: None) -> Callable[..., UUID]:
    """Ask for a command as the API does; its id."""

    def ask(serial: str, kind: str, wanted: str, **more: Any) -> UUID:
        command, _ = desk.submit(store, settings, clock, ("Eastron", serial), make_order(kind, wanted, **more))
        return command.command_id

    return ask


@pytest.fixture
def look(store: Store) -> Callable[[UUID], tuple[Command, list[Step]]]:
    """A command and its life, now."""

    def found(command_id: UUID) -> tuple[Command, list[Step]]:
        with store.transaction() as connection:
            command = commands.find(connection, command_id)
            assert command is not None
            return command, commands.lives(connection, [command_id])[command_id]

    return found


@pytest.fixture
def done(look: Callable[[UUID], tuple[Command, list[Step]]]) -> Callable[[UUID], Awaitable[tuple[Command, list[Step]]]]:
    """Wait until a command is done."""

    async def wait(command_id: UUID) -> tuple[Command, list[Step]]:
        async with asyncio.timeout(30):
            while True:
                command, life = await asyncio.to_thread(look, command_id)
                if command.state.done:
                    return command, life
                await asyncio.sleep(0.02)

    return wait


@asynccontextmanager
async def polling(store: Store, settings: Settings, clock: Shifted) -> AsyncIterator[None]:
    """A polling process for the length of the block."""
    stop = asyncio.Event()
    task = asyncio.create_task(PollService(store, settings, clock).run(stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(20):
            await task


@pytest.fixture
def running(store: Store, settings: Settings, clock: Shifted) -> Callable[..., Any]:
    """polling(), with other settings where given."""

    def made(other: Settings | None = None) -> Any:
        return polling(store, other or settings, clock)

    return made


@pytest.fixture
def events(store: Store) -> Callable[[], list[dict[str, Any]]]:
    """What was recorded as device events, in order."""
    query = b"select m.serial, e.* from device_event e join meter m using (meter_id) order by e.event_id"
    return lambda: store.rows(query)


@pytest.fixture
def unused_port() -> int:
    """A port of this machine on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
