"""Starts the product as a user would: `headend demo` in a process of its own, in a directory of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.demo import ROOT, Once, Running, demo_once, until

_LAST = "test_rollout"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The rollout changes the demo that others look at: it comes last, its own order kept."""
    items.sort(key=lambda item: item.path.stem == _LAST and item.path.parent == Path(__file__).parent)


def _start(data_dir: Path, log: Path, *options: str) -> Running:
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "headend.cli", "demo", "--data-dir", str(data_dir), *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
    return Running(data_dir, process, log)


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `headend demo` in a data directory; whatever is left at the end is killed."""
    started: list[Running] = []

    def start(data_dir: Path | None = None, *options: str) -> Running:
        started.append(_start(data_dir or tmp_path / "data", tmp_path / f"demo-{len(started)}.log", *options))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One demo whose history is through, for all tests that look at it or work on it."""
    directory = tmp_path_factory.mktemp("demo")
    running = _start(directory / "data", directory / "demo.log")
    try:
        running.url()
        until(lambda: b"findings," in running.log.read_bytes(), f"the history in {running.log}")
        yield running
    finally:
        if running.process.poll() is None:
            running.end(signal.SIGTERM)


@pytest.fixture(scope="session")
def once_temporary(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the run of `once` keeps its temporary files."""
    return tmp_path_factory.mktemp("once")


@pytest.fixture(scope="session")
def once(once_temporary: Path) -> Once:
    """One run of `headend demo --once --reveal` that several tests look at."""
    return demo_once("--reveal", temporary=once_temporary)
