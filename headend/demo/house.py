"""Starts every part of the demo in order, keeps them running, and stops them in reverse.

The rule it keeps: no part outlives this process, however it ends, and nothing is kept outside the data directory.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from headend.demo.layout import Layout, Ports, write_settings
from headend.domain.clock import system_clock
from headend.embedded.billing_process import EmbeddedBilling
from headend.embedded.broker import EmbeddedBroker
from headend.embedded.lock import DataDirLock
from headend.embedded.ports import LOOPBACK, PortBook
from headend.embedded.postgres import EmbeddedPostgres
from headend.embedded.probes import file_present, http_ready
from headend.embedded.process import ChildProcess, python_module
from headend.embedded.spawn import POLL_S, tail
from headend.embedded.supervisor import Death, Supervisor
from headend.ingest.topology_import import import_directory
from headend.store.migrate import migrate
from headend.store.pool import Store
from headend.store.progress import progress

SERVICE_PROCESSES = {"reader": "ingest,poll", "settler": "settle,billing,upkeep", "web": "web"}
"""The service, as a larger installation would split it: one process a line."""

STARTERS = 6
"""Parts that start side by side: what they need of each other is there before."""

Announce = Callable[[str], None]
"""Told what is being started, for a progress display."""


class DemoError(Exception):
    """The demo cannot go on; the message says what to do."""


class House:
    """All the demo's processes. `with House(…) as house:` starts them and stops them."""

    def __init__(
        self,
        layout: Layout,
        *,
        web_port: int,
        poll_period_s: int,
        announce: Announce,
        on_death: Callable[[Death], None],
        scenario: Path | None = None,
    ) -> None:
        self.layout = layout
        self._web_port = web_port
        self._poll_period_s = poll_period_s
        self._announce = announce
        self._on_death = on_death
        self._scenario = ["--scenario", str(scenario)] if scenario else []
        self._lock = DataDirLock(layout.root)
        self._book = PortBook(layout.ports)
        self._supervisor = Supervisor()
        self.ports: Ports
        self.dsn: str
        self.up = False
        """Whether everything has been started."""

    def __enter__(self) -> Self:
        self._lock.acquire()
        with contextlib.ExitStack() as undo:
            undo.callback(self.__exit__, None, None, None)
            self._start()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._supervisor.stop()
        self._book.release()
        self._lock.release()

    def _start(self) -> None:
        self.layout.prepare()
        self.ports = Ports.choose(self._book, self._web_port)
        with ThreadPoolExecutor(STARTERS) as starters:
            self._announce("database, broker, topology")
            described = starters.submit(self._describe_neighbourhood)
            broker = starters.submit(self._supervisor.start, EmbeddedBroker(self.layout.broker, port=self.ports.broker))
            postgres = EmbeddedPostgres(self.layout.postgres)
            self._supervisor.start(postgres)
            self.dsn = postgres.dsn
            migrate(self.dsn)
            for done in (described, broker):
                done.result()
            self._import_topology()
            write_settings(self.layout, self.ports, self.dsn, self._poll_period_s)
            secret = self.layout.secret.read_text(encoding="ascii").strip()
            self._announce("billing endpoint, head-end, neighbourhood")
            clients = [
                self._neighbourhood(),
                *(self._service(name, roles) for name, roles in SERVICE_PROCESSES.items()),
                EmbeddedBilling(self.layout.billing, secret=secret, port=self.ports.billing),
            ]
            for started in [starters.submit(self._supervisor.start, client) for client in clients]:
                started.result()
        self._supervisor.watch(self._on_death)
        self.up = True

    def _simulator(self, verb: str, *arguments: str) -> list[str]:
        return python_module(
            "drivers.simulator",
            verb,
            *self._scenario,
            "--state",
            str(self.layout.simulator),
            "--modbus-ports",
            ",".join(str(port) for port in self.ports.modbus),
            *arguments,
        )

    def _describe_neighbourhood(self) -> None:
        """Have the simulator write what a utility would know of the neighbourhood, and the truth beside it."""
        export = ChildProcess(
            "simulator-export",
            self._simulator("export", "--out", str(self.layout.topology)),
            log_path=self.layout.logs / "simulator-export.log",
        )
        export.start()
        while export.running:
            time.sleep(POLL_S)
        if export.exit_status != 0:
            raise DemoError(f"the simulator failed:\n{tail(export.log_path)}")

    def _import_topology(self) -> None:
        """Import what the simulator describes. On a later start that brings gateways' new ports, and what crews have
        changed since then (which the files contradict) stays as it is."""
        with Store(self.dsn, pool_max=2) as store:
            first = progress(store).areas == 0
            report = import_directory(store, self.layout.topology, skip_bad=not first, clock=system_clock)
        if first and report.problems:
            raise DemoError("\n".join(["the simulated topology was refused:", *map(str, report.problems[:10])]))

    def _service(self, name: str, roles: str) -> ChildProcess:
        ready = self.layout.ready(name)

        def answers() -> bool:
            return file_present(ready) and ("web" not in roles or http_ready(LOOPBACK, self.ports.web))

        return ChildProcess(
            name,
            python_module(
                "headend.cli",
                *("run", "--config", str(self.layout.settings), "--roles", roles, "--ready-file", str(ready)),
            ),
            log_path=self.layout.logs / f"{name}.log",
            ready=answers,
            environment={"PROMETHEUS_MULTIPROC_DIR": str(self.layout.metrics), "OPENBLAS_NUM_THREADS": "1"},
        )

    def _neighbourhood(self) -> ChildProcess:
        ready = self.layout.ready("neighbourhood")
        return ChildProcess(
            "neighbourhood",
            self._simulator(
                "run",
                *("--mqtt", f"{LOOPBACK}:{self.ports.broker}", "--dialin", f"{LOOPBACK}:{self.ports.dialin}"),
                *("--ready-file", str(ready)),
            ),
            log_path=self.layout.logs / "neighbourhood.log",
            ready=lambda: file_present(ready),
            ready_timeout_s=60.0,
            environment={"OPENBLAS_NUM_THREADS": "1"},
        )
