"""Every wrong request has a clear answer: problem+json for programs, a page for people; no hang."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import psycopg
import pytest
import seed as seeding
from fastapi.testclient import TestClient
from seed_base import Seeded
from web_door import Door

from headend.settings import Database, Settings
from headend.store.pool import Store
from headend.web.app import create_app

API = "/api/v1"
HTML = {"Accept": "text/html,*/*"}


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        (f"{API}/areas/NOPE", 404, "unknown-area"),
        (f"{API}/areas/NOPE/balances", 404, "unknown-area"),
        (f"{API}/findings/99999", 404, "unknown-finding"),
        (f"{API}/meters/0/readings", 404, "unknown-meter"),
        (f"{API}/billing/batches/99", 404, "unknown-batch"),
        (f"{API}/billing/batches/99/determinants.csv", 404, "unknown-batch"),
        (f"{API}/rollout/premises/NOPE", 404, "unknown-premises"),
        (f"{API}/nothing", 404, "not-found"),
        ("/static/../app.py", 404, "not-found"),
        ("/static/nothing.js", 404, "not-found"),
        ("/areas/NOPE", 404, "unknown-area"),
        (f"{API}/findings/{10**30}", 422, "invalid-request"),
    ],
)
def test_what_is_not_there(client: TestClient, path: str, status: int, code: str) -> None:
    answer = client.get(path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["type"] == f"urn:headend:problem:{code}"
    assert problem["status"] == status


@pytest.mark.parametrize(
    ("path", "parameter"),
    [
        (f"{API}/areas?limit=0", "limit"),
        (f"{API}/areas?limit=x", "limit"),
        (f"{API}/areas?sort=colour", "sort"),
        (f"{API}/areas?cursor=x!", "cursor"),
        (f"{API}/areas/A1/balances?from=2026-13-01", "from"),
        (f"{API}/areas/A1/balances?from=2026-11-02&to=2026-11-01", "from"),
        (f"{API}/areas/A1/balances?from=2020-01-01&to=2026-11-01", "from"),
        (f"{API}/areas/A1/balances?to=0001-01-01", "to"),
        (f"{API}/areas/A1/balances?to=20261101", "to"),
        (f"{API}/meters/211002/readings?from=1793491200", "from"),
        (f"{API}/meters/211002/readings?from=2026-11-01T00:00:00", "from"),
        (f"{API}/meters/211002/readings?from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "from"),
        (f"{API}/meters/211002/readings?to=0001-01-01T00:00:00Z", "to"),
    ],
)
def test_a_wrong_parameter_is_named(client: TestClient, seeded: Seeded, path: str, parameter: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 422, answer.text
    assert answer.json()["errors"][0]["parameter"] == parameter


def test_a_wrong_body_is_pointed_at(client: TestClient, seeded: Seeded, door: Door) -> None:
    body = {"client_id": "x", "step": "party", "by": "", "evidence": [], "colour/of~it": 1}
    answer = client.post(f"{API}/rollout/premises/P-4/steps", json=body)
    assert answer.status_code == 422
    assert {fault["pointer"] for fault in answer.json()["errors"]} == {
        "#/client_id", "#/step", "#/by", "#/evidence", "#/colour~1of~0it",
    }  # fmt: skip
    answer = client.post(
        f"{API}/rollout/premises/P-4/steps", content=b"{", headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 422
    assert door.asked == []


def test_a_null_byte_is_refused_not_an_error(client: TestClient, seeded: Seeded) -> None:
    for path in ("/areas/%00", f"{API}/areas/%00", f"{API}/areas?q=%00", f"{API}/meters/%00/readings"):
        assert client.get(path).status_code in (404, 422), path


def test_browsers_get_a_page_and_programs_do_not(client: TestClient, seeded: Seeded) -> None:
    page = client.get("/areas/<b>", headers=HTML)
    assert page.status_code == 404
    assert page.headers["content-type"].startswith("text/html")
    assert "there is no area" in page.text
    assert "<b>" not in page.text.split("<main", 1)[1].split("Head-end")[0]
    assert client.get(f"{API}/areas/NOPE", headers=HTML).headers["content-type"] == "application/problem+json"
    assert client.get("/?limit=1&sort=nonsense", headers=HTML).status_code == 422


def test_foreign_pages_cannot_send_forms(client: TestClient, seeded: Seeded, door: Door) -> None:
    body = {"client_id": str(uuid4()), "step": "survey", "by": "x", "evidence": {}}
    path = f"{API}/rollout/premises/P-4/steps"
    for headers in (
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ):
        assert client.post(path, json=body, headers=headers).status_code == 403
    assert door.asked == []
    for allowed in ({"Origin": "http://testserver"}, {"Sec-Fetch-Site": "same-origin"}):
        assert client.post(path, json=body, headers=allowed).status_code == 200


def test_every_answer_has_the_security_headers(client: TestClient, seeded: Seeded) -> None:
    for path in ("/", "/nothing", f"{API}/areas", "/healthz", "/static/app.css", "/metrics"):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["cache-control"]


def test_an_unforeseen_error_is_answered_and_counted(
    client: TestClient, seeded: Seeded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret detail")

    monkeypatch.setattr("headend.store.views.rollout_areas", broken)
    answer = client.get("/rollout")
    assert (answer.status_code, answer.json()["status"]) == (500, 500)
    assert "ZeroDivisionError" in answer.json()["detail"]
    assert "secret" not in answer.text
    assert 'headend_http_requests_total{route="/rollout",status="500"}' in client.get("/metrics").text


@pytest.fixture
def away(seeded_store: Store) -> Iterator[TestClient]:
    """The application while nobody answers at the database's address."""
    nowhere = psycopg.conninfo.make_conninfo(seeded_store.dsn, host="127.0.0.1", port="1", connect_timeout="2")
    with Store(nowhere, timeout_s=0.5) as store:
        app = create_app(store, Settings(database=Database(dsn=nowhere)), lambda: seeding.NOW, rollout_door=Door())
        yield TestClient(app, raise_server_exceptions=False)


def test_a_database_that_is_away_is_503(away: TestClient) -> None:
    answer = away.get(f"{API}/areas")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    assert answer.json()["type"] == "urn:headend:problem:store-unavailable"
    page = away.get("/", headers=HTML)
    assert page.status_code == 503
    assert "Try again" in page.text
    assert away.get("/healthz").status_code == 200
    ready = away.get("/readyz")
    assert (ready.status_code, ready.json()["reasons"]) == (503, ["the database cannot be reached"])
    assert 'headend_store_errors_total{kind="StoreUnavailable"}' in away.get("/metrics").text


def test_readiness_names_missing_migrations(store: Store, settings: Settings) -> None:
    app = create_app(store, settings, lambda: seeding.NOW, rollout_door=Door())
    client = TestClient(app, raise_server_exceptions=False)
    assert client.get("/readyz").json() == {"status": "ok"}
    with store.transaction() as connection:
        connection.execute("delete from schema_migration where name = '005_rollout'")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    assert answer.json()["reasons"] == ["migration 005_rollout has not been applied"]


def test_an_empty_database_is_a_clear_error(empty_dsn: str) -> None:
    with Store(empty_dsn) as store:
        app = create_app(store, Settings(database=Database(dsn=empty_dsn)), lambda: seeding.NOW, rollout_door=Door())
        client = TestClient(app, raise_server_exceptions=False)
        assert client.get("/readyz").status_code == 503
        assert client.get("/", headers=HTML).status_code == 500


def test_routes_are_counted_by_pattern(client: TestClient, seeded: Seeded) -> None:
    client.get("/areas/A1")
    client.get("/no/such/path")
    text = client.get("/metrics").text
    assert 'headend_http_requests_total{route="/areas/{code}",status="200"}' in text
    assert 'headend_http_requests_total{route="unmatched",status="404"}' in text
    assert 'headend_http_request_seconds_count{route="/areas/{code}"}' in text


def test_metrics_of_several_processes(
    client: TestClient, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path_factory.mktemp("metrics")))
    answer = client.get("/metrics")
    assert answer.status_code == 200
    assert "headend_http_requests_total{" not in answer.text  # nobody has written into that directory yet


def test_static_files_are_cached_and_compressed(client: TestClient) -> None:
    page = client.get("/nothing", headers=HTML).text
    url = page.split('href="/static/app.css', 1)[1].split('"', 1)[0]
    answer = client.get("/static/app.css" + url)
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["content-encoding"] == "gzip"
    assert client.get("/static/app.css").headers["cache-control"] == "public, no-cache"
    assert client.get("/static/app.css", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304
    plotly = client.get("/static/plotly.min.js")
    assert plotly.headers["content-type"].startswith("text/javascript")
    assert int(plotly.headers["content-length"]) < 2_000_000 < len(plotly.content)
    assert "plotly.js v" in plotly.text[:200]
