"""A short run of the fuzzer, always the same one; the long run is `python -m tests.unit.drivers_mqtt.fuzz_payload`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
INPUTS = 20_000


def test_no_input_makes_a_decoder_fail() -> None:
    pytest.importorskip("atheris", reason="pip install atheris (wheels for Linux on x86-64 alone)")
    run = subprocess.run(
        [sys.executable, "-m", "tests.unit.drivers_mqtt.fuzz_payload", str(INPUTS), "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    told = json.loads(next(line for line in run.stdout.splitlines() if line.startswith("{")))
    assert told["inputs"] == INPUTS
    assert told["understood"] > INPUTS // 50  # the decoders are reached, not only the parsers before them
