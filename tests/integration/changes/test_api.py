"""Changes over HTTP: made, looked at beforehand, sent again, refused in words beside the field, listed by page."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from headend.web.app import create_app
from support.yard import Yard

NOON_8 = "2026-03-08T12:00:00+08:00"


@pytest.fixture
def client(yard: Yard) -> TestClient:
    return TestClient(create_app(yard.store, yard.settings, lambda: yard.now), raise_server_exceptions=False)


def asked(kind: str, **fields: Any) -> dict[str, Any]:
    return {"change_id": str(uuid4()), "by": "Wang Fang", "reason": "a test", "kind": kind} | fields


def post(client: TestClient, body: dict[str, Any], status: int = 201, **query: Any) -> dict[str, Any]:
    answer = client.post("/api/v1/changes", json=body, params=query)
    assert answer.status_code == status, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_a_change_is_looked_at_made_and_sent_again(client: TestClient, yard: Yard) -> None:
    yard.meter("NEW")
    body = asked("swap_meter", usage_point="U1", at=NOON_8, manufacturer="Acme", serial="NEW", end_import_wh=156_000)
    before = yard.everything()
    looked = post(client, body, 200, dry_run=True)
    assert yard.everything() == before
    assert looked["change"] is None
    assert looked["effect"]["settled_again"] == [{"area": "A1", "first": "2026-03-08", "last": "2026-03-12"}]
    assert (looked["effect"]["area_days"], looked["effect"]["billed_days"]) == (5, 4)
    done = post(client, body)
    assert done["effect"]["settled_again"] == looked["effect"]["settled_again"]
    assert [row["serial"] for row in done["change"]["before"]["installations"]] == ["M-U1"]
    assert [row["serial"] for row in done["change"]["after"]["installations"]] == ["M-U1", "NEW"]
    assert done["change"]["effective_at"] == "2026-03-08T04:00:00Z"
    assert done["change"]["meters"] == ["Acme/M-U1", "Acme/NEW"]
    after = yard.everything()
    again = post(client, body | {"at": "2026-03-08T04:00:00Z"}, 200)  # the same instant, written otherwise
    assert (again["change"], again["effect"]) == (done["change"], None)
    assert yard.everything() == after
    taken = post(client, body | {"end_import_wh": 157_000}, 409)
    assert taken["type"] == "urn:headend:problem:change-id-taken"


def test_a_refusal_says_what_is_in_the_way_and_points_to_the_field(client: TestClient) -> None:
    told = post(client, asked("swap_meter", usage_point="U1", at=NOON_8, manufacturer="Acme", serial="M-U3"), 409)
    assert told["type"] == "urn:headend:problem:change-refused"
    assert "Acme/M-U3 at U3 from 2026-03-01T16:00:00+00:00 (beside Acme/M-U3 at U1 from" in told["detail"]
    told = post(client, asked("move", usage_point="U1", at=NOON_8, area="A9"), 422)
    assert told["errors"] == [{"pointer": "#/area", "detail": "there is no area 'A9'"}]
    told = post(client, asked("move", usage_point="U9", at=NOON_8, area="A1"), 422)
    assert told["errors"] == [{"pointer": "#/usage_point", "detail": "there is no usage point 'U9'"}]
    told = post(client, asked("undo", undoes=str(uuid4())), 422)
    assert told["errors"][0]["pointer"] == "#/undoes"


@pytest.mark.parametrize(
    ("kind", "fields", "pointer"),
    [
        ("change_multiplier", {"usage_point": "U1", "at": NOON_8, "multiplier": "0"}, "#/multiplier"),
        ("change_multiplier", {"usage_point": "U1", "at": NOON_8, "multiplier": "1.00001"}, "#/multiplier"),
        ("change_multiplier", {"usage_point": "U1", "at": NOON_8, "multiplier": "NaN"}, "#/multiplier"),
        ("change_multiplier", {"usage_point": "U1", "at": "2026-03-08T12:00:00", "multiplier": 2}, "#/at"),
        ("change_multiplier", {"usage_point": "U1", "at": "1899-03-08T12:00:00Z", "multiplier": 2}, "#/at"),
        ("change_sign", {"usage_point": "U1", "at": NOON_8, "sign": 0}, "#/sign"),
        ("change_category", {"usage_point": "U1", "at": NOON_8, "category": "none"}, "#/category"),
        ("swap_meter", {"usage_point": "U1", "at": NOON_8, "manufacturer": "Acme", "serial": ""}, "#/serial"),
        ("correct_meter", {"manufacturer": "Acme", "serial": "M-U1"}, "#/digits"),
        ("correct_installation", {"usage_point": "U1", "since": NOON_8, "set": {}}, "#/set"),
        ("correct_installation", {"usage_point": "U1", "since": NOON_8, "set": {"sign": None}}, "#/set/sign"),
        ("correct_installation", {"usage_point": "U1", "since": NOON_8, "set": {"color": 1}}, "#/set/color"),
        ("dissolve", {"usage_point": "U1"}, "#/"),
        ("undo", {"undoes": "x", "by": "\u0000"}, "#/by"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_refused_beside_its_field(
    client: TestClient, kind: str, fields: dict[str, Any], pointer: str
) -> None:
    told = post(client, asked(kind, **fields), 422)
    assert pointer in [error["pointer"] for error in told["errors"]], told


def test_changes_are_listed_newest_first_by_whom_they_are_about(client: TestClient, yard: Yard) -> None:
    for day, category in ((4, "commercial"), (5, "irrigation"), (6, "temporary")):
        post(client, asked("change_category", usage_point="U1", at=f"2026-03-0{day}T00:00:00+08:00", category=category))
    post(client, asked("move", usage_point="U3", at=NOON_8, area="A1"))

    def listed(**query: Any) -> list[str]:
        found = client.get("/api/v1/changes", params=query).json()["items"]
        return [f"{item['kind']} {','.join(item['usage_points'])} {','.join(item['areas'])}" for item in found]

    category = "change_category U1 A1"
    assert listed() == ["move U3 A1,A2", category, category, category]
    assert listed(usage_point="U1") == [category] * 3
    assert listed(area="A2") == ["move U3 A1,A2"]
    assert listed(manufacturer="Acme", serial="M-U1") == []
    page = client.get("/api/v1/changes", params={"usage_point": "U1", "limit": 2}).json()
    rest = client.get("/api/v1/changes", params={"usage_point": "U1", "limit": 2, "cursor": page["next"]}).json()
    ids = [item["change_id"] for item in page["items"] + rest["items"]]
    assert len(set(ids)) == 3
    assert rest["next"] is None
    one = client.get(f"/api/v1/changes/{ids[0]}").json()
    assert one["change_id"] == ids[0]
    assert client.get(f"/api/v1/changes/{uuid4()}").status_code == 404
    assert client.get("/api/v1/changes", params={"usage_point": "nobody"}).status_code == 404
    assert client.get("/api/v1/changes", params={"serial": "M-U1"}).status_code == 422


def test_the_history_of_a_usage_point(client: TestClient) -> None:
    post(client, asked("change_multiplier", usage_point="U1", at=NOON_8, multiplier="2.5"))
    post(client, asked("move", usage_point="U1", at=NOON_8, area="A2"))
    found = client.get("/api/v1/usage-points/U1/history").json()
    assert [row["multiplier"] for row in found["installations"]] == ["1.0000", "2.5000"]
    assert [(row["area"], row["valid_to"]) for row in found["memberships"]] == [
        ("A1", "2026-03-08T04:00:00Z"), ("A2", None),
    ]  # fmt: skip
    assert [(row["category"], row["valid_from"]) for row in found["categories"]] == [("residential", None)]
    assert client.get("/api/v1/usage-points/U9/history").status_code == 404


def test_the_api_document_has_every_kind(client: TestClient) -> None:
    document = client.get("/api/v1/openapi.json").json()
    body = document["paths"]["/api/v1/changes"]["post"]["requestBody"]["content"]["application/json"]
    assert len(body["schema"]["discriminator"]["mapping"]) == 14
    assert set(body["examples"]) == {"swap", "ct", "move"}
