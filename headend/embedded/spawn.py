"""Starts programs that never outlive this process, not even its kill -9. Linux only.

The kernel's death signal (prctl PR_SET_PDEATHSIG) is sent when the *thread* that forked ends, not the process. All
forks are therefore done by one thread that lives as long as the process does, whichever thread asks.
"""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import IO

from headend.embedded import launch
from headend.embedded.errors import EmbeddedError
from headend.embedded.probes import Probe

POLL_S = 0.02
"""How often a start or an end is looked for."""

Process = subprocess.Popen[bytes]

_Job = tuple[Callable[[], Process], "Future[Process]"]


class _Spawner:
    """The thread that forks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._jobs: queue.SimpleQueue[_Job] | None = None

    def call(self, start: Callable[[], Process]) -> Process:
        """Run ``start`` in the forking thread and hand its result, or what it raised, to the caller."""
        with self._lock:
            if self._jobs is None:
                self._jobs = queue.SimpleQueue()
                threading.Thread(target=_work, args=(self._jobs,), name="embedded-spawner", daemon=True).start()
            jobs = self._jobs
        outcome: Future[Process] = Future()
        jobs.put((start, outcome))
        return outcome.result()

    def forget(self) -> None:
        """After a fork of this process the thread exists in the parent only."""
        self._lock = threading.Lock()
        self._jobs = None


def _work(jobs: queue.SimpleQueue[_Job]) -> None:
    while True:
        start, outcome = jobs.get()
        try:
            outcome.set_result(start())
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            outcome.set_exception(error)


_spawner = _Spawner()
os.register_at_fork(after_in_child=_spawner.forget)


def spawn(
    command: Sequence[str | os.PathLike[str]],
    *,
    output: IO[bytes] | int,
    death_signal: signal.Signals = signal.SIGKILL,
    environment: Mapping[str, str] | None = None,
    working_dir: Path | None = None,
    user: tuple[int, int] | None = None,
) -> Process:
    """Start ``command`` in a session of its own, so that a Ctrl-C at the terminal reaches it only through us.

    ``output`` takes stdout and stderr; stdin is empty. ``death_signal`` is what it gets when this process ends in
    any way: SIGKILL by default, since nobody is left who could escalate. ``user`` is (uid, gid) to drop to.

    Raises OSError when no process can be made. A command that cannot be executed exits with status 127 and says so
    in ``output``.
    """
    uid, gid = user if user is not None else (-1, -1)
    launched = [
        sys.executable,
        "-I",
        "-S",
        os.fspath(launch.__file__),
        *(str(number) for number in (os.getpid(), int(death_signal), uid, gid)),
        *(os.fspath(part) for part in command),
    ]

    def start() -> Process:
        return subprocess.Popen(
            launched,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=None if environment is None else dict(environment),
            cwd=working_dir,
            start_new_session=True,
        )

    return _spawner.call(start)


def end(process: Process, steps: Sequence[tuple[signal.Signals, float]]) -> bool:
    """Stop ``process``: each step sends its signal and waits so many seconds [s]; the last resort is SIGKILL.

    Returns whether it ended before the last resort. A process that has ended already is not touched.
    """
    for number, patience_s in steps:
        if process.poll() is not None:
            return True
        process.send_signal(number)
        try:
            process.wait(patience_s)
        except subprocess.TimeoutExpired:
            continue
        return True
    process.kill()
    process.wait()
    return False


def await_ready(process: Process, ready: Probe, *, what: str, log_path: Path, timeout_s: float) -> None:
    """Ask ``ready`` until it says yes.

    Raises EmbeddedError with the tail of ``log_path`` when ``process`` ends meanwhile, or after ``timeout_s`` [s].
    """
    deadline = time.monotonic() + timeout_s
    while not ready():
        if (status := process.poll()) is not None:
            raise EmbeddedError(f"{what} ended with status {status} while starting; {log_path} says:\n{tail(log_path)}")
        if time.monotonic() > deadline:
            raise EmbeddedError(f"{what} is not ready after {timeout_s:g} s; {log_path} says:\n{tail(log_path)}")
        time.sleep(POLL_S)


def tail(path: Path, lines: int = 15, max_bytes: int = 16_384) -> str:
    """The last lines of a log, for an error message; empty where there is no log."""
    try:
        with path.open("rb") as log:
            log.seek(0, os.SEEK_END)
            log.seek(max(0, log.tell() - max_bytes))
            text = log.read().decode("utf-8", "replace")
    except FileNotFoundError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def open_log(path: Path, max_bytes: int = 10_000_000) -> IO[bytes]:
    """Open a child's log for appending; one that has grown past ``max_bytes`` is kept as ``<name>.1`` first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > max_bytes:
        path.replace(path.with_name(path.name + ".1"))
    return path.open("ab")
