"""Events as API and pages: each once, with its code, its place, and how sure anyone is of the instant."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from seed_base import NOW
from web_door import Door

from headend.settings import Database, Settings
from headend.store import events
from headend.store.events import StoredEvent
from headend.store.pool import Store
from headend.web import event_words
from headend.web.app import create_app

HTML = {"Accept": "text/html"}
API = "/api/v1/events"
TOPOLOGY = b"""
insert into station (code, name) values ('S', 'station');
insert into area (code, station_id, name) values ('A', 1, 'first'), ('B', 1, 'second');
insert into meter (manufacturer, serial, model, phases, digits, resolution_wh)
    select 'Acme', g::text, 'any', 3, 8, 10 from generate_series(1, 3) g;
insert into usage_point (code, kind, category) select 'U' || g, 'customer', 'residential' from generate_series(1, 3) g;
insert into installation (usage_point_id, meter_id, valid_from)
    select g, g, '2020-01-01T00:00Z' from generate_series(1, 2) g;
insert into area_membership (usage_point_id, area_id, valid_from, valid_to)
    values (1, 1, '2020-01-01T00:00Z', null), (2, 1, '2020-01-01T00:00Z', '2026-11-22T00:00Z'),
           (2, 2, '2026-11-22T00:00Z', null);
insert into concentrator (code, area_id) values ('C1', 2);
"""


def event(kind: str, hours: float, **more: Any) -> StoredEvent:
    values: dict[str, Any] = {"meter_id": 1, "code": None, "received_at": NOW, "source": "headend"}
    at = NOW - timedelta(hours=hours)
    return StoredEvent(kind=kind, occurred_at=at, **(values | more))


@pytest.fixture
def client(store: Store, dsn: str) -> TestClient:
    with store.transaction() as connection:
        connection.execute(TOPOLOGY)
        told = [
            event("over_voltage", 30, code="3.26.38.93", phase=2, value=254.2, uncertainty_ms=900_500),
            event("over_voltage_ended", 29, code="3.26.38.73", phase=2, value=240.0),
            event(
                "cover_opened", 50, code="3.12.0.257", meter_id=2, source="modbus", detail="holding 258: <b>bit 0</b>"
            ),
            event("phase_lost", 2, meter_id=2, phase=1),
            event("power_failed", 1, code="3.26.0.47", meter_id=3, source="mqtt"),
            event("communication_lost", 3, meter_id=None, concentrator_id=1, source="mqtt"),
        ]
        assert events.add(connection, told) == 6
        assert events.add(connection, told[:2]) == 0
    return TestClient(create_app(store, Settings(database=Database(dsn=dsn)), lambda: NOW, rollout_door=Door()))


def kinds(client: TestClient, **query: Any) -> list[str]:
    """Kinds of all pages of two."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        answer = client.get(API, params={"limit": 2} | query | ({"cursor": cursor} if cursor else {}))
        assert answer.status_code == 200, answer.text
        body = answer.json()
        found += [item["kind"] for item in body["items"]]
        if (cursor := body["next"]) is None:
            return found


def test_newest_first_page_by_page(client: TestClient) -> None:
    assert kinds(client) == [
        "power_failed", "phase_lost", "communication_lost", "over_voltage_ended", "over_voltage", "cover_opened",
    ]  # fmt: skip


def test_by_meter_area_kind_and_time(client: TestClient) -> None:
    assert kinds(client, serial="1") == ["over_voltage_ended", "over_voltage"]
    assert kinds(client, serial="C1") == ["communication_lost"]
    assert kinds(client, serial="1", manufacturer="Other") == []
    assert kinds(client, area="A") == ["over_voltage_ended", "over_voltage", "cover_opened"], "where it was then"
    assert kinds(client, area="B") == ["phase_lost", "communication_lost"]
    assert kinds(client, kind="cover_opened") == ["cover_opened"]
    since = (NOW - timedelta(hours=30)).isoformat()
    assert kinds(client, **{"from": since, "to": NOW.isoformat()}) == [
        "power_failed", "phase_lost", "communication_lost", "over_voltage_ended", "over_voltage",
    ]  # fmt: skip
    assert kinds(client, to=since) == ["cover_opened"]
    assert client.get(API, params={"from": NOW.isoformat(), "to": since}).status_code == 422
    assert client.get(API, params={"cursor": "nonsense"}).status_code == 422


def test_one_event_in_full(client: TestClient) -> None:
    (first,) = client.get(API, params={"kind": "over_voltage"}).json()["items"]
    assert first | {"id": 0} == {
        "id": 0, "kind": "over_voltage", "code": "3.26.38.93", "uncertainty_ms": 900_500, "meter": "Acme/1",
        "occurred_at": first["occurred_at"], "received_at": first["received_at"], "concentrator": None, "area": "A",
        "usage_point": "U1", "phase": 2, "value": 254.2, "detail": "", "source": "headend",
    }  # fmt: skip
    assert datetime.fromisoformat(first["occurred_at"]) == NOW - timedelta(hours=30)
    (lost,) = client.get(API, params={"kind": "communication_lost"}).json()["items"]
    assert (lost["meter"], lost["concentrator"], lost["area"], lost["usage_point"]) == (None, "C1", "B", None)
    (stock,) = client.get(API, params={"kind": "power_failed"}).json()["items"]
    assert (stock["meter"], stock["area"], stock["usage_point"]) == ("Acme/3", None, None)


def text(client: TestClient, path: str) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == 200, answer.text[:1000]
    return answer.text


def test_the_page_shows_codes_places_and_uncertainty(client: TestClient) -> None:
    page = text(client, "/events")
    assert "<code>3.26.38.93</code>" in page
    assert "Over-voltage L2" in page
    assert "过压" in page
    assert "± 15 min" in page
    assert "254 V" in page
    assert '<a href="/meters/Acme/1">Acme/1</a>' in page
    assert "concentrator C1" in page
    assert "<b>bit 0" not in page
    assert 'aria-current="page">Events' in page
    only = text(client, "/events?kind=cover_opened&area=A&serial=2&from=2026-11-01&to=2026-11-23")
    assert "Cover opened" in only
    assert "<code>3.26.38.93</code>" not in only
    assert "No event fits" in text(client, "/events?area=nowhere&from=&to=")
    assert client.get("/events?from=yesterday", headers=HTML).status_code == 422


def test_the_area_page_counts_those_of_the_last_week(client: TestClient) -> None:
    page = text(client, "/areas/A")
    assert '<a class="tile-n" href="/events?area=A&amp;from=2026-11-16">2</a> events, 7 days' in page
    assert '<a class="tile-n" href="/events?area=B&amp;from=2026-11-16">3</a>' in text(client, "/areas/B")


def test_every_kind_has_words() -> None:
    from drivers.events import EventKind

    assert {k.value for k in EventKind} == set(event_words.KINDS)
    assert event_words.unit("reversed_current", None) == "W"
    assert event_words.unit("reversed_current", 1) == "A"
    assert [event_words.span(ms) for ms in (20, 1500, 900_500, 10_000_000, 400_000_000)] == [
        "20 ms", "2 s", "15 min", "3 h", "5 d",
    ]  # fmt: skip
