"""Pages as served: every one answers on every state of the data, shows gaps as gaps, and forms lead to the rollout."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
import seed as seeding
from fastapi.testclient import TestClient
from seed_base import Seeded
from web_door import Door

from headend.settings import Database, Settings
from headend.store.pool import Store
from headend.web.app import create_app

HTML = {"Accept": "text/html"}


def _page(client: TestClient, path: str, status: int = 200) -> str:
    answer = client.get(path, headers=HTML)
    assert answer.status_code == status, answer.text[:2000]
    return answer.text


def _row(page: str, start: str) -> str:
    return next(row for row in page.split("<tr>") if start in row)


@pytest.mark.parametrize(
    "path",
    [
        "/", "/?sort=code&direction=asc&state=high&station=S1&q=a&with_findings=true", "/?q=zzz", "/areas/A1",
        "/areas/A3", "/areas/A4", "/areas/A5", "/areas/A1?day=2026-11-23", "/areas/A1?day=2020-01-01",
        "/areas/A1?day=0001-01-01", "/areas/A1?day=9999-12-31", "/findings",
        "/findings?state=any&kind=stuck&sort=newest", "/billing", "/billing/1",
        "/billing/4", "/rollout", "/rollout/A2", "/rollout/A1", "/rollout/premises/P-1",
        "/rollout/premises/P-3", "/field", "/field?q=211&troubled=true", "/field?q=zzz",
        "/field/bus?bus=modbus%2Btcp%3A%2F%2F10.20.0.11%3A502", "/quarantine", "/docs", "/status",
        "/meters/Chint/211003", "/meters/Eastron/901001", "/meters/Chint/211003/command?kind=clock&wanted=now",
    ],
)  # fmt: skip
def test_every_page_answers(client: TestClient, path: str) -> None:
    page = _page(client, path)
    assert page.count("<h1") == 1
    assert "http://" not in re.sub(r"http://www\.w3\.org/\S*", "", page)
    assert not re.search(r"<script(?![^>]*(src=\"/static/|type=\"application/json\"))", page)
    assert not re.search(r"\s(style|on\w+)=\"", page)


def test_findings_pages_of_every_kind(client: TestClient, seeded: Seeded) -> None:
    for finding_id in seeded.findings.values():
        page = _page(client, f"/findings/{finding_id}")
        assert "What to check on site" in page
    assert "kWh a day" in _page(client, f"/findings/{seeded.findings['under_registering']}")
    assert "holds no curve" in _page(client, f"/findings/{seeded.findings['missing_data']}")


def test_an_area_without_numbers_shows_dashes(client: TestClient) -> None:
    page = _page(client, "/")
    row = re.sub(r"<[^>]+>", " ", _row(page, 'href="/areas/A5"'))
    assert "No balance yet" in row
    assert row.count("–") >= 6
    assert not re.search(r"\b0(\.0)?\s*%", row)
    assert "too few metering points were measured" in _row(page, 'href="/areas/A4"')


def test_the_list_begins_with_the_worst_and_can_be_turned(client: TestClient) -> None:
    def order(path: str) -> list[str]:
        return re.findall(r'<th scope="row"[^>]*><a href="/areas/(A\d)"', _page(client, path))

    assert order("/")[0] == "A1"
    assert order("/?sort=loss_rate_7d&direction=asc")[0] == "A3"
    assert order("/?sort=code&direction=desc") == ["A5", "A4", "A3", "A2", "A1"]
    assert 'aria-sort="descending"' in _page(client, "/")


def test_an_area_page_names_what_is_missing(client: TestClient) -> None:
    assert "2 of 28 days have not been settled" in _page(client, "/areas/A3")
    page = _page(client, "/areas/A4")
    assert "never" in _row(page, "Chint/214003")
    assert "Unsettled" not in page
    assert "This day has not been settled" in _page(client, "/areas/A3?day=2026-11-04")
    assert "behind A2-S1" in _page(client, "/areas/A2")


def test_live_power_is_primary(client: TestClient, seeded_store: Store) -> None:
    (row,) = seeded_store.rows(
        b"select power_w from latest_reading join meter using (meter_id) where serial = '901001'"
    )
    shown = f"{row['power_w'] * 40 / 1000:.2f}"
    assert f'<span class="tile-n">{shown} <small>kW' in _page(client, "/areas/A1")


def test_a_refused_step_says_what_is_missing_and_keeps_what_was_entered(client: TestClient, door: Door) -> None:
    entered = {
        "client_id": str(uuid4()),
        "by": "Li Wei 李伟",
        "serial": "310003",
        "start_import_wh": "1.5",
        "seal": " ",
    }
    answer = client.post("/rollout/premises/P-3/steps/household_meter_installed", data=entered, headers=HTML)
    assert answer.status_code == 409
    assert "Not closed:" in answer.text
    assert "<li>seal</li>" in answer.text
    assert 'value="310003"' in answer.text
    assert door.asked[0][3:] == ("Li Wei 李伟", {"serial": "310003", "start_import_wh": 1500})
    assert str(door.asked[0][2]) not in answer.text  # another attempt is another id


def test_a_closed_step_leads_back_to_the_premises(client: TestClient, door: Door) -> None:
    entered = {"client_id": str(uuid4()), "by": "李伟", "people": "3", "category": "residential", "phase": "L2"}
    answer = client.post("/rollout/premises/P-4/steps/survey", data=entered, headers=HTML, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/rollout/premises/P-4")
    assert door.asked[0][4] == {"people": 3, "category": "residential", "phase": "L2"}
    assert 'value="李伟"' in _page(client, "/rollout/premises/P-5")  # the crew's name is remembered


def test_what_cannot_be_read_never_reaches_the_rollout(client: TestClient, door: Door) -> None:
    entered = {"client_id": str(uuid4()), "by": "", "people": "many"}
    answer = client.post("/rollout/premises/P-4/steps/survey", data=entered, headers=HTML)
    assert answer.status_code == 422
    assert "not a whole number" in answer.text
    assert "who did it?" in answer.text
    assert entered["client_id"] in answer.text  # nothing was attempted: the id stays
    assert client.post("/rollout/premises/P-4/steps/survey", data={"by": "x"}, headers=HTML).status_code == 422
    assert client.post("/rollout/premises/P-4/steps/party", data=entered, headers=HTML).status_code == 422
    assert client.post("/rollout/premises/P-4/steps/survey", data=entered | {"by": "a\0b"}).status_code == 422
    assert door.asked == []


@pytest.fixture
def loading(store: Store, dsn: str) -> TestClient:
    """A database in the first seconds: areas known, uploads waiting, a few days settled."""
    seeding.seed(store)
    with store.transaction() as connection:
        connection.execute("update concentrator set backlog = 120 where code = 'C-A1'")
        connection.execute("delete from balance_day where day < '2026-11-20' or area_id > 1")
        connection.execute(
            "insert into dirty_day (area_id, day, marked_at) select 1, d, now() "
            "from generate_series(date '2026-10-26', date '2026-11-19', interval '1 day') d"
        )
    return TestClient(create_app(store, Settings(database=Database(dsn=dsn)), lambda: seeding.NOW, rollout_door=Door()))


def test_while_history_loads_the_pages_say_so(loading: TestClient) -> None:
    page = _page(loading, "/")
    assert "Loading history" in page
    assert "concentrators still keep 120 uploads" in page
    assert '<progress value="3" max="28">' in page
    assert 'data-refresh-s="3"' in page
    assert "120 uploads on their way" in _row(page, 'href="/areas/A1"')
    assert "Loading history" in _page(loading, "/areas/A1")
    assert loading.get("/api/v1/areas/A1").json()["loading"] == {
        "uploads_waiting": 120,
        "days_settled": 3,
        "days_waiting": 25,
    }


def test_an_empty_database_says_what_to_do(store: Store, dsn: str) -> None:
    client = TestClient(
        create_app(store, Settings(database=Database(dsn=dsn)), lambda: seeding.NOW, rollout_door=Door())
    )
    for path, words in (
        ("/", "headend import"),
        ("/findings", "No finding"),
        ("/billing", "No batch yet"),
        ("/rollout", "premises.csv"),
    ):
        assert words in _page(client, path)
