"""What happens to meters is heard over a real broker: events, silence without power, and a stranger's own topics."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from drivers.simulator.faults import Stranger
from drivers.simulator.live import LiveMeters
from drivers.simulator.scenario import parse_scenario
from drivers.simulator.self_publishing import SinglePublishers, StrangerPublisher
from drivers.simulator.stranger import StrangerDevice
from drivers.simulator.world import World
from headend.embedded.broker import EmbeddedBroker

Wait = Callable[..., None]
FAILURE = '[[faults]]\nkind = "power_failure"\narea = "A"\nat_s = 0.2\nlasts_s = 0.2\n'
OPENED = '[[faults]]\nkind = "cover_opened"\narea = "A"\nonset_day = 1.5\n'
STRANGER = '[[faults]]\nkind = "stranger"\narea = "B"\ndevice = "shellypro3em-1"\nperiod_s = 1\n'
OFTEN = "single_publish_s = 0.2\nevent_tellings = 3\nevent_again_s = 0.2"


def _now_us() -> int:
    return time.time_ns() // 1000


def _world(scenario_file: Path, faults: str) -> World:
    text = scenario_file.read_text().replace("single_publish_s = 1.0", OFTEN)
    text = text.replace("households = 6", "households = 6\nlinks = { modbus = 0.3, mqtt = 0.5 }")
    return World(parse_scenario(text + faults, file="small.toml"), _now_us())


@contextmanager
def _running(make: Callable[[], Any]) -> Iterator[None]:
    """Runs what `make` makes in a thread of its own until the end of the block."""
    stops: list[Callable[[], Any]] = []
    begun = threading.Event()

    async def run() -> None:
        stop, loop = asyncio.Event(), asyncio.get_running_loop()
        stops.append(lambda: loop.call_soon_threadsafe(stop.set))
        begun.set()
        await make().run(stop)

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    try:
        assert begun.wait(10)
        yield
    finally:
        stops[0]()
        thread.join(20)
    assert not thread.is_alive()


def _events(headend: Any) -> list[tuple[str, bytes]]:
    return [(t, p) for t, p in headend.of("/event")]


def test_an_event_of_long_ago_is_told_again_the_same(
    scenario_file: Path, broker: EmbeddedBroker, headend: Any, wait_until: Wait
) -> None:
    world = _world(scenario_file, OPENED)
    meter = world.fleet.meters[world.fleet.planted[0]]

    def make() -> SinglePublishers:
        return SinglePublishers(world, 0, host=broker.host, port=broker.port, prefix="headend/v1", now_us=_now_us)

    with _running(make):
        wait_until(lambda: len(_events(headend)) == 3, "three tellings")
    assert {t for t, _ in _events(headend)} == {f"headend/v1/meter/{meter.name}/event"}
    assert len({p for _, p in _events(headend)}) == 1
    body = json.loads(_events(headend)[0][1])
    assert body["kind"] == "cover_opened"
    with _running(make):
        wait_until(lambda: len(_events(headend)) == 6, "told again after a start")
    assert len({p for _, p in _events(headend)}) == 1


def test_a_last_gasp_silence_and_the_return(
    scenario_file: Path, broker: EmbeddedBroker, headend: Any, wait_until: Wait
) -> None:
    world = _world(scenario_file, FAILURE)
    (incident,) = world.incidents.planted.values()
    meter = world.fleet.meters[incident.meter].name
    now = [world.epoch_us]
    """Stands still unless told to go on; whoever waits looks at it again every 0.2 s."""

    def make() -> SinglePublishers:
        return SinglePublishers(
            world, 0, host=broker.host, port=broker.port, prefix="headend/v1", now_us=lambda: now[0]
        )

    def kinds() -> set[str]:
        return {json.loads(p)["kind"] for _, p in _events(headend)}

    def readings(own: bool) -> int:
        return len([t for t, _ in headend.of("/reading") if (meter in t) is own])

    assert incident.until_us is not None
    with _running(make):
        wait_until(lambda: readings(own=True) > 0, "a reading before")
        assert not _events(headend)
        now[0] = incident.from_us
        wait_until(lambda: kinds() == {"power_failed"}, "the last gasp")
        others = readings(own=False)
        wait_until(lambda: readings(own=False) > others + 2, "readings that were under way")
        silent_since, others = readings(own=True), readings(own=False)
        wait_until(lambda: readings(own=False) > others + 8, "the neighbours' readings")
        assert readings(own=True) == silent_since
        assert kinds() == {"power_failed"}
        now[0] = incident.until_us
        wait_until(lambda: kinds() == {"power_failed", "power_restored"}, "the word of its return")
        wait_until(lambda: readings(own=True) > silent_since, "readings come back")


def test_a_stranger_speaks_on_its_own_topics(
    scenario_file: Path, broker: EmbeddedBroker, headend: Any, wait_until: Wait
) -> None:
    world = _world(scenario_file, STRANGER)
    headend.listen("shellypro3em-1/#")
    (fault,) = world.scenario.faults
    assert isinstance(fault, Stranger)

    def make() -> StrangerPublisher:
        device = StrangerDevice(world, LiveMeters(world), fault)
        return StrangerPublisher(device, host=broker.host, port=broker.port, now_us=_now_us)

    with _running(make):
        wait_until(lambda: len(headend.of("/events/rpc")) >= 4, "two turns")
    components = {next(k for k in json.loads(p)["params"] if k != "ts") for _, p in headend.of("/events/rpc")}
    assert components == {"emdata:0", "em:0"}
    assert [p for _, p in headend.of("shellypro3em-1/online")] == [b"true", b"false"]
