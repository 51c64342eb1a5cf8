"""RTU over real lines that delay, spoil, echo and break: no wrong value, and the next answer is right."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import ExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from drivers.errors import ConnectionFailed, MalformedResponse, ResponseTimeout
from drivers.modbus.client import ModbusLink, SerialCarrier
from drivers.modbus.endpoint import SerialEndpoint, parse_endpoint
from drivers.modbus.link import Link
from drivers.modbus.rtu import RtuFraming, sealed
from drivers.registry import open_link
from support.libmodbus import UNIT, libmodbus, word_at
from support.lines import SerialLine, serial_line

SHORT_S = 0.3
"""Long against a loopback answer, short for a test that waits it out."""


def run(scene: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(scene, 30))


@asynccontextmanager
async def opened(line: SerialLine, baud: int = 115200) -> AsyncIterator[Link]:
    link = open_link(parse_endpoint(f"modbus+serial://{line.ours.path}?baud={baud}"))
    await link.connect(SHORT_S)
    try:
        yield link
    finally:
        await link.close()


@asynccontextmanager
async def foreign() -> AsyncIterator[tuple[SerialLine, Link]]:
    """A line with libmodbus at its other end."""
    async with serial_line() as line:
        with libmodbus("rtu", line.theirs.path, "115200", "N", "1"):
            async with opened(line) as link:
                yield line, link


async def read(link: Link, address: int, count: int = 2, unit: int = UNIT) -> tuple[int, ...]:
    answer = await link.read(unit=unit, function=4, address=address, count=count, timeout_s=SHORT_S)
    return answer.words


def right(address: int, count: int = 2) -> tuple[int, ...]:
    return tuple(word_at("input", a) for a in range(address, address + count))


OTHERS = sealed(bytes((9, 4, 4, 1, 2, 3, 4)))
SHAPES: dict[str, Callable[[bytes], list[bytes]]] = {
    "noise before": lambda answer: [b"\x00\xff\x7e", answer],
    "noise after": lambda answer: [answer + b"\x00\xff"],
    "half an answer before": lambda answer: [answer[: len(answer) // 2], answer],
    "others' late answer before": lambda answer: [OTHERS, answer],
    "our late answer of another length before": lambda answer: [sealed(bytes((UNIT, 4, 2, 7, 7))) + answer],
    "byte by byte": lambda answer: [answer[i : i + 1] for i in range(len(answer))],
    "twice": lambda answer: [answer, answer],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_odd_ways_of_a_right_answer_are_right(shape: str) -> None:
    async def scene() -> None:
        async with foreign() as (line, link):
            line.answer = SHAPES[shape]
            for address in range(0, 60, 6):
                assert await read(link, address, 60) == right(address, 60)

    run(scene())


FAULTS: dict[str, Callable[[bytes], list[bytes]]] = {
    "dropped": lambda answer: [],
    "a bit fell over": lambda answer: [answer[:5] + bytes([answer[5] ^ 4]) + answer[6:]],
    "the end is missing": lambda answer: [answer[:-1]],
    "the beginning is missing": lambda answer: [answer[1:]],
    "another unit's": lambda answer: [sealed(bytes([9]) + answer[1:-2])],
    "another function's": lambda answer: [sealed(answer[:1] + b"\x03" + answer[2:-2])],
    "fewer registers": lambda answer: [sealed(answer[:2] + bytes([answer[2] - 2]) + answer[3:-4])],
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_spoilt_answer_is_a_timeout_and_the_next_answer_is_right(fault: str) -> None:
    async def scene() -> None:
        async with foreign() as (line, link):
            assert await read(link, 2) == right(2)
            line.answer = FAULTS[fault]
            with pytest.raises(ResponseTimeout, match="no answer within"):
                await read(link, 4)
            line.answer = lambda answer: [answer]
            assert link.connected
            assert await read(link, 6) == right(6)

    run(scene())


def test_what_came_after_the_timeout_is_thrown_away_with_the_next_question() -> None:
    async def scene() -> None:
        held: list[bytes] = []

        def hold(answer: bytes) -> list[bytes]:
            held.append(answer)
            return []

        async with foreign() as (line, link):
            line.answer = hold
            with pytest.raises(ResponseTimeout):
                await read(link, 4)
            line.ours.deliver(b"".join(held))  # late: in the system's buffer when the next question is asked
            line.answer = lambda answer: [answer]
            assert await read(link, 6) == right(6)

    run(scene())


def test_a_converter_that_echoes_is_read_and_written_through() -> None:
    async def scene() -> None:
        async with foreign() as (line, link):
            line.echo = True
            for address in range(5):
                assert await read(link, address) == right(address)
            line.answer = lambda answer: []  # the meter is gone, the converter is not
            with pytest.raises(ResponseTimeout):
                await link.write(unit=UNIT, function=6, address=1, words=(5,), timeout_s=SHORT_S)
            line.answer = lambda answer: [answer]
            await link.write(unit=UNIT, function=6, address=1, words=(6,), timeout_s=SHORT_S)
            await link.write(unit=UNIT, function=16, address=2, words=(7, 8), timeout_s=SHORT_S)
            read_back = await link.read(unit=UNIT, function=3, address=1, count=3, timeout_s=SHORT_S)
            assert read_back.words == (6, 7, 8)

    run(scene())


def test_a_device_that_repeats_another_value_has_not_obeyed() -> None:
    async def scene() -> None:
        async with foreign() as (line, link):
            line.answer = lambda answer: [sealed(answer[:4] + b"\x00\x01")]
            with pytest.raises(MalformedResponse, match=r"repeated 00 01 00 01 of a write that said 00 01 00 02"):
                await link.write(unit=UNIT, function=6, address=1, words=(2,), timeout_s=SHORT_S)
            assert not link.connected

    run(scene())


def test_questions_on_a_slow_line_are_apart_by_three_and_a_half_characters() -> None:
    """At 2,400 baud 14.6 ms lie between an answer and the next question, whatever the machine adds."""

    async def scene() -> None:
        async with serial_line() as line, opened(line, 2400) as link:
            times: list[tuple[float, float]] = []
            loop = asyncio.get_running_loop()

            def answered(question: bytes) -> list[bytes]:
                times.append((loop.time(), len(question)))
                line.ours.write(sealed(bytes((UNIT, 4, 2, 0, 7))))
                return []

            line.question = answered
            for _ in range(5):
                await read(link, 0, 1)
            gaps = [b - a for (a, _), (b, _) in pairwise(times)]
            assert min(gaps) >= SerialEndpoint("x", 2400).silence_s
            assert all(length == 8 for _, length in times)

    run(scene())


def test_an_answer_that_needs_its_time_on_a_slow_line_is_waited_for() -> None:
    """At 300 baud 8 + 25 characters take 1.1 s, of which a time-out of 0.05 s knows nothing."""

    async def scene() -> None:
        async with serial_line() as line, opened(line, 300) as link:
            loop = asyncio.get_running_loop()
            answer = sealed(bytes((UNIT, 4, 20)) + bytes(20))

            def slow(question: bytes) -> list[bytes]:
                for i in range(len(answer)):
                    loop.call_later(0.02 * (1 + i), line.ours.write, answer[i : i + 1])
                return []

            line.question = slow
            got = await link.read(unit=UNIT, function=4, address=0, count=10, timeout_s=0.05)
            assert got.words == (0,) * 10
            assert got.span_us > 400_000

    run(scene())


def test_a_port_that_is_not_there_or_taken_is_a_connection_error(tmp_path: Path) -> None:
    async def scene() -> None:
        gone = ModbusLink(SerialCarrier(SerialEndpoint(str(tmp_path / "ttyUSB9"), 9600)), RtuFraming())
        with pytest.raises(ConnectionFailed, match=r"ttyUSB9: cannot be opened: .*No such file"):
            await gone.connect(1)
        no_line = tmp_path / "file"
        no_line.touch()
        with pytest.raises(ConnectionFailed, match="file: cannot be opened"):
            await ModbusLink(SerialCarrier(SerialEndpoint(str(no_line), 9600)), RtuFraming()).connect(1)
        async with serial_line() as line, opened(line):
            second = open_link(parse_endpoint(f"modbus+serial://{line.ours.path}?baud=9600"))
            with pytest.raises(ConnectionFailed, match="cannot be opened"):
                await second.connect(1)

    run(scene())


def test_a_port_that_is_unplugged_is_a_lost_connection() -> None:
    async def scene() -> None:
        async with serial_line() as line, opened(line) as link:
            asking = asyncio.create_task(read(link, 0))
            await asyncio.sleep(0.05)
            asyncio.get_running_loop().remove_reader(line.ours.end)
            line.ours.close()
            with pytest.raises(ConnectionFailed, match="lost while waiting for input"):
                await asking
            assert not link.connected
            with pytest.raises(ConnectionFailed, match="cannot be opened"):
                await link.connect(1)

    run(scene())


def test_a_serial_port_works_beside_more_than_a_thousand_connections() -> None:
    """Its descriptor lies beyond what select() can wait for."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 2048:
        pytest.skip("needs 2,048 file descriptors: ulimit -Hn 2048")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048) if soft != resource.RLIM_INFINITY else soft, hard))

    async def scene() -> None:
        with ExitStack() as many:
            while (descriptor := os.open(os.devnull, os.O_RDONLY)) < 1100:
                many.callback(os.close, descriptor)
            many.callback(os.close, descriptor)
            async with foreign() as (_, link):
                for address in range(3):
                    assert await read(link, address, 60) == right(address, 60)

    try:
        run(scene())
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
