"""Coverage as of now, and the meters a crew can take: both from the store, at once, without a settled interval."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
import seed as seeding
from fastapi.testclient import TestClient
from seed_base import NOW, Seeded, insert
from web_door import Door

from headend.settings import Database, Settings
from headend.store.pool import Connection, Store
from headend.web.app import create_app


@pytest.fixture
def own(store: Store) -> Seeded:
    """A seeded database that the test may change."""
    return seeding.seed(store)


@pytest.fixture
def own_client(own: Seeded, store: Store, dsn: str) -> TestClient:
    """The application on it."""
    return TestClient(create_app(store, Settings(database=Database(dsn=dsn)), lambda: NOW, rollout_door=Door()))


def _do(store: Store, work: Callable[[Connection], object]) -> None:
    with store.transaction() as connection:
        work(connection)


def _stock(c: Connection, serial: str, **endpoint: object) -> int:
    meter = insert(
        c, "meter", "meter_id",
        manufacturer="Eastron", serial=serial, model="eastron-sdm120", phases=1, digits=8, resolution_wh=10,
    )  # fmt: skip
    insert(c, "endpoint", meter_id=meter, **endpoint)
    return meter


def _read(c: Connection, meter: int, ts: datetime) -> None:
    c.execute("delete from latest_reading where meter_id = %s", [meter])
    insert(c, "latest_reading", meter_id=meter, ts=ts, import_wh=10, source=1, received_at=NOW)


def test_a_new_meter_counts_from_its_first_reading_on(own_client: TestClient, own: Seeded, store: Store) -> None:
    def now() -> tuple[int, int]:
        found = own_client.get("/api/v1/areas/A2").json()["coverage_now"]
        page = re.sub(r"<[^>]+>", "", own_client.get("/areas/A2", headers={"Accept": "text/html"}).text)
        assert f"{found['households_read']} of {found['households']} households read now" in page
        listed = own_client.get("/", headers={"Accept": "text/html"}).text
        assert f"{found['households_read']} of {found['households']} now" in listed
        return found["households_read"], found["households"]

    before, households = now()
    assert households == 18 + 6  # the shared meter and the area's own are no households
    assert before < 18  # some were silent for more than a day
    made: list[int] = []

    def install(c: Connection) -> None:
        made.append(_stock(c, "99001", protocol="modbus", bus="modbus+tcp://gw:502", unit=9))
        insert(
            c, "installation",
            usage_point_id=own.usage_points["A2-S1-1"], meter_id=made[0], valid_from=NOW - timedelta(minutes=10),
            multiplier=1, start_import_wh=0,
        )  # fmt: skip

    _do(store, install)
    assert now() == (before, households)
    for age, counts in (
        (timedelta(minutes=11), 0),
        (timedelta(minutes=9), 1),
        (timedelta(days=1, seconds=1), 0),
        (timedelta(seconds=1), 1),
    ):
        _do(store, lambda c, age=age: _read(c, made[0], NOW - age))
        assert now() == (before + counts, households), age
    gone = NOW - timedelta(minutes=1)
    _do(store, lambda c: c.execute("update installation set valid_to = %s where meter_id = %s", [gone, made[0]]))
    assert now() == (before, households)


def test_a_meter_that_fell_silent_is_not_covered(own_client: TestClient, own: Seeded, store: Store) -> None:
    meter = own.meters["Eastron/211001"]
    read = own_client.get("/api/v1/areas/A1").json()["coverage_now"]["households_read"]
    _do(store, lambda c: _read(c, meter, NOW - timedelta(hours=25)))
    assert own_client.get("/api/v1/areas/A1").json()["coverage_now"]["households_read"] == read - 1


def test_an_area_without_households_has_no_coverage(own_client: TestClient) -> None:
    assert own_client.get("/api/v1/areas/A5").json()["coverage_now"] == {"households": 0, "households_read": 0}


def test_a_crew_is_offered_what_is_in_stock_on_its_own_gateway(
    own_client: TestClient, own: Seeded, store: Store
) -> None:
    def fill(c: Connection) -> None:
        for serial, gateway in (("212001", "gw2"), ("211001", "gw1")):
            insert(
                c, "endpoint",
                meter_id=own.meters[f"Eastron/{serial}"], protocol="modbus", bus=f"modbus+tcp://{gateway}:502", unit=1,
            )  # fmt: skip
        (concentrator,) = c.execute("select concentrator_id from concentrator where code = 'C-A2'").fetchone() or (0,)
        _stock(c, "77001", protocol="modbus", bus="modbus+tcp://gw2:502", unit=61)
        _stock(c, "77002", protocol="mqtt", concentrator_id=concentrator)
        _stock(c, "77003", protocol="modbus", bus="modbus+tcp://gw1:502", unit=61)  # another area's gateway
        _stock(c, "77004", protocol="modbus", bus="modbus+tcp://gw2:503", unit=61)  # nobody's
        hung = _stock(c, "77005", protocol="modbus", bus="modbus+tcp://gw2:502", unit=62)
        insert(
            c, "installation",
            usage_point_id=own.usage_points["A2-S1-2"], meter_id=hung, valid_from=NOW - timedelta(days=3),
            valid_to=NOW - timedelta(days=2), multiplier=1,
        )  # fmt: skip

    _do(store, fill)
    page = own_client.get("/rollout/premises/P-3", headers={"Accept": "text/html"}).text
    assert re.findall(r'<option value="(77\d+)"', page) == ["77001", "77002"]
    assert 'list="stock"' in page
    assert "gw2:502 unit 61" in page
    assert "No meter in stock" not in page
    assert "2 meters in stock" in own_client.get("/rollout/A2", headers={"Accept": "text/html"}).text
