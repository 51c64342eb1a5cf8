"""The field: buses by their trouble, meters with the reason, modems, gaps, refused registers that can be forgotten."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

import psycopg
import pytest
import seed as seeding
import seed_field
from fastapi.testclient import TestClient
from psycopg.conninfo import make_conninfo
from web_door import Door

from headend.settings import Database, Settings
from headend.store.migrate import migrate
from headend.store.pool import Store
from headend.web.app import create_app

HTML = {"Accept": "text/html"}


def _page(client: TestClient, path: str, status: int = 200, **query: str) -> str:
    answer = client.get(path, params=query, headers=HTML)
    assert answer.status_code == status, answer.text[:2000]
    return answer.text


def _words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html))


def test_buses_come_by_their_trouble(client: TestClient) -> None:
    page = _page(client, "/field")
    assert re.findall(r'<a class="[^"]*" href="/field/bus\?[^"]*">([^<]+)</a>', page) == [
        "10.20.0.12:4001",
        "10.20.0.11:502",
        "/dev/ttyUSB0",
        "modem DTU-0017",
    ]
    words = _words(page)
    assert "2 of 4 总线 buses connected · 1 away" in words
    assert "5 of 12 电表 meters read in their last round · 6 failed · 1 resting" in words
    assert "Away since 2026-11-23 12:40 no connection within 5 s" in words
    assert "211012 unit 5 Resting silent 12 times in a row; asked again at 06:44" in words
    assert "and 1 more" in words
    assert "861234567890123 Away" in words
    assert "no meter is reached through it" in words
    assert "Chint/213006 chint-ddsu666 Tried 2 × no answer within 2.4 s to holding 0x2000" in words
    assert "Given up illegal data address" in words
    assert "all with firmware 1.7" in words
    assert "Chint/211003 alone" in words


def test_what_is_searched_is_found(client: TestClient) -> None:
    def found(**query: str) -> list[str]:
        return re.findall(r'href="/field/bus\?[^"]*">([^<]+)</a><br>', _page(client, "/field", **query))

    assert found(q="211012") == ["10.20.0.11:502"]
    assert found(q="lotus") == ["modem DTU-0017"]
    assert found(q="10.20.0") == ["10.20.0.12:4001", "10.20.0.11:502"]
    assert found(troubled="true") == ["10.20.0.12:4001", "10.20.0.11:502"]
    assert found(q="%") == []
    assert "No bus is like that" in _page(client, "/field", q="nothing like it")


def test_a_bus_has_a_page_with_all_its_meters(client: TestClient) -> None:
    words = _words(_page(client, "/field/bus", bus=seed_field.GATEWAY))
    assert "meters of Willow Lane" in words
    assert "Eastron/901001 eastron-sdm630 at A1-T 1 Read" in words
    assert "Another meter answers 3 rounds the store expects Chint/211015 here" in words
    assert "No register map" in words
    assert "2026-11-23 14:44" in words  # when the resting one is asked again
    _page(client, "/field/bus", bus="modbus+tcp://nobody:502", status=404)


def test_the_api_says_the_same(client: TestClient) -> None:
    first = client.get("/api/v1/buses", params={"limit": 1}).json()
    [away] = first["items"]
    assert (away["bus"], away["connected"], away["reason"]) == (
        seed_field.AWAY,
        False,
        "10.20.0.12:4001: no connection within 5 s",
    )
    assert away["last_round"] == {
        "began_at": "2026-11-23T06:30:00Z", "took_s": 1.83, "asked": 2, "read": 0, "failed": 2, "resting": 0,
    }  # fmt: skip
    rest = client.get("/api/v1/buses", params={"cursor": first["next"]}).json()
    assert [bus["bus"] for bus in rest["items"]] == [seed_field.GATEWAY, seed_field.SERIAL, seed_field.MODEM]
    assert rest["items"][1]["last_round"] is None
    assert [(m["meter"], m["outcome"]) for m in rest["items"][0]["not_read"]][:2] == [
        ("Chint/211009", "timeout"),
        ("Chint/211012", "resting"),
    ]
    meters = client.get("/api/v1/buses/meters", params={"bus": seed_field.GATEWAY}).json()
    assert [m["unit"] for m in meters] == list(range(1, 9))
    assert (meters[0]["is_area_meter"], meters[0]["response_ms"], meters[0]["firmware"]) == (True, 38.0, "1.7")
    assert client.get("/api/v1/buses/meters", params={"bus": "modbus+tcp://nobody:502"}).status_code == 404
    modems = client.get("/api/v1/buses/modems").json()
    assert [(m["modem"], m["connected"], m["bus"]) for m in modems] == [
        ("861234567890123", False, None),
        ("DTU-0017", True, seed_field.MODEM),
        ("DTU-0018", True, None),
    ]
    gaps = client.get("/api/v1/profile-gaps", params={"limit": 2}).json()
    assert [(g["meter"], g["state"]) for g in gaps["items"]] == [
        ("Chint/211003", "given_up"),
        ("Chint/213006", "open"),
    ]
    assert gaps["items"][0]["from"] == "2026-11-22T21:40:00Z"
    later = client.get("/api/v1/profile-gaps", params={"everything": "true", "cursor": gaps["next"]}).json()
    assert [g["meter"] for g in later["items"]] == ["Chint/213003"]


@pytest.fixture
def own_store(server_dsn: str, migrated_template: str | None) -> Iterator[Store]:
    """A seeded store to change."""
    name = f"headend_field_{os.getpid()}"
    source = f' template "{migrated_template}"' if migrated_template else ""
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'create database "{name}"{source}'.encode())
    dsn = make_conninfo(server_dsn, dbname=name)
    if migrated_template is None:
        migrate(dsn)
    with Store(dsn) as opened:
        seeding.seed(opened)
        yield opened
    with psycopg.connect(server_dsn, autocommit=True) as connection:
        connection.execute(f'drop database if exists "{name}" with (force)'.encode())


def test_a_refusal_is_forgotten_by_a_person(own_store: Store) -> None:
    settings = Settings(database=Database(dsn=own_store.dsn))
    client = TestClient(create_app(own_store, settings, lambda: seeding.NOW, rollout_door=Door()))
    listed = client.get("/api/v1/register-refusals").json()["items"]
    assert [(r["model"], r["firmware"], r["meter"], r["first_register"], r["found_by"]) for r in listed] == [
        ("chint-ddsu666", None, "Chint/211003", 0xFC00, "Chint/211003"),
        ("chint-ddsu666", "1.7", None, 0x0156, "Chint/211003"),
    ]
    first, second = (r["id"] for r in listed)
    assert client.delete(f"/api/v1/register-refusals/{first}").status_code == 204
    gone = client.delete(f"/api/v1/register-refusals/{first}")
    assert (gone.status_code, gone.json()["type"]) == (404, "urn:headend:problem:unknown-register-refusal")
    form = f"/field/refusals/{second}/forget"
    foreign = client.post(form, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403
    answer = client.post(form, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/field#refusals")
    assert client.post(form, follow_redirects=False).status_code == 303  # gone already: as the person wanted
    assert client.get("/api/v1/register-refusals").json() == {"items": [], "next": None}
    assert "Refused registers" not in client.get("/field", headers=HTML).text


def test_an_empty_field_says_what_to_do(store: Store) -> None:
    settings = Settings(database=Database(dsn=store.dsn))
    client = TestClient(create_app(store, settings, lambda: seeding.NOW, rollout_door=Door()))
    assert "Nothing is polled over Modbus" in _page(client, "/field")
