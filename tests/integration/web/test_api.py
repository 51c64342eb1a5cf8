"""The API on a seeded database: what is listed, filtered, paged, refused; missing numbers are null, never zero."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any
from uuid import uuid4

import pytest
import seed as seeding
from fastapi.testclient import TestClient
from seed_base import Seeded
from web_door import Door

API = "/api/v1"


def _get(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(API + path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def _all_pages(client: TestClient, path: str, **query: Any) -> list[Any]:
    items: list[Any] = []
    cursor: str | None = None
    for _ in range(200):
        found = _get(client, path, **query, **({"cursor": cursor} if cursor else {}))
        items += found["items"]
        cursor = found["next"]
        if cursor is None:
            return items
    raise AssertionError("the pages never end")


def test_areas_show_state_losses_and_open_findings(client: TestClient, seeded: Seeded) -> None:
    areas = {area["code"]: area for area in _get(client, "/areas")["items"]}
    assert {code: area["latest"] and area["latest"]["state"] for code, area in areas.items()} == {
        "A1": "high", "A2": "normal", "A3": "negative", "A4": "not_computable", "A5": None,
    }  # fmt: skip
    assert areas["A1"]["open_findings"] == 2  # the rejected one does not count
    assert areas["A3"]["loss_28d"]["days"] == 26
    assert areas["A1"]["latest"]["day"] == str(seeding.DAYS[-1])  # today's half day is not the latest full one


def test_what_is_not_known_is_null(client: TestClient, seeded: Seeded) -> None:
    blind, empty = _get(client, "/areas/A4"), _get(client, "/areas/A5")
    assert blind["latest"]["loss_wh"] is None
    assert blind["loss_7d"] == {"days": 0, "loss_wh": None, "loss_rate": None}
    assert empty["latest"] is None
    assert empty["at_stake_wh"] is None


def test_loss_rate_is_the_sums_quotient(client: TestClient, seeded: Seeded) -> None:
    week = _get(client, "/areas/A1/balances", **{"from": seeding.DAYS[-7], "to": seeding.DAYS[-1]})["items"]
    area = _get(client, "/areas/A1")
    loss, supplied = (sum(day[key] for day in week) for key in ("loss_wh", "supplied_wh"))
    assert area["loss_7d"]["loss_wh"] == loss
    assert area["loss_7d"]["loss_rate"] == pytest.approx(loss / supplied)


@pytest.mark.parametrize("sort", ["code", "state", "loss_rate_7d", "loss_28d", "coverage", "findings", "at_stake"])
@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_pages_of_any_order_show_each_area_once(client: TestClient, seeded: Seeded, sort: str, direction: str) -> None:
    whole = [area["code"] for area in _get(client, "/areas", sort=sort, direction=direction)["items"]]
    paged = [area["code"] for area in _all_pages(client, "/areas", sort=sort, direction=direction, limit=2)]
    assert paged == whole
    assert sorted(paged) == ["A1", "A2", "A3", "A4", "A5"]


def test_sorting_puts_the_unknown_last_both_ways(client: TestClient, seeded: Seeded) -> None:
    for direction, first in (("asc", "A3"), ("desc", "A1")):
        codes = [a["code"] for a in _get(client, "/areas", sort="loss_rate_7d", direction=direction)["items"]]
        assert codes[0] == first
        assert set(codes[-2:]) == {"A4", "A5"}


def test_filters(client: TestClient, seeded: Seeded) -> None:
    def codes(**query: Any) -> set[str]:
        return {area["code"] for area in _get(client, "/areas", **query)["items"]}

    assert codes(state="high") == {"A1"}
    assert codes(state="unknown") == {"A5"}
    assert codes(station="S1") == {"A1", "A2"}
    assert codes(q="荷花") == {"A3"}
    assert codes(q="100%_") == set()
    assert codes(with_findings=True) == {"A1", "A3", "A4"}


def test_balances_leave_unsettled_days_out_and_give_vectors_on_demand(client: TestClient, seeded: Seeded) -> None:
    days = _all_pages(client, "/areas/A3/balances", limit=10)
    assert len(days) == 26
    assert [day["day"] for day in days] == sorted(day["day"] for day in days)
    assert all(day["vectors"] is None for day in days)
    (one,) = _get(client, "/areas/A1/balances", intervals="day", **{"from": seeding.DAYS[6], "to": seeding.DAYS[6]})[
        "items"
    ]
    assert one["vectors"]["interval_s"] == 900
    assert len(one["vectors"]["supplied_wh"]) == 96
    assert one["vectors"]["supplied_wh"][42] is None


def test_findings_filter_page_and_show_evidence(client: TestClient, seeded: Seeded) -> None:
    assert {f["kind"] for f in _get(client, "/findings", area="A1", state="unresolved")["items"]} == {
        "under_registering",
        "wrong_area",
    }
    assert [f["kind"] for f in _get(client, "/findings", kind="direct_tap", state="rejected")["items"]] == [
        "direct_tap"
    ]
    energies = [abs(f["energy_wh"]) for f in _all_pages(client, "/findings", sort="energy", limit=2)]
    assert len(energies) == 5
    assert energies == sorted(energies, reverse=True)
    one = _get(client, f"/findings/{seeded.findings['wrong_area']}")
    assert (one["meter"], one["usage_point"], one["correct_area"]) == ("Chint/211003", "A1-003", "A3")
    assert one["evidence"]["series"][0]["unit"] == "V"


def test_readings_page_through_a_day(client: TestClient, seeded: Seeded) -> None:
    path, maker = "/meters/211001/readings", {"manufacturer": "Eastron"}
    whole = _get(client, path, **maker, limit=500)
    assert (whole["model"], len(whole["items"])) == ("eastron-sdm630", 96)
    assert [r["voltage_v"] for r in whole["items"]].count(None) == 1
    assert whole["items"][-1]["export_wh"] is None
    assert _all_pages(client, path, **maker, limit=40) == whole["items"]
    part = _get(client, path, **maker, **{"from": "2026-11-23T10:00:00+08:00", "to": "2026-11-23T11:00:00+08:00"})
    assert [r["ts"] for r in part["items"]] == [f"2026-11-23T02:{m}:00Z" for m in ("00", "15", "30", "45")]


def test_a_serial_of_two_manufacturers_is_409(client: TestClient, seeded: Seeded) -> None:
    answer = client.get(f"{API}/meters/211001/readings")
    assert answer.status_code == 409
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["manufacturers"] == ["Acrel", "Eastron"]


def test_batches_determinants_and_csv_agree(client: TestClient, seeded: Seeded) -> None:
    batches = _all_pages(client, "/billing/batches", limit=3)
    assert [(b["number"], b["state"]) for b in batches] == [
        (4, "rejected"), (3, "created"), (2, "acknowledged"), (1, "acknowledged"),
    ]  # fmt: skip
    rows = _all_pages(client, "/billing/batches/1", limit=17)
    assert len(rows) == batches[-1]["determinants"] == 42
    assert sum(row["energy_wh"] for row in rows) == batches[-1]["energy_wh"]
    answer = client.get(f"{API}/billing/batches/1/determinants.csv")
    assert answer.headers["content-type"].startswith("text/csv")
    table = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(r["usage_point"], int(r["energy_wh"])) for r in table] == [
        (r["usage_point"], r["energy_wh"]) for r in rows
    ]
    assert table[0]["reason"] == ""
    (exception,) = _get(client, "/billing/batches/4")["billing_exceptions"]
    assert exception["usage_point"] == "A1-007"


def test_csv_of_many_rows_comes_in_pages_of_one_table(
    client: TestClient, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = client.get(f"{API}/billing/batches/2/determinants.csv").text
    for rows in (1, 7, 42):
        monkeypatch.setattr("headend.api.billing._CSV_PAGE_ROWS", rows)
        assert client.get(f"{API}/billing/batches/2/determinants.csv").text == whole


def test_premises_have_a_checklist(client: TestClient, seeded: Seeded) -> None:
    premises = _all_pages(client, "/rollout/premises", area="A2", limit=4)
    conditions = {p["code"]: [s["condition"] for s in p["steps"]] for p in premises}
    assert conditions["P-1"] == ["done", "done", "not_needed", "done", "blocked"]
    assert conditions["P-2"][3] == "waiting"
    assert conditions["P-3"] == ["done", "open", "blocked", "blocked", "blocked"]
    removal = _get(client, "/rollout/premises/P-1")["steps"][4]
    assert "Mill Courtyard, room 4 is not commissioned" in removal["missing"]
    assert _get(client, "/rollout/premises", area="A1")["items"] == []


def test_steps_are_handed_to_the_rollout(client: TestClient, seeded: Seeded, door: Door) -> None:
    body = {"client_id": str(uuid4()), "step": "survey", "by": "Li Wei", "evidence": {"people": 3}}
    answer = client.post(f"{API}/rollout/premises/P-4/steps", json=body)
    assert (answer.status_code, answer.json()["state"], answer.json()["repeated"]) == (200, "closed", False)
    assert client.post(f"{API}/rollout/premises/P-4/steps", json=body).json()["repeated"] is True
    assert door.asked[0][4] == {"people": 3}
    waiting = body | {"client_id": str(uuid4()), "step": "commissioned"}
    assert client.post(f"{API}/rollout/premises/P-4/steps", json=waiting).status_code == 202
    refused = body | {"client_id": str(uuid4()), "step": "household_meter_installed"}
    answer = client.post(f"{API}/rollout/premises/P-4/steps", json=refused)
    assert (answer.status_code, answer.json()["missing"]) == (409, ["seal"])
    assert client.post(f"{API}/rollout/premises/P-404/steps", json=body).status_code == 404


def test_openapi_describes_every_route(client: TestClient) -> None:
    paths = client.get(f"{API}/openapi.json").json()["paths"]
    assert {p for p in paths if p.startswith(API)} == {
        f"{API}{tail}"
        for tail in (
            "/areas", "/areas/{code}", "/areas/{code}/balances", "/areas/{code}/report", "/findings",
            "/findings/{finding_id}",
            "/findings/precision", "/findings/{finding_id}/history", "/findings/{finding_id}/assign",
            "/findings/{finding_id}/inspect", "/findings/{finding_id}/confirm", "/findings/{finding_id}/reject",
            "/findings/{finding_id}/repair", "/findings/{finding_id}/reopen",
            "/meters/{serial}/readings", "/meters/{manufacturer}/{serial}/revisions",
            "/meters/{manufacturer}/{serial}/commands",
            "/meters/{manufacturer}/{serial}/commands/{command_id}", "/meters/{manufacturer}/{serial}/clock",
            "/meters/{manufacturer}/{serial}/reads", "/meters/{manufacturer}/{serial}/reads/{request_id}",
            "/rollout/premises", "/rollout/premises/{code}",
            "/rollout/premises/{code}/steps", "/billing/batches", "/billing/batches/{number}",
            "/billing/batches/{number}/determinants.csv", "/buses", "/buses/meters", "/buses/modems",
            "/register-refusals", "/register-refusals/{refusal_id}", "/profile-gaps", "/events", "/discovered",
            "/discovered/{discovered_id}", "/discovered/{discovered_id}/adopt", "/status", "/alerts",
            "/areas/{code}/read-success",
            "/stations", "/stations/{code}/balances", "/stations/{code}/parts", "/feeders", "/feeders/{code}/balances",
            "/usage-points/{code}", "/usage-points/{code}/intervals", "/usage-points/{code}/edits",
            "/usage-points/{code}/edits/preview", "/usage-points/{code}/edits/{edit_id}/undo", "/edits",
            "/changes", "/changes/{change_id}", "/usage-points/{code}/history",
            "/validation/rules", "/validation/rule-sets/{number}", "/areas/{code}/validation",
            "/unmetered-loads", "/unmetered-loads/{code}/end", "/unmetered-loads/{code}/withdraw",
            "/quarantine", "/quarantine/summary", "/quarantine/replay", "/quarantine/{quarantine_id}",
            "/quarantine/{quarantine_id}/payload", "/quarantine/{quarantine_id}/replay",
        )
    }  # fmt: skip
    assert all(operation["summary"] for methods in paths.values() for operation in methods.values())


def test_every_reference_of_openapi_leads_somewhere(client: TestClient) -> None:
    text = client.get(f"{API}/openapi.json").text
    document = json.loads(text)
    wanted = set(re.findall(r'"\$ref":\s*"([^"]+)"', text))
    assert "#/components/schemas/ProblemBody" in wanted
    for reference in wanted:
        place = document
        for name in reference.removeprefix("#/").split("/"):
            assert name in place, f"{reference} leads nowhere"
            place = place[name]
