"""Numbered readings, everything killed, stopped, frozen and cut: nothing acknowledged is lost, nothing stored twice.

The long run is `make chaos`. Each of these has its seed; the same code with a defect has to fail.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.chaos.faults import Deed, each_once, of
from support.chaos.run import Outcome, run
from support.mosquitto import needs_mosquitto

pytestmark = [needs_mosquitto, pytest.mark.timeout(400)]
SEED = 20261125


def told(outcome: Outcome) -> str:
    return json.dumps(outcome.as_json(), indent=1)


def broken(defect: str) -> object:
    def command(settings: Path, ready: Path) -> Sequence[str]:
        program = [sys.executable, "-m", "support.chaos.broken_ingest", defect, "run", "--roles", "ingest"]
        return [*program, "--config", str(settings), "--ready-file", str(ready)]

    return command


def test_two_workers_lose_nothing_and_store_nothing_twice_whatever_dies(tmp_path: Path) -> None:
    outcome = run(tmp_path, SEED, each_once(SEED, 2), ingests=2)
    assert outcome.good, told(outcome)
    assert set(outcome.deeds) == {deed.value for deed in Deed}
    assert outcome.findings.totals["readings_acknowledged"] > 1_000, told(outcome)
    assert outcome.findings.totals["acknowledged_wh"] == outcome.findings.totals["stored_of_these_wh"]


def test_a_broker_that_saves_on_changes_forgets_nothing_that_it_saved(tmp_path: Path) -> None:
    """As many installations have it: a PUBACK holds once the store was written after it."""
    dying = {"broker", "database"}
    chosen = [faults for faults in each_once(SEED, 1) if dying & {fault.deed.victim for fault in faults}]
    outcome = run(tmp_path, SEED, chosen[:4], saving="on changes", ingests=1)
    assert outcome.good, told(outcome)
    assert {"broker killed", "database killed"} <= set(outcome.deeds)
    assert outcome.findings.totals["quarantined"] > 0, "spoilt messages were among them"


def test_an_ingest_that_acknowledges_before_it_commits_is_found_out(tmp_path: Path) -> None:
    killed = of(SEED, Deed.INGEST_KILLED, 3, 1)
    outcome = run(tmp_path, SEED, killed, command=broken("acknowledges-early"), ingests=1, patience_s=6.0)
    assert outcome.findings.counts.get("acknowledged and not stored", 0) > 0, told(outcome)


def test_an_ingest_that_counts_what_came_twice_is_found_out(tmp_path: Path) -> None:
    silent = of(SEED, Deed.FIELD_SILENT, 2, 1)
    outcome = run(tmp_path, SEED, silent, command=broken("counts-twice"), ingests=1, patience_s=20.0)
    assert outcome.findings.counts.get("counted otherwise than stored", 0) > 0, told(outcome)


def test_a_broker_with_mosquittos_defaults_is_found_out(tmp_path: Path) -> None:
    """It forgets the sessions, too: what is published before the head-end is back has nobody to go to."""
    rounds = [
        [*with_database, *with_broker]
        for with_database, with_broker in zip(
            of(SEED, Deed.DATABASE_STOPPED, 3, 1), of(SEED, Deed.BROKER_KILLED, 3, 1), strict=True
        )
    ]
    outcome = run(tmp_path, SEED, rounds, saving="never", ingests=1, patience_s=6.0)
    assert outcome.findings.counts.get("acknowledged and not stored", 0) > 0, told(outcome)
