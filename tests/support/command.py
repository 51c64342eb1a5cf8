"""`headend` as a user runs it: a process of its own that knows nothing of the test's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADEND = [sys.executable, "-m", "headend.cli"]


def environment(**more: str) -> dict[str, str]:
    """Without settings; modules of `PYTHONPATH` before the program's own."""
    own = {k: v for k, v in os.environ.items() if not k.startswith("HEADEND_")}
    path = [*([more.pop("PYTHONPATH")] if "PYTHONPATH" in more else []), str(ROOT)]
    return own | {"PYTHONPATH": os.pathsep.join(path), "COLUMNS": "100"} | more


def headend(*arguments: str, dsn: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end on a database."""
    return subprocess.run(
        [*HEADEND, *arguments],
        env=environment(HEADEND_DATABASE__DSN=dsn, **more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
