"""A running `headend demo`, as a test holds it: started as a user would, watched from outside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from support import waiting

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 150.0
"""For what takes 30 s on two idle cores; tests may run beside others."""


def processes_of(directory: Path) -> list[str]:
    """Command lines of living processes that mention the directory or work in it."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            working = os.readlink(entry / "cwd")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state != "Z" and (str(directory) in command or working.startswith(str(directory))):
            found.append(f"{entry.name}: {command}")
    return found


def until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S) -> Any:
    """Ask a whole product, and not too often, until the answer is true."""
    return waiting.until(condition, what, timeout_s, every_s=0.1)


@dataclass
class Running:
    """A demo that stays up."""

    data_dir: Path
    process: subprocess.Popen[bytes]
    log: Path

    def ports(self) -> dict[str, int] | None:
        """Ports by name, once chosen."""
        try:
            ports: dict[str, int] = json.loads((self.data_dir / "ports.json").read_text())
        except (OSError, ValueError):
            return None
        return ports

    def url(self) -> str:
        """Address of the pages, as soon as the demo prints it."""
        until(lambda: b"Open http" in self.log.read_bytes(), f"the address in {self.log}")
        ports = self.ports()
        assert ports is not None
        return f"http://127.0.0.1:{ports['web']}"

    def get(self, path: str) -> Any:
        """JSON of one address, None while it does not answer 200."""
        try:
            response = httpx.get(self.url() + path, timeout=5, trust_env=False)
        except httpx.HTTPError:
            return None
        return response.json() if response.status_code == 200 else None

    def fetch(self, path: str) -> bytes:
        """Body of one address, empty while it does not answer 200."""
        try:
            response = httpx.get(self.url() + path, timeout=5, trust_env=False)
        except httpx.HTTPError:
            return b""
        return response.content if response.status_code == 200 else b""

    def end(self, number: signal.Signals) -> int:
        """Send a signal to the demo's own process and wait for its end."""
        self.process.send_signal(number)
        return self.process.wait(30)


@dataclass(frozen=True)
class Once:
    """What `headend demo --once` left behind."""

    status: int
    stdout: str
    stderr: str

    @property
    def summary(self) -> dict[str, Any]:
        """The JSON on stdout."""
        parsed: dict[str, Any] = json.loads(self.stdout)
        return parsed


def demo_once(*options: str, temporary: Path | None = None) -> Once:
    """Run `headend demo --once` to its end; `temporary` takes its temporary files."""
    done = subprocess.run(
        [sys.executable, "-m", "headend.cli", "demo", "--once", *options],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=PATIENCE_S + 60,
        env=os.environ | ({"TMPDIR": str(temporary)} if temporary else {}),
        check=False,
    )
    return Once(done.returncode, done.stdout, done.stderr)
