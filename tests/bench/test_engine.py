"""What the reconciliation costs: CPU time for the simulated neighbourhood's 28 days, on one thread."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.bench
HERE = Path(__file__).parent


def test_cpu_of_an_analysis(report: Any) -> None:
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}  # numpy asks for threads when it is imported
    done = subprocess.run(
        [sys.executable, str(HERE / "engine.py")], capture_output=True, text=True, check=True, env=environment
    )
    spent = json.loads(done.stdout)
    assert spent["alarms"] == 3
    for figure, unit in (("cpu", "CPU-s"), ("wall", "s")):
        value = 100 * spent[f"{figure}_s"] / spent["meters"]
        report(f"engine_{figure}_per_100_meters_28_days", value, unit, n=spent["meters"])
