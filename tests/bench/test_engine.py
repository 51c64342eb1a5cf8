"""What the reconciliation costs: CPU time for the simulated neighbourhood's 28 days, and its growth with an area's
meters and days, on one thread."""

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


SIZES = (25, 50, 100, 200, 400, 600)
LENGTHS = (7, 14, 56)


def test_growth_with_meters_and_days(report: Any, kit: Any) -> None:
    asked = [(n, 28, False) for n in SIZES] + [(100, days, False) for days in LENGTHS]
    asked += [(n, 28, True) for n in SIZES if n <= 200]
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(
        [sys.executable, str(HERE / "engine_growth.py"), str(kit.SEED), json.dumps(asked)],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    spent = [json.loads(line) for line in done.stdout.splitlines()]
    assert [s["alarm"] for s in spent] == [theft for _, _, theft in asked]
    for one in spent:
        kind = "alarm" if one["alarm"] else "no_alarm"
        name = f"engine_{kind}_{one['meters']}_meters_{one['days']}_days_cpu_per_100_meters"
        report(name, 100 * one["cpu_s"] / one["meters"], "CPU-s", n=one["meters"])


def test_what_a_gram_a_day_would_save(report: Any, kit: Any) -> None:
    """A window that moves on by a day would have to drop one day's products and add another's, at the same weights."""
    environment = os.environ | {"PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(
        [sys.executable, str(HERE / "engine_days.py"), str(kit.SEED), "100"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    told = json.loads(done.stdout)
    n, screening = told["meters"], told["screening_s"]
    report("engine_first_products_of_screening", told["all_days_s"] / screening, "", n=n)
    report("engine_saved_by_a_gram_a_day_at_most", (told["all_days_s"] - 2 * told["one_day_s"]) / screening, "", n=n)
    report("engine_rank_of_a_day_of_all_effects", told["rank_of_day"] / told["effects"], "", n=n)
    report("engine_factor_updated_by_a_day_of_made_anew", told["factor_update_s"] / told["factor_s"], "", n=n)
    report("engine_bytes_of_a_gram_of_a_days_readings", told["gram_bytes"] / told["day_bytes"], "", n=n)
