"""Modems that dial in, over real sockets: they register, beat, vanish, come back, lie, dawdle and come in crowds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from drivers.errors import ConnectionFailed, DriverConfigError, ResponseTimeout
from drivers.modbus.clock import SystemClock
from drivers.modbus.dialin import DialInServer, Modem, Refusal, Refused
from drivers.modbus.dialin_settings import DialInSettings
from drivers.modbus.endpoint import parse_endpoint
from drivers.modbus.heartbeats import Heartbeats
from drivers.modbus.link import Link
from drivers.modbus.registration import IdForm, RegistrationRule
from drivers.modbus.rtu import sealed
from drivers.registry import open_link
from support.lines import DialInModem

UNIT = 3
SHORT_S = 0.2
"""Long against a loopback answer, short for a test that waits it out."""
NOW = datetime(2026, 11, 23, 5, 41, tzinfo=UTC)
BEAT = b"PING"


class Scene:
    """A listener, what it reported, and modems that dial in."""

    def __init__(self, **settings: Any) -> None:
        defaults: dict[str, Any] = {
            "host": "127.0.0.1",
            "port": 0,
            "registration": (RegistrationRule(end=b"\r\n"),),
            "heartbeats": Heartbeats((BEAT,)),
            "registration_timeout_s": 5.0,
        }
        self.registered: list[tuple[str, str | None]] = []
        self.refused: list[Refused] = []
        self._modems: list[DialInModem] = []  # one that nobody holds hangs up
        self._changed = asyncio.Event()
        self.server = DialInServer(
            DialInSettings(**defaults | settings),
            clock=SystemClock(lambda: NOW),
            on_registered=self._on_registered,
            on_refused=self._on_refused,
        )

    def _on_registered(self, modem: Modem, replaced: str | None) -> None:
        self.registered.append((modem.id, replaced))
        self._changed.set()

    def _on_refused(self, refused: Refused) -> None:
        self.refused.append(refused)
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait for something that the listener reports."""
        while not condition():
            self._changed.clear()
            await self._changed.wait()

    async def modem(self, registration: bytes) -> DialInModem:
        self._modems.append(await DialInModem(self.server.port, registration).dial())
        return self._modems[-1]

    async def registered_modem(self, modem_id: str) -> DialInModem:
        before = len(self.registered)
        modem = await self.modem(modem_id.encode() + b"\r\n")
        await self.until(lambda: len(self.registered) > before)
        return modem

    def link(self, modem_id: str, scheme: str = "modbus+dialin") -> Link:
        return open_link(parse_endpoint(f"{scheme}://{modem_id}"), SystemClock(lambda: NOW), self.server)

    def listed(self) -> dict[str, Modem]:
        return {modem.id: modem for modem in self.server.modems()}


@asynccontextmanager
async def listening(**settings: Any) -> AsyncIterator[Scene]:
    scene = Scene(**settings)
    await scene.server.start()
    try:
        yield scene
    finally:
        await scene.server.stop()


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 15))


async def answer(modem: DialInModem, word: int, before: bytes = b"", after: bytes = b"") -> None:
    """The meter behind the modem answers one question for one register."""
    question = await modem.hear(8)
    assert question == sealed(question[:-2])
    modem.say(before + sealed(bytes((question[0], question[1], 2)) + word.to_bytes(2, "big")) + after)


async def read(link: Link, timeout_s: float = 2.0) -> int:
    answer = await link.read(unit=UNIT, function=3, address=0, count=1, timeout_s=timeout_s)
    return answer.words[0]


async def asked(link: Link, modem: DialInModem, word: int, **around: bytes) -> int:
    value, _ = await asyncio.gather(read(link), answer(modem, word, **around))
    return value


def test_a_modem_registers_beats_vanishes_and_comes_back() -> None:
    async def play() -> None:
        async with listening(answer=b"OK") as scene:
            link = scene.link("DTU-1")
            with pytest.raises(ConnectionFailed, match=r"^modem DTU-1: it has not dialled in$"):
                await link.connect(0.02)
            waiting = asyncio.create_task(link.connect(5))
            modem = await scene.modem(b"PINGPINGDTU-1\r\n")
            await waiting
            assert await modem.hear(2) == b"OK"
            assert link.connected
            assert link.peer == "modem DTU-1"
            assert not link.numbered
            assert await asked(link, modem, 7) == 7
            modem.say(BEAT)
            assert await asked(link, modem, 8, before=BEAT, after=BEAT) == 8
            modem.vanish()
            with pytest.raises(ConnectionFailed, match=r"not connected|lost while waiting"):
                await read(link)
            with pytest.raises(
                ConnectionFailed,
                match=r"it has not dialled in again; last heard at 2026-11-23 05:41:00 UTC from 127\.0\.0\.1:\d+$",
            ):
                await link.connect(0.02)
            waiting = asyncio.create_task(link.connect(5))
            again = await scene.registered_modem("DTU-1")
            await waiting
            assert await again.hear(2) == b"OK"
            assert await asked(link, again, 9) == 9
            assert scene.registered == [("DTU-1", None), ("DTU-1", None)]
            assert scene.refused == []

    run(play())


@pytest.mark.parametrize("at", range(8))
def test_a_heartbeat_in_the_middle_of_an_answer_is_swallowed(at: int) -> None:
    async def play() -> None:
        async with listening() as scene:
            modem = await scene.registered_modem("A")
            link = scene.link("A")
            await link.connect(1)
            reading = asyncio.create_task(read(link))
            await modem.hear(8)
            frame = sealed(bytes((UNIT, 3, 2, 1, 44)))
            for piece in (frame[:at], BEAT, frame[at:]):
                modem.say(piece)
                await asyncio.sleep(0)
            assert await reading == 300

    run(play())


def test_a_heartbeat_that_is_a_frame_is_never_taken_for_an_answer() -> None:
    beat = sealed(bytes((UNIT, 3, 2, 0, 0)))

    async def play() -> None:
        async with listening(heartbeats=Heartbeats((beat,))) as scene:
            modem = await scene.registered_modem("A")
            link = scene.link("A")
            await link.connect(1)
            reading = asyncio.create_task(read(link, SHORT_S))
            await modem.hear(8)
            modem.say(beat)
            with pytest.raises(ResponseTimeout):
                await reading
            assert await asked(link, modem, 5, before=beat) == 5

    run(play())


def test_a_modem_that_speaks_modbus_tcp_beats_between_its_frames() -> None:
    async def play() -> None:
        async with listening() as scene:
            modem = await scene.registered_modem("A")
            link = scene.link("A", "modbus+dialin+tcp")
            assert link.numbered
            await link.connect(1)
            late = b""
            for word in range(3):
                reading = asyncio.create_task(read(link))
                question = await modem.hear(12)
                right = question[:4] + b"\0\x05" + question[6:8] + b"\x02" + word.to_bytes(2, "big")
                modem.say(BEAT + late + b"noise" + BEAT + right)
                assert await reading == word
                late = right[:-1] + b"\x77"

    run(play())


def test_of_two_modems_with_one_id_the_newer_one_counts() -> None:
    async def play() -> None:
        async with listening() as scene:
            older = await scene.registered_modem("A")
            link = scene.link("A")
            await link.connect(1)
            reading = asyncio.create_task(read(link))
            await older.hear(8)
            newer = await scene.registered_modem("A")
            with pytest.raises(ConnectionFailed, match="replaced by a newer connection of this modem from 127"):
                await reading
            assert await older.dropped() == b""
            await link.connect(1)
            assert await asked(link, newer, 7) == 7
            assert [(i, replaced is not None) for i, replaced in scene.registered] == [("A", False), ("A", True)]
            modem = scene.listed()["A"]
            assert modem.registrations == 2
            assert modem.peer == scene.server.modems()[0].peer != scene.registered[1][1]

    run(play())


def test_the_list_says_who_is_there_since_when_and_who_was() -> None:
    async def play() -> None:
        async with listening() as scene:
            await scene.registered_modem("idle")
            busy, gone = await scene.registered_modem("busy"), await scene.registered_modem("gone")
            link, gone_link = scene.link("busy"), scene.link("gone")
            await link.connect(1)
            await gone_link.connect(1)
            await asked(link, busy, 1)
            gone.vanish()
            with pytest.raises(ConnectionFailed):
                await read(gone_link)
            listed = scene.listed()
            assert list(listed) == ["busy", "gone", "idle"]
            assert [m.connected for m in listed.values()] == [True, False, True]
            assert [m.in_use for m in listed.values()] == [True, False, False]
            now_us = round(NOW.timestamp() * 1e6)
            assert {(m.since_us, m.heard_us) for m in listed.values()} == {(now_us, now_us)}
            await link.close()
            assert await busy.dropped() == b""
            assert not scene.listed()["busy"].connected

    run(play())


def test_one_modem_serves_one_bus() -> None:
    async def play() -> None:
        async with listening() as scene:
            await scene.registered_modem("A")
            await scene.link("A").connect(1)
            with pytest.raises(ConnectionFailed, match="modem A: another bus has this modem"):
                await scene.link("A", "modbus+dialin+tcp").connect(1)

    run(play())


@pytest.mark.parametrize(
    ("settings", "said", "refusal", "detail"),
    [
        ({}, b"x" * 70 + b"\r\n", Refusal.NO_REGISTRATION, "no rule fits: b'xxx"),
        ({}, b"x" * 300, Refusal.TOO_LONG, "more than 256 bytes without a registration: b'xxx"),
        ({"registration_timeout_s": 0.1}, b"DTU", Refusal.TOO_SLOW, "no registration within 0.1 s: b'DTU'"),
        ({"registration_timeout_s": 0.1}, b"", Refusal.TOO_SLOW, "no registration within 0.1 s"),
        ({"ids": frozenset({"A"})}, b"B\r\n", Refusal.UNKNOWN_ID, "'B' is not on the list"),
        ({"registration": (RegistrationRule(form=IdForm.IMEI),)}, b"12345678901234x", Refusal.NO_REGISTRATION, ""),
        ({"registration": (RegistrationRule(pattern="ID(?P<id>.+)"),), "pause_s": 0.05}, b"XY", Refusal.NO_REGISTRATION,
         "no rule fits: b'XY'"),
    ],
)  # fmt: skip
def test_who_does_not_register_is_turned_away_with_the_reason(
    settings: dict[str, Any], said: bytes, refusal: Refusal, detail: str
) -> None:
    async def play() -> None:
        async with listening(**settings) as scene:
            modem = await scene.modem(said)
            assert await modem.dropped() == b""
            await scene.until(lambda: bool(scene.refused))
            assert scene.refused[0].refusal is refusal
            assert detail in scene.refused[0].detail
            assert scene.refused[0].peer.startswith("127.0.0.1:")
            assert len(scene.refused) == 1
            assert scene.server.modems() == ()
            assert scene.server.unregistered == 0

    run(play())


def test_a_caller_who_hangs_up_before_it_registers_is_reported_once() -> None:
    async def play() -> None:
        async with listening() as scene:
            (await scene.modem(b"DT")).writer.close()
            await scene.until(lambda: bool(scene.refused))
            assert [(r.refusal, r.detail) for r in scene.refused] == [(Refusal.HUNG_UP, "after 2 bytes: b'DT'")]

    run(play())


def test_a_registration_without_an_end_is_taken_at_the_pause() -> None:
    async def play() -> None:
        rules = (RegistrationRule(pattern=r"LOGIN:(?P<id>\d+)"),)
        async with listening(registration=rules, heartbeats=Heartbeats((b"LOG",)), pause_s=0.1) as scene:
            modem = await scene.modem(b"LOGIN:10")
            await asyncio.sleep(0.02)
            modem.say(b"01")
            await scene.until(lambda: bool(scene.registered))
            assert scene.registered == [("1001", None)]

    run(play())


def test_one_byte_at_a_time_holds_nobody_up() -> None:
    """Slow-loris: a byte every 20 ms keeps a connection alive, but not beyond the time limit."""

    async def play() -> None:
        async with listening(registration_timeout_s=0.3) as scene:
            slow = await scene.modem(b"")
            end = asyncio.create_task(slow.dropped())
            began = asyncio.get_running_loop().time()
            while not end.done():
                slow.say(b"x")
                await asyncio.wait([end], timeout=0.02)
                if not scene.registered:
                    quick = await scene.registered_modem("A")
                    link = scene.link("A")
                    await link.connect(1)
                    assert await asked(link, quick, 7) == 7
            assert asyncio.get_running_loop().time() - began < 2
            assert [r.refusal for r in scene.refused] == [Refusal.TOO_SLOW]

    run(play())


def test_a_thousand_silent_connections_keep_no_modem_out() -> None:
    async def play() -> None:
        async with listening(most_unregistered=50, registration_timeout_s=60) as scene:
            crowd = []
            for _ in range(20):
                crowd += await asyncio.gather(*(scene.modem(b"") for _ in range(50)))
            await scene.until(lambda: len(scene.refused) >= 950)
            modem = await scene.registered_modem("A")
            link = scene.link("A")
            await link.connect(1)
            assert await asked(link, modem, 7) == 7
            assert scene.server.unregistered <= 50
            assert {r.refusal for r in scene.refused} == {Refusal.CROWDED_OUT}
            assert await crowd[0].dropped() == b""  # the oldest went first
            assert not crowd[-1].reader.at_eof()
            for caller in crowd:
                caller.vanish()

    run(play())


def test_no_more_modems_than_may_be_and_the_departed_make_room() -> None:
    async def play() -> None:
        async with listening(most_modems=2) as scene:
            first = await scene.registered_modem("A")
            await scene.registered_modem("B")
            third = await scene.modem(b"C\r\n")
            assert await third.dropped() == b""
            await scene.until(lambda: bool(scene.refused))
            assert scene.refused[0].refusal is Refusal.FULL
            await scene.registered_modem("B")  # a known one may come again
            link = scene.link("A")
            await link.connect(1)
            first.vanish()
            with pytest.raises(ConnectionFailed):
                await read(link)
            await scene.registered_modem("C")
            assert list(scene.listed()) == ["B", "C"]

    run(play())


def test_a_listener_that_stops_lets_everybody_go() -> None:
    async def play() -> None:
        async with listening() as scene:
            registered, silent = await scene.registered_modem("A"), await scene.modem(b"")
            await scene.until(lambda: True)
            while not scene.server.unregistered:
                await asyncio.sleep(0)
            link = scene.link("A")
            await link.connect(1)
            port = scene.server.port
            await scene.server.stop()
            assert await registered.dropped() == await silent.dropped() == b""
            assert not link.connected
            assert scene.refused == []
            with pytest.raises(ConnectionFailed, match="nobody listens"):
                await link.connect(0.01)
            with pytest.raises(ConnectionRefusedError):
                await asyncio.open_connection("127.0.0.1", port)

    run(play())


def test_an_address_that_is_taken_is_said() -> None:
    async def play() -> None:
        async with listening() as scene:
            second = Scene(port=scene.server.port)
            with pytest.raises(DriverConfigError, match=f"cannot listen on 127.0.0.1:{scene.server.port}"):
                await second.server.start()

    run(play())
