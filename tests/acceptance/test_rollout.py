"""The field crew's day on the running demo: a courtyard goes from one shared meter to one meter a household."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from support.demo import ROOT, Running, until

pytestmark = pytest.mark.acceptance


class Crew:
    """Somebody with a phone in a cellar, and a hand-held reader for the meter's display."""

    def __init__(self, demo: Running) -> None:
        self.demo = demo
        self.http = httpx.Client(base_url=demo.url() + "/api/v1", timeout=30, trust_env=False)
        topology = demo.data_dir / "topology"
        with (topology / "installations.csv").open() as file:
            installed = {row["serial"] for row in csv.DictReader(file)}
        with (topology / "meters.csv").open() as file:
            self.stock = [row["serial"] for row in csv.DictReader(file) if row["serial"] not in installed]
        with (topology / "endpoints.csv").open() as file:
            self.endpoints = {row["serial"]: row for row in csv.DictReader(file) if row["protocol"] == "modbus"}
        with (topology / "premises.csv").open() as file:
            self.premises = list(csv.DictReader(file))
        self.area = self.premises[0]["area"]

    def close(self, premises: str, step: str, **evidence: Any) -> httpx.Response:
        """Close a step; a live read under way is asked for again with the same client id, as a phone does."""
        body = {"client_id": str(uuid4()), "step": step, "by": "Li Wei", "evidence": evidence}

        def sent() -> httpx.Response | None:
            answer = self.http.post(f"/rollout/premises/{premises}/steps", json=body)
            return None if answer.status_code == 202 else answer

        answer: httpx.Response = until(sent, f"{step} of {premises}", 60)
        return answer

    def display(self, serial: str) -> int:
        """The register that the meter shows [Wh], read with `headend probe`."""
        at = self.endpoints[serial]
        command = ["probe", "modbus", "--host", at["host"], "--port", at["port"], "--unit", at["unit"]]
        done = subprocess.run(
            [sys.executable, "-m", "headend.cli", *command, "--model", "eastron-sdm120", "--serial", serial],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=True,
        )
        found = re.search(r"^\s+import_wh\s+(\d+)", done.stdout, re.MULTILINE)
        assert found, done.stdout
        return int(found[1])


@pytest.fixture(scope="module")
def crew(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Crew]:
    """A crew at the demo's courtyard, once the history is through."""
    directory = tmp_path_factory.mktemp("rollout")
    log = directory / "demo.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "headend.cli", "demo", "--data-dir", str(directory / "data")],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )
    demo = Running(directory / "data", process, log)
    try:
        demo.url()
        until(lambda: b"findings," in log.read_bytes(), "the history")
        yield Crew(demo)
    finally:
        process.terminate()
        process.wait(30)


def test_a_courtyard_goes_from_one_shared_meter_to_one_meter_a_household(crew: Crew) -> None:
    assert len(crew.stock) == len(crew.premises)
    first = crew.premises[0]["premises"]

    refused = crew.close(first, "household_meter_installed", serial=crew.stock[0])
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    early = crew.close(
        first, "shared_meter_removed", final_import_wh=1, removed_at=datetime.now(UTC).isoformat(), seal="S"
    )
    assert early.status_code == 409

    for row, serial in zip(crew.premises, crew.stock, strict=True):
        name = row["premises"]
        assert crew.close(name, "survey", people=3, category="residential", phase="L1").status_code == 200
        shown = crew.display(serial)
        installed = {"serial": serial, "seal": f"S-{serial}", "start_import_wh": shown}
        bad = crew.close(name, "household_meter_installed", **installed | {"serial": "999"}, installed_at=_now())
        assert bad.status_code == 409
        done = crew.close(name, "household_meter_installed", **installed, installed_at=_now())
        assert done.status_code == 200, done.text
        if row["has_production"] == "true":
            assert crew.close(name, "production_separated", note="workshop has a line of its own").status_code == 200
        wrong = crew.close(name, "commissioned", noted_import_wh=shown + 500_000)
        assert wrong.status_code == 409, wrong.text
        right = crew.close(name, "commissioned", noted_import_wh=crew.display(serial))
        assert right.status_code == 200, right.text
        assert right.json()["state"] == "closed"

    with (crew.demo.data_dir / "topology" / "installations.csv").open() as file:
        (shared,) = [r for r in csv.DictReader(file) if r["usage_point"] == crew.premises[0]["shared_usage_point"]]
    recent = {"from": (datetime.now(UTC) - timedelta(minutes=40)).isoformat(), "limit": 500}
    readings = crew.http.get(f"/meters/{shared['serial']}/readings", params=recent).raise_for_status().json()["items"]
    final = max(reading["import_wh"] for reading in readings)
    removed = crew.close(first, "shared_meter_removed", final_import_wh=final, removed_at=_now(), seal="S-END")
    assert removed.status_code == 200, removed.text

    for row in crew.premises:
        steps = crew.http.get(f"/rollout/premises/{row['premises']}").json()["steps"]
        assert {s["condition"] for s in steps} <= {"done", "not_needed"}


def _now() -> str:
    return datetime.now(UTC).isoformat()


def test_coverage_has_risen_on_the_engineers_page(crew: Crew) -> None:
    def risen() -> bool:
        rows: list[dict[str, Any]] = crew.http.get(f"/areas/{crew.area}/balances").raise_for_status().json()["items"]
        today = max(rows, key=lambda row: str(row["day"]))
        return bool(today["households_measured"] == today["households"])

    until(risen, "every household of the courtyard measured", 90)
