"""The status of every part as API and page, and alerts wherever an engineer looks."""

from __future__ import annotations

import re
from typing import Any

import pytest
import seed as seeding
import seed_operation
from fastapi.testclient import TestClient
from seed_base import DAYS, NOW, TODAY
from web_door import Door

from headend.domain.alerts import AlertKind
from headend.settings import Database, Settings
from headend.store.pool import Store
from headend.web import alert_words
from headend.web.app import create_app

HTML = {"Accept": "text/html"}
API = "/api/v1"


@pytest.fixture
def client(store: Store, dsn: str) -> TestClient:
    made = seeding.seed(store)
    with store.transaction() as connection:
        seed_operation.operation(connection, made)
    return TestClient(create_app(store, Settings(database=Database(dsn=dsn)), lambda: NOW, rollout_door=Door()))


def got(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(API + path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def page(client: TestClient, path: str) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text[:2000]
    return answer.text


def test_status_names_what_wants_attention(client: TestClient) -> None:
    found = got(client, "/status")
    assert found["attention"] == [
        "process web/302 (web) has been silent since 2026-11-23 06:25:00 UTC",
        "nobody has the role web any more",
        "ingest (reader/300) has no connection to the broker",
        f"settle (settler/301) fails and is started again, 7 times by now: {seed_operation.SETTLE_ERROR}",
        "billing rejected batches, 1 by now",
        found["attention"][5],
        f"read success, A3: {DAYS[-1]}: 1,000 of 2,304 reads stored, 43.40 %; the objective is 98.00 %",
    ]
    assert "batches wait for billing, 1 by now, the oldest since" in found["attention"][5]


def test_status_tells_of_every_part(client: TestClient) -> None:
    found = got(client, "/status")
    assert {p["host"]: p["state"] for p in found["processes"]} == {"reader": "up", "settler": "up", "web": "gone"}
    (ingest, poll) = next(p for p in found["processes"] if p["host"] == "reader")["roles"]
    assert (ingest["role"], ingest["state"], ingest["facts"]) == (
        "ingest",
        "running",
        {"connected": False, "unacked": 12},
    )
    assert poll["restarts"] == 0
    success = found["read_success"]
    assert (success["warn"], success["alert"]) == (0.995, 0.98)
    yesterday = success["yesterday"]
    assert (yesterday["day"], yesterday["scheduled"], yesterday["stored"]) == (str(DAYS[-1]), 6912, 5594)
    assert yesterday["ratio"] == pytest.approx(5594 / 6912)
    assert yesterday["ratio_first"] == pytest.approx(5582 / 6912)
    assert [a["area"] for a in yesterday["worst"]] == ["A3", "A2"], "A1 meets the objective"
    assert (success["today"]["ratio_first"], [a["area"] for a in success["today"]["worst"]]) == (None, ["A3"])
    assert found["billing"]["batches_rejected"] == 1
    assert found["polling"]["buses"] > 0
    assert found["storage"]["days"] >= 0
    assert [(a["kind"], a["severity"], a["area"]) for a in found["alerts"]] == [
        ("read_success", "alert", "A3"), ("read_success", "warning", "A2"),
    ]  # fmt: skip
    assert found["concentrators"]["concentrators"] == 1, "meters are read through it"
    assert found["concentrators"]["late"] == []
    assert found["migrations_pending"] == []


def test_an_empty_head_end_says_that_nobody_lives(store: Store, dsn: str) -> None:
    client = TestClient(create_app(store, Settings(database=Database(dsn=dsn)), lambda: NOW, rollout_door=Door()))
    found = got(client, "/status")
    assert found["attention"] == ["no process of the service lives"]
    assert found["read_success"]["yesterday"] is None
    text = page(client, "/status")
    assert "not counted yet" in text
    assert "No process has said yet" in text


def test_alerts_page_by_page(client: TestClient) -> None:
    def kinds(**query: Any) -> list[tuple[str, str, bool]]:
        items, cursor = [], None
        while True:
            found = got(client, "/alerts", limit=1, **query, **({"cursor": cursor} if cursor else {}))
            items += [(a["kind"], a["subject"], a["cleared_at"] is None) for a in found["items"]]
            if (cursor := found["next"]) is None:
                return items

    assert kinds() == [("read_success", "A2", True), ("read_success", "A3", True), ("spool_full", "reader", False)]
    assert kinds(standing=True) == [("read_success", "A2", True), ("read_success", "A3", True)]
    assert kinds(kind="spool_full") == [("spool_full", "reader", False)]
    assert kinds(area="A3") == [("read_success", "A3", True)]
    assert client.get(f"{API}/alerts?kind=nonsense").status_code == 422


def test_read_success_of_an_area(client: TestClient) -> None:
    found = got(client, "/areas/A3/read-success")
    assert [d["day"] for d in found] == [str(TODAY), str(DAYS[-1]), str(DAYS[-2])]
    assert (found[1]["ratio"], found[1]["ratio_first"]) == (1000 / 2304, 996 / 2304)
    assert len(got(client, "/areas/A3/read-success", days=2)) == 2
    assert got(client, "/areas/A5/read-success") == []
    assert client.get(f"{API}/areas/nowhere/read-success").status_code == 404


def test_the_status_page_shows_it(client: TestClient) -> None:
    text = page(client, "/status")
    assert "7 to see to" in text
    assert 'aria-current="page">Status' in text
    assert "80.93\xa0%" in text, "yesterday of the whole fleet"
    assert "&lt;b&gt;the meter bit me" in text
    assert "<b>the meter" not in text
    assert "1.5 MB" in text
    assert "connected <strong>no</strong>" in text
    assert text.count('<span class="badge state-high">gone</span>') == 1
    row = next(row for row in text.split("<tr>") if 'href="/areas/A3"' in row)
    assert "43.40" in row
    assert "12 readings given up" in text


def test_alerts_stand_on_the_events_page_and_read_success_on_the_areas(client: TestClient) -> None:
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page(client, "/events")))
    assert "2 alerts of the head-end" in text
    assert "Read success, A3 , since" in text
    assert "12 readings given up" not in text, "it is over"
    area = page(client, "/areas/A3")
    assert 'class="tile-n quality-bad">43.40\xa0%' in area
    assert "today so far 64.29\xa0%" in area
    assert "read-success" not in page(client, "/areas/A5")


def test_every_kind_has_words() -> None:
    assert {k.value for k in AlertKind} == set(alert_words.KINDS)
    assert alert_words.word("something_new") == "Something new"
