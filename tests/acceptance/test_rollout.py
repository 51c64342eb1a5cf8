"""The field crew's day on the running demo: a courtyard goes from one shared meter to one meter a household."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import unescape
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

    def coverage(self) -> tuple[int, int]:
        """(households read, households) of the area now, by the API."""
        now = self.http.get(f"/areas/{self.area}").raise_for_status().json()["coverage_now"]
        return now["households_read"], now["households"]

    def page(self, path: str) -> str:
        """A page of the engineer or the crew, as served."""
        answer = httpx.get(self.demo.url() + path, timeout=30, trust_env=False, headers={"Accept": "text/html"})
        return answer.raise_for_status().text

    def area_page(self) -> str:
        """The words of the area's page."""
        return _words(self.page(f"/areas/{self.area}"))

    def row_of_the_areas_page(self) -> str:
        """The words of the area's row in the list."""
        rows = self.page("/").split("<tr>")
        return _words(next(row for row in rows if f'<a href="/areas/{self.area}">' in row))

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
def crew(demo: Running) -> Iterator[Crew]:
    """A crew at the demo's courtyard, once the history is through."""
    made = Crew(demo)
    yield made
    made.http.close()


def test_before_it_the_engineer_sees_who_is_not_read(crew: Crew) -> None:
    assert crew.coverage() == (42, 50)
    assert "42 of 50 now" in crew.row_of_the_areas_page()
    assert "42 of 50 households read now" in crew.area_page()
    assert len(crew.stock) == len(crew.premises) == 8
    listed = re.findall(r'<option value="(\w+)">', crew.page(f"/rollout/premises/{crew.premises[0]['premises']}"))
    assert [serial for serial in listed if serial.isdigit()] == crew.stock


def test_a_courtyard_goes_from_one_shared_meter_to_one_meter_a_household(crew: Crew) -> None:
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


def _words(page: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def _now() -> str:
    return datetime.now(UTC).isoformat()


def test_coverage_has_risen_on_the_engineers_pages(crew: Crew) -> None:
    until(lambda: crew.coverage() == (50, 50), "every household of the courtyard read", 60)
    assert "50 of 50 now" in crew.row_of_the_areas_page()
    page = crew.area_page()
    assert "50 of 50 households read now" in page
    assert "no own meter" not in page
    assert "behind" not in page
    assert "in stock" not in crew.page(f"/rollout/{crew.area}")
