"""A process that dies at any step of a command: never a second write, and whoever takes over says what is so."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from drivers.modbus.bus import BusSettings, ModbusBus
from drivers.modbus.map_file import load_models
from drivers.registry import open_bus
from headend.domain.commands import CommandState, CommandStep
from headend.ingest.clock_book import ClockBook
from headend.ingest.commands.executor import CommandExecutor
from headend.settings import Settings
from headend.store.errors import StoreUnavailable
from headend.store.pool import Store
from support.switchable import SwitchableMeter, served

PROCESS = Path(__file__).with_name("poll_process.py")


class Killed(BaseException):
    """This process is no more."""


class Mortal:
    """Counts what a process does, and lets it die at one point."""

    def __init__(self, dies_at: str | None = None) -> None:
        self.dies_at = dies_at
        self.points: list[str] = []
        self.dead = False

    def at(self, point: str) -> None:
        if self.dead:
            raise Killed  # a dead process does nothing more, its other tasks neither
        point = f"{point} #{sum(p.startswith(point) for p in self.points) + 1}"
        self.points.append(point)
        if point == self.dies_at:
            self.dead = True
            raise Killed


class MortalPart:
    """A thing whose named methods are points to die at, before and after."""

    def __init__(self, whole: Any, mortal: Mortal, names: tuple[str, ...]) -> None:
        self._whole, self._mortal, self._names = whole, mortal, names

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._whole, name)
        if name not in self._names:
            return found
        if asyncio.iscoroutinefunction(found):

            async def slowly(*args: Any, **named: Any) -> Any:
                self._mortal.at(f"before {name}")
                result = await found(*args, **named)
                self._mortal.at(f"after {name}")
                return result

            return slowly

        def at_once(*args: Any, **named: Any) -> Any:
            self._mortal.at(f"before {name}")
            result = found(*args, **named)
            self._mortal.at(f"after {name}")
            return result

        return at_once


class MortalBus:
    """A bus whose turns are points to die at."""

    def __init__(self, bus: ModbusBus, mortal: Mortal) -> None:
        self._bus, self._mortal = bus, mortal

    @asynccontextmanager
    async def turn(self, address: Any) -> AsyncIterator[Any]:
        async with self._bus.turn(address) as turn:
            yield MortalPart(turn, self._mortal, ("visit", "read", "write"))


class Rig:
    """One meter, one command, and processes that come and go."""

    def __init__(self, store: Store, settings: Settings, clock: Any, port: int) -> None:
        self.store, self.settings, self.clock, self.port = store, settings, clock, port

    async def process(self, mortal: Mortal, *, checks: int, ledger: Callable[[Any], Any] = lambda real: real) -> None:
        """A polling process that looks for work so often, unless it dies before; `ledger` may stand before the real."""
        bus = open_bus(f"modbus+tcp://127.0.0.1:{self.port}", BusSettings(timeout_s=0.3, retries=0))
        executor = CommandExecutor(
            self.store,
            self.settings,
            load_models(self.settings.poll.models_dir),
            lambda _: MortalBus(bus, mortal),  # type: ignore[arg-type, return-value]
            ClockBook(self.settings),
            clock=self.clock,
            sleep=asyncio.sleep,
        )
        executor._ledger = MortalPart(  # type: ignore[assignment]
            ledger(executor._ledger), mortal, ("take", "mark_sent", "note", "release", "conclude")
        )
        try:
            for _ in range(checks):
                await executor._work.check()
                await executor._work.settle()
        except Killed:
            pass
        await bus.close()


def kill_at(
    rig_of: Any, command: Any, look: Any, meter: SwitchableMeter, dies_at: str | None
) -> tuple[Any, Any, Mortal]:
    """Let one process die at this point and another take over; the command, its life, what the first had done."""
    mortal = Mortal(dies_at)

    async def run() -> tuple[Any, Any]:
        async with served(meter) as port:
            rig = rig_of(port)
            command_id: UUID = command()
            await rig.process(mortal, checks=1)
            rig.clock.by += timedelta(seconds=120)  # longer than any lease
            await rig.process(Mortal(), checks=2)
            return look(command_id)

    found, life = asyncio.run(run())
    return found, life, mortal


@pytest.fixture
def rig_of(store: Store, settings: Settings, clock: Any, load: Any, told: None) -> Any:
    def made(port: int) -> Rig:
        load(("120001", 3, port))
        return Rig(store, settings, clock, port)

    return made


POINTS = [
    f"{when} {name} #{n}"
    for name, most in (("take", 1), ("visit", 1), ("read", 2), ("mark_sent", 1), ("write", 1), ("conclude", 1))
    for n in range(1, most + 1)
    for when in ("before", "after")
]
BEFORE_SENT = [*POINTS[: POINTS.index("after read #1") + 1], "before mark_sent #1"]
SENT_NOT_WRITTEN = ["after mark_sent #1", "before write #1"]


def test_these_are_all_the_points(rig_of: Any, submit: Any, look: Any) -> None:
    found, _, mortal = kill_at(rig_of, lambda: submit("120001", "relay", "open", ttl_s=3600), look, METER(), None)
    assert found.state is CommandState.CONFIRMED
    assert set(mortal.points) == set(POINTS)


def METER(**behaviour: Any) -> SwitchableMeter:  # noqa: N802 reads as what it is
    return SwitchableMeter(3, 120001, **behaviour)


@pytest.mark.parametrize("dies_at", POINTS)
def test_killed_at_each_step(rig_of: Any, submit: Any, look: Any, events: Any, dies_at: str) -> None:
    meter = METER()
    found, life, mortal = kill_at(rig_of, lambda: submit("120001", "relay", "open", ttl_s=3600), look, meter, dies_at)
    assert mortal.dead
    assert len(meter.commands) <= 1
    if dies_at in SENT_NOT_WRITTEN:
        assert (found.state, meter.commands, meter.relay) == (CommandState.UNCONFIRMED, [], "closed")
        assert found.detail == (
            "another process left it behind after it may have been written; within 1.5 s of reading back it reads "
            "closed, wanted open"
        )
        assert events() == []
    else:
        assert (found.state, len(meter.commands), meter.relay) == (CommandState.CONFIRMED, 1, "open")
        assert [e["kind"] for e in events()] == ["relay_opened"]
    steps = [s.step for s in life]
    assert steps.count(CommandStep.SENT) == 1
    assert steps.count(CommandStep.TAKEN) == (1 if dies_at in ("before take #1", "after conclude #1") else 2)
    left_behind = dies_at not in (*BEFORE_SENT, "after conclude #1")
    assert any("left behind" in s.detail for s in life) == left_behind


@pytest.mark.parametrize("dies_at", ["after write #1", "before read #2", "before conclude #1"])
def test_killed_after_a_write_that_did_nothing(rig_of: Any, submit: Any, look: Any, dies_at: str) -> None:
    meter = METER(lies=True)
    found, _, mortal = kill_at(rig_of, lambda: submit("120001", "relay", "open", ttl_s=3600), look, meter, dies_at)
    assert mortal.dead
    assert (found.state, len(meter.commands)) == (CommandState.UNCONFIRMED, 1)


def test_one_that_never_comes_back_is_concluded_however_late(rig_of: Any, submit: Any, look: Any, clock: Any) -> None:
    """Its time-to-live is over long since: it is read back all the same."""
    meter = METER()
    found, _, _ = kill_at(rig_of, lambda: submit("120001", "relay", "open", ttl_s=5), look, meter, "after write #1")
    assert (found.state, found.after_state, len(meter.commands)) == (CommandState.CONFIRMED, "open", 1)


class LateLedger:
    """A ledger between which and the process something goes wrong when `sent` is committed."""

    def __init__(
        self, ledger: Any, before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None
    ):
        self._ledger, self._before, self._after = ledger, before, after

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def mark_sent(self, *args: Any, **named: Any) -> Any:
        self._before()
        sent = self._ledger.mark_sent(*args, **named)
        self._after()
        return sent


def away() -> None:
    raise StoreUnavailable("away")


def test_too_late_to_write_after_all(rig_of: Any, submit: Any, look: Any, clock: Any) -> None:
    """Committing took so long that its time is over: it is not written, and says so."""
    meter = METER()

    def later() -> None:
        clock.by += timedelta(seconds=11)

    async def run() -> Any:
        async with served(meter) as port:
            rig, command_id = rig_of(port), submit("120001", "relay", "open", ttl_s=10)
            await rig.process(Mortal(), checks=1, ledger=lambda real: LateLedger(real, after=later))
            return look(command_id)

    found, life = asyncio.run(run())
    assert (found.state, found.detail) == (CommandState.EXPIRED, "never written: its time is over")
    assert [s.step.value for s in life][-3:] == ["sent", "not_written", "expired"]
    assert meter.writes == []


@pytest.mark.parametrize(("when", "ends"), [("before", CommandState.CONFIRMED), ("after", CommandState.UNCONFIRMED)])
def test_a_database_that_does_not_say_whether_it_committed(
    rig_of: Any, submit: Any, look: Any, clock: Any, when: str, ends: CommandState
) -> None:
    meter = METER()

    async def run() -> Any:
        async with served(meter) as port:
            rig, command_id = rig_of(port), submit("120001", "relay", "open", ttl_s=3600)
            await rig.process(Mortal(), checks=1, ledger=lambda real: LateLedger(real, **{when: away}))
            assert meter.writes == []
            clock.by += timedelta(seconds=120)
            await rig.process(Mortal(), checks=1)
            return look(command_id)

    found, _ = asyncio.run(run())
    assert found.state is ends
    assert len(meter.writes) == (1 if ends is CommandState.CONFIRMED else 0)


def test_a_process_that_is_stopped_leaves_it_to_the_next_one_at_once(
    load: Any, running: Any, submit: Any, look: Any, done: Any, clock: Any
) -> None:
    meter = METER(motor_s=1.2)

    async def run() -> Any:
        async with served(meter) as port:
            load(("120001", 3, port))
            command_id = submit("120001", "relay", "open")
            async with running(), asyncio.timeout(10):
                while look(command_id)[0].state is not CommandState.SENT:
                    await asyncio.sleep(0.02)
            assert look(command_id)[0].state is CommandState.SENT
            began = clock()
            async with running():
                found, life = await done(command_id)
            assert (clock() - began).total_seconds() < 5  # long before the lease would have been over
            return found, life

    found, life = asyncio.run(run())
    assert (found.state, len(meter.writes)) == (CommandState.CONFIRMED, 1)
    assert [s.step for s in life].count(CommandStep.TAKEN) == 2


def test_a_real_process_killed_by_the_write(
    store: Store, settings: Settings, load: Any, submit: Any, look: Any, done: Any, tmp_path: Path
) -> None:
    """SIGKILL while the meter obeys: the next process finds it sent, reads back, and writes nothing."""
    config = tmp_path / "headend.toml"
    config.write_text(
        f"[database]\ndsn = '''{store.dsn}'''\n"
        f"[poll]\nperiod_s = 3600\ntimeout_s = 1.0\nrequest_check_s = 0.05\nmodels_dir = '{settings.poll.models_dir}'\n"
        "[commands]\nrelay = true\nsettle_s = 2\n"
    )

    async def run() -> None:
        first: subprocess.Popen[bytes] | None = None

        def kill() -> None:
            assert first is not None
            first.send_signal(signal.SIGKILL)

        meter = SwitchableMeter(3, 120001, on_write=kill, answers_write_after_s=0.3)
        async with served(meter) as port:
            load(("120001", 3, port))
            command_id = submit("120001", "relay", "open", ttl_s=60)
            first = subprocess.Popen([sys.executable, str(PROCESS), str(config)])
            assert await asyncio.to_thread(first.wait, 30) == -signal.SIGKILL
            left, life = look(command_id)
            assert (left.state, meter.relay) == (CommandState.SENT, "open")
            assert life[-1].step is CommandStep.SENT  # nobody could say more
            with store.transaction() as connection:  # the lease is over
                connection.execute(b"update device_command set taken_until = now() - interval '1 second'")
            meter.on_write = None
            second = subprocess.Popen([sys.executable, str(PROCESS), str(config)])
            try:
                found, life = await done(command_id)
            finally:
                second.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(second.wait, 30) == 0
            assert (found.state, found.after_state) == (CommandState.CONFIRMED, "open")
            assert [s.step for s in life].count(CommandStep.READ_BACK) >= 1
            assert len(meter.writes) == 1

    asyncio.run(run())
