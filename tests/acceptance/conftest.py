"""Starts the product as a user would: `headend demo` in a process of its own, in a directory of its own."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.demo import ROOT, Once, Running, demo_once


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Callable[..., Running]]:
    """Starts `headend demo` in a data directory; whatever is left at the end is killed."""
    started: list[Running] = []

    def start(data_dir: Path | None = None, *options: str) -> Running:
        directory = data_dir or tmp_path / "data"
        log = tmp_path / f"demo-{len(started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "headend.cli", "demo", "--data-dir", str(directory), *options],
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=ROOT,
                start_new_session=True,
            )
        started.append(Running(directory, process, log))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.end(signal.SIGKILL)


@pytest.fixture(scope="session")
def once() -> Once:
    """One run of `headend demo --once --reveal` that several tests look at."""
    return demo_once("--reveal")
