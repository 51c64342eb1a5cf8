"""The whole courtyard through the HTTP API: what a phone sends, and what it is told."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from headend.settings import Settings
from headend.web.app import create_app


@pytest.fixture
def phone(yard: Any) -> Iterator[TestClient]:
    """A phone on the app that uses the stage's own service."""
    settings = Settings(database={"dsn": yard.store.dsn})  # type: ignore[arg-type]
    with TestClient(create_app(yard.store, settings, yard.clock, rollout_door=yard.service)) as client:
        yield client


def send(phone: TestClient, premises: str, step: str, evidence: dict[str, Any], client_id: str | None = None) -> Any:
    body = {"client_id": client_id or str(uuid4()), "step": step, "by": "Li Wei", "evidence": evidence}
    return phone.post(f"/api/v1/rollout/premises/{premises}/steps", json=body)


def conditions(phone: TestClient, premises: str) -> dict[str, str]:
    return {
        step["step"]: step["condition"] for step in phone.get(f"/api/v1/rollout/premises/{premises}").json()["steps"]
    }


def test_a_courtyard_from_survey_to_removal(yard: Any, phone: TestClient) -> None:
    refused = send(phone, "P1", "shared_meter_removed", yard.removal())
    assert refused.status_code == 409
    assert refused.headers["content-type"] == "application/problem+json"
    assert "Old Yard 2 (P2) is not commissioned" in refused.json()["missing"]
    for premises in ("P1", "P2", "P3"):
        assert (
            send(phone, premises, "survey", {"people": 2, "category": "residential", "phase": "L1"}).status_code == 200
        )
        lacking = send(phone, premises, "household_meter_installed", yard.meter(premises, seal=""))
        assert (lacking.status_code, lacking.json()["missing"]) == (409, ["seal: is missing"])
        assert send(phone, premises, "household_meter_installed", yard.meter(premises)).status_code == 200
        if premises == "P3":
            assert send(phone, premises, "production_separated", {"note": "none left"}).status_code == 200
        client_id = str(uuid4())
        assert send(phone, premises, "commissioned", {"noted_import_wh": 1250}, client_id).status_code == 202
        assert conditions(phone, premises)["commissioned"] == "waiting"
        yard.answer(premises)
        assert conditions(phone, premises)["commissioned"] == "done", "whoever looks sees what the meter answered"
        again = send(phone, premises, "commissioned", {"noted_import_wh": 1250}, client_id)
        assert (again.status_code, again.json()["repeated"]) == (200, True)
    assert send(phone, "P2", "shared_meter_removed", yard.removal()).status_code == 200
    assert conditions(phone, "P1")["shared_meter_removed"] == "done"
    assert send(phone, "P9", "survey", {}).status_code == 404
