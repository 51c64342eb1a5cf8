"""A file of a million rows is read in a known multiple of its numbers, not in objects."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from support.workbench import stamp

METERS, DAYS = 380, 28
ROWS = METERS * DAYS * 96

READ = """
import json, resource, sys
from pathlib import Path
from support.workbench import read
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
window = read(Path(sys.argv[1])).windows[0]
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps([list(window.household_import_wh.shape), (after - before) * 1024]))
"""


@pytest.fixture
def big(tmp_path: Path) -> Path:
    path = tmp_path / "big.csv"
    stamps = [stamp(15 * k) for k in range(DAYS * 96)]
    with path.open("w") as out:
        out.write("meter,role,timestamp,import_wh,export_wh,voltage_v\n")
        for m in range(METERS):
            start = f"m{m:03d},{'area' if m == 0 else ''},"
            out.writelines(f"{start}{at},{(m * k) % 700},0,230.5\n" for k, at in enumerate(stamps))
    return path


def test_memory_grows_with_the_numbers_alone(big: Path) -> None:
    command = [sys.executable, "-c", READ, str(big)]
    tests = Path(__file__).parents[2]
    found = subprocess.run(
        command, capture_output=True, text=True, check=True, timeout=240, env={"PYTHONPATH": f"{tests.parent}:{tests}"}
    )
    shape, grown = json.loads(found.stdout)
    assert shape == [METERS - 1, DAYS * 96]
    # 44 B of numbers a row, again while chunks are joined, matrices and sorting beside them; 60 MB a chunk of text.
    assert grown < 250 * ROWS + 60e6, f"{grown / ROWS:.0f} B a row"
