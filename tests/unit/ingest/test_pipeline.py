"""Decoding runs ahead of writing; acknowledgements do not: by hand, without a broker and without a database."""

from __future__ import annotations

import asyncio
import json
import queue
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from drivers.mqtt.broker import Granted, Message
from headend.ingest.item import Item, WriteResult
from headend.ingest.service import IngestService
from headend.settings import Settings
from headend.store.errors import StoreUnavailable
from headend.store.pool import Store

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
PATIENCE_S = 20.0


class Line:
    """The client as the service sees it."""

    alive = connected = True

    def __init__(self) -> None:
        self.acknowledged: list[str] = []
        self.confirmed: list[int] = []
        self.ended = threading.Event()

    def start(self) -> None: ...

    def stop(self) -> None:
        self.ended.set()

    def ack_all(self, messages: Sequence[Message]) -> int:
        self.acknowledged += [m.topic for m in messages]
        return len(messages)

    def publish(self, topic: str, payload: bytes, **_: Any) -> bool:
        if topic.endswith("/confirm"):
            self.confirmed += json.loads(payload)["confirmed"]
        return True


class Scene:
    """A service whose writer waits for permission, batch by batch."""

    def __init__(self, **ingest: Any) -> None:
        settings = Settings(
            database={"dsn": "host=/nonexistent"}, mqtt={"client_id": "own"}, ingest={"flush_quiet_s": 0.001} | ingest
        )
        self.service = IngestService(Store("host=/nonexistent"), settings, lambda: NOW)
        self.line = Line()
        self.service._client = self.line  # type: ignore[assignment]
        self.service._writer.write = self._write  # type: ignore[method-assign]
        self.began: queue.Queue[list[str]] = queue.Queue()
        self._permissions: queue.Queue[Exception | None] = queue.Queue()
        self.stop = asyncio.Event()

    def _write(self, items: Sequence[Item]) -> WriteResult:
        self.began.put([item.origin for item in items])
        if (error := self._permissions.get(timeout=PATIENCE_S)) is not None:
            raise error
        return WriteResult(stored=sum(map(len, items)))

    def permit(self, error: Exception | None = None) -> None:
        self._permissions.put(error)

    def bring(self, *topics: str, connection: int = 1) -> None:
        """In the network thread's place."""
        self.service._take([message(topic, connection) for topic in topics])

    async def begins(self) -> list[str]:
        """The next write that begins."""
        return await asyncio.to_thread(self.began.get, True, PATIENCE_S)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                await asyncio.sleep(0.001)


def message(name: str, connection: int = 1) -> Message:
    payload = b'{"ts":"2026-11-20T03:00:00Z","import_wh":1}'
    if name.endswith("/profile"):
        payload = (
            b'{"format":"headend.profile/1","seq":7,"backlog":0,"meters":["Acme/1"],"ts":["2026-11-20T03:00:00Z"],'
            b'"import_wh":[[1]]}'
        )
    return Message(f"headend/v1/{name}", payload, 1, 1, connection, session="own")


def readings(first: int, last: int) -> list[str]:
    return [f"meter/Acme/{n}/reading" for n in range(first, last)]


def play(scene: Scene, script: Callable[[Scene], Awaitable[None]]) -> None:
    async def both() -> None:
        running = asyncio.create_task(scene.service.run(scene.stop))
        await script(scene)
        scene.stop.set()
        async with asyncio.timeout(PATIENCE_S):
            await running

    asyncio.run(both())


def full(topics: Sequence[str]) -> list[str]:
    return [f"headend/v1/{topic}" for topic in topics]


@pytest.fixture
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    assert made.line.ended.is_set()


def test_the_next_batch_is_decoded_while_one_is_written_and_none_is_acknowledged_before(scene: Scene) -> None:
    async def script(scene: Scene) -> None:
        scene.bring("concentrator/C1/profile", *readings(0, 5))
        first = await scene.begins()
        scene.bring(*readings(5, 205))
        await scene.until(lambda: len(scene.service._ahead.messages) == 200)
        assert scene.line.acknowledged == []
        assert scene.line.confirmed == []
        assert scene.service.health()["unacked_messages"] == 206
        scene.permit()
        assert await scene.begins() == full(readings(5, 205))
        assert scene.line.acknowledged == first == full(["concentrator/C1/profile", *readings(0, 5)])
        assert scene.line.confirmed == [7]
        assert scene.service.health()["unacked_messages"] == 200
        scene.permit()
        await scene.until(lambda: len(scene.line.acknowledged) == 206)
        assert scene.line.acknowledged == first + full(readings(5, 205)), "in the order of arrival"
        assert scene.service.health()["unacked_messages"] == 0
        assert scene.service.health()["readings_stored"] == 206
        await scene.until(lambda: scene.service.health()["oldest_waiting_s"] == 0.0)
        age_s = scene.service.health()["last_commit_age_s"]
        assert isinstance(age_s, float)
        assert 0 <= age_s < PATIENCE_S

    play(scene, script)


def test_what_is_decoded_ahead_is_bounded() -> None:
    scene = Scene(flush_rows=100)

    async def script(scene: Scene) -> None:
        scene.bring(*readings(0, 3))
        await scene.begins()
        for n in range(10):
            scene.bring(*readings(100 * n, 100 * n + 100))
        await scene.until(lambda: bool(scene.service._ahead.messages))
        await asyncio.sleep(0.05)
        assert len(scene.service._ahead.messages) + scene.service._window.state()[0] == 1000
        assert scene.service._decoding.is_full(scene.service._ahead)
        for _ in range(12):
            scene.permit()
        await scene.until(lambda: len(scene.line.acknowledged) == 1003)

    play(scene, script)


def test_a_failed_write_is_repeated_and_the_one_behind_it_waits(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headend.ingest.service._RETRY_FIRST_S", 0.001)

    async def script(scene: Scene) -> None:
        scene.bring(*readings(0, 2))
        await scene.begins()
        scene.bring(*readings(2, 100))
        await scene.until(lambda: len(scene.service._ahead.messages) == 98)
        scene.permit(StoreUnavailable("away"))
        assert await scene.begins() == full(readings(0, 2)), "the same again, not the next"
        assert scene.line.acknowledged == []
        scene.permit()
        scene.permit()
        await scene.until(lambda: len(scene.line.acknowledged) == 100)

    play(scene, script)


def test_what_is_in_hand_at_the_stop_is_written_and_acknowledged(scene: Scene) -> None:
    async def script(scene: Scene) -> None:
        scene.bring(*readings(0, 2))
        await scene.begins()
        scene.bring(*readings(2, 100))
        await scene.until(lambda: len(scene.service._ahead.messages) == 98)
        scene.stop.set()
        scene.permit()
        scene.permit()

    play(scene, script)
    assert scene.line.acknowledged == full(readings(0, 100))


def test_what_is_in_hand_at_the_stop_stays_unacknowledged_where_the_database_is_away(scene: Scene) -> None:
    async def script(scene: Scene) -> None:
        scene.bring(*readings(0, 2))
        await scene.begins()
        scene.bring(*readings(2, 100))
        await scene.until(lambda: len(scene.service._ahead.messages) == 98)
        scene.stop.set()
        scene.permit(StoreUnavailable("away"))

    play(scene, script)
    assert scene.line.acknowledged == []


def test_an_error_that_nobody_expects_ends_the_service_with_nothing_acknowledged(scene: Scene) -> None:
    async def script(scene: Scene) -> None:
        scene.bring(*readings(0, 2))
        await scene.begins()
        scene.permit(RuntimeError("a defect"))
        await asyncio.sleep(0.05)

    with pytest.raises(RuntimeError, match="a defect"):
        play(scene, script)
    assert scene.line.acknowledged == []


def test_a_decoder_with_a_memory_is_told_of_a_gap_and_of_a_new_connection(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[str] = []
    router = scene.service._router
    monkeypatch.setattr(router, "missed", lambda: heard.append("missed"))
    decode = router.decode
    monkeypatch.setattr(router, "decode", lambda topic, *a, **k: heard.append(topic) or decode(topic, *a, **k))

    async def script(scene: Scene) -> None:
        scene.bring("a", "b")
        with monkeypatch.context() as full_window:
            full_window.setattr(scene.service._window, "offer", lambda *_, **__: False)
            scene.bring("lost")
        scene.bring("c")
        scene.bring("d", connection=2)
        for _ in range(4):
            scene.permit()
        await scene.until(lambda: len(scene.line.acknowledged) == 4)

    play(scene, script)
    assert heard == ["missed", *full("ab"), "missed", *full("c"), "missed", *full("d")]


def test_what_waits_when_the_line_breaks_is_kept_since_a_killed_broker_may_not_have_it_any_more(scene: Scene) -> None:
    async def script(scene: Scene) -> None:
        scene.bring("meter/Acme/0/reading")
        await scene.begins()
        scene.bring(*readings(1, 20))  # too few to be decoded ahead
        scene.service._on_connect(Granted(session_present=True))
        assert scene.service.health()["unacked_messages"] == 20
        scene.permit()
        assert await scene.begins() == full(readings(1, 20))
        scene.permit()

    play(scene, script)


def test_a_busy_line_never_waits_for_quiet() -> None:
    scene = Scene(flush_quiet_s=60.0, flush_age_s=60.0)

    async def script(scene: Scene) -> None:
        scene.bring(*readings(0, 100))  # enough
        assert len(await scene.begins()) == 100
        scene.bring("meter/Acme/1/reading")
        scene.permit()
        assert len(await scene.begins()) == 1, "what came while a batch was written is written at once"
        scene.permit()

    play(scene, script)
