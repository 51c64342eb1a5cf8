"""Edits by the API: made once, refused with numbers, undone, and told by the audit."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from support.editor import Editor
from support.field import QUARTER, T0


def _body(first: int, values: list[int] | int, **more: Any) -> dict[str, Any]:
    count = more.pop("intervals", 1) if isinstance(values, int) else len(values)
    given = {"total_wh": values} if isinstance(values, int) else {"energies_wh": values}
    said = {
        "edit_id": str(uuid4()),
        "from": (T0 + first * QUARTER).isoformat(),
        "to": (T0 + (first + count) * QUARTER).isoformat(),
        "by": "Li Wei",
        "reason": "pump was off",
    }
    return said | given | more


def test_an_edit_is_made_once_and_says_what_was_before(client: TestClient, editor: Editor) -> None:
    body = _body(41, [10, 20])
    made = client.post("/api/v1/usage-points/H/edits", json=body)
    assert made.status_code == 201, made.text
    assert made.json()["before_wh"] == [100, 100]
    assert made.json()["before_quality"] == ["estimated", "estimated"]
    again = client.post("/api/v1/usage-points/H/edits", json=body)
    assert (again.status_code, again.json()) == (200, made.json())
    other = client.post("/api/v1/usage-points/H/edits", json=body | {"reason": "another"})
    assert other.status_code == 409
    assert other.json()["type"] == "urn:headend:problem:edit-id-taken"
    assert editor.field.one("select count(*) from edit") == 1

    editor.settle()
    found = client.get("/api/v1/usage-points/H/intervals", params={"day": "2026-03-02"}).json()
    (day,) = found["days"]
    edited = day["intervals"][41]
    assert (edited["import_wh"], edited["quality"], edited["before_wh"], edited["before_quality"]) == (
        10, "edited", 100, "estimated",
    )  # fmt: skip
    assert edited["edit_id"] == body["edit_id"]
    assert day["intervals"][39]["quality"] == "measured"
    assert day["intervals"][39]["edit_id"] is None
    assert "by_line" in day["intervals"][45]["flags"] or "evenly" in day["intervals"][45]["flags"]
    assert (day["start_import_wh"], day["end_import_wh"]) == (0, 9600)
    assert day["rule_set"] in [r["id"] for r in found["rule_sets"]]
    assert sum(i["import_wh"] for i in day["intervals"]) == 9600


def test_what_cannot_hold_is_refused_with_the_numbers(client: TestClient, editor: Editor) -> None:
    refused = client.post("/api/v1/usage-points/H/edits", json=_body(20, [90]))
    assert refused.status_code == 409
    problem = refused.json()
    assert problem["type"] == "urn:headend:problem:edit-does-not-hold"
    assert "the registers say 100 Wh, the edit gives 90 Wh" in problem["detail"]
    assert problem["blocks"] == [
        {
            "from": "2026-03-01T21:00:00Z", "to": "2026-03-01T21:15:00Z", "known_wh": 100, "edited_wh": 90,
            "other_intervals": 0, "holds": False,
        }
    ]  # fmt: skip
    too_much = client.post("/api/v1/usage-points/H/edits", json=_body(41, 1200, intervals=2))
    assert "100 Wh too much" in too_much.json()["detail"]
    assert editor.field.one("select count(*) from edit") == 0
    assert editor.marked() == []


def test_trying_out_stores_nothing_and_shows_both_sums(client: TestClient, editor: Editor) -> None:
    tried = client.post("/api/v1/usage-points/H/edits/preview", json=_body(41, 55, intervals=2)).json()
    assert (tried["holds"], tried["energies_wh"]) == (True, [28, 27])
    assert sum(tried["before_wh"]) == sum(tried["after_wh"]) == 1100
    assert tried["edited"] == [False, True, True] + [False] * 8
    refused = client.post("/api/v1/usage-points/H/edits/preview", json=_body(20, [90])).json()
    assert refused["holds"] is False
    assert (refused["before_wh"], refused["after_wh"]) == ([100], [90])
    assert editor.field.one("select count(*) from edit") == 0


def test_undone_once_and_told_for_good(client: TestClient, editor: Editor) -> None:
    made = client.post("/api/v1/usage-points/H/edits", json=_body(41, [10, 20])).json()
    editor.settle()
    said = {"by": "Wang Fang", "reason": "it was on"}
    path = f"/api/v1/usage-points/H/edits/{made['edit_id']}/undo"
    undone = client.post(path, json=said)
    assert (undone.status_code, undone.json()["undone_by"]) == (200, "Wang Fang")
    assert client.post(path, json=said).json() == undone.json(), "the same again changes nothing"
    assert client.post(path, json={"by": "Zhao", "reason": "me too"}).status_code == 409
    assert client.post(path.replace("H/", "X/"), json=said).status_code == 404
    editor.settle()
    assert editor.energies("H", 0) == [100] * 96
    audit = client.get("/api/v1/usage-points/H/edits").json()["items"]
    assert [(e["by"], e["undone_by"], e["undo_reason"]) for e in audit] == [("Li Wei", "Wang Fang", "it was on")]
    assert client.get("/api/v1/edits", params={"standing": True}).json()["items"] == []
    with pytest.raises(Exception, match="never changed"):
        editor.field.run("update edit set reason = 'x'")
    with pytest.raises(Exception, match="never changed"):
        editor.field.run("delete from edit")


def test_the_audit_comes_in_pages_newest_first(client: TestClient, editor: Editor) -> None:
    for n in range(5):
        editor.now += timedelta(minutes=1)
        assert client.post("/api/v1/usage-points/H/edits", json=_body(42 + n, [n], by=f"P{n}")).status_code == 201
    first = client.get("/api/v1/edits", params={"limit": 3}).json()
    then = client.get("/api/v1/edits", params={"limit": 3, "cursor": first["next"]}).json()
    assert [e["by"] for e in first["items"] + then["items"]] == ["P4", "P3", "P2", "P1", "P0"]
    assert then["next"] is None
    assert [e["by"] for e in client.get("/api/v1/edits", params={"by": "P3"}).json()["items"]] == ["P3"]
    assert client.get("/api/v1/edits", params={"cursor": "nonsense"}).status_code == 422


def test_readings_set_aside(client: TestClient, editor: Editor) -> None:
    at = (T0 + 20 * QUARTER).isoformat()
    body = {
        "edit_id": str(uuid4()), "kind": "readings", "from": at, "to": at, "by": "Li Wei", "reason": "misread",
        "meter": {"manufacturer": "Acme", "serial": "h"},
    }  # fmt: skip
    made = client.post("/api/v1/usage-points/H/edits", json=body)
    assert (made.status_code, made.json()["readings"]) == (201, 1)
    nothing = body | {
        "edit_id": str(uuid4()),
        "from": (T0 + 45 * QUARTER).isoformat(),
        "to": (T0 + 46 * QUARTER).isoformat(),
    }
    assert client.post("/api/v1/usage-points/H/edits", json=nothing).json()["type"].endswith("edit-no-reading")
    nobody = body | {"edit_id": str(uuid4()), "meter": {"manufacturer": "Acme", "serial": "x"}}
    assert client.post("/api/v1/usage-points/H/edits", json=nobody).status_code == 404


@pytest.mark.parametrize(
    ("change", "field", "said"),
    [
        ({"by": " "}, "by", "is required"),
        ({"reason": "a\x01"}, "reason", "printable"),
        ({"energies_wh": [1, 2, 3]}, "energies_wh", "3 values for 2 intervals"),
        ({"energies_wh": [1, -2]}, "energies_wh", "-2 is not within"),
        ({"total_wh": 5}, "energies_wh", "either"),
        ({"from": "2026-03-02T10:07:00+08:00"}, "from", "does not lie on the grid of 15 minutes"),
        ({"to": "2026-03-02T10:00:00+08:00"}, "to", "is not after"),
        ({"meter": {"manufacturer": "Acme", "serial": "h"}}, "meter", "belong to the usage point"),
    ],
)
def test_a_fault_names_its_field(client: TestClient, change: dict[str, Any], field: str, said: str) -> None:
    answer = client.post("/api/v1/usage-points/H/edits", json=_body(41, [10, 20]) | change)
    assert answer.status_code == 422, answer.text
    (fault,) = answer.json()["errors"]
    assert fault["pointer"] == f"#/{field}"
    assert said in fault["detail"]


def test_nothing_to_edit(client: TestClient, editor: Editor) -> None:
    assert client.post("/api/v1/usage-points/X/edits", json=_body(41, [10])).status_code == 404
    assert client.get("/api/v1/usage-points/X/edits").status_code == 404
    assert client.get("/api/v1/usage-points/X/intervals").status_code == 404
    future = client.post("/api/v1/usage-points/H/edits", json=_body(12 * 96, [10]))
    assert future.json()["type"].endswith("edit-not-over")
    before = client.post("/api/v1/usage-points/H/edits", json=_body(-40, [10]))
    assert before.json()["type"].endswith("edit-no-area")
    editor.field.run("update installation set valid_to = %s", [T0 + 150 * QUARTER])
    gone = client.post("/api/v1/usage-points/H/edits", json=_body(149, [10, 10]))
    assert gone.json()["type"].endswith("edit-no-meter")


def test_what_a_usage_point_is(client: TestClient) -> None:
    found = client.get("/api/v1/usage-points/H").json()
    assert (found["kind"], found["category"], found["area"]) == ("customer", "residential", "A1")
    assert [m["serial"] for m in found["meters"]] == ["h"]
    document = client.get("/api/v1/openapi.json").json()
    assert {"Edit", "EditRequest", "UsagePointIntervals", "UsagePoint"} <= document["components"]["schemas"].keys()
