"""Rounds of one bus: order, dead and resting meters, exchanged ones, both ends of a slow area, a queue that is full."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from drivers.base import RegisterReading
from drivers.errors import ConnectionFailed, MeterResting
from drivers.modbus.gate import Priority
from headend.ingest.poll_round import Outcome, same_serial
from support.polling import Polling, metric

Make = Callable[..., Any]


def test_area_meters_come_first(time: Any, scripted: Make, target: Make) -> None:
    bus = scripted({1: "1", 2: "2", 3: "3"})
    polling = Polling(time, bus, [target(1), target(2), target(3, area_meter=True)])
    report = polling.once()
    assert [(unit, priority) for _, unit, priority in bus.visits] == [
        (3, Priority.AREA_METER),
        (1, Priority.HOUSEHOLD),
        (2, Priority.HOUSEHOLD),
    ]
    assert polling.serials == ["3", "1", "2"]
    assert (report.read, report.failed, report.resting) == (3, 0, 0)
    assert report.ended_us - report.began_us == 300_000
    assert polling.reports == [report]


def test_a_bus_of_several_areas_is_read_area_by_area(time: Any, scripted: Make, target: Make) -> None:
    bus = scripted({unit: str(unit) for unit in range(1, 8)})
    targets = [
        target(1, area="B"),
        target(2, area="A"),
        target(3, area="B", area_meter=True),
        target(4, area=None),
        target(5, area="A", area_meter=True),
        target(6, area="B"),
        target(7, area="A"),
    ]
    Polling(time, bus, targets).once()
    assert [unit for _, unit, _ in bus.visits] == [5, 2, 7, 3, 1, 6, 4]


def test_a_slow_area_has_its_meter_read_at_both_ends(time: Any, scripted: Make, target: Make) -> None:
    before = metric("area_meters_again")
    bus = scripted({unit: str(unit) for unit in range(1, 8)}, visit_s=5.0)
    targets = [
        target(1, area="A", area_meter=True),
        *(target(u, area="A") for u in (2, 3, 4)),  # 20 s
        target(5, area="B", area_meter=True),
        *(target(u, area="B") for u in (6, 7)),  # 15 s: quick enough
    ]
    polling = Polling(time, bus, targets, area_again_s=19.9)
    report = polling.once()
    assert [unit for _, unit, _ in bus.visits] == [1, 2, 3, 4, 1, 5, 6, 7]
    ends = [reading.instant_us for identity, reading in polling.rounds[0].readings if identity.serial == "1"]
    assert ends[1] - ends[0] == 20_000_000  # both are stored, each with its own stamp
    assert report.read_us[1] == tuple(ends)
    assert report.read == 7  # meters, not readings
    assert metric("area_meters_again") == before + 1
    alone = scripted({1: "1"}, visit_s=60.0)
    Polling(time, alone, [target(1, area_meter=True)], area_again_s=1.0).once()
    assert len(alone.visits) == 1  # an area meter by itself has no other end


def test_an_area_meter_that_fails_at_the_end_has_been_read(
    time: Any, scripted: Make, target: Make, silence: Any
) -> None:
    answers = iter(["1", silence])
    bus = scripted({1: lambda: next(answers), 2: "2"}, visit_s=30.0)
    report = Polling(time, bus, [target(1, area_meter=True), target(2)], area_again_s=20.0).once()
    assert [unit for _, unit, _ in bus.visits] == [1, 2, 1]
    assert report.read == 2
    # The other way round it is the second reading that counts.
    answers = iter([silence, "1"])
    polling = Polling(time, bus, [target(1, area_meter=True), target(2)], area_again_s=20.0)
    assert polling.once().read == 2
    assert polling.serials == ["2", "1"]


def test_a_dead_meter_is_counted_and_the_rest_is_read(time: Any, scripted: Make, target: Make, silence: Any) -> None:
    before = metric("reads", outcome="timeout"), metric("reads", outcome="ok")
    polling = Polling(time, scripted({1: silence, 2: "2", 3: silence, 4: "4"}), [target(u) for u in (1, 2, 3, 4)])
    report = polling.once()
    assert polling.serials == ["2", "4"]
    assert report.failed == 2
    assert report.outcomes[1] == Outcome("timeout", "10.0.0.1:502 unit 9: no answer within 1 s")
    assert (metric("reads", outcome="timeout"), metric("reads", outcome="ok")) == (before[0] + 2, before[1] + 2)


def test_a_resting_meter_is_counted_as_such_and_said_once(
    time: Any, scripted: Make, target: Make, silence: Any
) -> None:
    before = metric("reads", outcome="resting")
    rests = MeterResting("not asked until 12:00:00", peer="10.0.0.1:502 unit 1", since_us=0, next_probe_us=1)
    answers = iter([silence, rests, rests, rests])
    polling = Polling(time, scripted({1: lambda: next(answers), 2: "2"}), [target(1), target(2)])
    with capture_logs() as logs:
        reports = [polling.once() for _ in range(4)]
    assert [(r.read, r.failed, r.resting) for r in reports] == [(1, 1, 0), (1, 0, 1), (1, 0, 1), (1, 0, 1)]
    assert [line["outcome"] for line in logs if line["event"] == "meter not read"] == ["timeout"]
    assert metric("reads", outcome="resting") == before + 3


def test_a_connection_that_breaks_in_a_round_costs_nobody_the_round(time: Any, scripted: Make, target: Make) -> None:
    before = metric("reads", outcome="connection")
    down_until = time.now + timedelta(seconds=2.5)

    def behind_the_gateway(serial: str) -> Any:
        def answer() -> Any:
            return serial if time.now >= down_until else ConnectionFailed("down", peer="10.0.0.1:502")

        return answer

    bus = scripted({1: "1", 2: behind_the_gateway("2"), 3: behind_the_gateway("3")})
    polling = Polling(time, bus, [target(1), target(2), target(3)])
    report = polling.once()
    assert polling.serials == ["1", "2", "3"]
    assert [unit for _, unit, _ in bus.visits] == [1, 2, 3, 2, 3, 2, 3]
    assert report.failed == 0
    assert metric("reads", outcome="connection") == before


def test_a_gateway_that_stays_away_is_left_in_time_for_the_next_round(time: Any, scripted: Make, target: Make) -> None:
    before = metric("reads", outcome="connection")
    began = time.now
    away = ConnectionFailed("refused", peer="10.0.0.1:502")
    report = Polling(time, scripted({1: away, 2: away}, visit_s=0.0), [target(1), target(2)], period_s=60).once()
    assert report.failed == 2
    assert report.outcomes[1] == Outcome("connection", "10.0.0.1:502: refused")
    assert metric("reads", outcome="connection") == before + 2
    assert timedelta(seconds=10) < time.now - began <= timedelta(seconds=30)


def test_another_serial_is_kept_apart(time: Any, scripted: Make, target: Make) -> None:
    before = metric("reads", outcome="serial_mismatch")
    polling = Polling(time, scripted({1: "120001", 2: "999"}), [target(1, "0120001"), target(2, "120002")])
    report = polling.once()
    assert polling.serials == ["0120001"]
    [mismatch] = polling.rounds[0].mismatches
    assert (mismatch.target.serial, mismatch.reading.serial) == ("120002", "999")
    assert mismatch.detail == "the store expects Eastron/120002 here, the meter says its serial is 999"
    assert report.outcomes[2] == Outcome("serial_mismatch", mismatch.detail)
    assert metric("reads", outcome="serial_mismatch") == before + 1


def test_a_meter_that_cannot_tell_its_serial_is_believed(time: Any, scripted: Make, target: Make) -> None:
    assert Polling(time, scripted({1: None}), [target(1)]).once().read == 1


def test_a_reading_without_any_register_is_no_reading(time: Any, scripted: Make, target: Make) -> None:
    before = metric("reads", outcome="no_registers")
    voltage_only = RegisterReading(
        instant_us=1, uncertainty_ms=1, voltage_v=(230.0, None, None), refused=("import_wh",)
    )
    polling = Polling(time, scripted({1: voltage_only, 2: "2"}), [target(1), target(2)])
    polling.once()
    assert polling.serials == ["2"]
    assert metric("reads", outcome="no_registers") == before + 1


def test_a_model_without_a_map_is_counted(time: Any, scripted: Make, target: Make) -> None:
    before = metric("reads", outcome="unknown_model")
    polling = Polling(time, scripted({2: "2"}), [target(1, model="no-such"), target(2)])
    polling.once()
    assert polling.serials == ["2"]
    assert metric("reads", outcome="unknown_model") == before + 1


@pytest.mark.parametrize(
    ("stored", "told", "same"),
    [("00120001", "120001", True), ("ab12 ", "AB12", True), ("120001", "120010", False), ("1200", "12", False)],
)
def test_same_serial(stored: str, told: str, same: bool) -> None:
    assert same_serial(stored, told) is same


def test_what_was_read_before_a_stop_is_kept(time: Any, scripted: Make, target: Make) -> None:
    async def scenario() -> None:
        asleep = asyncio.Event()

        class Stuck(type(scripted({}))):  # type: ignore[misc]
            async def read_meter(self, unit: int, *rest: Any, **named: Any) -> Any:
                if unit == 2:
                    asleep.set()
                    await asyncio.Event().wait()
                return await super().read_meter(unit, *rest, **named)

        polling = Polling(time, Stuck(time, {1: "1"}), [target(1), target(2)])
        task = asyncio.create_task(polling.poller.run())
        await asleep.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await polling.box.flush()
        assert polling.serials == ["1"]
        assert polling.reports == []  # it was no whole round

    asyncio.run(scenario())


def test_polling_pauses_while_the_queue_is_full(time: Any, scripted: Make, target: Make) -> None:
    before = metric("ticks_missed", reason="store_away")
    bus = scripted({1: "1", 2: "2"})
    polling = Polling(time, bus, [target(1), target(2)], hold=2)

    async def scenario() -> None:
        await polling.poller.poll()
        await polling.poller.poll()
        assert len(bus.visits) == 2
        await polling.box.flush()
        await polling.poller.poll()

    asyncio.run(scenario())
    assert len(bus.visits) == 4
    assert metric("ticks_missed", reason="store_away") == before + 1
