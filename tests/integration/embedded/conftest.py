"""Shared parts of the tests of the embedded servers: scripts run in processes of their own, as somebody else too."""

from __future__ import annotations

import json
import os
import shutil
import site
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

PATHS = [str(Path(__file__).resolve().parents[3]), *site.getsitepackages()]


def python_for(user: int | None) -> str:
    """An interpreter of our version that ``user`` may run: root's own may lie in root's closed home directory."""
    if user is None:
        return sys.executable
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for candidate in (sys.executable, f"/usr/bin/python{version}", f"/usr/local/bin/python{version}"):
        try:
            subprocess.run([candidate, "-V"], check=True, capture_output=True, user=user, group=user, extra_groups=[])
        except (OSError, subprocess.CalledProcessError):
            continue
        return candidate
    pytest.skip(f"needs a Python {version} that uid {user} may run, such as Debian's in /usr/bin")


def _alive(pid: int) -> bool:
    """Whether the process exists and is more than a zombie that waits for its reaper."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
    """Poll ``condition``; fail by name after the deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.02)


class Script:
    """A Python program in a process of its own that prints one line of JSON when it stands."""

    def __init__(self, code: str, *arguments: str, user: int | None = None, path: str | None = None) -> None:
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(PATHS), "PYTHONDONTWRITEBYTECODE": "1"}
        if path is not None:
            environment["PATH"] = path
        self.process = subprocess.Popen(
            [python_for(user), "-c", code, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            cwd="/",
            user=user,
            group=user,
            extra_groups=None if user is None else [],
        )

    def report(self) -> Any:
        """The last line that it printed as JSON, once there is one."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("{"):
                return json.loads(line)
        raise AssertionError(f"the script ended with status {self.process.wait()} before it reported")

    def finish(self) -> int:
        """Close its stdin, which ends it, and return its exit status."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(60)


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A directory that every user may pass, as pytest's own are not."""
    path = Path(tempfile.mkdtemp(prefix="pg-open-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def run_script() -> Iterator[Callable[..., Script]]:
    """Starts a :class:`Script`; whatever is left of it is killed after the test."""
    started: list[Script] = []

    def run(code: str, *arguments: str, user: int | None = None, path: str | None = None) -> Script:
        started.append(Script(code, *arguments, user=user, path=path))
        return started[-1]

    yield run
    for script in started:
        if script.process.poll() is None:
            script.process.kill()
            script.process.wait()
        for pipe in (script.process.stdin, script.process.stdout):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def wait_until() -> Callable[..., None]:
    """See :func:`_wait_until`."""
    return _wait_until


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """See :func:`_alive`."""
    return _alive
