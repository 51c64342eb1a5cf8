"""What happens to the demo when things die: nothing is left behind, nothing is lost, and the next start goes on."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from support.demo import Running, demo_once, processes_of, until

pytestmark = pytest.mark.acceptance

Start = Callable[..., Running]


def _readings_arriving(running: Running) -> bool:
    """Whether part of the history is stored already."""
    return b"headend_readings_stored_total{" in running.fetch("/metrics")


def _pid(running: Running, words: str) -> int:
    """The one process of this demo whose command line holds the words."""
    found = [int(p.split(":")[0]) for p in processes_of(running.data_dir) if words in p]
    assert found, f"no process of {words!r}"
    return found[0]


def test_kill_9_leaves_no_process_and_the_next_start_loses_nothing(start_demo: Start) -> None:
    running = start_demo()
    running.url()
    until(lambda: _readings_arriving(running), "the first readings")
    running.end(signal.SIGKILL)
    until(lambda: not processes_of(running.data_dir), f"everything gone, not {processes_of(running.data_dir)}", 10)
    again = demo_once("--data-dir", str(running.data_dir))
    assert again.status == 0, again.stderr[-3000:]
    readings = again.summary["readings"]
    assert readings["history_stored"] == readings["history_wanted"]


def test_ctrl_c_stops_everything(start_demo: Start) -> None:
    running = start_demo()
    running.url()
    running.end(signal.SIGINT)
    assert processes_of(running.data_dir) == []
    ports = running.ports()
    assert ports is not None
    for port in ports.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_ctrl_c_while_it_is_still_starting(start_demo: Start) -> None:
    running = start_demo()
    until(lambda: b"starting database" in running.log.read_bytes(), "the first part")
    assert running.end(signal.SIGINT) == 130
    assert processes_of(running.data_dir) == []


def test_parts_that_are_killed_come_back_and_nothing_is_lost(start_demo: Start) -> None:
    running = start_demo()
    running.url()
    until(lambda: _readings_arriving(running), "the first readings")
    for number, victim in enumerate(("broker.toml", "--roles ingest,poll", "drivers.simulator run"), 1):
        os.kill(_pid(running, victim), signal.SIGKILL)
        until(lambda number=number: running.log.read_bytes().count(b"ended (status") == number, f"{victim} missed")
        until(lambda victim=victim: any(victim in p for p in processes_of(running.data_dir)), f"{victim} back")
    until(lambda: b"findings," in running.log.read_bytes(), "the summary")
    running.end(signal.SIGINT)
    again = demo_once("--data-dir", str(running.data_dir))
    assert again.status == 0, again.stderr[-3000:]


def test_two_demos_do_not_share_a_data_directory(start_demo: Start) -> None:
    running = start_demo()
    running.url()
    second = demo_once("--data-dir", str(running.data_dir))
    assert second.status == 1
    assert str(running.process.pid) in second.stderr


def test_a_taken_port_is_left_alone(start_demo: Start, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        running = start_demo(tmp_path / "moved", "--port", str(port))
        assert running.url() != f"http://127.0.0.1:{port}"
        assert running.get("/healthz")
