"""Waiting for what another thread or process does, by asking; what never comes fails by its name."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE_S = 180.0
"""Only what never comes takes so long; other tests and other work may share the machine."""


def until(condition: Callable[[], Any], what: str, timeout_s: float = PATIENCE_S, *, every_s: float = 0.02) -> Any:
    """Ask until the answer is true; the answer."""
    deadline = time.monotonic() + timeout_s
    while not (answer := condition()):
        assert time.monotonic() < deadline, f"not within {timeout_s:g} s: {what}"
        time.sleep(every_s)
    return answer
