"""The house that is maltreated: PostgreSQL, Mosquitto, ingest processes, and a line between each two that can be cut.

Who dies is started again, as an init system does; nothing outlives the test.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Literal

import psycopg
from psycopg.conninfo import make_conninfo

from headend.embedded.postgres import SOCKET_NAME, EmbeddedPostgres, processes_working_in
from headend.embedded.spawn import Process, spawn
from headend.store.migrate import migrate
from support.chaos.faults import Deed, Fault
from support.chaos.numbers import TOPOLOGY
from support.mosquitto import Mosquitto
from support.tcp_proxy import CuttableLine

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}", "OPENBLAS_NUM_THREADS": "1"}
_AGAIN_S = 0.3
_PATIENCE_S = 60.0

Saving = Literal["shipped", "every second", "on changes", "never"]
"""How Mosquitto keeps its store: as docker/mosquitto.conf says, or one of three ways."""
SAVED_WITHIN_S: Final = 2.1
"""With `autosave_interval 1` and no `autosave_on_changes` Mosquitto 2.0.11 saves when more than one whole second has
passed: a PUBACK older than this is in its store (measured: the oldest one lost was 1.96 s old)."""
_AUTOSAVE: Final = {
    "every second": ["autosave_on_changes false", "autosave_interval 1"],
    "on changes": ["autosave_on_changes true", "autosave_interval 1"],
    "never": [],  # its defaults: every half hour
}

Started = Callable[[Path, Path], Sequence[str]]
"""Settings file and ready file → the command of an ingest process."""


def headend_run(settings: Path, ready: Path) -> Sequence[str]:
    """As an installation starts it."""
    command = [sys.executable, "-m", "headend.cli", "run", "--roles", "ingest"]
    return [*command, "--config", str(settings), "--ready-file", str(ready)]


class IngestProcess:
    """One `headend run --roles ingest`, started again whenever it ends, until it is to stay away."""

    def __init__(self, directory: Path, name: str, settings: str, command: Started) -> None:
        self._settings, self._ready = directory / f"{name}.toml", directory / f"{name}.ready"
        self._settings.write_text(settings, encoding="utf-8")
        self._command = command
        self.log = directory / f"{name}.log"
        self._process: Process | None = None
        self._lock = threading.Lock()
        self._not_before_s = 0.0
        self._wanted = False
        self._closing = threading.Event()
        self.starts = 0
        self._keeper = threading.Thread(target=self._keep, daemon=True)

    def start(self) -> None:
        """Start it, and keep it running."""
        self._wanted = True
        if not self._keeper.is_alive():
            self._keeper.start()

    def signal(self, number: signal.Signals, *, again_after_s: float | None = None, stay_away: bool = False) -> None:
        """Send it a signal; when it ends of it, it comes back after a while, or not before `start`."""
        with self._lock:
            if stay_away:
                self._wanted = False
            if again_after_s is not None:
                self._not_before_s = time.monotonic() + again_after_s
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)

    def is_ready(self) -> bool:
        """Whether it runs and all has been started in it."""
        return self._process is not None and self._process.poll() is None and self._ready.exists()

    def close(self) -> None:
        """End it for good."""
        self._closing.set()
        if self._keeper.is_alive():
            self._keeper.join()
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _keep(self) -> None:
        while not self._closing.wait(0.05):
            with self._lock:
                gone = self._process is None or self._process.poll() is not None
                if gone and self._wanted and time.monotonic() >= self._not_before_s:
                    self._ready.unlink(missing_ok=True)
                    with self.log.open("ab") as log:
                        command = self._command(self._settings, self._ready)
                        self._process = spawn(command, output=log, environment=ENVIRONMENT)
                    self.starts += 1
                    self._not_before_s = time.monotonic() + _AGAIN_S


class House:
    """All of it in one directory."""

    def __init__(
        self, directory: Path, *, ingests: int = 2, command: Started = headend_run, saving: Saving = "shipped"
    ):
        directory.mkdir(parents=True, exist_ok=True)
        self.directory = directory
        self._database = EmbeddedPostgres(directory / "postgres", durable=True)
        self._database.start()
        self._admin_dsn = self._database.dsn
        with psycopg.connect(self._admin_dsn, autocommit=True) as connection:
            connection.execute("create database headend")
        self.dsn = make_conninfo(self._admin_dsn, dbname="headend")
        """Straight to the database, for the audit."""
        migrate(self.dsn)
        with psycopg.connect(self.dsn) as connection:
            connection.execute(TOPOLOGY.encode())
        lines = _broker_lines(directory / "broker", saving)
        # "On changes" is on what it queues: what it passed on to a head-end that has not acknowledged it yet is saved
        # with the next change only, whenever that comes.
        self._saved_within_ns = None if "autosave_on_changes true" in lines else int(SAVED_WITHIN_S * 1e9)
        self._saves = saving != "never"
        self.broker = Mosquitto(directory / "broker", lines).start()
        self.broker_store = directory / "broker" / "mosquitto.db"
        socket = Path(str(psycopg.conninfo.conninfo_to_dict(self.dsn)["host"])) / SOCKET_NAME
        at_broker = (self.broker.host, self.broker.port)
        self.field_line = CuttableLine(at_broker)
        self.broker_lines = [CuttableLine(at_broker) for _ in range(ingests)]
        self.store_lines = [CuttableLine(socket) for _ in range(ingests)]
        self.ingests = [
            IngestProcess(directory, f"ingest-{n}", self._settings(n, ingests), command) for n in range(ingests)
        ]
        self.doubts: list[tuple[int, int]] = []
        """(from when PUBACKs may not have been saved, kill of the broker) [wall clock, ns since 1970]."""

    def _settings(self, number: int, ingests: int) -> str:
        shared = 'share_group = "chaos"\ntakeover_s = 1.0\n' if ingests > 1 else ""
        return f"""
[database]
dsn = "host=127.0.0.1 port={self.store_lines[number].port} user=postgres dbname=headend"
pool_max = 4
[mqtt]
port = {self.broker_lines[number].port}
client_id = "ingest-{number}"
keepalive_s = 5
{shared}unshared = {"true" if number == 0 else "false"}
[ingest]
flush_age_s = 0.2
"""

    @property
    def saves_in_time(self) -> bool:
        """Whether the broker saves whatever it has acknowledged within SAVED_WITHIN_S."""
        return self._saved_within_ns is not None

    def start(self) -> None:
        """The ingests; returns when all are there for the first time, and the broker's store knows them."""
        for ingest in self.ingests:
            ingest.start()
        deadline = time.monotonic() + _PATIENCE_S
        for ingest in self.ingests:
            while b"connected to the broker" not in (ingest.log.read_bytes() if ingest.log.exists() else b""):
                assert time.monotonic() < deadline, f"not started; {ingest.log} says:\n{ingest.log.read_text()}"
                time.sleep(0.05)
        while self._saves and not self._sessions_saved():
            assert time.monotonic() < deadline, "the broker did not save the sessions"
            time.sleep(0.05)

    def _sessions_saved(self) -> bool:
        """Whether all sessions are in the broker's store; Mosquitto 2.0.11 never saves a shared subscription."""
        kept = self.broker_store.read_bytes() if self.broker_store.exists() else b""
        subscribed = len(self.ingests) > 1 or b"/meter/#" in kept
        return subscribed and all(f"ingest-{number}".encode() in kept for number in range(len(self.ingests)))

    def close(self) -> None:
        """End everything."""
        for ingest in self.ingests:
            ingest.close()
        for line in (self.field_line, *self.broker_lines, *self.store_lines):
            line.close()
        self.broker.kill()
        self._thaw_database()
        self._database.stop()

    def lose_database(self) -> None:
        """Kill it, and all that it has stored is gone."""
        self._send_server(signal.SIGKILL)
        self._database.stop()
        while self._database_processes():
            time.sleep(0.02)
        shutil.rmtree(self._database.cluster_dir)

    def suffer(self, faults: Sequence[Fault]) -> list[Fault]:
        """All faults of a round, each at its instant; returns when they are undone, with those undone by `recover`."""
        failed: list[BaseException] = []

        def one(fault: Fault) -> None:
            try:
                time.sleep(fault.at_s)
                self._do(fault)
            except BaseException as error:  # noqa: BLE001 handed to the test
                failed.append(error)

        threads = [threading.Thread(target=one, args=(fault,)) for fault in faults]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failed:
            raise failed[0]
        return [fault for fault in faults if fault.deed is Deed.INGEST_STAYS_AWAY]

    def recover(self, faults: Sequence[Fault]) -> None:
        """Bring back who stayed away."""
        for fault in faults:
            self.ingests[fault.which].start()

    def _do(self, fault: Fault) -> None:
        ingest = self.ingests[fault.which % len(self.ingests)]
        match fault.deed:
            case Deed.INGEST_KILLED:
                ingest.signal(signal.SIGKILL, again_after_s=fault.for_s)
            case Deed.INGEST_STAYS_AWAY:
                ingest.signal(signal.SIGKILL, stay_away=True)
            case Deed.INGEST_STOPPED:
                ingest.signal(signal.SIGTERM, again_after_s=fault.for_s)
            case Deed.INGEST_FROZEN:
                ingest.signal(signal.SIGSTOP)
                time.sleep(fault.for_s)
                ingest.signal(signal.SIGCONT)
            case Deed.BROKER_KILLED:
                self._kill_broker(fault.for_s)
            case Deed.BROKER_STOPPED:
                self.broker.stop()
                time.sleep(fault.for_s)
                self.broker.start()
            case Deed.BROKER_FROZEN:
                self.broker.freeze()
                time.sleep(fault.for_s)
                self.broker.thaw()
            case _ if fault.deed.victim == "database":
                self._do_to_database(fault)
            case _:
                self._do_to_line(fault)

    def _kill_broker(self, for_s: float) -> None:
        self.broker.kill()
        killed = time.time_ns()
        # Mosquitto is one thread: it sends no PUBACK while it writes its store, so a PUBACK that was read before this
        # instant is in it.
        saved = self.broker_store.stat().st_mtime_ns if self.broker_store.exists() else 0
        if self._saved_within_ns is not None:
            saved = max(saved, killed - self._saved_within_ns)
        self.doubts.append((saved, killed))
        time.sleep(for_s)
        self.broker.start()

    def _do_to_database(self, fault: Fault) -> None:
        match fault.deed:
            case Deed.DATABASE_FROZEN:
                for number in self._database_processes():
                    _send(number, signal.SIGSTOP)
                time.sleep(fault.for_s)
                self._thaw_database()
                return
            case Deed.DATABASE_BACKEND_KILLED:
                # All others end, too, and the server recovers by itself.
                backends = [n for n in self._database_processes() if n != self._database.pid]
                _send(backends[fault.which % len(backends)], signal.SIGKILL)
                return
            case Deed.DATABASE_KILLED:
                self._send_server(signal.SIGKILL)
            case Deed.DATABASE_STOPPED:
                self._send_server(signal.SIGINT)
            case Deed.DATABASE_DROPPED:
                self._send_server(signal.SIGQUIT)
        time.sleep(fault.for_s)
        self._database.stop()  # waits for its end
        self._database.start()

    def _send_server(self, number: signal.Signals) -> None:
        assert self._database.pid is not None
        os.kill(self._database.pid, number)

    def _database_processes(self) -> list[int]:
        return processes_working_in(self._database.cluster_dir)

    def _thaw_database(self) -> None:
        for number in self._database_processes():
            _send(number, signal.SIGCONT)

    def _do_to_line(self, fault: Fault) -> None:
        match fault.deed.victim:
            case "field-broker":
                line = self.field_line
            case "broker-ingest":
                line = self.broker_lines[fault.which]
            case _:
                line = self.store_lines[fault.which]
        if fault.deed in (Deed.FIELD_SILENT, Deed.LINE_SILENT, Deed.STORE_SILENT):
            line.silence("down")  # what was done is done, and nobody hears of it
            time.sleep(fault.for_s)
            line.cut()
        else:
            line.refuse()
            time.sleep(fault.for_s)
        line.restore()


def _broker_lines(directory: Path, saving: Saving) -> list[str]:
    """The lines of the shipped Mosquitto configuration, with a place of our own for its store."""
    shipped = (ROOT / "docker" / "mosquitto.conf").read_text(encoding="utf-8").splitlines()
    elsewhere = ("#", "listener", "persistence_location", "max_queued_messages")
    lines = [line for line in shipped if line and not line.startswith(elsewhere)]
    if saving != "shipped":
        lines = [line for line in lines if not line.startswith("autosave")] + _AUTOSAVE[saving]
    return [*lines, f"persistence_location {directory}/"]


def _send(number: int, what: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(number, what)


class FieldProcess:
    """`field.py` in a process of its own, and the orders to it."""

    def __init__(self, directory: Path, options: Path) -> None:
        self._log = directory / "field.log"
        command = [sys.executable, "-m", "support.chaos.field", str(options)]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )

    def order(self, word: str) -> str:
        """Its answer, a line of JSON."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the field is gone; {self._log} says:\n{self._log.read_text()}"
        return answer

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
