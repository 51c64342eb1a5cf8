"""Discovered devices as API and pages: what they said first is shown and never interpreted; a form adopts them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from seed_base import NOW
from web_door import Door

from drivers.mqtt.router import Router
from headend.domain.calendar import to_us
from headend.ingest.intake import item_of
from headend.ingest.writer import ReadingWriter
from headend.settings import Database, Settings
from headend.store.pool import Store
from headend.web.app import create_app

HTML = {"Accept": "text/html"}
API = "/api/v1/discovered"
PREFIX = "headend/v1"
TOPOLOGY = b"""
insert into station (code, name) values ('S', 'station');
insert into area (code, station_id, name) values ('A', 1, 'first');
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh)
    values ('Acme', '1', 'known-model', 3, 8, 10);
insert into usage_point (code, kind, category) select 'U' || g, 'customer', 'residential' from generate_series(1, 2) g;
insert into installation (usage_point_id, meter_id, valid_from) values (1, 1, '2020-01-01T00:00Z');
insert into area_membership (usage_point_id, area_id, valid_from)
    select g, 1, '2020-01-01T00:00Z' from generate_series(1, 2) g;
"""


@pytest.fixture
def client(store: Store, dsn: str) -> TestClient:
    with store.transaction() as connection:
        connection.execute(TOPOLOGY)
    settings = Settings(database=Database(dsn=dsn))
    writer = ReadingWriter(store, settings, lambda: NOW)
    for hours in (3, 2, 1):
        at = NOW - timedelta(hours=hours)
        body = f'{{"ts": "{at.isoformat()}", "import_wh": {1000 - hours}}}'
        for topic, payload in (
            ("meter/New/7/reading", body.encode()),
            ("meter/New/<b>8/reading", body.encode()),
            ("concentrator/C7/state", b"online"),
        ):
            received_us = to_us(at)
            writer.write(
                [item_of(f"{PREFIX}/{topic}", payload, router=Router(PREFIX), prefix=PREFIX, received_us=received_us)]
            )
    return TestClient(create_app(store, settings, lambda: NOW, rollout_door=Door()))


@pytest.fixture
def number(client: TestClient) -> Callable[[str], int]:
    """Id of a device by its serial."""

    def of(serial: str) -> int:
        items = client.get(API, params={"adopted": True}).json()["items"]
        return int(next(item["id"] for item in items if item["serial"] == serial))

    return of


def text(client: TestClient, path: str) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text[:1000]
    return answer.text


METER = {"by": "Li Wei", "model": "any", "phases": 1, "digits": 8, "resolution_wh": 10}


def test_listed_page_by_page(client: TestClient) -> None:
    first = client.get(API, params={"limit": 2}).json()
    rest = client.get(API, params={"limit": 2, "cursor": first["next"]}).json()
    assert [(i["kind"], i["serial"], i["messages"]) for i in (*first["items"], *rest["items"])] == [
        ("concentrator", "C7", 3), ("meter", "<b>8", 3), ("meter", "7", 3),
    ]  # fmt: skip
    assert rest["next"] is None
    assert [i["serial"] for i in client.get(API, params={"q": "new/7"}).json()["items"]] == ["7"]
    assert [i["serial"] for i in client.get(API, params={"kind": "concentrator"}).json()["items"]] == ["C7"]


def test_one_with_its_first_messages(client: TestClient, number: Callable[[str], int]) -> None:
    one = client.get(f"{API}/{number('7')}").json()
    assert (one["phases_guess"], one["origin"]) == (1, f"{PREFIX}/meter/New/7/reading")
    assert [base64.b64decode(m["payload"])[-4:] for m in one["first_messages"]] == [b"997}", b"998}", b"999}"]
    assert client.get(f"{API}/999999").status_code == 404


def test_adopt_in_stock_then_its_readings_are_there(
    client: TestClient, number: Callable[[str], int], store: Store
) -> None:
    seven = number("7")
    answer = client.post(f"{API}/{seven}/adopt", json=METER)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {
        "device": "New/7", "made": True, "usage_point": None, "messages_replayed": 3, "messages_understood": 3,
        "readings_stored": 3,
    }  # fmt: skip
    assert client.post(f"{API}/{seven}/adopt", json=METER).json()["made"] is False
    assert len(store.rows(b"select 1 from register_reading")) == 3
    readings = client.get("/api/v1/meters/7/readings", params={"from": (NOW - timedelta(days=1)).isoformat()}).json()
    assert [r["import_wh"] for r in readings["items"]] == [997, 998, 999]
    assert {r["resolution_wh"] for r in readings["items"]} == {None}


def test_adopt_at_a_usage_point(client: TestClient, number: Callable[[str], int], store: Store) -> None:
    placed = METER | {"usage_point": "U2", "start_import_wh": 900, "seal": "S-7"}
    assert client.post(f"{API}/{number('7')}/adopt", json=placed).json()["usage_point"] == "U2"
    (row,) = store.rows(b"select valid_from, start_import_wh, seal from installation where usage_point_id = 2")
    assert row == {"valid_from": NOW - timedelta(hours=3), "start_import_wh": 900, "seal": "S-7"}
    (item,) = client.get(API, params={"adopted": True, "q": "new/7"}).json()["items"]
    assert item["adopted_by"] == "Li Wei"


@pytest.mark.parametrize(
    ("changes", "status", "said"),
    [
        ({"model": None}, 422, "model missing"),
        ({"phases": 2}, 422, "phases"),
        ({"by": ""}, 422, "by"),
        ({"seal": "S"}, 422, "seal without a usage_point"),
        ({"area": "A"}, 422, "area is a concentrator"),
        ({"colour": "red"}, 422, "colour"),
        ({"usage_point": "U9"}, 409, "there is no usage point 'U9'"),
        ({"usage_point": "U1"}, 409, "the usage point is taken"),
        ({"usage_point": "U2", "installed_at": "2027-01-01T00:00:00+08:00"}, 409, "lies in the future"),
    ],
)
def test_what_cannot_be_adopted_says_why(
    changes: dict[str, Any], status: int, said: str, client: TestClient, number: Callable[[str], int], store: Store
) -> None:
    answer = client.post(f"{API}/{number('7')}/adopt", json=METER | changes)
    assert (answer.status_code, said in answer.text) == (status, True), answer.text
    assert store.rows(b"select 1 from meter where manufacturer = 'New'") == []


def test_a_concentrator_needs_its_area(client: TestClient, number: Callable[[str], int]) -> None:
    code = number("C7")
    assert client.post(f"{API}/{code}/adopt", json=METER).status_code == 409
    assert client.post(f"{API}/{code}/adopt", json={"by": "Li Wei", "area": "Z"}).status_code == 409
    assert client.post(f"{API}/{code}/adopt", json={"by": "Li Wei", "area": "A"}).json()["made"] is True


def test_pages_show_what_was_said_and_do_not_run_it(client: TestClient, number: Callable[[str], int]) -> None:
    page = text(client, "/discovered")
    assert f'<a href="/discovered/{number("7")}">New/7</a>' in page
    assert "concentrator C7" in page
    assert "<b>8" not in page
    one = text(client, f"/discovered/{number('7')}")
    assert "&#34;import_wh&#34;: 997" in one
    assert '<option value="known-model">' in one
    assert '<option value="1" selected>single-phase</option>' in one
    assert 'href="/discovered"' in text(client, "/areas/A"), "the footer leads here"
    assert "For usage point U2." in text(client, "/discovered?usage_point=U2")
    assert 'value="U2"' in text(client, f"/discovered/{number('7')}?usage_point=U2")


FORM = {
    "by": "Li Wei", "model": "any", "phases": "1", "digits": "8", "resolution_wh": "10", "usage_point": "",
    "multiplier": "1", "installed_at": "", "start_import_kwh": "", "seal": "",
}  # fmt: skip


def test_the_form_adopts(client: TestClient, number: Callable[[str], int], store: Store) -> None:
    path = f"/discovered/{number('7')}/adopt"
    placed = {"usage_point": "U2", "installed_at": "2026-11-23T10:00:00", "start_import_kwh": "0,9"}
    answer = client.post(path, data=FORM | placed, headers=HTML)
    assert answer.status_code == 200, answer.text[:2000]
    assert "Adopted: 3 of 3 messages, 3 readings" in answer.text
    assert '<a href="/meters/New/7">New/7</a>' in answer.text
    (row,) = store.rows(b"select valid_from, start_import_wh, multiplier from installation where usage_point_id = 2")
    assert (row["valid_from"], row["start_import_wh"], row["multiplier"]) == (NOW.replace(hour=2, minute=0), 900, 1)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"model": ""}, "model missing"),
        ({"phases": "two"}, "phases: &#39;two&#39; is no whole number"),
        ({"usage_point": "U1"}, "the usage point is taken"),
        ({"usage_point": "U2", "start_import_kwh": "many"}, "&#39;many&#39; is not a register in kWh"),
        ({"usage_point": "U2", "installed_at": "soon"}, "installed_at: &#39;soon&#39; is no instant"),
    ],
)
def test_the_form_says_what_does_not_fit_beside_what_was_entered(
    changes: dict[str, str], said: str, client: TestClient, number: Callable[[str], int]
) -> None:
    answer = client.post(f"/discovered/{number('7')}/adopt", data=FORM | changes | {"digits": "7"}, headers=HTML)
    assert answer.status_code == 422
    assert said in answer.text
    assert 'name="digits" value="7"' in answer.text


def test_the_form_of_a_concentrator(client: TestClient, number: Callable[[str], int], store: Store) -> None:
    answer = client.post(f"/discovered/{number('C7')}/adopt", data={"by": "Li Wei", "area": "A"}, headers=HTML)
    assert "Adopted: 1 of 1 messages, 0 readings" in answer.text
    (row,) = store.rows(b"select online, last_seen_at from concentrator where code = 'C7'")
    assert row == {"online": True, "last_seen_at": NOW - timedelta(hours=1)}, "from when it said so last"
