"""The simulator as its own process: real broker, real Modbus, killed and started again."""

from __future__ import annotations

import asyncio
import csv
import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from drivers.base import Quantity
from drivers.errors import DeviceException
from drivers.modbus.bus import BusSettings
from drivers.modbus.map_file import load_models
from drivers.registry import open_bus
from headend.embedded.broker import EmbeddedBroker

EPOCH = (datetime.now(UTC) - timedelta(hours=5)).isoformat()
"""First start of every test's neighbourhood: some uploads after history are due already."""
Wait = Callable[..., None]


class Process:
    """One run of the simulator."""

    def __init__(self, scenario: Path, state: Path, broker: EmbeddedBroker, wait_until: Wait) -> None:
        self.ready_file = state.parent / "ready.json"
        self.ready_file.unlink(missing_ok=True)
        self.process = subprocess.Popen(
            [
                sys.executable, "-m", "drivers.simulator", "run", "--scenario", str(scenario), "--state", str(state),
                "--epoch", EPOCH, "--mqtt", f"{broker.host}:{broker.port}", "--modbus-ports", "0,0",
                "--ready-file", str(self.ready_file), "--die-with-stdin",
            ],
            stdin=subprocess.PIPE,
        )  # fmt: skip
        wait_until(lambda: self.ready_file.exists() or self.process.poll() is not None, "ready file")
        assert self.process.poll() is None, "the simulator ended at once"
        self.ports: list[int] = json.loads(self.ready_file.read_text())["modbus_ports"]

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait."""
        self.process.send_signal(number)
        return self.process.wait(20)


@pytest.fixture
def exported(scenario_file: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Import files and truth of the state directory that runs use."""
    out = tmp_path / "out"
    subprocess.run(
        [sys.executable, "-m", "drivers.simulator", "export", "--scenario", str(scenario_file), "--state",
         str(tmp_path / "state"), "--epoch", EPOCH, "--modbus-ports", "1,2", "--out", str(out)],
        check=True,
    )  # fmt: skip
    return out, json.loads((out / "truth.json").read_text())


@pytest.fixture
def start(
    scenario_file: Path, tmp_path: Path, broker: EmbeddedBroker, exported: object, wait_until: Wait
) -> Iterator[Callable[[], Process]]:
    """Starts the simulator on the exported state; may be called again after its end."""
    started: list[Process] = []

    def one() -> Process:
        started.append(Process(scenario_file, tmp_path / "state", broker, wait_until))
        return started[-1]

    yield one
    for process in started:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait()


@pytest.fixture
def running(start: Callable[[], Process]) -> Process:
    """A running simulator."""
    return start()


def rows(file: Path) -> list[dict[str, str]]:
    """A CSV file's rows."""
    with file.open() as lines:
        return list(csv.DictReader(lines))


def test_history_arrives_whole_and_is_counted_as_in_the_truth(
    headend: Any, running: Process, exported: tuple[Path, dict[str, Any]], wait_until: Wait
) -> None:
    _, truth = exported
    until = truth["history"]["until"]
    wait_until(
        lambda: {1, 2, 3, 4} <= set(headend.seqs("C-01")) and {1, 2, 3, 4} <= set(headend.seqs("C-02")), "history"
    )
    counted: dict[str, set[str]] = {}
    for _, payload in headend.of("/profile"):
        body = json.loads(payload)
        for meter, column in zip(body["meters"], body["import_wh"], strict=True):
            there = {t for t, v in zip(body["ts"], column, strict=True) if v is not None and t <= until}
            counted.setdefault(meter, set()).update(there)
    assert {m: len(ts) for m, ts in counted.items()} == truth["history"]["readings"]


def test_backlog_falls_to_zero_and_registers_never_fall(headend: Any, running: Process, wait_until: Wait) -> None:
    wait_until(lambda: {1, 2, 3, 4} <= set(headend.seqs("C-01")), "history")
    first: dict[int, dict[str, Any]] = {}
    for _, payload in headend.of("C-01/profile"):
        first.setdefault(json.loads(payload)["seq"], json.loads(payload))
    # Much time has passed since the first start: the uploads after history wait behind it, one for each freeze.
    assert [first[s]["backlog"] - first[s + 1]["backlog"] for s in (1, 2, 3)] == [1, 1, 1]
    registers = [v for s in (1, 2, 3, 4) for v in first[s]["import_wh"][1] if v is not None]
    assert registers == sorted(registers)
    assert registers[-1] > registers[0]
    assert all(v % 10 == 0 for v in registers)


def test_lost_confirmations_are_asked_for_again_byte_for_byte(
    headend: Any, start: Callable[[], Process], wait_until: Wait
) -> None:
    refused: set[tuple[str, int]] = set()

    def every_second_time(topic: str, body: dict[str, Any]) -> bool:
        key = (topic, body["seq"])
        if key in refused:
            return True
        refused.add(key)
        return False

    headend.confirming = every_second_time
    start()
    wait_until(lambda: headend.seqs("C-01").count(4) >= 2 and headend.seqs("C-02").count(4) >= 2, "sent again")
    for seq in (1, 2, 3, 4):
        bytes_of = {p for _, p in headend.of("C-01/profile") if json.loads(p)["seq"] == seq}
        assert len(bytes_of) == 1


def test_no_more_than_the_window_is_on_the_way(headend: Any, start: Callable[[], Process], wait_until: Wait) -> None:
    headend.confirming = lambda topic, body: False
    start()
    wait_until(lambda: headend.seqs("C-01").count(2) >= 2, "asked again")
    assert set(headend.seqs("C-01")) == {1, 2}


def test_kill_9_and_broker_death_lose_nothing(
    broker: EmbeddedBroker, headend: Any, start: Callable[[], Process], wait_until: Wait
) -> None:
    headend.confirming = lambda topic, body: body["seq"] == 1
    first = start()
    wait_until(lambda: {1, 2, 3} <= set(headend.seqs("C-01")), "the first uploads")
    before = {json.loads(p)["seq"]: p for _, p in headend.of("C-01/profile")}
    first.end(signal.SIGKILL)
    broker.stop()
    broker.start()
    headend.confirming = lambda topic, body: True
    seen = len(headend.messages)

    def later() -> dict[int, bytes]:
        return {json.loads(p)["seq"]: p for t, p in headend.messages[seen:] if t.endswith("C-01/profile")}

    again = start()
    wait_until(lambda: {2, 3, 4} <= set(later()), "the unconfirmed uploads, after the restart")
    assert 1 not in later(), "confirmed uploads are not sent again"
    assert later()[2] == before[2], "the same number carries the same bytes"
    broker.stop()
    broker.start()
    seen = len(headend.messages)
    wait_until(lambda: any(t.endswith("/reading") for t, _ in headend.messages[seen:]), "live readings come back")
    assert again.process.poll() is None


def test_starts_before_its_broker(
    broker: EmbeddedBroker, headend: Any, start: Callable[[], Process], wait_until: Wait
) -> None:
    broker.stop()
    start()
    broker.start()
    wait_until(lambda: {1, 2, 3, 4} <= set(headend.seqs("C-02")), "history, once there is a broker")


def test_stops_cleanly_and_says_so(headend: Any, running: Process, wait_until: Wait) -> None:
    wait_until(lambda: (b"online") in [p for _, p in headend.of("C-01/state")], "online")
    assert running.end(signal.SIGTERM) == 0
    wait_until(lambda: headend.of("C-01/state")[-1][1] == b"offline", "offline")


def test_a_modem_has_to_be_told_where_to_connect(scenario_file: Path, tmp_path: Path, broker: EmbeddedBroker) -> None:
    modem = '[areas.gateway]\nkind = "dialin"\nimei = "861234050012348"\n'
    scenario_file.write_text(scenario_file.read_text() + modem)
    done = subprocess.run(
        [sys.executable, "-m", "drivers.simulator", "run", "--scenario", str(scenario_file), "--state",
         str(tmp_path / "other"), "--mqtt", f"{broker.host}:{broker.port}", "--modbus-ports", "0,0"],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("--dialin: missing; wanted HOST:PORT")


def test_stops_when_standard_input_closes(running: Process) -> None:
    assert running.process.stdin is not None
    running.process.stdin.close()
    assert running.process.wait(20) == 0


def test_last_will_of_a_killed_concentrator(headend: Any, running: Process, wait_until: Wait) -> None:
    wait_until(lambda: bool(headend.of("C-02/state")), "online")
    running.end(signal.SIGKILL)
    wait_until(lambda: headend.of("C-02/state")[-1][1] == b"offline", "last will")


def test_single_meters_publish_for_themselves(
    headend: Any, running: Process, exported: tuple[Path, dict[str, Any]], wait_until: Wait
) -> None:
    wait_until(lambda: bool(headend.of("/reading")), "a single reading")
    topic, payload = headend.of("/reading")[0]
    meters = {f"{r['manufacturer']}/{r['serial']}" for r in rows(exported[0] / "meters.csv")}
    assert "/".join(topic.split("/")[3:5]) in meters
    reading = json.loads(payload)
    assert reading["import_wh"] % 10 == 0
    assert 180 < reading["voltage_v"] < 260


def test_every_modbus_meter_answers_our_own_driver(running: Process, exported: tuple[Path, dict[str, Any]]) -> None:
    out, truth = exported
    models, kind = load_models(), {r["serial"]: r["model"] for r in rows(out / "meters.csv")}
    endpoints = [r for r in rows(out / "endpoints.csv") if r["protocol"] == "modbus"]
    assert {f"{r['manufacturer']}/{r['serial']}" for r in endpoints} == set(truth["modbus_meters"])

    async def read_all() -> dict[str, Any]:
        found = {}
        for port in (1, 2):
            bus = open_bus(f"modbus+tcp://127.0.0.1:{running.ports[port - 1]}", BusSettings())
            for r in (r for r in endpoints if r["port"] == str(port)):
                found[r["serial"]] = await bus.read_meter(int(r["unit"]), models[kind[r["serial"]]], None)
            with pytest.raises(DeviceException) as silent:
                await bus.read_meter(200, models["eastron-sdm120"], frozenset({Quantity.IMPORT_WH}))
            assert silent.value.exception_code == 11
            await bus.close()
        return found

    found = asyncio.run(read_all())
    for serial, reading in found.items():
        assert reading.import_wh is not None
        assert not reading.refused, f"{serial} ({kind[serial]}) refused {reading.refused}"
        if Quantity.SERIAL in models[kind[serial]].quantities:
            assert reading.serial == serial
        volts = [v for v in reading.voltage_v if v is not None]
        assert len(volts) == models[kind[serial]].phases
        assert all(180 < v < 260 for v in volts)
        step = 1 if serial.endswith("0001") else 10
        assert reading.import_wh % step == 0
