"""Real `headend run --roles ingest` processes for tests: started, asked for their metrics, killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from support.mosquitto import free_port

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 60.0


def config_of(path: Path, sections: Mapping[str, Mapping[str, Any]]) -> Path:
    """A settings file."""
    lines = []
    for section, keys in sections.items():
        lines.append(f"[{section}]")
        for key, value in keys.items():
            shown = str(value).lower() if isinstance(value, bool) else value
            lines.append(f"{key} = {shown}" if isinstance(value, bool | int | float) else f"{key} = '{value}'")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def free_ports(count: int) -> int:
    """The first of so many ports in a row that nobody listens on just now."""
    while True:
        first = free_port()
        held: list[socket.socket] = []
        try:
            held.extend(socket.create_server(("127.0.0.1", port)) for port in range(first, first + count))
            return first
        except OSError:
            continue
        finally:
            for one in held:
                one.close()


class Running:
    """One `headend run`; its log is a file, its metrics have a port of their own."""

    def __init__(self, directory: Path, name: str, sections: Mapping[str, Mapping[str, Any]], *options: str) -> None:
        self.name = name
        self.metrics_port = free_ports(4)  # --workers takes those after it
        self.log_path = directory / f"{name}.log"
        self._ready = directory / f"{name}.ready"
        self._config = config_of(directory / f"{name}.toml", {"metrics": {"port": self.metrics_port}, **sections})
        self._options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *, wait: bool = True) -> Running:
        """Start it (again); wait until its roles have been started."""
        self._ready.unlink(missing_ok=True)
        command = [sys.executable, "-m", "headend.cli", "run", "--roles", "ingest", "--config", str(self._config)]
        environment = {k: v for k, v in os.environ.items() if not (k.startswith("HEADEND_") and "__" in k)}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, "--ready-file", str(self._ready), *self._options],
                env=environment | {"PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + PATIENCE_S
        while wait and not self._ready.exists():
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < deadline, self.log()
            time.sleep(0.05)
        return self

    def kill(self) -> None:
        """As a power cut does."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask it to stop; its exit status."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)

    def end(self) -> None:
        """However it is."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log(self) -> str:
        """What it has said."""
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def children(self) -> list[int]:
        """The processes that it has started."""
        assert self.process is not None
        path = Path(f"/proc/{self.process.pid}/task")
        return sorted(int(pid) for task in path.iterdir() for pid in (task / "children").read_text().split())

    def metrics(self, port: int | None = None) -> dict[tuple[str, ...], float]:
        """(name, label values …) → value; empty while it cannot be asked."""
        try:
            text = httpx.get(f"http://127.0.0.1:{port or self.metrics_port}/metrics", timeout=5).text
        except httpx.HTTPError:
            return {}
        return {
            (sample.name, *sample.labels.values()): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def metric(self, name: str, port: int | None = None) -> float:
        """The sum over all its labels."""
        return sum(value for (found, *_), value in self.metrics(port).items() if found == name)
