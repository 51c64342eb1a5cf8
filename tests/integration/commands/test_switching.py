"""A command on a real bus: written at most once, confirmed by nothing but the state read back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from pymodbus.constants import ExcCodes

from headend.domain.commands import CommandState, CommandStep
from headend.settings import Settings
from headend.store import commands
from headend.store.errors import StoreConflict, StoreError
from headend.store.pool import Store
from support.switchable import RELAY_WRITE, SwitchableMeter, served

S = CommandStep
WRITE_OPEN = (6, RELAY_WRITE, (0xAAAA,))


def scene(coroutine: Callable[[SwitchableMeter], Any], load: Callable[..., None], **behaviour: Any) -> SwitchableMeter:
    """Run a coroutine with one meter served and known."""
    meter = SwitchableMeter(3, 120001, **behaviour)

    async def run() -> None:
        async with served(meter) as port:
            load(("120001", 3, port))
            await coroutine(meter)

    asyncio.run(run())
    return meter


def words_of(life: list[Any]) -> list[tuple[str, str | None, tuple[int, ...] | None]]:
    return [(s.step.value, s.state, s.words) for s in life]


def test_a_relay_that_takes_a_moment_is_confirmed_once_it_has_moved(
    load: Any, running: Any, submit: Any, done: Any, events: Any
) -> None:
    async def run(meter: SwitchableMeter) -> None:
        command_id = submit("120001", "relay", "open", reason="test bench", note="first\nsecond")
        async with running():
            command, life = await done(command_id)
        assert command.state is CommandState.CONFIRMED
        assert (command.before_state, command.after_state, command.detail) == ("closed", "open", "read back as open")
        assert (command.requested_by, command.reason, command.note) == ("Li Wei", "test bench", "first\nsecond")
        first, *between, last = words_of(life)
        assert first == ("requested", None, None)
        assert between[:4] == [
            ("taken", None, None),
            ("found", "closed", (0,)),
            ("sent", None, (0xAAAA,)),
            ("written", None, (0xAAAA,)),
        ]
        assert set(between[4:-1]) == {("read_back", None, (2,))}  # between the two
        assert between[-1] == ("read_back", "open", (1,))
        assert last == ("confirmed", "open", None)
        assert all(a.at <= b.at for a, b in pairwise(life))
        assert command.requested_at <= life[1].at <= command.sent_at <= command.done_at
        (event,) = events()
        assert (event["kind"], event["serial"], event["source"], event["value"]) == (
            "relay_opened",
            "120001",
            "headend",
            None,
        )
        assert str(command_id) in event["detail"]
        assert command.sent_at <= event["occurred_at"] <= command.done_at
        assert 250 <= event["uncertainty_ms"] <= 1000  # the motor took 0.6 s

    meter = scene(run, load, motor_s=0.6)
    assert meter.writes == [WRITE_OPEN]


def test_back_again_and_a_tariff_behind_a_password(
    load: Any, running: Any, submit: Any, done: Any, events: Any
) -> None:
    async def run(meter: SwitchableMeter) -> None:
        async with running():
            closed, _ = await done(submit("120001", "relay", "closed"))
            switched, _ = await done(submit("120001", "tariff", "2"))
        assert (closed.state, switched.state) == (CommandState.CONFIRMED, CommandState.CONFIRMED)
        assert (switched.before_state, switched.after_state) == ("1", "2")
        assert [(e["kind"], e["value"]) for e in events()] == [("relay_closed", None), ("tariff_changed", 2.0)]

    meter = scene(run, load, relay="open")
    assert [w[1:] for w in meter.writes] == [(0x21, (0x5555,)), (0x2A, (0x1234,)), (0x29, (2,))]


def test_what_is_so_already_is_not_written(load: Any, running: Any, submit: Any, done: Any, events: Any) -> None:
    async def run(meter: SwitchableMeter) -> None:
        async with running():
            command, life = await done(submit("120001", "relay", "open"))
        assert (command.state, command.sent_at) == (CommandState.CONFIRMED, None)
        assert command.detail == "it was open already: nothing was written"
        assert (command.before_state, command.after_state) == ("open", "open")
        assert [s.step for s in life] == [S.REQUESTED, S.TAKEN, S.FOUND, S.CONFIRMED]
        assert events() == []

    assert scene(run, load, relay="open").writes == []


def test_a_relay_that_lies_is_not_confirmed(load: Any, running: Any, submit: Any, done: Any, events: Any) -> None:
    async def run(meter: SwitchableMeter) -> None:
        async with running():
            command, life = await done(submit("120001", "relay", "open"))
        assert (command.state, command.after_state) == (CommandState.UNCONFIRMED, "closed")
        assert command.detail == "the meter accepted it; within 1.5 s of reading back it reads closed, wanted open"
        assert [s.step for s in life].count(S.READ_BACK) >= 3
        assert (life[-2].at - command.sent_at).total_seconds() == pytest.approx(1.5, abs=0.5)
        assert events() == []

    assert scene(run, load, lies=True).writes == [WRITE_OPEN]


def test_a_relay_that_refuses(load: Any, running: Any, submit: Any, done: Any) -> None:
    async def run(meter: SwitchableMeter) -> None:
        async with running():
            command, life = await done(submit("120001", "relay", "open"))
        assert command.state is CommandState.REFUSED
        assert command.detail.startswith("the meter refused: ")
        assert "exception 3" in command.detail
        assert [s.step for s in life][-3:] == [S.SENT, S.WRITTEN, S.REFUSED]

    assert scene(run, load, refuses=ExcCodes.ILLEGAL_VALUE).writes == [WRITE_OPEN]


def test_an_exception_that_leaves_it_open_is_read_back(load: Any, running: Any, submit: Any, done: Any) -> None:
    async def run(meter: SwitchableMeter) -> None:
        async with running():
            command, _ = await done(submit("120001", "relay", "open"))
        assert command.state is CommandState.UNCONFIRMED
        assert command.detail.startswith("whether the meter obeyed is not known: ")

    assert scene(run, load, refuses=ExcCodes.DEVICE_FAILURE).writes == [WRITE_OPEN]


@pytest.mark.parametrize("says", [ExcCodes.ACKNOWLEDGE, ExcCodes.DEVICE_BUSY])
def test_a_meter_that_says_that_it_is_at_work_may_be_at_work_on_this(
    says: ExcCodes, load: Any, running: Any, submit: Any, done: Any, events: Any
) -> None:
    async def run(meter: SwitchableMeter) -> None:
        async with running():
            command, life = await done(submit("120001", "relay", "open"))
        assert (command.state, command.detail) == (CommandState.CONFIRMED, "read back as open")
        written = next(s for s in life if s.step is S.WRITTEN)
        assert f"exception {says.value}" in written.detail
        assert [e["kind"] for e in events()] == ["relay_opened"]

    assert scene(run, load, refuses=says, obeys_anyway=True).writes == [WRITE_OPEN]


def test_an_answer_that_comes_too_late_is_read_back_and_never_written_again(
    load: Any, running: Any, submit: Any, done: Any
) -> None:
    async def run(meter: SwitchableMeter) -> None:
        async with running():
            command, life = await done(submit("120001", "relay", "open"))
            assert command.state is CommandState.CONFIRMED
            written = next(s for s in life if s.step is S.WRITTEN)
            assert (written.words, written.detail[:10]) == (None, "no answer:")
            await asyncio.sleep(0.8)  # the late answer comes: nobody takes it for anything

    assert scene(run, load, answers_write_after_s=0.7).writes == [WRITE_OPEN]


def test_a_meter_that_dies_of_it_is_unconfirmed(load: Any, running: Any, submit: Any, done: Any, events: Any) -> None:
    async def run(meter: SwitchableMeter) -> None:
        async with running():
            command, life = await done(submit("120001", "relay", "open"))
        assert (command.state, command.after_state) == (CommandState.UNCONFIRMED, None)
        assert "could not be read back" in command.detail
        assert all(s.detail.startswith("not read: ") for s in life if s.step is S.READ_BACK)
        assert events() == []

    assert scene(run, load, silent_after_write_s=5).writes == [WRITE_OPEN]


def test_a_meter_that_comes_back_in_time_is_confirmed(load: Any, running: Any, submit: Any, done: Any) -> None:
    async def run(meter: SwitchableMeter) -> None:
        async with running():
            command, _ = await done(submit("120001", "relay", "open"))
        assert command.state is CommandState.CONFIRMED

    assert scene(run, load, silent_after_write_s=1.0).writes == [WRITE_OPEN]


def test_never_the_wrong_door(load: Any, running: Any, submit: Any, done: Any) -> None:
    async def run() -> None:
        meter = SwitchableMeter(3, 999_999)
        async with served(meter) as port:
            load(("120001", 3, port))
            async with running():
                command, life = await done(submit("120001", "relay", "open"))
        assert command.state is CommandState.REFUSED
        assert "the store expects Eastron/120001 here, the meter says its serial is 999999" in command.detail
        assert [s.step for s in life] == [S.REQUESTED, S.TAKEN, S.REFUSED]
        assert meter.writes == []

    asyncio.run(run())


def test_a_meter_that_is_away_is_looked_for_until_the_time_is_over(
    load: Any, running: Any, submit: Any, done: Any, unused_port: int
) -> None:
    async def run() -> None:
        load(("120001", 3, unused_port))
        async with running():
            command, life = await done(submit("120001", "relay", "open", ttl_s=3))
        assert (command.state, command.sent_at) == (CommandState.EXPIRED, None)
        assert command.detail.startswith("never sent: ")
        assert str(unused_port) in command.detail  # and why
        assert command.tries >= 2
        assert [s.step for s in life].count(S.GIVEN_BACK) >= 2
        assert (command.done_at - command.requested_at).total_seconds() == pytest.approx(3, abs=1)

    asyncio.run(run())


def test_nothing_is_executed_after_its_time(load: Any, running: Any, submit: Any, done: Any, clock: Any) -> None:
    async def run(meter: SwitchableMeter) -> None:
        command_id = submit("120001", "relay", "open", ttl_s=60)
        clock.by += timedelta(seconds=61)
        async with running():
            command, life = await done(command_id)
        assert (command.state, command.detail) == (CommandState.EXPIRED, "never sent: nobody took it in time")
        assert [s.step for s in life] == [S.REQUESTED, S.EXPIRED]

    assert scene(run, load).writes == []


def test_what_the_polling_process_does_not_allow_is_refused(
    load: Any, running: Any, submit: Any, done: Any, settings: Settings
) -> None:
    off = settings.model_copy(update={"commands": settings.commands.model_copy(update={"relay": False})})

    async def run(meter: SwitchableMeter) -> None:
        async with running(off):
            command, _ = await done(submit("120001", "relay", "open"))
            other, _ = await done(submit("120001", "tariff", "2"))
        assert command.state is CommandState.REFUSED
        assert command.detail == "not allowed by the settings of the polling process: commands.relay = false"
        assert other.state is CommandState.CONFIRMED

    assert [w[1] for w in scene(run, load).commands] == [0x29]


def test_one_at_a_time_at_a_meter_and_in_their_order(load: Any, running: Any, submit: Any, done: Any) -> None:
    async def run(meter: SwitchableMeter) -> None:
        ids = [submit("120001", "relay", state) for state in ("open", "closed", "open")]
        async with running():
            lives = [await done(command_id) for command_id in ids]
        assert [command.state for command, _ in lives] == [CommandState.CONFIRMED] * 3
        for (before, _), (_, life) in pairwise(lives):
            assert before.done_at <= life[1].at  # taken when the one before was over

    meter = scene(run, load, motor_s=0.3)
    assert [w[2] for w in meter.writes] == [(0xAAAA,), (0x5555,), (0xAAAA,)]


def test_the_last_word_counts_though_an_earlier_one_waits_for_its_meter(
    load: Any, running: Any, submit: Any, look: Any, done: Any
) -> None:
    """Disconnect, think better of it, reconnect: whenever the meter is back, the supply stays on."""

    async def run(meter: SwitchableMeter) -> None:
        meter.silent_until_it_is_told = True
        opening = submit("120001", "relay", "open", ttl_s=600)
        setting = submit("120001", "clock", "now", ttl_s=600)
        async with running():
            while look(opening)[0].not_before is None or look(setting)[0].not_before is None:
                await asyncio.sleep(0.02)
            closing = submit("120001", "relay", "closed", ttl_s=600)
            meter.silent_until_it_is_told = False
            last, _ = await done(closing)
            first, life = await done(opening)
            other, _ = await done(setting)
        assert (last.state, last.detail) == (CommandState.CONFIRMED, "it was closed already: nothing was written")
        assert (first.state, first.sent_at) == (CommandState.EXPIRED, None)
        assert first.detail.startswith("never sent: a later one of its kind was first; ")
        assert life[-1].step is S.EXPIRED
        assert other.state is CommandState.CONFIRMED  # of another kind

    assert scene(run, load).writes == []


def test_a_command_from_a_clock_that_is_ahead_is_refused(
    load: Any, running: Any, submit: Any, done: Any, clock: Any
) -> None:
    """Its time-to-live would be so much longer than whoever asked for it meant."""

    async def run(meter: SwitchableMeter) -> None:
        clock.by += timedelta(minutes=5)
        command_id = submit("120001", "relay", "open")
        clock.by -= timedelta(minutes=5)
        async with running():
            command, _ = await done(command_id)
        assert command.state is CommandState.REFUSED
        assert "asked for by a clock that is 300 s ahead" in command.detail

    assert scene(run, load).writes == []


def test_what_was_asked_and_what_became_of_it_is_never_rewritten(
    store: Store, load: Any, running: Any, submit: Any, done: Any
) -> None:
    async def run(meter: SwitchableMeter) -> None:
        async with running():
            await done(submit("120001", "relay", "open"))

    scene(run, load)
    for statement in (
        b"delete from device_command_step",
        b"update device_command_step set detail = 'another'",
        b"delete from device_command",
        b"update device_command set reason = 'another'",
        b"update device_command set state = 'queued', done_at = null",
    ):
        with pytest.raises(StoreError, match="never deleted or rewritten"), store.transaction() as connection:
            connection.execute(statement)


def test_two_pollers_never_take_one_meter_at_once(
    store: Store, load: Any, submit: Any, clock: Any, unused_port: int
) -> None:
    load(("120001", 3, unused_port), ("120002", 4, unused_port))
    first = submit("120001", "relay", "open")
    submit("120001", "relay", "closed")
    other = submit("120002", "relay", "open")
    with store.transaction() as one, store.transaction() as two:
        mine = commands.take(one, now=clock(), lease_s=30, most=1)
        theirs = commands.take(two, now=clock(), lease_s=30, most=9)
    assert [c.command_id for c in mine] == [first]
    assert [c.command_id for c in theirs] == [other]
    with pytest.raises(StoreConflict) as refused, store.transaction() as connection:
        connection.execute(b"update device_command set state = 'taken' where state = 'queued'")
    assert refused.value.constraint == "device_command_one_at_a_time"
