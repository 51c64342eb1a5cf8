"""One child process under our care: started, asked whether it is ready, its output kept, stopped in good time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from headend.embedded.errors import EmbeddedError
from headend.embedded.probes import Probe, listens
from headend.embedded.spawn import Process, await_ready, end, open_log, spawn
from headend.log import get_logger

PACKAGE_ROOT = Path(__file__).resolve().parents[2]
"""Where the packages lie, so that a child finds them whatever its working directory is."""

_log = get_logger(__name__)


class ChildProcess:
    """A program that runs as long as we do at the most; its output goes to ``log_path``.

    ``ready`` is asked until it says yes, at the most ``ready_timeout_s`` [s]; without one, a child that was started is
    ready. ``port`` is the one it must listen on itself before it is asked, so that no other server there is taken for
    it. A clean stop is SIGTERM, ``stop_timeout_s`` [s] of patience, then SIGKILL. ``death_signal`` is what it gets
    when we die without stopping it.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | os.PathLike[str]],
        *,
        log_path: Path,
        ready: Probe | None = None,
        port: int | None = None,
        ready_timeout_s: float = 30.0,
        stop_timeout_s: float = 10.0,
        environment: Mapping[str, str] | None = None,
        death_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name = name
        self.log_path = log_path
        self._command = list(command)
        self._ready = ready
        self._port = port
        self._ready_timeout_s = ready_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._environment = dict(environment or {})
        self._death_signal = death_signal
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The child's process id, also after it ended; None before the first start and after a stop."""
        return None if self._process is None else self._process.pid

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    @property
    def exit_status(self) -> int | None:
        """Exit status of the last run, negative for the signal that ended it; None while running or stopped by us."""
        return None if self._process is None else self._process.poll()

    def start(self) -> None:
        """Start it and wait until it is ready.

        Raises EmbeddedError with the tail of its log when it ends or is not ready in time; it does not run then.
        """
        if self.running:
            return
        try:
            with open_log(self.log_path) as log:
                process = spawn(
                    self._command, output=log, death_signal=self._death_signal, environment=self._full_environment()
                )
        except OSError as error:
            raise EmbeddedError(f"cannot start {self.name}: {error}") from error
        self._process = process
        with ExitStack() as undo:
            undo.callback(end, process, [(signal.SIGTERM, 2.0)])
            await_ready(
                process,
                lambda: self._is_ready(process.pid),
                what=self.name,
                log_path=self.log_path,
                timeout_s=self._ready_timeout_s,
            )
            undo.pop_all()
        _log.info("child_started", child=self.name, pid=process.pid)

    def stop(self) -> None:
        """Stop it; nothing happens when it does not run."""
        process, self._process = self._process, None
        if process is not None and not end(process, [(signal.SIGTERM, self._stop_timeout_s)]):
            _log.warning("child_killed", child=self.name, pid=process.pid, patience_s=self._stop_timeout_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _is_ready(self, pid: int) -> bool:
        if self._port is not None and not listens(pid, self._port):
            return False
        return self._ready is None or self._ready()

    def _full_environment(self) -> dict[str, str]:
        environment = dict(os.environ)
        paths = [str(PACKAGE_ROOT), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
        environment["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
        environment["PYTHONUNBUFFERED"] = "1"
        return environment | self._environment


def python_module(module: str, *arguments: str) -> list[str]:
    """The command that runs a module with our own interpreter, the working directory kept off its import path."""
    return [sys.executable, "-P", "-m", module, *arguments]
