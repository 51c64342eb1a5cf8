"""What nobody should be able to say of loads and periods: a fault of the request, never one of ours."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from headend.web.app import create_app
from support.field import DAY0, T0, Field

NOW = datetime(2026, 4, 10, 4, 0, tzinfo=UTC)
LOADS = "/api/v1/unmetered-loads"


@pytest.fixture
def client(field: Field) -> TestClient:
    field.mark(field.area(), [DAY0])
    return TestClient(create_app(field.store, field.settings, lambda: NOW), raise_server_exceptions=False)


def _load(**changes: Any) -> dict[str, Any]:
    said = {
        "code": "SL", "area": "A1", "kind": "street_light", "power_w": 100, "schedule": "18:00-06:00",
        "valid_from": T0.isoformat(), "by": "Li Wei",
    }  # fmt: skip
    return said | changes


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"power_w": True}, "#/power_w"),
        ({"power_w": "100"}, "#/power_w"),
        ({"power_w": 10**30}, "#/power_w"),
        ({"tolerance": "NaN"}, "#/tolerance"),
        ({"name": "a\0b"}, "#/name"),
        ({"valid_from": "0001-01-01T00:00:00+14:00"}, "#/valid_from"),
        ({"valid_from": "9999-12-31T23:59:59Z"}, "#/valid_from"),
        ({"valid_to": "9999-12-31T23:59:59.999999Z"}, "#/valid_to"),
        ({"valid_from": 1_772_416_800}, "#/valid_from"),
    ],
)
def test_a_wrong_load_names_its_field(client: TestClient, field: Field, change: dict[str, Any], pointer: str) -> None:
    answer = client.post(LOADS, json=_load(**change))
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
    assert field.one("select count(*) from unmetered_load") == 0


def test_a_load_that_is_to_come_touches_no_day_yet(client: TestClient, field: Field) -> None:
    before = field.rows("select * from dirty_day")
    assert client.post(LOADS, json=_load(valid_from="2999-01-01T00:00:00Z")).status_code == 201
    assert field.rows("select * from dirty_day") == before
    never = client.post(f"{LOADS}/SL/end", json={"by": "Li Wei", "at": "9999-12-31T23:59:59Z"})
    assert (never.status_code, never.json()["errors"][0]["pointer"]) == (422, "#/at")


@pytest.mark.parametrize(
    "path",
    [
        "/stations?month=0001-01",
        "/stations/S1?month=0001-01",
        "/stations?month=2026-13",
        "/api/v1/stations/S1/balances?from=0001-01-01",
        "/api/v1/stations/S1/balances?period=day&to=0001-01-05",
    ],
)
def test_a_period_at_the_end_of_the_calendar_is_a_fault_of_the_request(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 422


def test_ten_years_of_months_at_once_and_no_more(client: TestClient) -> None:
    path = "/api/v1/stations/S1/balances"
    assert client.get(path, params={"from": "2016-05-01", "to": "2026-04-09"}).status_code == 200
    assert client.get(path, params={"from": "2016-04-01", "to": "2026-04-09"}).status_code == 422
