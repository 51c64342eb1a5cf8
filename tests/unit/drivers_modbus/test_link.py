"""The link over a carrier and a clock under the test's hand: pace of a serial line, one question at a time, writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from drivers.errors import ConnectionFailed, DriverConfigError, MalformedResponse, ResponseTimeout
from drivers.modbus.carrier import Channel, Pace
from drivers.modbus.client import ModbusLink
from drivers.modbus.clock import SystemClock
from drivers.modbus.frames import Framing, MbapFraming
from drivers.modbus.rtu import RtuFraming, sealed

PACE = Pace(character_s=0.001, silence_s=0.0035)
ANSWER = sealed(b"\x01\x03\x02\x00\x07")


class FakeTransport(asyncio.Transport):
    """Notes what is sent and when; `reply` may answer at once."""

    def __init__(self, clock: ScriptedClock) -> None:
        super().__init__()
        self.clock = clock
        self.sent: list[tuple[float, bytes]] = []
        self.reply: Callable[[bytes], None] = lambda data: None

    def write(self, data: Any) -> None:
        self.sent.append((self.clock.elapsed_s, bytes(data)))
        self.reply(bytes(data))

    def abort(self) -> None:
        pass


class ScriptedClock(SystemClock):
    """Time passes in sleep alone."""

    def __init__(self) -> None:
        super().__init__()
        self.elapsed_s = 0.0
        self.meanwhile: Callable[[], None] = lambda: None

    def monotonic(self) -> float:
        return self.elapsed_s

    async def sleep(self, seconds: float) -> None:
        self.elapsed_s += seconds
        self.meanwhile()


class FakeCarrier:
    peer = "line"

    def __init__(self, transport: FakeTransport, pace: Pace | None) -> None:
        self.transport, self.pace = transport, pace
        self.channel = Channel()
        self.opened = 0

    async def open(self, timeout_s: float) -> Channel:
        self.opened += 1
        self.channel = Channel()
        self.channel.connection_made(self.transport)
        return self.channel


class Scene:
    def __init__(self, framing: Framing | None = None, pace: Pace | None = PACE) -> None:
        self.clock = ScriptedClock()
        self.transport = FakeTransport(self.clock)
        self.carrier = FakeCarrier(self.transport, pace)
        self.link = ModbusLink(self.carrier, framing or RtuFraming(), clock=self.clock)

    def says(self, data: bytes) -> None:
        self.carrier.channel.data_received(data)

    async def read(self, unit: int = 1, timeout_s: float = 0.05) -> tuple[int, ...]:
        return (await self.link.read(unit=unit, function=3, address=0, count=1, timeout_s=timeout_s)).words

    async def write(self, function: int, *words: int, unit: int = 1) -> None:
        await self.link.write(unit=unit, function=function, address=2, words=words, timeout_s=0.05)


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 10))


def test_frames_on_a_serial_line_are_kept_apart_by_the_silent_interval() -> None:
    async def play() -> None:
        scene = Scene()
        scene.transport.reply = lambda data: scene.says(ANSWER)
        await scene.link.connect(1)
        assert await scene.read() == (7,)
        assert await scene.read() == (7,)
        assert [at for at, _ in scene.transport.sent] == [0.0, pytest.approx(PACE.silence_s)]

    run(play())


def test_after_a_silent_meter_the_next_question_waits_until_the_last_one_has_left() -> None:
    async def play() -> None:
        scene = Scene()
        await scene.link.connect(1)
        with pytest.raises(ResponseTimeout):
            await scene.read(timeout_s=0.01)
        scene.transport.reply = lambda data: scene.says(ANSWER)
        await scene.read()
        (_, question), (at, _) = scene.transport.sent
        assert at == pytest.approx(len(question) * PACE.character_s + PACE.silence_s)

    run(play())


def test_a_byte_within_the_silence_starts_it_anew() -> None:
    async def play() -> None:
        scene = Scene()
        noise = iter([b"\x00", b"\x00"])
        scene.clock.meanwhile = lambda: scene.says(byte) if (byte := next(noise, b"")) else None
        scene.transport.reply = lambda data: scene.says(ANSWER)
        await scene.link.connect(1)
        scene.says(b"\xff")
        assert await scene.read() == (7,)
        assert scene.transport.sent[0][0] == pytest.approx(3 * PACE.silence_s)

    run(play())


def test_a_line_that_is_never_silent_says_so() -> None:
    async def play() -> None:
        scene = Scene()
        scene.clock.meanwhile = lambda: scene.says(b"\x00")
        await scene.link.connect(1)
        scene.says(b"\x00")
        with pytest.raises(ResponseTimeout, match=r"line unit 1: no answer within 0\.05 s .*the line is never silent"):
            await scene.read()
        assert not scene.transport.sent

    run(play())


def test_what_came_before_the_question_is_never_its_answer() -> None:
    async def play() -> None:
        for pace in (PACE, None):
            scene = Scene(pace=pace)
            await scene.link.connect(1)
            scene.says(ANSWER)
            scene.clock.meanwhile = lambda scene=scene: scene.says(ANSWER)  # type: ignore[misc]
            reading = asyncio.create_task(scene.read())
            asyncio.get_running_loop().call_soon(scene.says, ANSWER)  # it lay in the system's buffer
            with pytest.raises(ResponseTimeout):
                await reading

    run(play())


def test_a_timeout_tells_what_came_instead_of_an_answer() -> None:
    async def play() -> None:
        scene = Scene()
        scene.transport.reply = lambda data: scene.says(b"\x80\x00\xfe")
        await scene.link.connect(1)
        with pytest.raises(ResponseTimeout, match=r"to holding 0x0000..0x0000; 3 bytes that are none: 80 00 fe$"):
            await scene.read()
        scene.transport.reply = lambda data: scene.says(bytes(40))
        with pytest.raises(ResponseTimeout, match=r"40 bytes that are none: 00 .* 00 …$"):
            await scene.read()

    run(play())


def test_noise_without_an_end_is_not_collected_for_ever() -> None:
    async def play() -> None:
        scene = Scene()
        scene.transport.reply = lambda data: scene.says(bytes(5000))
        await scene.link.connect(1)
        with pytest.raises(MalformedResponse, match="5000 bytes and no answer among them"):
            await scene.read(timeout_s=5)
        assert not scene.link.connected

    run(play())


def test_the_broadcast_address_is_asked_nothing_on_a_serial_line() -> None:
    async def play() -> None:
        scene = Scene()
        await scene.link.connect(1)
        with pytest.raises(DriverConfigError, match="line unit 0: 0 is the broadcast address"):
            await scene.read(0)
        with pytest.raises(DriverConfigError, match="broadcast"):
            await scene.write(6, 1, unit=0)
        assert not scene.transport.sent

    run(play())


def test_modbus_tcp_may_address_the_gateway_itself_as_0() -> None:
    """The Modbus TCP guide (V1.0b) lets a device that is no gateway be addressed as 0 or 255."""

    async def play() -> None:
        scene = Scene(MbapFraming(), None)
        scene.transport.reply = lambda data: scene.says(data[:4] + b"\0\x05" + b"\0\x03\x02\0\x09")
        await scene.link.connect(1)
        assert await scene.read(0) == (9,)

    run(play())


@pytest.mark.parametrize("came", [0, 4, 9])
def test_a_question_cancelled_within_its_answer_leaves_nothing_to_the_next(came: int) -> None:
    async def play() -> None:
        scene = Scene(MbapFraming(), None)
        answer = b"\0\x01\0\0\0\x05\x01\x03\x02\0\x07"
        scene.transport.reply = lambda data: scene.says(answer[:came])
        await scene.link.connect(1)
        reading = asyncio.create_task(scene.read(timeout_s=5))
        await asyncio.sleep(0)
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert scene.link.connected is (came == 0)
        await scene.link.connect(1)
        scene.transport.reply = lambda data: scene.says(data[:2] + answer[2:])
        assert await scene.read() == (7,)

    run(play())


def test_two_questions_at_once_are_a_mistake_of_ours() -> None:
    async def play() -> None:
        scene = Scene()
        await scene.link.connect(1)
        first = asyncio.create_task(scene.read())
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="another question is open"):
            await scene.read()
        with pytest.raises(ResponseTimeout):
            await first

    run(play())


def test_a_connection_that_ends_before_the_question_is_said_to() -> None:
    async def play() -> None:
        scene = Scene()
        await scene.link.connect(1)
        scene.says(b"\x00")
        scene.clock.meanwhile = lambda: scene.carrier.channel.connection_lost(OSError("unplugged"))
        with pytest.raises(ConnectionFailed, match="ended before the question was sent"):
            await scene.read()
        with pytest.raises(ConnectionFailed, match="not connected"):
            await scene.read()
        await scene.link.connect(1)
        assert scene.carrier.opened == 2
        await scene.link.connect(1)
        assert scene.carrier.opened == 2

    run(play())


def test_a_connection_that_ends_under_a_question_tells_why() -> None:
    async def play() -> None:
        scene = Scene()
        scene.transport.reply = lambda data: scene.carrier.channel.connection_lost(OSError("unplugged"))
        await scene.link.connect(1)
        with pytest.raises(ConnectionFailed, match=r"lost while waiting for holding 0x0000..0x0000: unplugged"):
            await scene.read()
        assert not scene.link.connected

    run(play())


@pytest.mark.parametrize(
    ("function", "words", "question"),
    [
        (5, (0xFF00,), "01 05 0002 FF00"),
        (5, (0,), "01 05 0002 0000"),
        (6, (0x1234,), "01 06 0002 1234"),
        (16, (1, 0xFFFF), "01 10 0002 0002 04 0001 FFFF"),
    ],
)
def test_writes_go_out_as_the_specification_says(function: int, words: tuple[int, ...], question: str) -> None:
    async def play() -> None:
        scene = Scene()
        scene.transport.reply = lambda data: scene.says(sealed(data[:6]))
        await scene.link.connect(1)
        await scene.write(function, *words)
        assert [data for _, data in scene.transport.sent] == [sealed(bytes.fromhex(question))]
        scene.transport.reply = lambda data: scene.says(sealed(data[:5] + b"\x77"))
        with pytest.raises(MalformedResponse, match=r"repeated .*asked for the write of"):
            await scene.write(function, *words)
        assert len(scene.transport.sent) == 2  # never tried again
        assert not scene.link.connected

    run(play())


@pytest.mark.parametrize(
    ("function", "words"),
    [(5, (1,)), (5, (0, 0)), (6, ()), (6, (1, 2)), (16, ()), (16, (0,) * 124), (3, (1,)), (15, (1,))],
)
def test_what_cannot_be_written_is_a_mistake_of_ours(function: int, words: tuple[int, ...]) -> None:
    async def play() -> None:
        scene = Scene()
        await scene.link.connect(1)
        with pytest.raises(ValueError, match=f"function {function} cannot write"):
            await scene.write(function, *words)
        assert not scene.transport.sent

    run(play())
