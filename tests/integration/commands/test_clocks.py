"""Clocks on a real bus: read, kept, told once when they drift, set by command and by policy, never over a boundary."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from drivers.modbus.bus import BusSettings
from drivers.modbus.clock import SystemClock
from drivers.modbus.map_file import load_models
from drivers.registry import open_bus
from headend.domain.commands import CommandState, CommandStep
from headend.ingest.clock_book import ClockBook
from headend.ingest.clock_policy import drift_of
from headend.ingest.commands.executor import CommandExecutor
from headend.settings import Settings
from headend.store import clocks, requests
from headend.store.pool import Store
from headend.store.topology import find_meter
from support.switchable import PLAIN, SwitchableMeter, served

S = CommandStep
MIDDLE = timedelta(minutes=7)
"""Of an hour: far from any quarter."""


@pytest.fixture(autouse=True)
def _far_from_boundaries(clock: Any) -> None:
    clock.move_to(MIDDLE)


@pytest.fixture
def readings(store: Store) -> Callable[[str], list[clocks.ClockReading]]:
    """What was kept of a meter's clock, newest first."""

    def found(serial: str = "120001") -> list[clocks.ClockReading]:
        with store.transaction() as connection:
            meter = find_meter(connection, "Eastron", serial)
            assert meter is not None
            return clocks.recent(connection, meter.meter_id, limit=100)

    return found


async def until(condition: Callable[[], Any]) -> Any:
    """Wait for something to be true; what it is."""
    async with asyncio.timeout(20):
        while not (found := await asyncio.to_thread(condition)):
            await asyncio.sleep(0.05)
        return found


def with_clock(settings: Settings, **changes: Any) -> Settings:
    """The same, with other keys of section `clock`."""
    changed = settings.model_copy(update={"clock": settings.clock.model_copy(update=changes)})
    return changed.model_copy(update={"poll": settings.poll.model_copy(update={"stagger_most_s": 0.0})})


def test_a_clock_is_set_and_read_back(
    load: Any, running: Any, submit: Any, done: Any, events: Any, readings: Any, clock: Any
) -> None:
    meter = SwitchableMeter(3, 120001, now=clock, clock_off_s=12.3)

    async def run() -> None:
        async with served(meter) as port:
            load(("120001", 3, port))
            async with running():
                command, life = await done(submit("120001", "clock", "now"))
                again, _ = await done(submit("120001", "clock", "now"))
        assert command.state is CommandState.CONFIRMED, command.detail
        assert command.before_state.startswith(("+11.", "+12."))
        assert abs(meter.clock_off_s) < 0.1  # in the middle of transmission, to whole seconds
        assert [s.step for s in life][:5] == [S.REQUESTED, S.TAKEN, S.FOUND, S.SENT, S.WRITTEN]
        assert [len(s.words) for s in life if s.step in (S.FOUND, S.WRITTEN, S.READ_BACK)] == [6, 6, 6]
        assert (again.state, again.sent_at) == (CommandState.CONFIRMED, None)
        drifted, event = events()
        assert drifted["kind"] == "clock_drifted"  # as it was found
        assert (event["kind"], event["source"]) == ("clock_set", "headend")
        assert event["value"] == pytest.approx(12.3, abs=0.6)
        assert abs((event["occurred_at"] - meter.set_at[0]).total_seconds()) < 0.1
        assert event["uncertainty_ms"] < 100
        (after,) = (r for r in readings() if r.command_id == command.command_id)
        before = next(r for r in readings() if r.at < after.at)
        assert before.offset_ms == pytest.approx(12_300, abs=before.uncertainty_ms)
        assert (before.drifted, before.command_id) == (True, None)
        assert abs(after.offset_ms) <= after.uncertainty_ms + 100
        assert not after.drifted

    asyncio.run(run())
    assert len(meter.writes) == 1


@pytest.mark.parametrize(("before_s", "off_s"), [(2.0, -5.0), (7.0, 10.0), (-3.0, -6.0)])
def test_never_over_an_interval_boundary(
    load: Any, running: Any, submit: Any, done: Any, clock: Any, before_s: float, off_s: float
) -> None:
    """The step, with the guard of a second, would touch the quarter that comes or has just been: it waits."""
    meter = SwitchableMeter(3, 120001, now=clock, clock_off_s=off_s)

    async def run() -> None:
        async with served(meter) as port:
            load(("120001", 3, port))
            clock.move_to(timedelta(minutes=15) - timedelta(seconds=before_s))
            async with running():
                command_id = submit("120001", "clock", "now", ttl_s=60)
                async with asyncio.timeout(25):
                    command, life = await done(command_id)
        assert command.state is CommandState.CONFIRMED, command.detail
        assert any(s.step is S.GIVEN_BACK and "interval boundary" in s.detail for s in life)

    asyncio.run(run())
    (set_at,) = meter.set_at
    quarter = set_at.replace(minute=15, second=0, microsecond=0)
    old, new = set_at + timedelta(seconds=off_s), set_at
    guard = timedelta(seconds=1)
    assert not min(old, new) - guard <= quarter <= max(old, new) + guard
    assert set_at > quarter


def test_a_moment_that_comes_too_late_expires_at_once(
    load: Any, running: Any, submit: Any, done: Any, clock: Any
) -> None:
    meter = SwitchableMeter(3, 120001, now=clock, clock_off_s=-200)

    async def run() -> None:
        async with served(meter) as port:
            load(("120001", 3, port))
            clock.move_to(timedelta(minutes=15, seconds=30))
            async with running():
                command, _ = await done(submit("120001", "clock", "now", ttl_s=60))
        assert command.state is CommandState.EXPIRED
        assert "the next good moment is" in command.detail
        assert (command.done_at - command.requested_at).total_seconds() < 5

    asyncio.run(run())
    assert meter.writes == []


def test_a_step_longer_than_an_interval_needs_a_person_who_says_so(
    load: Any, running: Any, submit: Any, done: Any, clock: Any, events: Any
) -> None:
    meter = SwitchableMeter(3, 120001, now=clock, clock_off_s=-86_400 * 400)
    dead = SwitchableMeter(4, 120002, now=clock, clock_dead=True)

    async def run() -> None:
        async with served(meter, dead) as port:
            load(("120001", 3, port), ("120002", 4, port))
            async with running():
                plain, _ = await done(submit("120001", "clock", "now"))
                nothing, _ = await done(submit("120002", "clock", "now"))
                across, _ = await done(submit("120001", "clock", "now", across_intervals=True))
                woken, life = await done(submit("120002", "clock", "now", across_intervals=True))
        assert (plain.state, nothing.state) == (CommandState.REFUSED, CommandState.REFUSED)
        assert "across_intervals" in plain.detail
        assert "names no instant" in nothing.detail
        assert (across.state, woken.state) == (CommandState.CONFIRMED, CommandState.CONFIRMED)
        assert (woken.before_state, life[2].words) == (None, (0,) * 6)
        values = {(e["serial"], e["kind"]): e["value"] for e in events()}
        assert values["120001", "clock_set"] == pytest.approx(-86_400 * 400, abs=1)
        assert values["120002", "clock_set"] is None  # by how much, nobody knows

    asyncio.run(run())
    assert (len(meter.writes), len(dead.writes)) == (1, 1)


def test_a_clock_that_ignores_being_set_is_unconfirmed(
    load: Any, running: Any, submit: Any, done: Any, clock: Any
) -> None:
    meter = SwitchableMeter(3, 120001, now=clock, clock_off_s=12.3, ignores_clock=True)

    async def run() -> None:
        async with served(meter) as port:
            load(("120001", 3, port))
            async with running():
                command, _ = await done(submit("120001", "clock", "now"))
        assert command.state is CommandState.UNCONFIRMED
        assert "wanted in time with ours" in command.detail

    asyncio.run(run())
    assert len(meter.writes) == 1


def test_a_write_that_an_earlier_one_holds_up_still_tells_the_right_time(
    store: Store, load: Any, running: Any, submit: Any, done: Any, clock: Any
) -> None:
    """Without numbers on the line nothing is written while a late answer could be taken for the next one's."""
    meter = SwitchableMeter(3, 120001, now=clock, clock_off_s=12.0, silent_after_write_s=0.5)

    async def run() -> None:
        async with served(meter, rtu=True) as port:
            load(("120001", 3, port))
            with store.transaction() as connection:
                connection.execute(b"update endpoint set bus = replace(bus, 'modbus+tcp:', 'modbus+rtu+tcp:')")
            async with running():
                first, _ = await done(submit("120001", "clock", "now"))
                meter.silent_after_write_s, meter.clock_off_s = 0.0, 12.0
                second, life = await done(submit("120001", "clock", "now"))
        assert (first.state, second.state) == (CommandState.CONFIRMED, CommandState.CONFIRMED)
        sent, written = (next(s.at for s in life if s.step is step) for step in (S.SENT, S.WRITTEN))
        assert written - sent < timedelta(seconds=2)

    asyncio.run(run())
    assert len(meter.writes) == 2
    assert abs(meter.clock_off_s) < 0.3


def test_clocks_are_read_after_the_round_and_a_drift_is_told_once(
    load: Any, running: Any, clock: Any, settings: Settings, readings: Any, events: Any
) -> None:
    right = SwitchableMeter(3, 120001, now=clock, clock_off_s=-0.4)
    wrong = SwitchableMeter(4, 120002, now=clock, clock_off_s=-30.0)

    async def run() -> None:
        async with served(right, wrong) as port:
            load(("120001", 3, port), ("120002", 4, port), ("120003", 5, None), ("120004", 6, port, PLAIN))
            async with running(with_clock(settings)):
                await until(lambda: readings("120002"))
            clock.by += timedelta(hours=23)
            async with running(with_clock(settings)):  # not due, and the store remembers
                await asyncio.sleep(1)
            clock.by += timedelta(hours=2)
            wrong.drift_ppm = 100.0
            async with running(with_clock(settings)):
                await until(lambda: len(readings("120002")) == 2)
        assert [len(readings(s)) for s in ("120001", "120002", "120003", "120004")] == [2, 2, 0, 0]
        assert abs(readings("120001")[0].offset_ms + 400) <= readings("120001")[0].uncertainty_ms
        assert [(e["kind"], e["serial"], e["code"]) for e in events()] == [("clock_drifted", "120002", "3.36.0.79")]
        assert events()[0]["value"] == pytest.approx(-30, abs=0.6)
        drift = drift_of(readings("120002"))
        assert drift is not None
        assert drift.uncertainty_ppm < 25

    asyncio.run(run())
    assert right.writes == wrong.writes == []  # clock.set = never


def test_what_was_read_while_our_own_clock_was_ahead_keeps_nobody_from_reading_again(
    load: Any, running: Any, clock: Any, settings: Settings, readings: Any, events: Any
) -> None:
    days = timedelta(0)
    meter = SwitchableMeter(3, 120001, now=lambda: clock() - days)

    async def run() -> None:
        nonlocal days
        async with served(meter) as port:
            load(("120001", 3, port))
            days = timedelta(days=40)
            clock.by += days
            async with running(with_clock(settings)):
                await until(lambda: len(readings()) == 1)
            clock.by -= days
            days = timedelta(0)
            async with running(with_clock(settings)):
                await until(lambda: len(readings()) == 2)
            meter.clock_off_s = -30.0
            clock.by += timedelta(hours=25)
            async with running(with_clock(settings)):
                await until(lambda: len(readings()) == 3)

    asyncio.run(run())
    told = [e["value"] for e in events() if e["kind"] == "clock_drifted"]
    assert told == [pytest.approx(-40 * 86_400, abs=5), pytest.approx(-30, abs=1)]
    assert [r.drifted for r in sorted(readings(), key=lambda r: r.at)] == [False, True, True]


def test_the_policy_sets_what_has_drifted_by_a_command_like_any_other(
    store: Store, load: Any, running: Any, clock: Any, settings: Settings, readings: Any, events: Any
) -> None:
    beyond = SwitchableMeter(3, 120001, now=clock, clock_off_s=20.0)
    far = SwitchableMeter(4, 120002, now=clock, clock_off_s=80.0)

    async def run() -> None:
        async with served(beyond, far) as port:
            load(("120001", 3, port), ("120002", 4, port))
            async with running(with_clock(settings, set="beyond_threshold")):
                await until(lambda: [e for e in events() if e["kind"] == "clock_set"])
                await until(lambda: readings("120002"))

    asyncio.run(run())
    (command,) = store.rows(b"select * from device_command")
    assert (command["automatic"], command["requested_by"], command["state"]) == (True, "clock policy", "confirmed")
    assert command["reason"].startswith(("off by +19.", "off by +20."))
    assert (len(beyond.writes), far.writes) == (1, [])
    assert abs(beyond.clock_off_s) < 0.2
    assert [e["serial"] for e in events() if e["kind"] == "clock_drifted"] == ["120001", "120002"]


def test_not_while_a_profile_is_being_read(
    store: Store, load: Any, submit: Any, look: Any, clock: Any, settings: Settings
) -> None:
    meter = SwitchableMeter(3, 120001, now=clock, clock_off_s=12.3)

    async def run() -> None:
        async with served(meter) as port:
            load(("120001", 3, port))
            patience = BusSettings(timeout_s=0.3, retries=0)
            bus = open_bus(f"modbus+tcp://127.0.0.1:{port}", patience, clock=SystemClock(clock))
            busy = {1}
            executor = CommandExecutor(
                store,
                settings,
                load_models(settings.poll.models_dir),
                lambda _: bus,
                ClockBook(settings),
                clock=clock,
                sleep=asyncio.sleep,
                reading_profile=lambda meter_id: meter_id in busy,
            )
            clock_id, relay_id = submit("120001", "clock", "now"), submit("120001", "relay", "open")
            for _ in range(2):
                await executor._work.check()
                await executor._work.settle()
            waiting, life = look(clock_id)
            assert (waiting.state, life[-1].step) == (CommandState.QUEUED, S.GIVEN_BACK)
            assert "stored profile" in life[-1].detail
            assert look(relay_id)[0].state is CommandState.CONFIRMED  # lets others pass
            busy.clear()
            clock.by += timedelta(seconds=5)
            await executor._work.check()
            await executor._work.settle()
            assert look(clock_id)[0].state is CommandState.CONFIRMED
            await bus.close()

    asyncio.run(run())


def test_a_live_read_of_a_clock(store: Store, load: Any, running: Any, clock: Any, readings: Any) -> None:
    meter = SwitchableMeter(3, 120001, now=clock, clock_off_s=-3.0)

    async def run() -> None:
        async with served(meter) as port:
            load(("120001", 3, port), ("120002", 4, port, PLAIN))
            with store.transaction() as connection:
                asked = [
                    requests.submit_read(
                        connection,
                        meter_id=find_meter(connection, "Eastron", serial).meter_id,
                        now=clock(),
                        kind="clock",
                    )  # type: ignore[union-attr]
                    for serial in ("120001", "120002")
                ]

            def answers() -> Any:
                with store.transaction() as connection:
                    found = [requests.find(connection, one) for one in asked]
                return found if all(f is not None and f.done for f in found) else None

            async with running():
                one, other = await until(answers)
        assert one.state == "answered"
        assert one.answer["offset_ms"] == pytest.approx(-3000, abs=one.answer["uncertainty_ms"])
        assert len(one.answer["words"]) == 6
        assert (other.state, other.error) == ("failed", f"the register map of {PLAIN} knows no clock")
        assert len(readings()) >= 1

    asyncio.run(run())
