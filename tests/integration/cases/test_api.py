"""Cases through the API: moves with their answers, history, filters, and how often each kind is right."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

import pytest
from fastapi.testclient import TestClient

from headend.domain.cases import Move
from headend.settlement.learning import learnt_priors
from reconciliation import FindingKind, Priors
from support.nights import Nights

API = "/api/v1/findings"


@pytest.fixture
def finding(nights: Nights) -> int:
    nights.seen(0)
    return int(nights.case()["finding_id"])


def said(**more: Any) -> dict[str, Any]:
    return {"event_id": str(uuid4()), "by": "Li Wei"} | more


SAW = {
    "cause": "bypass", "visited_at": "2026-03-03T08:30:00+08:00", "text": "two wires", "register_wh": 5000,
    "seal": "S-1, cut", "photos": ["IMG-1"],
}  # fmt: skip


def test_a_case_goes_its_way_and_tells_it(client: TestClient, nights: Nights, finding: int) -> None:
    nights.now = datetime(2026, 3, 3, 4, tzinfo=UTC)
    at = f"{API}/{finding}"
    assert client.post(f"{at}/assign", json=said(assigned_to="crew 3")).json()["to_state"] == "assigned"
    seen = said(saw=SAW)
    answer = client.post(f"{at}/inspect", json=seen)
    assert (answer.status_code, answer.json()["saw"]["cause"]) == (201, "bypass")
    again = client.post(f"{at}/inspect", json=seen)
    assert (again.status_code, again.json()) == (200, answer.json())
    taken = client.post(f"{at}/confirm", json=said(note="so it is") | {"event_id": seen["event_id"]})
    assert (taken.status_code, taken.json()["type"]) == (409, "urn:headend:problem:event-id-taken")
    assert client.post(f"{at}/confirm", json=said(note="so it is")).status_code == 201
    forbidden = client.post(f"{at}/reject", json=said(note="no"))
    assert (forbidden.status_code, forbidden.json()["type"], forbidden.json()["state"]) == (
        409, "urn:headend:problem:move-forbidden", "confirmed",
    )  # fmt: skip
    assert "reject is possible while a case is inspected; this one is confirmed" in forbidden.json()["detail"]
    assert client.post(f"{at}/repair", json=said(repaired_on="2026-03-03", note="new meter")).status_code == 201
    one = client.get(at).json()
    assert (one["state"], one["assigned_to"], one["verdict"], one["repaired_on"]) == (
        "confirmed", "crew 3", "confirmed", "2026-03-03",
    )  # fmt: skip
    told = client.get(f"{at}/history").json()
    assert [(e["move"], e["by"]) for e in told["events"]] == [
        ("opened", None), ("assign", "Li Wei"), ("inspect", "Li Wei"), ("confirm", "Li Wei"), ("repair", "Li Wei"),
    ]  # fmt: skip
    assert told["events"][2]["saw"] == SAW | {"visited_at": "2026-03-03T00:30:00Z"}
    assert [(r["window_to"], r["seen"], r["confidence"]) for r in told["runs"]] == [("2026-03-02", True, 0.8)]


@pytest.mark.parametrize(
    ("move", "body", "pointer"),
    [
        ("assign", {"assigned_to": "  "}, "#/assigned_to"),
        ("assign", {}, "#/assigned_to"),
        ("confirm", {"note": ""}, "#/note"),
        ("confirm", {"note": " "}, "#/note"),
        ("reject", {"note": "x", "by": "a\x00b"}, "#/by"),
        ("inspect", {"saw": SAW | {"cause": "ghost"}}, "#/saw/cause"),
        ("inspect", {"saw": SAW | {"cause": "other", "text": ""}}, "#/saw/text"),
        ("inspect", {"saw": SAW | {"register_wh": -1}}, "#/saw/register_wh"),
        ("inspect", {"saw": SAW | {"visited_at": "2026-03-03T08:30:00"}}, "#/saw/visited_at"),
        ("inspect", {"saw": SAW | {"visited_at": "2036-03-03T08:30:00Z"}}, "#/saw/visited_at"),
        ("inspect", {"saw": SAW | {"photos": ["x" * 301]}}, "#/saw/photos/0"),
        ("inspect", {"saw": SAW | {"name": "Zhang San"}}, "#/saw/name"),
        ("repair", {"repaired_on": 20260303}, "#/repaired_on"),
    ],
)
def test_what_is_wrong_is_named(
    client: TestClient, finding: int, move: str, body: dict[str, Any], pointer: str
) -> None:
    answer = client.post(f"{API}/{finding}/{move}", json=said() | body)
    assert (answer.status_code, [e["pointer"] for e in answer.json()["errors"]]) == (422, [pointer])


def test_unknown_cases_are_404(client: TestClient) -> None:
    assert client.post(f"{API}/99/assign", json=said(assigned_to="x")).status_code == 404
    assert client.get(f"{API}/99/history").status_code == 404


def test_the_list_is_filtered_by_whose_it_is(client: TestClient, nights: Nights) -> None:
    nights.night(0, nights.finding(0, "stuck", "m1"), nights.finding(0, "stuck", "m2"))
    first, second = (c["finding_id"] for c in nights.cases())
    nights.move(first, Move.ASSIGN, assigned_to="crew 3")
    nights.move(second, Move.ASSIGN, assigned_to="crew 4")
    found = client.get(API, params={"assigned_to": "crew 4", "state": "assigned"}).json()["items"]
    assert [f["id"] for f in found] == [second]


def _verdicts(nights: Nights, at: datetime, kind: str, *, confirmed: int = 0, rejected: int = 0) -> None:
    nights.field.run(
        "insert into finding (area_id, meter_id, kind, confidence, energy_wh, energy_low_wh, energy_high_wh, "
        "window_from, window_to, evidence, opened_at, seen_at, state, verdict, verdict_at, closed_at) "
        "select %(area)s, %(meter)s, %(kind)s, 0.9, 1, 1, 1, '2026-01-01', '2026-01-28', '{}', %(at)s, %(at)s, "
        "'closed', v, %(at)s, %(at)s from unnest(array_fill('confirmed'::text, array[%(confirmed)s]) "
        "|| array_fill('rejected'::text, array[%(rejected)s])) v",
        {
            "area": nights.area, "meter": nights.meters["m1"], "kind": kind, "at": at, "confirmed": confirmed,
            "rejected": rejected,
        },
    )  # fmt: skip


def test_precision_is_told_by_kind_and_local_month_with_counts_and_interval(client: TestClient, nights: Nights) -> None:
    _verdicts(nights, datetime(2026, 1, 31, 15, 59, tzinfo=UTC), "stuck", confirmed=3, rejected=1)
    _verdicts(nights, datetime(2026, 1, 31, 16, 0, tzinfo=UTC), "stuck", confirmed=8, rejected=2)
    _verdicts(nights, datetime(2026, 3, 1, tzinfo=UTC), "direct_tap", rejected=2)
    found = {kind["kind"]: kind for kind in client.get(f"{API}/precision").json()["kinds"]}
    assert sorted(found) == ["direct_tap", "stuck"], "a kind nobody judged has no share"
    stuck = found["stuck"]
    assert [(m["month"], m["confirmed"], m["rejected"]) for m in stuck["months"]] == [
        ("2026-01-01", 3, 1), ("2026-02-01", 8, 2),
    ]  # fmt: skip
    february = stuck["months"][1]
    assert (february["precision"], february["low"], february["high"]) == (
        0.8, pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4),
    )  # fmt: skip
    assert (stuck["confirmed"], stuck["rejected"], stuck["precision"]) == (11, 3, pytest.approx(11 / 14))
    assert (found["direct_tap"]["precision"], found["direct_tap"]["low"]) == (0.0, 0.0)


def test_a_verdict_counts_for_the_kind_it_was_about_and_not_once_it_is_taken_back(
    client: TestClient, nights: Nights, finding: int
) -> None:
    nights.judge(finding, Move.REJECT)
    assert [k["kind"] for k in client.get(f"{API}/precision").json()["kinds"]] == ["stuck"]
    nights.move(finding, Move.REOPEN)
    assert client.get(f"{API}/precision").json() == {"kinds": [], "priors": {}}
    nights.seen(1, kind="under_registering")
    nights.judge(finding, Move.CONFIRM)
    nights.seen(2, kind="wrong_multiplier")
    (kind,) = client.get(f"{API}/precision").json()["kinds"]
    assert (kind["kind"], kind["confirmed"], kind["rejected"]) == ("under_registering", 1, 0)


def test_priors_are_learnt_from_the_verdicts_of_two_years(nights: Nights) -> None:
    now = datetime(2026, 3, 1, tzinfo=UTC)
    with nights.field.store.transaction() as connection:
        assert learnt_priors(connection, now) == Priors()
    _verdicts(nights, datetime(2024, 2, 28, tzinfo=UTC), "stuck", rejected=500)
    _verdicts(nights, datetime(2025, 2, 1, tzinfo=UTC), "direct_tap", confirmed=1, rejected=40)
    _verdicts(nights, datetime(2025, 2, 1, tzinfo=UTC), "prolonged_estimation", rejected=40)
    _verdicts(nights, datetime(2026, 3, 2, tzinfo=UTC), "clock_skew", rejected=40)
    with nights.field.store.transaction() as connection:
        priors = learnt_priors(connection, now)
    assert priors.shift(FindingKind.DIRECT_TAP) < -1.5
    assert {k for k in FindingKind if priors.shift(k)} == {FindingKind.DIRECT_TAP}


def test_days_of_a_repair_are_local_days(client: TestClient, nights: Nights, finding: int) -> None:
    nights.judge(finding, Move.CONFIRM)
    answer = client.post(f"{API}/{finding}/repair", json=said(repaired_on="2026-03-03"))
    assert (answer.status_code, nights.case()["repaired_on"]) == (201, date(2026, 3, 3))
