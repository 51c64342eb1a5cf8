"""Other values for the same instant: each is listed once by whatever pages, and the meter's page says what differs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient
from seed_base import NOW, Seeded, insert

from headend.api.pagination import encode
from headend.store.pool import Store

METER, NEIGHBOUR, QUIET = "Eastron/211001", "Eastron/211004", "Chint/211003"
API = f"/api/v1/meters/{METER}/revisions"
TS = NOW - timedelta(minutes=10)


@pytest.fixture
def revised(seeded_store: Store, seeded: Seeded) -> Iterator[None]:
    """Fourteen revisions of one meter, most of them noted at once, some of one instant; one of its neighbour."""
    with seeded_store.transaction() as c:

        def noted(ts: Any = TS, at: Any = NOW, meter: str = METER, **values: Any) -> None:
            both = {"kept_import_wh": 100_010, "kept_source": 1, "other_source": 3, "rule": "first_stored"}
            insert(c, "reading_revision", meter_id=seeded.meters[meter], ts=ts, noted_at=at, **(both | values))

        for k in range(4):
            noted(other_import_wh=100_020 + k)
            noted(kept_export_wh=9, other_import_wh=None, other_export_wh=k)
        for k in range(1, 5):
            noted(TS - timedelta(minutes=15 * k), other_import_wh=100_900)
        noted(TS - timedelta(days=3), NOW - timedelta(days=1), other_import_wh=77_770)
        noted(
            TS, NOW + timedelta(seconds=1), other_import_wh=100_010, kept_voltage_dv=2301, other_voltage_dv=2287,
            kept_phases={"power_w": 30, "import_l2_wh": 2, "voltage_l1_dv": 2301, "current_l3_ma": 1500},
            other_phases={"power_w": 31, "import_l2_wh": 2, "voltage_l1_dv": 2287, "export_l1_wh": 0}, other_source=4,
        )  # fmt: skip
        noted(meter=NEIGHBOUR, other_import_wh=1)
    yield
    with seeded_store.transaction() as c:
        c.execute(b"delete from reading_revision")


def _pages(client: TestClient, limit: int) -> list[Any]:
    items: list[Any] = []
    query: dict[str, Any] = {"limit": limit}
    for _ in range(30):
        answer = client.get(API, params=query)
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["items"]) <= limit
        items += answer.json()["items"]
        if answer.json()["next"] is None:
            return items
        query["cursor"] = answer.json()["next"]
    raise AssertionError("the pages never end")


def test_revisions_are_listed_newest_noted_first_each_once(client: TestClient, revised: None) -> None:
    whole = _pages(client, 500)
    assert len(whole) == 14
    order = [(r["noted_at"], r["ts"]) for r in whole]
    assert order == sorted(order, reverse=True)
    for limit in (1, 3, 7):
        assert _pages(client, limit) == whole
    newest, oldest = whole[0], whole[-1]
    assert (newest["kept"]["voltage_v"], newest["other"]["voltage_v"], newest["rule"]) == (230.1, 228.7, "first_stored")
    assert (newest["kept"]["source"], newest["other"]["source"]) == ("modbus", "manual")
    assert (newest["kept"]["power_w"], newest["other"]["power_w"]) == (30, 31)
    assert newest["kept"]["import_phase_wh"] == [None, 2, None]
    assert newest["kept"]["current_phase_a"] == [None, None, 1.5]
    assert newest["other"]["export_phase_wh"] == [0, None, None]
    assert newest["other"]["current_phase_a"] is None
    assert (oldest["kept"]["import_wh"], oldest["other"]["import_wh"]) == (100_010, 77_770)
    assert oldest["other"]["export_wh"] is None
    assert oldest["other"]["power_w"] is None


def test_a_meter_that_is_not_there_and_one_without_any(client: TestClient, revised: None) -> None:
    answer = client.get("/api/v1/meters/Eastron/000000/revisions")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:headend:problem:unknown-meter")
    assert client.get(f"/api/v1/meters/{QUIET}/revisions").json() == {"items": [], "next": None}


@pytest.mark.parametrize("last", [5, "no digest", None])
def test_a_cursor_that_is_not_ours_is_422(client: TestClient, revised: None, last: Any) -> None:
    cursor = encode((NOW.isoformat(), NOW.isoformat(), last))
    assert client.get(API, params={"cursor": cursor}).status_code == 422


def test_the_page_says_what_differs(client: TestClient, revised: None) -> None:
    page = client.get(f"/meters/{METER}", headers={"Accept": "text/html"}).text
    section = page[page.index('<h2 id="revisions">') : page.index('<h2 id="events">')]
    shown = re.findall(r"<tr><th scope=\"row\".*?</tr>", section)
    assert len(shown) == 10
    for words in (
        "voltage 230.1\u00a0V", "voltage 228.7\u00a0V", "voltage L1 228.7\u00a0V", "power 0.030\u00a0kW",
        "power 0.031\u00a0kW", ">modbus<", ">manual<", "what was stored first stays",
    ):  # fmt: skip
        assert words in shown[0], words
    for alike in ("import", "current", "export"):
        assert alike not in shown[0], alike
    assert "import 100.010\u00a0kWh" in section
    assert "import 100.020\u00a0kWh" in section
    assert "export 0.009\u00a0kWh" in section
    assert ">concentrator<" in section
    assert "77.770" not in section  # past the newest ten


def test_a_meter_without_any_has_no_such_section(client: TestClient, revised: None) -> None:
    answer = client.get(f"/meters/{QUIET}", headers={"Accept": "text/html"})
    assert answer.status_code == 200
    assert "Other values for the same instant" not in answer.text
