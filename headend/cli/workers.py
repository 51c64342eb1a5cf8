"""Several processes of one role under one: `headend run --roles ingest --workers N`, and the same with `settle`.

Those of ingest have a session each at the broker and take their share of the messages; those of settle share the areas
in the store. One that ends is started again under the same name, so that it finds what the broker kept for it; none
outlives this process.
"""

from __future__ import annotations

import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from headend.embedded.process import PACKAGE_ROOT, python_module
from headend.embedded.spawn import Process, end, spawn
from headend.log import get_logger
from headend.settings import Settings

ROLES: Final = ("ingest", "settle")
"""What runs in several processes."""
_ENDED: Final = {role: f"{role} worker ended, it is started again" for role in ROLES}
SHARE_GROUP: Final = "ingest"
"""Where the settings name none."""
_LOOK_S: Final = 0.1
_FIRST_PAUSE_S: Final = 1.0
_MOST_PAUSE_S: Final = 10.0
_STEADY_S: Final = 60.0
"""Whoever ran for so long is started again at once."""
_GOODBYE_S: Final = 30.0
_STDERR: Final = 2
_log = get_logger(__name__)


class WorkerNotStarted(Exception):
    """A worker ended before it was ready: the others would fare no better. It has said why on stderr."""


def environment_of(settings: Settings, number: int, role: str = "ingest") -> dict[str, str]:
    """What makes the settings those of one worker, counted from 1; the first one is the process that there was before.

    What only one may take (decoders with a memory) is taken by the first, if the settings let it.
    """
    found: dict[str, str] = {}
    if role == "ingest":
        mqtt = settings.mqtt
        found["HEADEND_MQTT__CLIENT_ID"] = mqtt.client_id if number == 1 else f"{mqtt.client_id}-{number}"
        found["HEADEND_MQTT__SHARE_GROUP"] = mqtt.share_group or SHARE_GROUP
        if number > 1:
            found["HEADEND_MQTT__UNSHARED"] = "false"
    if settings.metrics.port is not None:
        found["HEADEND_METRICS__PORT"] = str(settings.metrics.port + number - 1)
    return found


class _Worker:
    """One of them, over all its lives."""

    def __init__(self, role: str, number: int, command: list[str], environment: Mapping[str, str], ready: Path) -> None:
        self.role = role
        self.number = number
        self.ready = ready
        self.was_ready = False
        self._command = [*command, "--ready-file", str(ready)]
        self._environment = environment
        self._process: Process | None = None
        self._began_s = 0.0
        self._pause_s = _FIRST_PAUSE_S
        self._again_s: float | None = None

    def start(self, now_s: float) -> None:
        self.ready.unlink(missing_ok=True)
        self._began_s, self._again_s = now_s, None
        # Told to stop, not killed, when this process vanishes: what it has in hand it commits and acknowledges.
        self._process = spawn(self._command, output=_STDERR, death_signal=signal.SIGTERM, environment=self._environment)
        _log.info("worker started", of=self.role, worker=self.number, pid=self._process.pid)

    def look_after(self, now_s: float) -> None:
        """Note that it is ready, or ended; start it again when its pause is over. Raises WorkerNotStarted."""
        self.was_ready |= self.ready.exists()
        if self._process is None:
            if self._again_s is not None and now_s >= self._again_s:
                self.start(now_s)
            return
        status = self._process.poll()
        if status is None:
            return
        self._process = None
        if not self.was_ready:
            raise WorkerNotStarted(f"{self.role} worker {self.number} ended with status {status} while starting")
        if now_s - self._began_s >= _STEADY_S:
            self._pause_s = _FIRST_PAUSE_S
        _log.error(_ENDED[self.role], worker=self.number, status=status, pause_s=self._pause_s)
        self._again_s = now_s + self._pause_s
        self._pause_s = min(2 * self._pause_s, _MOST_PAUSE_S)

    def terminate(self) -> None:
        """Ask it to stop."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def stop(self) -> None:
        """Wait until it has stopped; it is killed if that takes too long."""
        process, self._process = self._process, None
        if process is not None and not end(process, [(signal.SIGTERM, _GOODBYE_S)]):
            _log.warning("worker had to be killed", of=self.role, worker=self.number)


def run_workers(
    settings: Settings,
    count: int,
    config: Path | None,
    *,
    role: str = "ingest",
    ready_file: Path | None,
    stop: threading.Event | None = None,
) -> None:
    """Run so many processes of a role until SIGTERM or SIGINT (or `stop`). Raises WorkerNotStarted."""
    stopping = stop or _on_signals()
    command = python_module("headend.cli", "run", "--roles", role)
    if config is not None:
        command += ["--config", str(config.resolve())]
    surroundings = dict(os.environ)
    paths = [str(PACKAGE_ROOT), *filter(None, surroundings.get("PYTHONPATH", "").split(os.pathsep))]
    surroundings["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    with tempfile.TemporaryDirectory(prefix="headend-workers-") as directory:
        workers = [
            _Worker(
                role,
                number,
                command,
                surroundings | environment_of(settings, number, role),
                Path(directory, str(number)),
            )
            for number in range(1, count + 1)
        ]
        try:
            for worker in workers:
                worker.start(time.monotonic())
            _look_after(workers, stopping, lambda: _tell_ready(ready_file, role, count))
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                worker.stop()
    _log.info("workers stopped", of=role, workers=count)


def _look_after(workers: list[_Worker], stopping: threading.Event, on_ready: Callable[[], None]) -> None:
    told = False
    while not stopping.wait(_LOOK_S):
        for worker in workers:
            worker.look_after(time.monotonic())
        if not told and all(worker.was_ready for worker in workers):
            on_ready()
            told = True


def _tell_ready(ready_file: Path | None, role: str, count: int) -> None:
    _log.info("workers ready", of=role, workers=count)
    if ready_file is not None:
        ready_file.write_text(f"{role} x {count}\n", encoding="utf-8")


def _on_signals() -> threading.Event:
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    return stopping
