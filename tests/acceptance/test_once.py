"""`headend demo --once`: the whole way through the house, told as JSON."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.demo import ROOT, Once, processes_of

pytestmark = pytest.mark.acceptance


def test_it_goes_through_and_says_so_in_json_alone(once: Once) -> None:
    assert once.status == 0, once.stderr[-3000:]
    assert once.stdout.lstrip().startswith("{")
    assert set(once.summary) >= {"areas", "balances", "findings", "batches", "readings", "truth", "seconds"}
    assert once.summary["missing"] == []


def test_every_history_reading_is_stored_and_every_modbus_meter_was_read(once: Once) -> None:
    readings = once.summary["readings"]
    assert readings["history_stored"] == readings["history_wanted"] > 300_000
    assert readings["history_missing"] == {}
    assert readings["modbus_meters_read"] == readings["modbus_meters"] > 20


def test_every_area_is_balanced_on_every_day_of_the_history(once: Once) -> None:
    summary = once.summary
    assert len(summary["areas"]) == 3
    assert summary["balances"] >= 3 * 28
    assert all(area["loss_wh"] is not None and area["cause"] is not None for area in summary["areas"])


def test_at_least_four_of_five_planted_faults_are_named_and_nobody_is_accused_wrongly(once: Once) -> None:
    truth = once.summary["truth"]
    assert truth["of"] == 5
    assert truth["named"] >= 4, truth["planted"]
    assert truth["wrongly_accused"] == []
    assert "wrongly accused: nobody" in once.stderr


def test_what_else_was_planted_is_seen(once: Once) -> None:
    summary, truth = once.summary, once.summary["truth"]
    assert truth["seen"] == truth["to_see"] == 6, truth["planted"]
    assert summary["buses"] == {"modbus+dialin": 1, "modbus+rtu+tcp": 1, "modbus+tcp": 1}
    assert summary["discovered"] == 1
    assert summary["meters_not_read"] == 1
    assert summary["meters_resting"] in (0, 1), "whether it rests by then is a matter of the second"
    once_each = {"cover_opened", "power_failed", "power_restored", "clock_drifted", "over_voltage"}
    assert {kind: n for kind, n in summary["events"].items() if kind in once_each} == dict.fromkeys(once_each, 1)
    assert "6 of 6 other troubles" in " ".join(once.stderr.split())


def test_what_was_settled_was_billed_and_acknowledged(once: Once) -> None:
    batches = once.summary["batches"]
    assert batches
    assert all(batch["state"] == "acknowledged" and batch["receipt"] for batch in batches)
    assert sum(batch["determinants"] for batch in batches) > 100 * 28


def test_results_are_there_within_a_minute(once: Once) -> None:
    # A bound on minutes, not a measurement: the figure is measured by `make bench` and said in the README.
    assert once.summary["seconds"] < 120


def test_it_leaves_no_process_and_no_file_behind(once: Once, once_temporary: Path) -> None:
    assert once.status == 0
    assert processes_of(once_temporary) == []
    assert list(once_temporary.iterdir()) == []


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.0.1", "example.org"])
def test_it_refuses_to_listen_where_others_could_reach_it(host: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headend.cli", "demo", "--host", host],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1
    assert "only 127.0.0.1" in done.stderr


def test_when_it_gives_up_it_says_what_is_missing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headend.cli", "demo", "--once", "--data-dir", str(tmp_path / "d"), "--give-up", "1"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 1
    assert "missing: " in done.stderr
    assert "history readings are not stored" in done.stderr
