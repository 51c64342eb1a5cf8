"""How long a newcomer waits: from the start of `headend demo --once` until everything has been through."""

from __future__ import annotations

import statistics
from typing import Any

import pytest

from support.demo import demo_once

RUNS = 3
pytestmark = [pytest.mark.bench, pytest.mark.timeout(480)]


def test_start_to_results(kit: Any, report: Any) -> None:
    runs = [demo_once() for _ in range(kit.scaled(RUNS))]
    seconds = [run.summary["seconds"] for run in runs]
    report("demo_start_to_results", statistics.median(seconds), "s", n=len(runs))
    assert [run.stderr.splitlines()[-1:] for run in runs if run.status != 0] == []
