"""Roll-ups worked by hand: areas to feeders and stations, days to months, and what is missing beside the sums."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from headend.store import rollups
from headend.web.app import create_app
from support.field import Field

ZONE = "Asia/Shanghai"
NOW = datetime(2026, 4, 2, 4, 0, tzinfo=UTC)
API = "/api/v1"


@pytest.fixture
def grid(field: Field) -> Field:
    """Two stations. A1 and A2 on feeder F1, A2 on F2 from 16 March; A3 on none; A4 is the other station's."""
    field.run("insert into station (code, name) values ('S2', 'Station 2')")
    for code in ("A1", "A2", "A3"):
        field.run(
            "insert into area (code, station_id, name) select %s, station_id, %s from station where code = 'S1'",
            [code] * 2,
        )
    field.run("insert into area (code, station_id, name) select 'A4', station_id, 'A4' from station where code = 'S2'")
    field.run(
        "insert into feeder (code, station_id, name)"
        " select x, station_id, x from station, (values ('F1'), ('F2')) v (x) where code = 'S1'"
    )
    for area, feeder, since, until in (
        ("A1", "F1", "2026-01-01", None),
        ("A2", "F1", "2026-01-01", "2026-03-16"),
        ("A2", "F2", "2026-03-16", None),
    ):
        field.run(
            "insert into area_feeder (area_id, feeder_id, valid_from, valid_to) select area_id, feeder_id,"
            " %s::date::timestamp at time zone 'Asia/Shanghai', %s::date::timestamp at time zone 'Asia/Shanghai'"
            " from area a, feeder f where a.code = %s and f.code = %s",
            [since, until, area, feeder],
        )
    return field


def _put(field: Field, area: str, day: date, **changes: Any) -> None:
    values: dict[str, Any] = {
        "state": "normal", "supplied_wh": 1000, "delivered_wh": 950, "unmetered_wh": 50, "loss_wh": 50,
        "technical_wh": 20, "unexplained_wh": 30,
        "gross_wh": 1100, "uncertainty_wh": 10, "systematic_wh": 8, "start_wh": 4, "end_wh": 4,
        "inner_wh": 2, "intervals": 96, "intervals_complete": 96, "households": 3, "households_measured": 3,
        "coverage_intervals": 1.0, "measured_wh": 900, "estimated_wh": 90, "edited_wh": 10, "final": True,
    }  # fmt: skip
    values |= changes
    columns = ", ".join(values)
    field.run(
        f"insert into balance_day (area_id, day, starts_at, interval_s, supplied_interval_wh, delivered_interval_wh,"
        f" technical_interval_wh, settled_at, changed_at, {columns})"
        f" select area_id, %s, now(), 900, '{{}}', '{{}}', '{{}}', now(), now(), {', '.join(['%s'] * len(values))}"
        f" from area where code = %s",
        [day, *values.values(), area],
    )


def _periods(field: Field, scope: Any, code: str | None, first: str, last: str, **more: Any) -> list[dict[str, Any]]:
    with field.store.transaction() as connection:
        return rollups.periods(
            connection, scope, code, date.fromisoformat(first), date.fromisoformat(last), zone=ZONE,
            **({"period": "month"} | more),
        )  # fmt: skip


def test_a_month_of_one_area_by_hand(grid: Field) -> None:
    for day in (1, 2, 3, 6):
        _put(grid, "A1", date(2026, 3, day))
    _put(grid, "A1", date(2026, 3, 4), state="not_computable", loss_wh=5)
    (month,) = _periods(grid, "area", "A1", "2026-03-01", "2026-03-31")
    assert (month["area_days"], month["area_days_computable"], month["missing"], month["not_computable"]) == (
        31,
        4,
        26,
        1,
    )
    assert (month["supplied_wh"], month["delivered_wh"], month["unmetered_wh"], month["loss_wh"]) == (
        4000,
        3800,
        200,
        200,
    )
    assert (month["technical_wh"], month["unexplained_wh"], month["gross_wh"]) == (80, 120, 4400)
    assert month["loss_rate"] == pytest.approx(200 / 4400), "by gross energy, and not scaled up to 31 days"
    # gains: 4 x 8 = 32. Of the midnights two lie between days that are both there and drop out: 2 starts, 2 ends
    # remain, 4 x 4² = 64; inner 4 x 2² = 16: sqrt(32² + 64 + 16) = 33.2
    assert month["uncertainty_wh"] == 33
    assert month["estimated_share"] == pytest.approx(0.09)
    assert (month["whole"], month["areas"], month["areas_complete"]) == (True, 1, 0)


def test_areas_err_independently_of_each_other(grid: Field) -> None:
    for area in ("A1", "A2", "A3"):
        _put(grid, area, date(2026, 3, 1))
    (day,) = _periods(grid, "station", "S1", "2026-03-01", "2026-03-01", period="day")
    assert day["uncertainty_wh"] == round((3 * (8**2 + 4**2 + 4**2 + 2**2)) ** 0.5)
    assert (day["areas"], day["areas_computable"], day["households"]) == (3, 3, 9)


def test_an_area_counts_for_the_feeder_that_fed_it_that_day(grid: Field) -> None:
    for day in range(1, 32):
        _put(grid, "A1", date(2026, 3, day))
        _put(grid, "A2", date(2026, 3, day), supplied_wh=10_000)
        _put(grid, "A3", date(2026, 3, day), supplied_wh=7)
        _put(grid, "A4", date(2026, 3, day), supplied_wh=5)
    (one,) = _periods(grid, "feeder", "F1", "2026-03-01", "2026-03-31")
    (two,) = _periods(grid, "feeder", "F2", "2026-03-01", "2026-03-31")
    assert (one["supplied_wh"], one["area_days"], one["areas"]) == (31 * 1000 + 15 * 10_000, 46, 2)
    assert (two["supplied_wh"], two["area_days"], two["areas"]) == (16 * 10_000, 16, 1)
    parts = _periods(grid, "station", "S1", "2026-03-01", "2026-03-31", by="feeder")
    assert {p["part"]: p["supplied_wh"] for p in parts} == {"F1": 181_000, "F2": 160_000, None: 217}
    (station,) = _periods(grid, "station", "S1", "2026-03-01", "2026-03-31")
    assert station["supplied_wh"] == 181_000 + 160_000 + 217, "feeders and the rest make the station"
    stations = _periods(grid, "all", None, "2026-03-01", "2026-03-31", by="station")
    assert {p["part"]: p["supplied_wh"] for p in stations} == {"S1": station["supplied_wh"], "S2": 155}
    areas = _periods(grid, "station", "S1", "2026-03-01", "2026-03-31", by="area")
    assert sum(p["supplied_wh"] for p in areas) == station["supplied_wh"]
    assert station["uncertainty_wh"] == pytest.approx(sum(p["uncertainty_wh"] ** 2 for p in areas) ** 0.5, abs=1)


def test_technical_loss_is_told_only_where_it_is_known_of_all(grid: Field) -> None:
    _put(grid, "A1", date(2026, 3, 1))
    _put(grid, "A2", date(2026, 3, 1), technical_wh=None, unexplained_wh=None)
    (month,) = _periods(grid, "station", "S1", "2026-03-01", "2026-03-31")
    assert (month["technical_wh"], month["unexplained_wh"], month["area_days_technical"]) == (None, None, 1)


def test_days_of_before_count_their_whole_uncertainty_as_systematic(grid: Field) -> None:
    nothing = dict.fromkeys(("systematic_wh", "start_wh", "end_wh", "inner_wh", "unmetered_wh", "measured_wh"))
    for day in (1, 2):
        _put(grid, "A1", date(2026, 3, day), **nothing)
    (month,) = _periods(grid, "area", "A1", "2026-03-01", "2026-03-31")
    assert (month["uncertainty_wh"], month["unmetered_wh"]) == (20, 0)


@pytest.fixture
def client(grid: Field) -> TestClient:
    for day in range(10, 32):
        for area in ("A1", "A2"):
            _put(grid, area, date(2026, 3, day), loss_wh=50 if area == "A1" else 90)
    _put(grid, "A1", date(2026, 4, 1))
    return TestClient(create_app(grid.store, grid.settings, lambda: NOW))


def test_the_api_gives_months_and_days(client: TestClient) -> None:
    found = client.get(f"{API}/stations/S1/balances").json()["items"]
    assert [(m["period"], m["last_day"], m["running"], m["complete"]) for m in found] == [
        ("2026-03-01", "2026-03-31", False, False),
        ("2026-04-01", "2026-04-01", True, False),
    ], "and nothing of the months before anything was settled"
    assert found[0]["states"] == {"normal": 44, "high": 0, "negative": 0, "not_computable": 0, "missing": 3 * 31 - 44}
    assert found[0]["coverage_area_days"] == pytest.approx(44 / 93)
    days = client.get(f"{API}/feeders/F1/balances", params={"period": "day", "from": "2026-03-15", "to": "2026-03-16"})
    assert [(d["period"], d["areas"], d["complete"]) for d in days.json()["items"]] == [
        ("2026-03-15", 2, True),
        ("2026-03-16", 1, True),
    ]
    month = client.get(f"{API}/areas/A1/balances", params={"period": "month"}).json()["items"][0]
    assert (month["loss_wh"], month["area_days_computable"]) == (22 * 50, 22)
    parts = client.get(f"{API}/stations/S1/parts", params={"from": "2026-03-01", "to": "2026-03-31"}).json()
    assert [(p["part"], p["loss_wh"]) for p in parts] == [("A1", 1100), ("A2", 1980), ("A3", None)]


def test_pages_of_the_list_follow_each_other(client: TestClient) -> None:
    query = {"period": "day", "from": "2026-03-10", "to": "2026-03-14", "limit": 2}
    seen: list[str] = []
    while True:
        answer = client.get(f"{API}/stations/S1/balances", params=query).json()
        seen += [d["period"] for d in answer["items"]]
        if answer["next"] is None:
            break
        query["cursor"] = answer["next"]
    assert seen == [f"2026-03-{d}" for d in range(10, 15)]


def test_csv_by_accept_or_by_name_holds_everything(client: TestClient) -> None:
    path = f"{API}/areas/A1/balances"
    query = {"from": "2026-03-01", "to": "2026-04-01", "limit": 2}
    by_name = client.get(f"{path}.csv", params=query)
    by_accept = client.get(path, params=query, headers={"accept": "text/csv"})
    assert by_name.text == by_accept.text
    assert by_name.headers["content-type"] == "text/csv; charset=utf-8"
    lines = by_name.text.splitlines()
    assert len(lines) == 1 + 23, "a file has no next page"
    assert dict(zip(lines[0].split(","), lines[1].split(","), strict=True))["unmetered_wh"] == "50"
    months = client.get(f"{API}/stations/S1/balances.csv").text.splitlines()
    row = dict(zip(months[0].split(","), months[1].split(","), strict=True))
    assert (row["period"], row["states_missing"], row["complete"]) == ("2026-03-01", "49", "false")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("stations/S9/balances", 404),
        ("feeders/F9/balances", 404),
        ("stations/S9/parts", 404),
        ("stations/S1/parts?from=2026-02-20&to=2026-03-10", 422),
        ("stations/S1/balances?period=day&from=2020-01-01", 422),
        ("areas/A1/balances?period=month&intervals=day", 422),
        ("stations/S1/balances?from=2026-05-01", 422),
    ],
)
def test_what_makes_no_sense_is_said(client: TestClient, path: str, status: int) -> None:
    assert client.get(f"{API}/{path}").status_code == status


def test_the_pages_lead_from_station_to_area(client: TestClient) -> None:
    def text(path: str) -> str:
        answer = client.get(path)
        assert answer.status_code == 200, answer.text[:500]
        return answer.text

    assert "/stations/S1?month=2026-03" in text("/stations?month=2026-03")
    station = text("/stations/S1?month=2026-03")
    assert station.index('href="/areas/A2"') < station.index('href="/areas/A1"'), "the largest loss first"
    assert "/feeders/F2?month=2026-03" in station
    assert "area-days of 2026-03-01 to 2026-03-31 are not in these sums" in station
    turned = text("/stations/S1?month=2026-03&sort=loss&direction=asc")
    assert turned.index('href="/areas/A1"') < turned.index('href="/areas/A2"')
    assert 'href="/areas/A1"' not in text("/feeders/F2?month=2026-03")
    area = text("/areas/A1")
    assert "/feeders/F1" in area
    assert "/stations/S1" in area
    assert "2026-03" in area
    for wrong, status in (
        ("/stations/S9", 404),
        ("/stations/S1?month=2026-13", 422),
        ("/stations/S1?month=2027-01", 422),
    ):
        assert client.get(wrong, headers={"accept": "text/html"}).status_code == status


def test_loads_without_a_meter_over_the_api(client: TestClient, grid: Field) -> None:
    load = {
        "code": "SL-1", "area": "A1", "kind": "street_light", "power_w": 500, "schedule": "18:00-06:00",
        "valid_from": "2026-03-20T00:00:00+08:00", "by": "Li Wei",
    }  # fmt: skip
    assert client.post(f"{API}/unmetered-loads", json=load).status_code == 201
    assert client.post(f"{API}/unmetered-loads", json=load).status_code == 409
    later = load | {"power_w": 300, "valid_from": "2026-03-25T00:00:00+08:00"}
    assert client.post(f"{API}/unmetered-loads", json=later).status_code == 409, "the first one still holds"
    assert client.post(f"{API}/unmetered-loads", json=later | {"replace": True}).status_code == 201
    items = client.get(f"{API}/unmetered-loads", params={"area": "A1"}).json()["items"]
    assert [(i["power_w"], i["valid_to"], i["noted_by"]) for i in items] == [
        (500, "2026-03-24T16:00:00Z", "Li Wei"),
        (300, None, "Li Wei"),
    ]
    ended = client.post(f"{API}/unmetered-loads/SL-1/end", json={"by": "Li Wei", "at": "2026-03-28T00:00:00+08:00"})
    assert ended.status_code == 200
    withdrawn = client.post(
        f"{API}/unmetered-loads/SL-1/withdraw", json={"by": "Wang Fang", "valid_from": "2026-03-20T00:00:00+08:00"}
    )
    assert withdrawn.json()["power_w"] == 500
    assert [i["power_w"] for i in client.get(f"{API}/unmetered-loads").json()["items"]] == [300]
    marked = [r["day"] for r in grid.rows("select day from dirty_day order by day")]
    assert (marked[0], marked[-1]) == (date(2026, 3, 20), date(2026, 4, 2))
    assert "SL-1" in client.get("/areas/A1").text


@pytest.mark.parametrize(
    ("changes", "status", "says"),
    [
        ({"area": "A9"}, 404, "no area 'A9'"),
        ({"schedule": "whenever"}, 422, "wanted"),
        ({"schedule": "sunset-sunrise"}, 422, "latitude_deg and longitude_deg are needed"),
        ({"latitude_deg": 31.2}, 422, "come together"),
        ({"valid_to": "2026-03-01T00:00:00+08:00"}, 422, "valid_to is not after valid_from"),
        ({"power_w": 0}, 422, "greater than 0"),
        ({"kind": "lamp"}, 422, "street_light"),
        ({"code": "a/b"}, 422, "without"),
    ],
)
def test_a_load_that_cannot_be_says_why(client: TestClient, changes: dict[str, Any], status: int, says: str) -> None:
    load = {
        "code": "SL-1", "area": "A1", "kind": "street_light", "power_w": 500, "schedule": "18:00-06:00",
        "valid_from": "2026-03-20T00:00:00+08:00", "by": "Li Wei",
    }  # fmt: skip
    answer = client.post(f"{API}/unmetered-loads", json=load | changes)
    assert answer.status_code == status
    assert says in answer.text


def test_two_spans_of_one_area_cannot_overlap(grid: Field) -> None:
    from psycopg.errors import ExclusionViolation

    from headend.store.errors import StoreConflict

    with pytest.raises((StoreConflict, ExclusionViolation)):
        grid.run(
            "insert into area_feeder (area_id, feeder_id, valid_from)"
            " select area_id, feeder_id, %s from area a, feeder f where a.code = 'A1' and f.code = 'F2'",
            [NOW - timedelta(days=3)],
        )
