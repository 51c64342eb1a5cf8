"""Keeps a set of servers running: starts them in order, restarts what dies with growing pauses, stops in reverse."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from headend.embedded.errors import EmbeddedError
from headend.embedded.spawn import tail
from headend.log import get_logger

_log = get_logger(__name__)


class Service(Protocol):
    """What can be supervised: a child process, the embedded PostgreSQL, the embedded broker."""

    name: str
    log_path: Path

    @property
    def running(self) -> bool: ...
    @property
    def exit_status(self) -> int | None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long to wait before a dead service is started again: doubling, bounded, forgotten when it stays up."""

    first_s: float = 0.5
    most_s: float = 30.0
    healthy_after_s: float = 60.0
    """A service that ran this long starts over with the first pause when it dies again."""

    def __post_init__(self) -> None:
        if not 0 < self.first_s <= self.most_s:
            raise ValueError(f"backoff needs 0 < first_s <= most_s, not {self.first_s} and {self.most_s}")

    def pause_s(self, failures: int) -> float:
        """Pause [s] after that many failures in a row, the first one being 1."""
        return float(min(self.most_s, self.first_s * 2.0 ** min(failures - 1, 30)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Death:
    """A supervised service that ended by itself, or could not be started again."""

    service: str
    exit_status: int | None
    """Negative: the signal that ended it. None: a restart failed."""
    failures: int
    """Failures in a row, this one included."""
    next_start_in_s: float
    reason: str
    """What the restart said, or the tail of the service's log."""


@dataclass(slots=True)
class _Care:
    service: Service
    started_at: float
    failures: int = 0
    due_at: float | None = field(default=None)


class Supervisor:
    """Owner of running services.

    ``start`` adds one and waits until it is ready; ``watch`` checks them from a thread of its own until ``stop``, or
    the caller calls ``check`` itself. ``stop`` (or leaving the ``with``) stops all, the last started first.
    """

    def __init__(self, backoff: Backoff | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._backoff = backoff or Backoff()
        self._clock = clock
        self._cares: list[_Care] = []
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._watcher: threading.Thread | None = None

    def start(self, service: Service) -> None:
        """Start ``service`` and take care of it from now on; raises what its start raises (EmbeddedError)."""
        service.start()
        with self._lock:
            self._cares.append(_Care(service, self._clock()))

    def check(self) -> list[Death]:
        """Look at every service once, restart what is due; returns what died since the last look."""
        deaths = []
        with self._lock:
            for care in self._cares:
                if not self._stopping.is_set() and (death := self._check_one(care)) is not None:
                    _log.warning(
                        "service_died",
                        service=death.service,
                        exit_status=death.exit_status,
                        failures=death.failures,
                        next_start_in_s=death.next_start_in_s,
                        reason=death.reason,
                    )
                    deaths.append(death)
        return deaths

    def watch(self, on_death: Callable[[Death], None] = lambda _death: None, interval_s: float = 0.25) -> None:
        """Call :meth:`check` every ``interval_s`` [s] in a thread until :meth:`stop`; ``on_death`` runs in it."""
        if self._watcher is not None:
            return

        def look() -> None:
            while not self._stopping.wait(interval_s):
                try:
                    for death in self.check():
                        on_death(death)
                except Exception:  # noqa: BLE001 - one bad look must not end the care for all the others
                    _log.exception("supervisor_check_failed")

        self._watcher = threading.Thread(target=look, name="embedded-supervisor", daemon=True)
        self._watcher.start()

    def stop(self) -> None:
        """Stop everything in reverse order of start; safe to call twice."""
        self._stopping.set()
        # Without the lock: a restart under way ends when its process does.
        for care in reversed(self._cares):
            care.service.stop()
        if self._watcher is not None:
            self._watcher.join()
            self._watcher = None
        for care in reversed(self._cares):
            care.service.stop()
        self._cares.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _check_one(self, care: _Care) -> Death | None:
        now, service = self._clock(), care.service
        if service.running:
            if care.failures and now - care.started_at >= self._backoff.healthy_after_s:
                care.failures = 0
            return None
        if care.due_at is None:
            return self._mourn(care, service.exit_status, tail(service.log_path))
        if now < care.due_at:
            return None
        try:
            service.start()
        except EmbeddedError as error:
            return self._mourn(care, None, str(error))
        care.started_at, care.due_at = self._clock(), None
        _log.info("service_restarted", service=service.name, failures=care.failures)
        return None

    def _mourn(self, care: _Care, exit_status: int | None, reason: str) -> Death:
        care.failures += 1
        pause_s = self._backoff.pause_s(care.failures)
        care.due_at = self._clock() + pause_s
        return Death(
            service=care.service.name,
            exit_status=exit_status,
            failures=care.failures,
            next_start_in_s=pause_s,
            reason=reason,
        )
